//! The blobs of a bundle in a form that nobody can change between the check and the use.
//!
//! A package manager reads the files that were hashed once more, by their names. Where only root can change those names
//! they are used as they lie; from any other cache, they are copied to where only root may go, and the copies hashed.

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

/// Between two looks at whether the run must stop.
const PIECE: u64 = 64 << 20;

impl Cache {
    /// The same cache, refused where others than its owners may write to it, as root is to install from it.
    pub fn owned_by(mut self, owners: Owners) -> Result<Self> {
        self.require_owners(owners)?;
        // A folder above may be somebody else's, who could put another cache in its place: the index is asked again
        // when it is open.
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
            // Nobody else can put one there; that it is missing, the check of the files says.
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        owner::is_roots_alone(&blobs)
            && bundle.files.iter().all(|file| is_roots(&blobs.join(file.digest.hex())))
    }

    /// Copies the blobs of a bundle's files into a new cache in `dir`, which only root can reach. Not one of them counts
    /// before it is verified there.
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
                // The check of the copy says so.
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
                // From file to file: the kernel copies, and shares the blocks where the file system can.
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
