//! Where the signatures of a manifest lie in a cache: in the manifest with a tag derived from its digest (`cosign` up
//! to version 2), or in manifests whose `subject` it is (OCI image specification 1.1 and `cosign` 3).

use super::forms;
use crate::cache::layout::MAX_DOCUMENT_BYTES;
use crate::cache::refs::Budget;
use crate::cache::{BUNDLE_TYPE, Cache, Digest, layout};
use anyhow::Result;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};

/// The most manifests that are examined for one bundle. Nobody signs more often, and everybody may attach more.
pub(in crate::cache) const MAX_REFERRERS: usize = 64;

/// A layer that may hold a signature.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) content: Vec<u8>,
}

/// The tag under which `cosign` stores the signatures of a manifest (its signature specification, "tag-based
/// discovery").
pub(in crate::cache) fn signature_tag(manifest: &Digest) -> String {
    format!("sha256-{}.sig", manifest.hex())
}

/// The manifests of which an index entry is a signature: the one that its tag names, and its `subject`. Fails only when the
/// index leads to more than may be read.
pub(in crate::cache) fn about_what(
    cache: &Cache,
    entry: &Descriptor,
    budget: &mut Budget,
) -> Result<Vec<Digest>> {
    let tag = layout::tag_of(entry);
    let named = tag.strip_prefix("sha256-").and_then(|rest| rest.strip_suffix(".sig"));
    let named = named.and_then(|hex| Digest::from_hex(hex).ok());
    Ok(named.into_iter().chain(subject_of(cache, entry, budget)?).collect())
}

/// The `subject` of a manifest in the index; none if it cannot be read.
fn subject_of(cache: &Cache, entry: &Descriptor, budget: &mut Budget) -> Result<Option<Digest>> {
    let is_bundle = entry.artifact_type().as_ref().is_some_and(|kind| kind.to_string() == BUNDLE_TYPE);
    if is_bundle || *entry.media_type() != MediaType::ImageManifest {
        return Ok(None);
    }
    let Ok(digest) = layout::digest_of(entry) else { return Ok(None) };
    budget.take(cache.size_of(&digest).unwrap_or_default().min(MAX_DOCUMENT_BYTES))?;
    let manifest = cache.document(&digest).and_then(|bytes| layout::parse::<ImageManifest>(&bytes, ""));
    let subject = manifest.ok().and_then(|manifest| manifest.subject().clone());
    Ok(subject.and_then(|subject| layout::digest_of(&subject).ok()))
}

impl Cache {
    /// The index entries that refer to a manifest.
    pub(in crate::cache) fn about(&self, manifest: &Digest) -> Result<Vec<Descriptor>> {
        let index = layout::read_index(&self.dir)?;
        let mut budget = Budget::default();
        let mut found = Vec::new();
        for entry in index.manifests() {
            if about_what(self, entry, &mut budget)?.contains(manifest) {
                found.push(entry.clone());
            }
            if found.len() == MAX_REFERRERS {
                break;
            }
        }
        Ok(found)
    }

    /// Every layer that may hold a signature of a manifest. Damaged or missing documents are skipped.
    pub(super) fn signatures(&self, manifest: &Digest) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for entry in self.about(manifest)? {
            let Ok(bytes) = layout::digest_of(&entry).and_then(|digest| self.document(&digest)) else {
                continue;
            };
            let Ok(found) = layout::parse::<ImageManifest>(&bytes, &layout::tag_of(&entry)) else { continue };
            for descriptor in found.layers().iter().filter(|layer| forms::may_sign(layer)) {
                let content = layout::digest_of(descriptor).and_then(|digest| self.document(&digest));
                layers.extend(content.ok().map(|content| Layer { descriptor: descriptor.clone(), content }));
            }
        }
        Ok(layers)
    }

    /// The manifest that an index entry with this tag points to.
    pub(super) fn manifest_tagged(&self, tag: &str) -> Result<Option<Digest>> {
        let index = layout::read_index(&self.dir)?;
        let entry = index.manifests().iter().find(|entry| layout::tag_of(entry) == tag);
        entry.map(layout::digest_of).transpose()
    }
}
