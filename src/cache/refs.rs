//! Finds all blobs to which the index refers, through every kind of manifest that OCI tools write.

use super::Cache;
use super::bundle::{BUNDLE_TYPE, TITLE};
use super::digest::Digest;
use super::layout;
use crate::host::cancel::Cancel;
use crate::outcome::Reason;
use anyhow::Result;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// The deepest nesting of image indexes.
const MAX_DEPTH: u32 = 4;
/// The total size of all documents of one walk. A bundle of 300 files has a manifest of about 100 KB.
const MAX_BYTES_OF_DOCUMENTS: u64 = 128 << 20;
/// The most references that one walk follows. An index that is built to explode, level by level, has more.
const MAX_REFERENCES: usize = 400_000;

const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// All blobs to which a layout's index refers.
#[derive(Debug, Default)]
pub(super) struct References {
    /// The blobs, by digest.
    pub(super) blobs: BTreeMap<Digest, Referred>,
    /// The entries that could not be followed to their end, so that `blobs` may lack some of theirs.
    pub(super) unread: Vec<Unread>,
}

/// A blob that something refers to.
#[derive(Debug, Default, Clone)]
pub(super) struct Referred {
    /// The size it must have.
    pub(super) size: u64,
    /// The entries that lead to it.
    pub(super) tags: BTreeSet<Arc<str>>,
    /// Its file name.
    pub(super) title: Option<String>,
}

/// An entry that could not be followed.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) entry: Descriptor,
    pub(super) error: anyhow::Error,
}

impl References {
    /// Follows every entry. Fails only when the run must end.
    pub(super) fn follow(cache: &Cache, cancel: &Cancel, entries: &[Descriptor]) -> Result<Self> {
        Self::follow_at_most(MAX_REFERENCES, cache, cancel, entries)
    }

    fn follow_at_most(
        max_references: usize,
        cache: &Cache,
        cancel: &Cancel,
        entries: &[Descriptor],
    ) -> Result<Self> {
        let mut walk = Walk {
            cache,
            cancel,
            read: HashMap::new(),
            budget: Budget::default(),
            references: 0,
            max_references,
            found: Self::default(),
            visited: HashSet::new(),
        };
        for entry in entries {
            walk.visited.clear();
            let tag = Arc::from(layout::tag_of(entry));
            if let Err(error) = walk.follow(&tag, entry, 0) {
                cancel.check()?;
                walk.found.unread.push(Unread { entry: entry.clone(), error });
            }
        }
        Ok(walk.found)
    }
}

/// What a document refers to.
#[derive(Debug)]
struct Document {
    blobs: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

/// A walk over all entries. Each document is read once, and followed once for each entry, so that the work is bounded
/// by the number of documents and not by how often they are listed.
struct Walk<'c> {
    cache: &'c Cache,
    cancel: &'c Cancel,
    read: HashMap<Digest, Rc<Document>>,
    budget: Budget,
    references: usize,
    max_references: usize,
    found: References,
    /// The documents that the current entry has led to.
    visited: HashSet<Digest>,
}

impl Walk<'_> {
    fn follow(&mut self, tag: &Arc<str>, descriptor: &Descriptor, depth: u32) -> Result<()> {
        self.add(tag, descriptor)?;
        if depth > MAX_DEPTH {
            return Err(Reason::CacheUnreadable.error("image indexes are nested too deep"));
        }
        let digest = layout::digest_of(descriptor)?;
        if !self.visited.insert(digest) {
            return Ok(());
        }
        let document = self.document(&digest, descriptor.media_type().as_ref())?;
        for blob in &document.blobs {
            self.add(tag, blob)?;
        }
        for manifest in &document.manifests {
            self.follow(tag, manifest, depth + 1)?;
        }
        // The subject of a manifest need not be in the same layout.
        match &document.subject {
            Some(subject) if layout::digest_of(subject).is_ok_and(|digest| self.cache.has(&digest)) => {
                self.follow(tag, subject, depth + 1)
            }
            _ => Ok(()),
        }
    }

    fn document(&mut self, digest: &Digest, kind: &str) -> Result<Rc<Document>> {
        if let Some(document) = self.read.get(digest) {
            return Ok(Rc::clone(document));
        }
        let name = digest.to_string();
        let is_manifest = MANIFESTS.contains(&kind);
        if !is_manifest && !INDEXES.contains(&kind) {
            let kind = kind.escape_default();
            return Err(
                Reason::CacheUnreadable.error(format!("`{name}` has the unknown media type `{kind}`"))
            );
        }
        // Also what turns out to be no document counts: it is read again for each entry that names it.
        let bytes = self.cache.document_within(digest, &mut self.budget)?;
        let document = if is_manifest {
            let manifest: ImageManifest = layout::parse(&bytes, &name)?;
            let config = std::iter::once(manifest.config());
            Document {
                blobs: config.chain(manifest.layers()).cloned().collect(),
                manifests: Vec::new(),
                subject: manifest.subject().clone(),
            }
        } else {
            let index: ImageIndex = layout::parse(&bytes, &name)?;
            Document {
                blobs: Vec::new(),
                manifests: index.manifests().clone(),
                subject: index.subject().clone(),
            }
        };
        let document = Rc::new(document);
        self.read.insert(*digest, Rc::clone(&document));
        Ok(document)
    }

    /// A digest of another algorithm names a blob in another folder, which is never touched.
    fn add(&mut self, tag: &Arc<str>, descriptor: &Descriptor) -> Result<()> {
        self.cancel.check()?;
        self.references += 1;
        if self.references > self.max_references {
            return Err(too_many());
        }
        let Ok(digest) = layout::digest_of(descriptor) else { return Ok(()) };
        let referred = self.found.blobs.entry(digest).or_default();
        referred.size = descriptor.size();
        referred.tags.insert(Arc::clone(tag));
        if referred.title.is_none() {
            let annotations = descriptor.annotations().as_ref();
            referred.title = annotations.and_then(|annotations| annotations.get(TITLE)).cloned();
        }
        Ok(())
    }
}

/// The bytes of documents that one command may still read for the entries of an index: an index of 4 MiB has room to name
/// one document of 4 MiB thirty thousand times.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_BYTES_OF_DOCUMENTS)
    }
}

impl Budget {
    /// Takes what is about to be read.
    pub(super) fn take(&mut self, bytes: u64) -> Result<()> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(too_many)?;
        Ok(())
    }
}

/// The error for an index beyond the limits; no real cache comes near them.
fn too_many() -> anyhow::Error {
    Reason::CacheUnreadable.error("the index leads to more documents than any cache needs")
}

/// Whether an index entry says that it is a bundle.
pub(super) fn is_declared_bundle(entry: &Descriptor) -> bool {
    entry.artifact_type().as_ref().is_some_and(|kind| kind.as_ref() == BUNDLE_TYPE)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Lab;
    use super::*;
    use crate::cache::document;
    use oci_spec::image::MediaType;

    /// An index that lists the next one many times, level by level, down to an image that is not there.
    fn bomb(lab: &Lab, levels: usize, times: usize) {
        let writer = lab.writer();
        let mut index = ImageIndex::default();
        for _ in 0..levels {
            let blob = writer.put(&layout::canonical(&index).unwrap()).unwrap();
            let entry = document::descriptor(MediaType::ImageIndex, &blob).unwrap();
            index = ImageIndex::default();
            layout::edit(&mut index, |entries| entries.resize(times, entry));
        }
        layout::write_index(lab.cache.dir(), index).unwrap();
    }

    #[test]
    fn an_index_that_lists_the_next_one_many_times_costs_what_it_holds() {
        let lab = Lab::new();
        // Followed as often as listed, this would read 20^5 documents.
        bomb(&lab, 5, 20);
        let entries = layout::read_index(lab.cache.dir()).unwrap();
        let found = References::follow(&lab.cache, &Cancel::never(), entries.manifests()).unwrap();
        assert_eq!((found.blobs.len(), found.unread.len()), (5, 0));
        assert!(lab.cache.verify(&lab.host, None).unwrap().is_sound());
        lab.writer().gc(true).unwrap();
        assert_eq!(lab.names().len(), 5);
    }

    #[test]
    fn an_index_of_more_references_than_any_cache_has_is_refused() {
        let lab = Lab::new();
        bomb(&lab, 2, 40);
        let entries = layout::read_index(lab.cache.dir()).unwrap();
        let follow = |most| {
            References::follow_at_most(most, &lab.cache, &Cancel::never(), entries.manifests()).unwrap()
        };
        assert_eq!(follow(2000).unread.len(), 0);
        let found = follow(1000);
        let error = &found.unread.first().unwrap().error;
        assert_eq!(Reason::from_error(error), Reason::CacheUnreadable, "{error:#}");
    }

    #[test]
    fn a_walk_stops_when_the_run_must() {
        let lab = Lab::new();
        bomb(&lab, 3, 40);
        lab.host.cancel.now();
        let error = lab.cache.verify(&lab.host, None).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::Interrupted);
    }
}
