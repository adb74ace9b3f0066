//! Which blobs the index refers to, through every kind of manifest OCI tools write, ours or not.

use super::Cache;
use super::bundle::{BUNDLE_TYPE, TITLE};
use super::digest::Digest;
use super::layout;
use crate::outcome::Reason;
use anyhow::Result;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use std::collections::{BTreeMap, BTreeSet};

/// Image indexes may list image indexes; nobody nests them deeper than this.
const MAX_DEPTH: u32 = 4;

const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// All that a layout's index refers to.
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
    pub(super) tags: BTreeSet<String>,
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
    /// Follows every entry.
    pub(super) fn of(cache: &Cache, entries: &[Descriptor]) -> Self {
        let mut references = Self::default();
        for entry in entries {
            if let Err(error) = references.follow(cache, &layout::tag_of(entry), entry, 0) {
                references.unread.push(Unread { entry: entry.clone(), error });
            }
        }
        references
    }

    fn follow(&mut self, cache: &Cache, tag: &str, descriptor: &Descriptor, depth: u32) -> Result<()> {
        self.add(tag, descriptor);
        if depth > MAX_DEPTH {
            return Err(Reason::CacheUnreadable.error("image indexes are nested too deep"));
        }
        let digest = layout::digest_of(descriptor)?;
        let kind = descriptor.media_type().as_ref();
        let name = digest.to_string();
        if MANIFESTS.contains(&kind) {
            let manifest: ImageManifest = layout::parse(&cache.document(&digest)?, &name)?;
            self.add(tag, manifest.config());
            manifest.layers().iter().for_each(|layer| self.add(tag, layer));
            self.follow_subject(cache, tag, manifest.subject().as_ref(), depth)
        } else if INDEXES.contains(&kind) {
            let index: ImageIndex = layout::parse(&cache.document(&digest)?, &name)?;
            for manifest in index.manifests() {
                self.follow(cache, tag, manifest, depth + 1)?;
            }
            self.follow_subject(cache, tag, index.subject().as_ref(), depth)
        } else {
            let kind = kind.escape_default();
            Err(Reason::CacheUnreadable.error(format!("`{name}` has the unknown media type `{kind}`")))
        }
    }

    /// What a manifest is about need not be in the same layout.
    fn follow_subject(
        &mut self,
        cache: &Cache,
        tag: &str,
        subject: Option<&Descriptor>,
        depth: u32,
    ) -> Result<()> {
        match subject {
            Some(subject) if layout::digest_of(subject).is_ok_and(|digest| cache.has(&digest)) => {
                self.follow(cache, tag, subject, depth + 1)
            }
            _ => Ok(()),
        }
    }

    /// A digest of another algorithm names a blob in another folder, which is never touched.
    fn add(&mut self, tag: &str, descriptor: &Descriptor) {
        let Ok(digest) = layout::digest_of(descriptor) else { return };
        let referred = self.blobs.entry(digest).or_default();
        referred.size = descriptor.size();
        referred.tags.insert(tag.to_owned());
        if referred.title.is_none() {
            let annotations = descriptor.annotations().as_ref();
            referred.title = annotations.and_then(|annotations| annotations.get(TITLE)).cloned();
        }
    }
}

/// Whether an index entry says that it is a bundle.
pub(super) fn is_declared_bundle(entry: &Descriptor) -> bool {
    entry.artifact_type().as_ref().is_some_and(|kind| kind.as_ref() == BUNDLE_TYPE)
}
