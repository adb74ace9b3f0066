//! Writes a cache: one [`Writer`] at a time, any number of blobs at once. A bundle enters the index last. A blob gets
//! its name only when it is verified and on the disk, and the index names only existing blobs. So a writer that is
//! killed leaves at most unfinished files and blobs that nothing names; the next one removes them (`unnamed`).

use super::Cache;
use super::blob::{Blob, BlobReader, BlobWriter};
use super::bundle::{self, BUNDLE_TYPE, Bundle, BundleConfig, BundleFile};
use super::digest::Digest;
use super::document::{self, Documents};
use super::layout;
use super::partial::Partial;
use super::read::Found;
use super::refs::Budget;
use super::unnamed;
use crate::host::Host;
use crate::host::lock::FileLock;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, MediaType};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::time::{Duration, SystemTime};

/// The writer of a cache. Its lock is released when it is dropped.
#[derive(Debug)]
pub struct Writer<'h> {
    pub(super) cache: Cache,
    pub(super) host: &'h Host,
    /// Blobs that earlier writers stored and did not come to name.
    pub(super) left: BTreeSet<Digest>,
    /// Whether the index names all that it is to name.
    pub(super) ended_well: bool,
    _lock: FileLock,
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.ended_well {
            unnamed::forget(&self.cache);
        }
    }
}

impl Cache {
    /// Takes the writer's lock, waiting up to `patience` for another writer.
    pub fn writer<'h>(&self, host: &'h Host, patience: Duration) -> Result<Writer<'h>> {
        let lock = FileLock::take(host, &self.dir.join(".ofedctl.lock"), patience)
            .with_context(|| format!("cannot write to the cache `{}`", self.dir.display()))?;
        unnamed::remove_unfinished(self);
        let left = unnamed::noted(self);
        Ok(Writer { cache: self.clone(), host, left, ended_well: false, _lock: lock })
    }
}

impl Writer<'_> {
    /// The cache that is written to.
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether the cache has a blob.
    pub fn has(&self, digest: &Digest) -> bool {
        self.cache.has(digest)
    }

    /// Begins a blob. Any number may be written at once, from any threads.
    pub fn blob(&self, expected: Option<&Digest>) -> Result<BlobWriter<'_>> {
        BlobWriter::begin(&self.cache, expected)
    }

    /// Begins or continues a blob that may take several runs; `size` is its size, if known.
    ///
    /// Each blob may be begun once at a time.
    pub fn partial(&self, digest: &Digest, size: Option<u64>) -> Result<Partial> {
        Partial::open(&self.cache, digest, size)
    }

    /// Stores bytes as a blob.
    pub fn put(&self, bytes: &[u8]) -> Result<Blob> {
        let blob = Blob { digest: Digest::of_bytes(bytes), size: bytes.len() as u64 };
        let there = self.cache.size_of(&blob.digest) == Some(blob.size)
            && self.cache.blob(&blob.digest).and_then(BlobReader::finish).is_ok();
        if there {
            return Ok(blob);
        }
        let mut writer = self.blob(Some(&blob.digest))?;
        writer.write_all(bytes).with_context(|| format!("cannot write the blob `{}`", blob.digest))?;
        writer.finish()
    }

    /// Creates a bundle from blobs in the cache, and adds it to the index under its tag. A bundle that had the tag
    /// before loses it. If the old bundle differs only in its creation time it stays, so that staging again does not
    /// change digests.
    pub fn publish(
        &mut self,
        tag: &str,
        config: &BundleConfig,
        created: SystemTime,
        mut files: Vec<BundleFile>,
    ) -> Result<Bundle> {
        bundle::check_tag(tag)?;
        // The order in which downloads ended must not change the bundle.
        files.sort_unstable();
        bundle::check_files(&files, config.repository.as_ref())?;
        self.check_present(tag, &files)?;
        if let Some(same) = self.published_before(tag, config, &files)? {
            self.remove_unnamed()?;
            return Ok(same);
        }
        let created = humantime::format_rfc3339_seconds(created).to_string();
        let documents = Documents::write(config, &created, &files)?;
        self.put(&documents.config)?;
        let manifest = self.put(&documents.manifest)?;
        let mut entry = document::descriptor(MediaType::ImageManifest, &manifest)?;
        entry.set_artifact_type(Some(MediaType::from(BUNDLE_TYPE)));
        entry.set_annotations(Some(HashMap::from([(layout::TAG.to_owned(), tag.to_owned())])));
        self.merge(vec![entry.clone()])?;
        match self.cache.find(&entry, &mut Budget::default())? {
            Found::Bundle(bundle) => Ok(*bundle),
            Found::Strange(error) => Err(error),
            Found::Foreign => Err(Reason::Internal.error(format!("`{tag}` was not stored as a bundle"))),
        }
    }

    /// Adds entries to the index, replacing those with the same tags.
    pub(super) fn merge(&mut self, entries: Vec<Descriptor>) -> Result<()> {
        let mut index = layout::read_index(&self.cache.dir)?;
        let before = index.clone();
        // The last of several entries with one tag counts. A map, because a foreign index may have thousands of
        // entries.
        let tags: Vec<String> = entries.iter().map(layout::tag_of).collect();
        let mut new: HashMap<&String, Descriptor> = tags.iter().zip(entries).collect();
        layout::edit(&mut index, |entries| {
            let old = std::mem::take(entries);
            let mut placed = HashSet::new();
            for entry in old {
                let tag = layout::tag_of(&entry);
                match new.remove(&tag) {
                    Some(entry) => {
                        entries.push(entry);
                        placed.insert(tag);
                    }
                    None if placed.contains(&tag) => {}
                    None => entries.push(entry),
                }
            }
            entries.extend(tags.iter().filter_map(|tag| new.remove(tag)));
        });
        if index != before {
            layout::write_index(&self.cache.dir, index)?;
        }
        self.remove_unnamed()
    }

    fn check_present(&self, tag: &str, files: &[BundleFile]) -> Result<()> {
        for file in files {
            if self.cache.size_of(&file.digest) != Some(file.size) {
                let message = format!(
                    "cannot publish `{tag}`: the cache has no blob `{}` of {} bytes for `{}`",
                    file.digest, file.size, file.title
                );
                return Err(Reason::CacheMissing.error(message));
            }
        }
        Ok(())
    }

    fn published_before(
        &self,
        tag: &str,
        config: &BundleConfig,
        files: &[BundleFile],
    ) -> Result<Option<Bundle>> {
        // A damaged blob is written again.
        let Ok(Some(old)) = self.cache.bundle(tag) else { return Ok(None) };
        let again = Documents::write(config, &old.created, files)?;
        Ok((Digest::of_bytes(&again.manifest) == old.digest).then_some(old))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Lab, config, flip_a_bit};
    use super::super::{DEB_TYPE, Repository, RepositoryKind};
    use super::*;

    #[test]
    fn a_second_writer_is_kept_out_and_told_who_is_in() {
        let lab = Lab::new();
        let first = lab.writer();
        let error = lab.cache.writer(&lab.host, Duration::ZERO).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::LockTimeout);
        assert!(format!("{error:#}").contains(&format!("process {}", std::process::id())), "{error:#}");
        assert!(lab.cache.bundles().unwrap().is_empty(), "readers need no lock");
        drop(first);
        drop(lab.writer());
        assert!(!lab.cache.dir().join(".ofedctl.lock").exists());
    }

    #[test]
    fn publishing_again_changes_nothing() {
        let lab = Lab::new();
        let first = lab.publish("one", &[("b.deb", b"b"), ("a.deb", b"a")]);
        let index = std::fs::read(lab.cache.dir().join("index.json")).unwrap();
        let blobs = lab.names();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(lab.publish_at("one", &[("a.deb", b"a"), ("b.deb", b"b")], later), first);
        assert_eq!(std::fs::read(lab.cache.dir().join("index.json")).unwrap(), index);
        assert_eq!(lab.names(), blobs);
    }

    #[test]
    fn the_same_bundle_in_another_cache_is_byte_identical() {
        let files: &[(&str, &[u8])] = &[("a.deb", b"a"), ("b.deb", b"b")];
        let [one, two] = [Lab::new(), Lab::new()];
        assert_eq!(one.publish("one", files), two.publish("one", files));
        let index = |lab: &Lab| std::fs::read(lab.cache.dir().join("index.json")).unwrap();
        assert_eq!((index(&one), one.names()), (index(&two), two.names()));
    }

    #[test]
    fn a_second_target_costs_only_the_blobs_that_differ() {
        let lab = Lab::new();
        lab.publish("one", &[("shared.deb", b"shared"), ("a.deb", b"a")]);
        let before = lab.names().len();
        lab.publish("two", &[("shared.deb", b"shared"), ("b.deb", b"b")]);
        // One file, one config, one manifest.
        assert_eq!(lab.names().len(), before + 3);
    }

    #[test]
    fn a_new_bundle_takes_the_tag_and_the_place_of_the_old() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        lab.publish("two", &[("a.deb", b"a")]);
        let new = lab.publish("one", &[("a.deb", b"newer")]);
        let bundles = lab.cache.bundles().unwrap();
        assert_eq!(bundles.iter().map(|it| it.tag.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(bundles[0], new);
    }

    #[test]
    fn a_bundle_of_blobs_that_are_not_there_is_refused() {
        let lab = Lab::new();
        let file = BundleFile {
            title: "a.deb".into(),
            media_type: DEB_TYPE.into(),
            digest: Digest::of_bytes(b"none"),
            size: 4,
        };
        let created = SystemTime::UNIX_EPOCH;
        let error = lab.writer().publish("one", &config(), created, vec![file]).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::CacheMissing);
        let repository = Some(Repository { kind: RepositoryKind::Apt, index: "Packages".into() });
        let config = BundleConfig { repository, ..config() };
        assert!(lab.writer().publish("one", &config, created, Vec::new()).is_err());
        assert!(lab.cache.bundles().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_document_is_written_again() {
        let lab = Lab::new();
        let bundle = lab.publish("one", &[("a.deb", b"a")]);
        flip_a_bit(&lab.cache.blob_path(&bundle.digest));
        assert_eq!(lab.publish("one", &[("a.deb", b"a")]), bundle);
        assert!(lab.cache.verify(&lab.host, None).unwrap().is_sound());
    }
}
