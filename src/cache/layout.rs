//! The two documents of an OCI image layout, `oci-layout` and `index.json`, read and written whole.

use super::digest::Digest;
use crate::host::owner::Owners;
use crate::outcome::{Cause, Reason, WithCause, WithReason};
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageIndex, MediaType, OciLayout};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tempfile::NamedTempFile;

/// The folder of the blobs.
pub(super) const BLOBS: &str = "blobs/sha256";
/// The document that makes a folder a layout.
pub(super) const LAYOUT: &str = "oci-layout";
/// The document that lists the manifests.
pub(super) const INDEX: &str = "index.json";
/// The prefix of the names of unfinished files.
pub(super) const UNFINISHED: &str = ".new-";
/// The annotation of an index entry that holds its tag.
pub(super) const TAG: &str = "org.opencontainers.image.ref.name";
/// The largest document that is read; registries have the same limit for manifests.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Creates an empty layout, or completes one whose creation was interrupted; existing files stay as they are.
pub(super) fn create(dir: &Path) -> Result<()> {
    let doing = || format!("cannot make the cache `{}`", dir.display());
    if !dir.exists() {
        std::fs::create_dir_all(dir).with_cause(Cause::FolderUnwritable, doing)?;
        // The umask must not make the cache of an image unreadable for other users.
        std::fs::set_permissions(dir, Permissions::from_mode(0o755)).with_context(doing)?;
    }
    for folder in ["blobs", BLOBS] {
        let path = dir.join(folder);
        match DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {
                std::fs::set_permissions(&path, Permissions::from_mode(0o755)).with_context(doing)?;
            }
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(error).with_cause(Cause::FolderUnwritable, doing),
        }
    }
    // The `oci-layout` file is written last. Neither file replaces one that another process has just created.
    let index = canonical(&ImageIndex::default())?;
    let layout = canonical(&serde_json::json!({ "imageLayoutVersion": "1.0.0" }))?;
    for (name, bytes) in [(INDEX, index), (LAYOUT, layout)] {
        let path = dir.join(name);
        if path.exists() {
            continue;
        }
        let file = write_unfinished(dir, &bytes).with_context(doing)?;
        match file.persist_noclobber(&path) {
            // Whoever made the file meanwhile may also have removed this unfinished one.
            Err(error) if !path.exists() => return Err(error.error).with_context(doing),
            _ => sync_dir(dir).with_context(doing)?,
        }
    }
    Ok(())
}

/// Checks that a folder is a layout of a version this program knows.
pub(super) fn check_version(dir: &Path) -> Result<()> {
    let path = dir.join(LAYOUT);
    let is_empty = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        // Staging makes a cache of it.
        return Err(Cause::CacheEmpty.error(format!("there is no cache in `{}`", dir.display())));
    }
    let wrong = || format!("`{}` is not an OCI image layout", dir.display());
    let bytes = read_small(&path).with_reason(Reason::CacheUnreadable, wrong)?;
    check_layout(&bytes, &path.display().to_string()).context(wrong())
}

/// Checks the bytes of an `oci-layout` document.
pub(super) fn check_layout(bytes: &[u8], name: &str) -> Result<()> {
    let layout: OciLayout = parse(bytes, name)?;
    let version = layout.image_layout_version();
    if version.split('.').next() == Some("1") {
        return Ok(());
    }
    let version = version.escape_default();
    Err(Reason::CacheUnreadable.error(format!("`{name}` has the unknown layout version `{version}`")))
}

/// Reads the index of a layout.
pub(super) fn read_index(dir: &Path) -> Result<ImageIndex> {
    read_index_of(dir, None)
}

/// Reads the index of a layout, refused where others than its owners may write to it.
pub(super) fn read_index_of(dir: &Path, owners: Option<Owners>) -> Result<ImageIndex> {
    let path = dir.join(INDEX);
    let name = path.display().to_string();
    let doing = || format!("cannot read `{name}`");
    let (file, _) = open_regular(&path).with_reason(Reason::CacheUnreadable, doing)?;
    if let Some(owners) = owners {
        owners.check(&name, &file.metadata().with_context(doing)?)?;
    }
    parse(&read_whole(file, &path).with_reason(Reason::CacheUnreadable, doing)?, &name)
}

/// Replaces the index atomically: also after a power cut it is either the old or the new one.
pub(super) fn write_index(dir: &Path, mut index: ImageIndex) -> Result<()> {
    index.set_media_type(Some(MediaType::ImageIndex));
    let path = dir.join(INDEX);
    let doing = || format!("cannot write `{}`", path.display());
    // Blobs that the index names must be on the disk before the index.
    sync_dir(&dir.join(BLOBS)).with_context(doing)?;
    let file = write_unfinished(dir, &canonical(&index)?).with_context(doing)?;
    file.persist(&path).map_err(|error| error.error).with_context(doing)?;
    sync_dir(dir).with_context(doing)
}

/// Changes the entries of an index.
pub(super) fn edit<T>(index: &mut ImageIndex, change: impl FnOnce(&mut Vec<Descriptor>) -> T) -> T {
    let mut entries = index.manifests().clone();
    let result = change(&mut entries);
    index.set_manifests(entries);
    result
}

/// A document as JSON with sorted members, so that the same document always has the same digest.
pub(super) fn canonical<T: Serialize>(document: &T) -> Result<Vec<u8>> {
    let doing = "cannot write a document of the cache";
    let mut value = serde_json::to_value(document).context(doing)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).context(doing)
}

/// Reads a document; `name` is for the error.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .with_reason(Reason::CacheUnreadable, || format!("cannot understand `{name}`"))
}

/// The tag of an index entry. Tools may leave it out; then the digest is used.
pub(super) fn tag_of(entry: &Descriptor) -> String {
    let tag = entry.annotations().as_ref().and_then(|annotations| annotations.get(TAG));
    tag.cloned().unwrap_or_else(|| entry.digest().to_string())
}

/// The digest a descriptor points to, if it is one this program can check.
pub(super) fn digest_of(descriptor: &Descriptor) -> Result<Digest> {
    let digest = descriptor.digest().to_string().parse::<Digest>();
    digest.map_err(|wrong| Reason::CacheUnreadable.error(wrong))
}

/// Opens a regular file for reading.
pub(super) fn open_regular(path: &Path) -> std::io::Result<(File, u64)> {
    // A pipe or a link in a cache was put there by others. It must neither block the reader nor redirect it.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok((file, metadata.len()));
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"))
}

/// Makes a folder's entries durable.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A new file under a temporary name, which is removed unless it is renamed.
pub(super) fn unfinished(dir: &Path) -> std::io::Result<NamedTempFile> {
    let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(dir)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

fn write_unfinished(dir: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = unfinished(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    let (file, _) = open_regular(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    read_whole(file, path)
}

fn read_whole(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(Reason::CacheUnreadable.error(format!("`{}` is too large", path.display())));
    }
    Ok(bytes)
}
