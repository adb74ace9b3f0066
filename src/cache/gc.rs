//! Frees space: removes unreferenced blobs, damaged ones when asked, and leftovers of killed writers.

use super::digest::Digest;
use super::hash::Problem;
use super::layout;
use super::partial::{NOTE, PARTIAL};
use super::refs::{Budget, References, is_declared_bundle};
use super::signature::about_what;
use super::write::Writer;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use oci_spec::image::Descriptor;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// The result of a clean-up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bundles that were removed because their documents were damaged.
    pub bundles: Vec<String>,
}

impl Writer<'_> {
    /// Removes bundles by tag. Their files stay until [`Writer::gc`].
    pub fn remove(&mut self, tags: &[&str]) -> Result<()> {
        let mut index = layout::read_index(&self.cache.dir)?;
        for tag in tags {
            let before = index.manifests().len();
            let named = |entry: &&Descriptor| layout::tag_of(entry) == *tag;
            let gone = index.manifests().iter().find(named).and_then(|it| layout::digest_of(it).ok());
            let mut budget = Budget::default();
            layout::edit(&mut index, |entries| {
                entries.retain(|entry| layout::tag_of(entry) != *tag);
                // Signatures of removed bundles are removed too, unless the bundle still has another tag.
                let is_gone = |digest: &Digest| {
                    !entries.iter().any(|entry| layout::digest_of(entry).is_ok_and(|it| it == *digest))
                };
                if let Some(gone) = gone.filter(is_gone) {
                    for entry in std::mem::take(entries) {
                        if !about_what(&self.cache, &entry, &mut budget)?.contains(&gone) {
                            entries.push(entry);
                        }
                    }
                }
                anyhow::Ok(())
            })?;
            if index.manifests().len() == before {
                let dir = self.cache.dir.display();
                let message =
                    format!("there is no `{}` in the cache `{dir}` to remove", tag.escape_default());
                return Err(Reason::CacheMissing.error(message));
            }
        }
        layout::write_index(&self.cache.dir, index)
    }

    /// Removes unfinished files and all blobs to which nothing in the index refers, whichever tool wrote them. With
    /// `damaged` every blob is hashed and damaged ones are removed, too; staging again downloads them. A bundle whose
    /// documents are damaged is removed from the index.
    pub fn gc(&mut self, damaged: bool) -> Result<Freed> {
        let mut freed = Freed::default();
        let mut bad = BTreeSet::new();
        if damaged {
            let report = self.cache.verify(self.host, None)?;
            let removable = |problem| !matches!(problem, Problem::Missing | Problem::Malformed);
            bad.extend(report.damaged.iter().filter(|it| removable(it.problem)).map(|it| it.digest));
            freed.bundles = self.give_up_broken_bundles()?;
        }
        let index = layout::read_index(&self.cache.dir)?;
        let references = References::follow(&self.cache, &self.host.cancel, index.manifests())?;
        if let Some(unread) = references.unread.into_iter().next() {
            let tag = layout::tag_of(&unread.entry).escape_default().to_string();
            // The blobs of an unreadable entry cannot be told from unreferenced ones.
            return Err(unread.error).with_reason(Reason::CacheUnreadable, || {
                format!("nothing was removed, because what `{tag}` needs is not known; remove `{tag}` first")
            });
        }
        let blobs = self.cache.blobs_dir();
        for digest in self.cache.stored()? {
            self.host.cancel.check()?;
            if bad.contains(&digest) || !references.blobs.contains_key(&digest) {
                remove(&blobs.join(digest.hex()), &mut freed)?;
            }
        }
        for folder in [&blobs, &self.cache.dir] {
            self.remove_unfinished(folder, &mut freed)?;
        }
        self.ended_well = true;
        Ok(freed)
    }

    fn give_up_broken_bundles(&mut self) -> Result<Vec<String>> {
        let mut index = layout::read_index(&self.cache.dir)?;
        let mut given_up = Vec::new();
        let mut budget = Budget::default();
        layout::edit(&mut index, |entries| {
            entries.retain(|entry| {
                let broken = is_declared_bundle(entry) && self.has_damaged_documents(entry, &mut budget);
                if broken {
                    given_up.push(layout::tag_of(entry));
                }
                !broken
            });
        });
        if !given_up.is_empty() {
            layout::write_index(&self.cache.dir, index)?;
        }
        Ok(given_up)
    }

    fn has_damaged_documents(&self, entry: &Descriptor, budget: &mut Budget) -> bool {
        let damaged = [Reason::DigestMismatch, Reason::CacheMissing];
        self.cache.find(entry, budget).is_err_and(|error| damaged.contains(&Reason::from_error(&error)))
    }

    /// Removes unfinished files. No other writer works, because this one holds the lock, and this one writes no blob,
    /// because it is borrowed exclusively.
    fn remove_unfinished(&self, folder: &Path, freed: &mut Freed) -> Result<()> {
        let doing = || format!("cannot list `{}`", folder.display());
        for entry in std::fs::read_dir(folder).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            self.host.cancel.check()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let unfinished =
                name.starts_with(layout::UNFINISHED) || name.ends_with(PARTIAL) || name.ends_with(NOTE);
            if unfinished && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                remove(&entry.path(), freed)?;
            }
        }
        Ok(())
    }
}

pub(super) fn remove(path: &Path, freed: &mut Freed) -> Result<()> {
    let doing = || format!("cannot remove `{}`", path.display());
    let bytes = std::fs::symlink_metadata(path).with_context(doing)?.len();
    std::fs::remove_file(path).with_context(doing)?;
    freed.files += 1;
    freed.bytes += bytes;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Digest;
    use super::super::testing::{Lab, flip_a_bit};
    use super::*;

    #[test]
    fn a_killed_writer_leaves_a_cache_that_works_and_gc_cleans_up() {
        use std::io::Write;
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        let mut writer = lab.writer();
        let mut blob = writer.blob(None).unwrap();
        blob.write_all(b"half of").unwrap();
        std::mem::forget(blob);
        writer.put(b"whole, but of no bundle").unwrap();
        assert_eq!(lab.cache.bundles().unwrap().len(), 1);
        assert!(lab.cache.verify(&lab.host, None).unwrap().is_sound());
        let freed = writer.gc(false).unwrap();
        assert_eq!((freed.files, freed.bytes), (2, 7 + 23));
        assert_eq!(lab.cache.stored().unwrap().len(), 3);
        assert_eq!(writer.gc(false).unwrap(), Freed::default());
    }

    #[test]
    fn removing_a_bundle_frees_only_what_no_other_shares() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a"), ("shared.deb", b"shared")]);
        lab.publish("two", &[("b.deb", b"b"), ("shared.deb", b"shared")]);
        let mut writer = lab.writer();
        writer.remove(&["one"]).unwrap();
        writer.gc(false).unwrap();
        let left = lab.cache.verify(&lab.host, None).unwrap();
        assert!(
            left.is_sound()
                && lab.cache.has(&Digest::of_bytes(b"shared"))
                && !lab.cache.has(&Digest::of_bytes(b"a"))
        );
        let error = writer.remove(&["one"]).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::CacheMissing);
    }

    #[test]
    fn images_of_other_tools_keep_their_blobs() {
        let lab = Lab::new();
        let blobs = lab.add_foreign("image", true);
        let nested = lab.add_foreign_index("multi");
        lab.writer().gc(true).unwrap();
        assert!(blobs.iter().chain(&nested).all(|digest| lab.cache.has(digest)));
    }

    #[test]
    fn nothing_is_removed_while_a_foreign_manifest_cannot_be_read() {
        let lab = Lab::new();
        let blobs = lab.add_foreign("image", true);
        let lost = lab.writer().put(b"lost").unwrap().digest;
        flip_a_bit(&lab.cache.blob_path(&blobs[0]));
        for damaged in [false, true] {
            let error = lab.writer().gc(damaged).unwrap_err();
            assert!(format!("{error:#}").contains("nothing was removed"), "{error:#}");
            assert!(lab.cache.has(&lost) && blobs.iter().all(|digest| lab.cache.has(digest)));
        }
    }

    #[test]
    fn damaged_blobs_go_when_asked_and_staging_again_heals() {
        let lab = Lab::new();
        let bundle = lab.publish("one", &[("a.deb", b"aaaa"), ("b.deb", b"b")]);
        flip_a_bit(&lab.cache.blob_path(&Digest::of_bytes(b"aaaa")));
        assert_eq!(lab.writer().gc(false).unwrap(), Freed::default());
        let freed = lab.writer().gc(true).unwrap();
        assert_eq!((freed.files, freed.bytes, freed.bundles.len()), (1, 4, 0));
        assert_eq!(lab.publish("one", &[("a.deb", b"aaaa"), ("b.deb", b"b")]), bundle);
        assert!(lab.cache.verify(&lab.host, None).unwrap().is_sound());
    }

    #[test]
    fn a_bundle_with_damaged_documents_is_given_up_so_that_the_others_work() {
        let lab = Lab::new();
        let one = lab.publish("one", &[("a.deb", b"a")]);
        let two = lab.publish("two", &[("b.deb", b"b")]);
        lab.publish("three", &[("c.deb", b"c")]);
        flip_a_bit(&lab.cache.blob_path(&one.digest));
        std::fs::remove_file(lab.cache.blob_path(&two.config_blob.digest)).unwrap();
        let freed = lab.writer().gc(true).unwrap();
        assert_eq!(freed.bundles, ["one", "two"]);
        assert_eq!(lab.cache.bundles().unwrap().len(), 1);
        assert!(lab.cache.verify(&lab.host, None).unwrap().is_sound());
    }
}
