//! Where the signatures of a manifest lie in a cache: in the manifest with a tag derived from its digest (`cosign` up
//! to version 2), or in manifests whose `subject` it is (OCI image specification 1.1 and `cosign` 3).

use super::forms;
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

/// Whether an index entry may be a signature of something.
pub(in crate::cache) fn may_be_signature(cache: &Cache, entry: &Descriptor) -> bool {
    let tag = layout::tag_of(entry);
    let by_tag = tag.strip_prefix("sha256-").is_some_and(|rest| rest.strip_suffix(".sig").is_some());
    by_tag || subject_of(cache, entry).is_some()
}

/// Whether an index entry is a signature of this manifest, or has it as `subject`.
pub(in crate::cache) fn is_about(cache: &Cache, entry: &Descriptor, manifest: &Digest) -> bool {
    layout::tag_of(entry) == signature_tag(manifest)
        || subject_of(cache, entry).is_some_and(|subject| subject == *manifest)
}

/// The `subject` of a manifest in the index; none if it cannot be read.
fn subject_of(cache: &Cache, entry: &Descriptor) -> Option<Digest> {
    let is_bundle = entry.artifact_type().as_ref().is_some_and(|kind| kind.to_string() == BUNDLE_TYPE);
    if is_bundle || *entry.media_type() != MediaType::ImageManifest {
        return None;
    }
    let bytes = cache.document(&layout::digest_of(entry).ok()?).ok()?;
    let manifest: ImageManifest = serde_json::from_slice(&bytes).ok()?;
    layout::digest_of(manifest.subject().as_ref()?).ok()
}

impl Cache {
    /// The index entries that refer to a manifest.
    pub(in crate::cache) fn about(&self, manifest: &Digest) -> Result<Vec<Descriptor>> {
        let index = layout::read_index(&self.dir)?;
        let about = index.manifests().iter().filter(|entry| is_about(self, entry, manifest));
        Ok(about.take(MAX_REFERRERS).cloned().collect())
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
