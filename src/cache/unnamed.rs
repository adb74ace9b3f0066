//! What a writer that was killed, or that failed, leaves in a cache: blobs that no bundle names, and unfinished files.
//!
//! The digests of blobs are noted before they get their names. A writer that ends well removes those in the note of an
//! earlier one that the index still does not lead to; until then they save the next writer a download. Blobs that another
//! tool stored are in no note and stay.

use super::digest::Digest;
use super::layout;
use super::partial::{NOTE, PARTIAL};
use super::refs::References;
use super::write::Writer;
use super::{Cache, Freed};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The note: one digest in hex a line.
const UNNAMED: &str = ".ofedctl-unnamed";
/// The longest note that is read; it has room for every blob that one walk follows.
const LONGEST: u64 = 32 << 20;

fn path(cache: &Cache) -> PathBuf {
    cache.dir.join(UNNAMED)
}

/// Notes blobs that are about to get their names, without those that the cache has.
pub(super) fn note<'p>(cache: &Cache, blobs: impl Iterator<Item = &'p Path>) -> Result<()> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}\n"));
    let lines: String = blobs.filter(|path| !path.exists()).filter_map(name).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let path = path(cache);
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().append(true).create(true).mode(0o644).custom_flags(flags).open(&path);
    // In one call, because several threads may store blobs at once.
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// The blobs in the note; none when there is no note, or one that this program did not write.
pub(super) fn noted(cache: &Cache) -> BTreeSet<Digest> {
    let Ok((file, _)) = layout::open_regular(&path(cache)) else { return BTreeSet::new() };
    let mut text = String::new();
    match file.take(LONGEST).read_to_string(&mut text) {
        Ok(_) => text.lines().filter_map(|line| Digest::from_hex(line).ok()).collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Removes the note.
pub(super) fn forget(cache: &Cache) {
    let _ = std::fs::remove_file(path(cache));
}

/// Removes files that a killed writer did not finish and that nobody can go on with.
pub(super) fn remove_unfinished(cache: &Cache) {
    for folder in [&cache.blobs_dir(), &cache.dir] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // A download of a blob that is there by now was killed before it removed its note.
            let of_blob = [PARTIAL, NOTE].iter().find_map(|end| name.strip_suffix(end));
            let is_done = || of_blob.is_some_and(|name| cache.blobs_dir().join(name).exists());
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && (name.starts_with(layout::UNFINISHED) || is_done()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl Writer<'_> {
    /// Removes the blobs that earlier writers noted and that nothing names now. What could not be removed is for `gc`.
    pub(super) fn remove_unnamed(&mut self) -> Result<()> {
        self.ended_well = true;
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return Ok(());
        }
        let index = layout::read_index(&self.cache.dir)?;
        let references = References::follow(&self.cache, &self.host.cancel, index.manifests())?;
        if !references.unread.is_empty() {
            return Ok(());
        }
        let mut freed = Freed::default();
        for digest in left.iter().filter(|digest| !references.blobs.contains_key(digest)) {
            if self.cache.has(digest) {
                super::gc::remove(&self.cache.blob_path(digest), &mut freed)?;
            }
        }
        if freed.files > 0 {
            self.host.events.info(format!(
                "removed {} from the cache, which an interrupted run left and nothing names",
                crate::amounts::count(freed.files, "file")
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Lab;
    use super::*;

    #[test]
    fn what_a_killed_writer_stored_goes_when_the_next_bundle_does_not_name_it() {
        let lab = Lab::new();
        let foreign = Digest::of_bytes(b"of another tool");
        std::fs::write(lab.cache.blob_path(&foreign), "of another tool").unwrap();
        let killed = lab.writer();
        killed.put(b"a").unwrap();
        let lost = killed.put(b"of no bundle").unwrap().digest;
        let mut half = killed.blob(None).unwrap();
        half.write_all(b"half").unwrap();
        std::mem::forget(half);
        lab.kill(killed);
        // A writer that fails in its turn leaves the note and what is good for the next.
        drop(lab.writer());
        assert!(lab.cache.has(&lost));
        let bundle = lab.publish("one", &[("a.deb", b"a")]);
        assert!(!lab.cache.has(&lost) && lab.cache.has(&foreign) && lab.cache.has(&bundle.digest));
        assert!(lab.cache.has(&Digest::of_bytes(b"a")));
        assert_eq!(lab.names().len(), 4);
        assert!(!path(&lab.cache).exists());
    }

    #[test]
    fn a_writer_that_changes_nothing_in_the_index_clears_up_too() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        let names = lab.names();
        let killed = lab.writer();
        killed.put(b"of no bundle").unwrap();
        lab.kill(killed);
        std::fs::write(lab.cache.blobs_dir().join(format!("{}{NOTE}", names[0])), "").unwrap();
        lab.publish("one", &[("a.deb", b"a")]);
        assert_eq!(lab.names(), names);
    }
}
