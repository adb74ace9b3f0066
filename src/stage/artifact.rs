//! The vendor's own file: downloads it and lists the packages in it.

use super::{fetch, first_use};
use crate::cache::{BundleFile, Digest, Hasher, LICENCE_TYPE, VENDOR_TYPE, Writer};
use crate::drivers;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::http::{NetworkOptions, without_secrets};
use crate::host::temp::Folder;
use crate::outcome::{Reason, WithReason};
use crate::packages::{Download, Manager, VendorRepo};
use crate::plan_document::{Artifact, Plan};
use crate::settings::Settings;
use crate::trust::Trust;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// A vendor's file in the cache.
pub(super) struct Vendors {
    /// The file, as a part of the bundle.
    pub(super) file: BundleFile,
    /// The packages in it.
    pub(super) vendor_repo: VendorRepo,
    /// How many files had to be fetched, and their bytes.
    pub(super) downloaded: (usize, u64),
    /// The licence in it, as a part of the bundle.
    pub(super) licence: Option<BundleFile>,
    /// What the file was unpacked to.
    pub(super) folder: Folder,
}

/// Downloads the plan's vendor file into the cache; none if the driver is the distribution's own.
pub(super) fn fetch_vendor_file(
    host: &Host,
    writer: &Writer,
    manager: Manager,
    (plan, settings): (&Plan, &Settings),
) -> Result<Option<Vendors>> {
    let way = NetworkOptions::from_settings(settings);
    let Some(artifact) = &plan.artifact else { return Ok(None) };
    if plan.target.kernels.is_empty() {
        let what =
            format!("{} is built for each kernel: name them with --kernel, or give --root", plan.driver);
        return Err(Reason::Usage.error(what));
    }
    let here = artifact.url.strip_prefix("file://").filter(|_| artifact.trust == Trust::Signed);
    let (digest, downloaded) = if let Some(digest) = artifact.digest() {
        fetch_from_anywhere(host, writer, artifact, digest, way)?
    } else if let Some(path) = here {
        // Its signature is checked once it is unpacked.
        fetch_from_anywhere(host, writer, artifact, &digest_of(host, Path::new(path))?, way)?
    } else {
        let blob = first_use::download(host, writer, artifact, way)?;
        (blob.digest, (1, blob.size))
    };
    let size = writer.cache().size(&digest).unwrap_or_default();
    let path = writer.cache().blob_path(&digest);
    let folder = Folder::large("vendor")?;
    host.events.info(format!("looking into `{}`", artifact.file_name));
    let vendor_repo =
        drivers::ops(plan.driver).vendor_repo(host, (plan, settings), manager, &path, folder.path())?;
    let (title, media_type) = (artifact.file_name.clone(), VENDOR_TYPE.to_owned());
    let file = BundleFile { title, media_type, digest, size };
    let licence = licence(&Root::open(folder.path())?)?.map(|bytes| {
        let blob = writer.put(&bytes)?;
        let title = format!("{}.licence", artifact.file_name);
        let media_type = LICENCE_TYPE.to_owned();
        Ok::<_, anyhow::Error>(BundleFile { title, media_type, digest: blob.digest, size: blob.size })
    });
    Ok(Some(Vendors { file, vendor_repo, downloaded, licence: licence.transpose()?, folder }))
}

/// The licence in an opened file of the vendor: beside the installer of `MLNX_OFED`, or where packages have theirs.
fn licence(root: &Root) -> Result<Option<Vec<u8>>> {
    const DOCUMENTS: &str = "/usr/share/doc";
    let beside = root.list("/").into_iter().map(|top| format!("/{top}/LICENSE"));
    let of_packages = root.list(DOCUMENTS).into_iter().map(|name| format!("{DOCUMENTS}/{name}/copyright"));
    let Some(path) = beside.chain(of_packages).find(|path| root.exists(path)) else { return Ok(None) };
    root.read(&path)
}

/// The SHA-256 of a file of this machine.
fn digest_of(host: &Host, path: &Path) -> Result<String> {
    let reading = || format!("cannot read `{}`", path.display());
    let mut file = std::fs::File::open(path).with_reason(Reason::BadSettings, reading)?;
    let (mut hasher, mut buffer) = (Hasher::default(), vec![0; 256 << 10]);
    loop {
        host.cancel.check()?;
        match file.read(&mut buffer).with_context(reading)? {
            0 => return Ok(hasher.finish().0.hex()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Tries the address and its mirrors in turn. The file must match the digest, whichever address it was fetched from.
fn fetch_from_anywhere(
    host: &Host,
    writer: &Writer,
    artifact: &Artifact,
    sha256: &str,
    way: NetworkOptions,
) -> Result<(Digest, (usize, u64))> {
    let digest = Digest::from_hex(sha256)
        .map_err(|error| Reason::BadSettings.error(format!("`{}`: {error}", artifact.file_name)))?;
    let mut refused = Vec::new();
    for url in std::iter::once(&artifact.url).chain(&artifact.mirrors) {
        let (file, sha256) = (artifact.file_name.clone(), sha256.to_owned());
        let download =
            Download { url: url.clone(), others: Vec::new(), name: file.clone(), file, size: 0, sha256 };
        match fetch::fetch_all(host, writer, &[download], &HashMap::new(), VENDOR_TYPE, way) {
            Ok(fetched) if fetched.count == 0 => return Ok((digest, (0, 0))),
            Ok(_) => return Ok((digest, (1, writer.cache().size(&digest).unwrap_or_default()))),
            Err(error) if is_of_the_place(&error) => {
                host.events.warn(format!("not from `{}`: {error:#}", without_secrets(url)));
                refused.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    let tried = refused.len();
    let last = refused.pop().unwrap_or_else(|| Reason::DownloadFailed.error("it has no address"));
    let last = last.context(format!("`{}` came from none of {tried} addresses", artifact.file_name));
    if artifact.sha256.is_none() && Reason::from_error(&last) == Reason::DigestMismatch {
        return Err(last.context(format!(
            "nobody published a digest of it, it came as {sha256} the first time, and no other is taken since"
        )));
    }
    Err(last)
}

/// Whether another address may succeed: not where this machine's disk or the user's signal ended the download.
fn is_of_the_place(error: &anyhow::Error) -> bool {
    let here = [Reason::NoSpace, Reason::Interrupted, Reason::DeadlineExceeded, Reason::BadSettings];
    !here.contains(&Reason::from_error(error))
}
