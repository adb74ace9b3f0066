//! The cache: an OCI image layout on this machine, whose manifests are bundles. All files that a target needs are named
//! by digest, so targets share files and every file is verified before use. Readers need no lock, because a file
//! appears complete or not at all; the only [`Writer`] holds a lock.

#[cfg(test)]
mod archive_tests;
mod batch;
mod blob;
mod bundle;
mod check;
mod digest;
mod document;
mod download;
mod export;
mod gc;
mod hash;
mod import;
mod layout;
mod partial;
mod private;
mod progress_io;
mod read;
mod refs;
pub mod remote;
mod signature;
#[cfg(test)]
mod testing;
mod unnamed;
mod write;

pub use blob::{Blob, BlobReader, BlobWriter};
pub use bundle::{
    APT_INDEX_TYPE, BUILT_TYPE, BUNDLE_TYPE, Built, Bundle, BundleConfig, BundleFile, DEB_TYPE, LICENCE_TYPE,
    RPM_INDEX_TYPE, RPM_TYPE, Repository, RepositoryKind, VENDOR_TYPE, VendorRoom,
};
pub use check::{Damage, Report};
pub use digest::{Digest, Hasher};
pub use download::{Source, Wanted};
pub use export::Exported;
pub use gc::Freed;
pub use hash::Problem;
pub use import::Imported;
pub use partial::Partial;
pub use signature::{Key, PrivateKey, Signed};
pub use write::Writer;

use crate::host::owner::Owners;
use crate::outcome::{Cause, Reason};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// An open cache.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    /// The users who may own the index, where that is checked.
    owners: Option<Owners>,
}

/// The sum of sizes. Documents of others name them, and may name any.
pub fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

impl Cache {
    /// Opens a cache. Writes nothing, so it may lie on a read-only file system.
    pub fn open(dir: &Path) -> Result<Self> {
        match std::fs::metadata(dir) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(Reason::CacheUnreadable.error(format!("`{}` is not a folder", dir.display())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Cause::CacheEmpty.error(format!("there is no cache at `{}`", dir.display())));
            }
            Err(error) => {
                let message = format!("cannot open the cache `{}`: {error}", dir.display());
                return Err(Reason::CacheUnreadable.error(message));
            }
        }
        let cache = Self { dir: dir.to_owned(), owners: None };
        layout::check_version(&cache.dir)?;
        layout::read_index(&cache.dir)?;
        Ok(cache)
    }

    /// Opens a cache; creates an empty one, with its parent folders, where it is missing.
    pub fn open_or_create(dir: &Path) -> Result<Self> {
        layout::create(dir)?;
        Self::open(dir)
    }

    /// The folder it lies in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a blob, whether or not it exists.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_dir().join(digest.hex())
    }

    /// Whether a blob exists. Its content is not checked; see [`Cache::verify`].
    pub fn has(&self, digest: &Digest) -> bool {
        self.size_of(digest).is_some()
    }

    /// The folder its blobs lie in, each named by its digest in hex.
    pub fn blobs_dir(&self) -> PathBuf {
        self.dir.join(layout::BLOBS)
    }

    /// How many bytes a blob has; none when it is not there.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.size_of(digest)
    }

    fn size_of(&self, digest: &Digest) -> Option<u64> {
        let metadata = std::fs::symlink_metadata(self.blob_path(digest)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Lab;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_missing_folder_and_a_folder_that_is_no_cache_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Cache::open(&dir.path().join("none")).unwrap_err();
        assert_eq!(Reason::from_error(&missing), Reason::CacheMissing);
        let empty = Cache::open(dir.path()).unwrap_err();
        assert_eq!(Reason::from_error(&empty), Reason::CacheMissing);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "opening wrote something");
        std::fs::write(dir.path().join("letter.txt"), "somebody's").unwrap();
        let other = Cache::open(dir.path()).unwrap_err();
        assert_eq!(Reason::from_error(&other), Reason::CacheUnreadable);
    }

    #[test]
    fn a_broken_index_and_an_unknown_layout_version_are_unreadable() {
        for (name, text) in [
            ("index.json", "{\"manifests\":"),
            ("oci-layout", "{}"),
            ("oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}"),
        ] {
            let lab = Lab::new();
            std::fs::write(lab.cache.dir().join(name), text).unwrap();
            let error = Cache::open(lab.cache.dir()).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable, "{error:#}");
            assert!(format!("{error:#}").contains(name), "{error:#}");
        }
    }

    #[test]
    fn creating_again_keeps_what_is_there_and_everybody_may_read_it() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        let cache = Cache::open_or_create(lab.cache.dir()).unwrap();
        assert_eq!(cache.bundles().unwrap().len(), 1);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(cache.dir()), 0o755);
        assert_eq!(mode(&cache.blobs_dir()), 0o755);
        assert_eq!(mode(&cache.dir().join("index.json")), 0o644);
        assert_eq!(mode(&cache.blob_path(&Digest::of_bytes(b"a"))), 0o644);
    }
}
