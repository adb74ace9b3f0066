//! Checks whether the disk has enough free space, and lets programs run, before anything is written.

use super::fs::{Root, fd_path};
use crate::outcome::Cause;
use anyhow::{Context, Result};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes that will be written, by folder.
#[derive(Debug, Default)]
pub struct Needs(Vec<(String, u64)>);

/// The free space of one file system, and the space that is needed there.
struct Asked<'a> {
    /// The folder that needs the most.
    place: &'a str,
    most: u64,
    free: u64,
    needed: u64,
}

impl Needs {
    /// Adds a need.
    pub fn add(&mut self, place: &str, bytes: u64) {
        self.0.push((place.to_owned(), bytes));
    }

    /// Fails where a file system of a root, or one mounted below it, has less free space than is needed there.
    pub fn require(&self, root: &Root) -> Result<()> {
        let mut asked: BTreeMap<u64, Asked> = BTreeMap::new();
        for (place, bytes) in &self.0 {
            let (_handle, pinned) = root.pin(existing(root, place))?;
            let looking = || format!("cannot ask for the room at `{place}`");
            let device = std::fs::metadata(&pinned).with_context(looking)?.dev();
            let free = free(&pinned).with_context(looking)?;
            let one = asked.entry(device).or_insert(Asked { place, most: 0, free, needed: 0 });
            one.needed = one.needed.saturating_add(*bytes);
            if *bytes > one.most {
                (one.place, one.most) = (place, *bytes);
            }
        }
        let shown = |place: &str| root.path().join(place.trim_start_matches('/')).display().to_string();
        match asked.values().find(|one| one.free < one.needed) {
            Some(one) => Err(lacking(&shown(one.place), one.needed, one.free)),
            None => Ok(()),
        }
    }
}

/// The folder itself, or the nearest parent that exists.
fn existing<'a>(root: &Root, place: &'a str) -> &'a str {
    let mut place = place;
    while !root.is_dir(place) {
        match place.rsplit_once('/') {
            Some((above, _)) if !above.is_empty() => place = above,
            _ => return "/",
        }
    }
    place
}

/// Where a folder of a root is, or will be: a place from which no program runs (`noexec`); none where programs run.
pub fn without_programs<'a>(root: &Root, place: &'a str) -> Option<&'a str> {
    let there = existing(root, place);
    let (_handle, pinned) = root.pin(there).ok()?;
    statvfs(&pinned).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOEXEC)).then_some(there)
}

/// The free space of the file system on which a folder of a root is, or will be, in bytes.
pub fn free_for(root: &Root, place: &str) -> Result<u64> {
    let (_handle, pinned) = root.pin(existing(root, place))?;
    free(&pinned)
}

/// Fails where a folder of this machine has less free space than is needed there.
pub fn require(folder: &Path, bytes: u64) -> Result<()> {
    let free = free(folder).with_context(|| format!("cannot ask for the room at `{}`", folder.display()))?;
    if free < bytes { Err(lacking(&folder.display().to_string(), bytes, free)) } else { Ok(()) }
}

fn free(path: &Path) -> Result<u64> {
    let found = statvfs(&fd_path(&std::fs::File::open(path)?))?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

fn lacking(place: &str, needed: u64, free: u64) -> anyhow::Error {
    Cause::TooLittleRoom.error(format!(
        "the file system of `{place}` has {} MiB free, and this needs {} MiB; nothing was changed",
        free >> 20,
        needed.div_ceil(1 << 20)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Reason;

    #[test]
    fn what_cannot_fit_is_named_with_the_place_and_both_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_dirs("/var", 0o755).unwrap();
        let mut needs = Needs::default();
        needs.add("/", 1 << 10);
        needs.add("/var/lib/dpkg", 1 << 10);
        needs.require(&root).unwrap();
        needs.add("/boot", u64::MAX);
        let error = needs.require(&root).unwrap_err();
        assert_eq!(
            (Reason::from_error(&error), Cause::from_error(&error)),
            (Reason::NoSpace, Some(Cause::TooLittleRoom)),
            "{error:#}"
        );
        assert!(error.to_string().contains("/boot"), "{error:#}");
        require(dir.path(), 1).unwrap();
        assert!(require(dir.path(), u64::MAX).is_err());
    }
}
