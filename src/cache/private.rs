//! Protects the blobs of a bundle from changes between verification and use. The package manager opens the verified
//! files again by name. Where only root can change those files they are used in place; from any other cache they are
//! copied to a folder that only root can enter, and the copies are verified.

use super::Cache;
use super::bundle::Bundle;
use super::layout;
use crate::host::Host;
use crate::host::owner::{self, Owners};
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The number of bytes copied between two checks for cancellation.
const PIECE: u64 = 64 << 20;

impl Cache {
    /// Demands that only these owners may write to the cache, because root will install from it.
    pub fn owned_by(mut self, owners: Owners) -> Result<Self> {
        self.require_owners(owners)?;
        // The owner of a parent folder could replace the cache, so the index is checked again when it is open.
        self.owners = Some(owners);
        Ok(self)
    }

    fn require_owners(&self, owners: Owners) -> Result<()> {
        for name in ["", layout::INDEX, layout::LAYOUT, "blobs", layout::BLOBS] {
            let path = self.dir.join(name);
            let found = std::fs::symlink_metadata(&path)
                .with_reason(Reason::CacheUnreadable, || format!("cannot look at `{}`", path.display()))?;
            // The cache itself may be a link; what is in it may not.
            let found = if name.is_empty() && found.is_symlink() { std::fs::metadata(&path)? } else { found };
            owners
                .check(&path.display().to_string(), &found)
                .with_context(|| format!("cannot install from the cache `{}`", self.dir.display()))?;
        }
        Ok(())
    }

    /// Whether nobody but root can change any blob of a bundle.
    pub fn is_roots_alone(&self, bundle: &Bundle) -> bool {
        let blobs = self.blobs_dir();
        let is_roots = |path: &Path| match std::fs::symlink_metadata(path) {
            Ok(found) => found.is_file() && Owners::default().may_alone_write(path),
            // A missing blob is reported when the files are verified.
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        owner::is_roots_alone(&blobs)
            && bundle.files.iter().all(|file| is_roots(&blobs.join(file.digest.hex())))
    }

    /// Copies the blobs of a bundle's files into a new cache in `dir`, which only root can reach. They must be verified
    /// there before use.
    pub fn copy_for_root(&self, host: &Host, bundle: &Bundle, dir: &Path) -> Result<Self> {
        let copy = Self { dir: dir.to_owned(), owners: None };
        let doing = || format!("cannot copy the bundle `{}` to `{}`", bundle.tag, dir.display());
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(copy.blobs_dir()).with_context(doing)?;
        for file in &bundle.files {
            let to = copy.blob_path(&file.digest);
            if to.exists() {
                continue;
            }
            let opened = layout::open_regular(&self.blob_path(&file.digest));
            if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                // The verification of the copy reports it.
                continue;
            }
            let (mut from, size) = opened
                .with_reason(Reason::CacheUnreadable, || format!("cannot open the blob `{}`", file.digest))?;
            if size != file.size {
                let what = format!("the blob `{}` has {size} bytes instead of {}", file.digest, file.size);
                return Err(Reason::DigestMismatch.error(what));
            }
            let mut options = File::options();
            let mut to = options.write(true).create_new(true).mode(0o644).open(&to).with_context(doing)?;
            loop {
                host.cancel.check()?;
                // Copying from file to file lets the kernel copy, or share blocks where the file system supports that.
                let copied = std::io::copy(&mut from.by_ref().take(PIECE), &mut to).with_context(doing)?;
                if copied == 0 {
                    break;
                }
            }
            to.set_permissions(Permissions::from_mode(0o644)).with_context(doing)?;
        }
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Digest;
    use super::super::testing::{Lab, flip_a_bit};
    use super::*;
    use std::os::unix::fs::chown;

    #[test]
    fn as_root_what_was_hashed_is_what_is_used_whatever_its_owner_does_meanwhile() {
        let lab = Lab::new();
        let bundle = lab.publish("one", &[("a.deb", b"aaaa"), ("b.deb", b"bbbb")]);
        chown(lab.cache.blobs_dir(), Some(65534), None).unwrap();
        assert!(!lab.cache.is_roots_alone(&bundle));
        let private = lab.dir.path().join("private");
        let copy = lab.cache.copy_for_root(&lab.host, &bundle, &private).unwrap();
        flip_a_bit(&lab.cache.blob_path(&Digest::of_bytes(b"aaaa")));
        let files = Bundle { ..bundle.clone() };
        assert!(copy.verify_files(&lab.host, &files).unwrap().is_sound());
        assert_eq!(std::fs::read(copy.blob_path(&Digest::of_bytes(b"aaaa"))).unwrap(), b"aaaa");
        assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);
        // What was swapped before is found in the copy.
        std::fs::remove_dir_all(&private).unwrap();
        let copy = lab.cache.copy_for_root(&lab.host, &bundle, &private).unwrap();
        assert_eq!(copy.verify_files(&lab.host, &files).unwrap().damaged.len(), 1);
    }

    #[test]
    fn as_root_one_blob_of_somebody_elses_is_enough_to_copy() {
        let lab = Lab::new();
        let bundle = lab.publish("one", &[("a.deb", b"aaaa")]);
        assert!(lab.cache.is_roots_alone(&bundle));
        chown(lab.cache.blob_path(&Digest::of_bytes(b"aaaa")), Some(65534), None).unwrap();
        assert!(!lab.cache.is_roots_alone(&bundle));
    }

    #[test]
    fn as_root_a_cache_that_others_may_write_to_is_refused() {
        for name in ["", "index.json", "blobs/sha256"] {
            let lab = Lab::new();
            lab.cache.require_owners(Owners::default()).unwrap();
            chown(lab.cache.dir().join(name), Some(65534), None).unwrap();
            let error = lab.cache.require_owners(Owners::default()).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::UnsafeOwner, "{name}");
            lab.cache.require_owners(Owners::root_and(Some("65534")).unwrap()).unwrap();
            chown(lab.cache.dir().join(name), Some(0), None).unwrap();
            let all = Permissions::from_mode(0o777);
            std::fs::set_permissions(lab.cache.dir().join(name), all).unwrap();
            assert!(lab.cache.require_owners(Owners::root_and(Some("65534")).unwrap()).is_err(), "{name}");
        }
    }
}
