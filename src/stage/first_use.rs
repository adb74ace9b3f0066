//! A vendor's file whose digest nobody published: it is downloaded once from the vendor's own host, and later runs
//! accept only the same bytes.

use crate::cache::{Blob, Bundle, Cache, Writer};
use crate::catalog::Catalog;
use crate::drivers;
use crate::host::Host;
use crate::host::http::{NetworkOptions, without_secrets};
use crate::ledger::Receipt;
use crate::outcome::Reason;
use crate::plan_document::{Artifact, Plan};
use crate::settings::Settings;
use crate::trust::{Trust, VendorFile, host_of, is_vendors};
use anyhow::Result;
use std::path::Path;

/// Adds to a plan the digest with which the root or the cache accepted a file of that name before, so that no other is
/// accepted. This is not needed if the digest is published or given.
pub fn remember(plan: &mut Plan, settings: &Settings, receipt: Option<&Receipt>) -> Result<()> {
    let Some(artifact) = plan.artifact.as_mut().filter(|artifact| artifact.sha256.is_none()) else {
        return Ok(());
    };
    let installed = receipt.and_then(|receipt| receipt.vendor_file.clone());
    let installed = installed.map(|file| ("this root's receipt".to_owned(), file));
    // A remote cache is read after its download, and an unreadable one fails where it is used.
    let cached =
        Cache::open(Path::new(&settings.cache)).and_then(|cache| cache.bundles()).unwrap_or_default();
    let cached =
        cached.into_iter().filter_map(|it| Some((format!("the bundle {}", it.tag), it.config.vendor_file?)));
    let mut known: Option<(String, VendorFile)> = None;
    for (place, file) in
        installed.into_iter().chain(cached).filter(|(_, it)| it.file_name == artifact.file_name)
    {
        match &known {
            None => known = Some((place, file)),
            Some((first, taken)) if taken.sha256 != file.sha256 => {
                return Err(Reason::DigestMismatch.error(format!(
                    "{first} has `{}` as {}, {place} as {}, and nobody published a digest: give the right one as \
                     `sha256`, with `driver_version`",
                    file.file_name, taken.sha256, file.sha256
                )));
            }
            Some(_) => {}
        }
    }
    artifact.first_seen = known.map(|(_, file)| file.sha256);
    Ok(())
}

/// Downloads the file from the vendor's own host: over TLS, redirections included, and from no mirror. A file that must
/// be signed may come from anywhere; its signature is checked when it is unpacked.
pub(super) fn download(
    host: &Host,
    writer: &Writer,
    artifact: &Artifact,
    way: NetworkOptions,
) -> Result<Blob> {
    let name = &artifact.file_name;
    if artifact.trust == Trust::Signed {
        host.events.info(format!("downloading `{name}`, which has to be signed"));
        return writer.download_unknown(NetworkOptions { mirrors: &[], ..way }, &artifact.url, name);
    }
    if !is_vendors(&artifact.url) {
        let place = without_secrets(&artifact.url);
        let what =
            format!("nobody published a digest of `{name}`, and `{place}` is not the vendor's own place");
        return Err(Reason::Untrusted.error(what));
    }
    host.events.info(format!("downloading `{name}`, of which no digest is known"));
    let way = NetworkOptions { mirrors: &[], vendor_only: true, ..way };
    writer.download_unknown(way, &artifact.url, name)
}

/// The record of the vendor's file in a bundle. Its trust level is the one found in the file, else the plan's.
pub fn vendor_file(plan: &Plan, bundle: &Bundle, found: Option<Trust>) -> Option<VendorFile> {
    let artifact = plan.artifact.as_ref()?;
    let file = bundle.file(&artifact.file_name)?;
    Some(VendorFile {
        file_name: artifact.file_name.clone(),
        sha256: file.digest.hex(),
        trust: found.unwrap_or(artifact.trust),
        url: without_secrets(&artifact.url),
    })
}

/// The warning about a file whose digest nobody published.
pub fn warning(plan: &Plan, file: &VendorFile) -> Option<String> {
    let weak = file.trust == Trust::FirstUse;
    weak.then(|| {
        format!(
            "nobody published a digest of {}: it came over TLS from {} as {}; pin it ({}) or set `trust: signed`",
            file.file_name,
            host_of(&file.url),
            file.sha256,
            pin(plan, file)
        )
    })
}

/// Whether the file itself may turn out to be trusted more than the plan assumes, because its packages may be signed.
pub fn may_be_signed(plan: &Plan, settings: &Settings) -> Result<bool> {
    let keys = Catalog::from_settings(settings)?.vendor_keys;
    let version = plan.driver_version.as_deref().unwrap_or_default();
    Ok(drivers::ops(plan.driver).is_signed(&plan.target, version, settings, &keys))
}

/// The settings that accept this very file and no other on every machine.
pub fn pin(plan: &Plan, file: &VendorFile) -> String {
    let version = plan.driver_version.as_deref().unwrap_or_default();
    format!("`driver_version: {version}`, `sha256: {}`", file.sha256)
}
