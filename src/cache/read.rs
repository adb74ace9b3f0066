//! Reads a cache: bundles from their verified documents, and blobs with their digest checked while they are read.

use super::Cache;
use super::blob::{Blob, BlobReader};
use super::bundle::{BUNDLE_TYPE, Bundle};
use super::digest::Digest;
use super::document::{self, Image};
use super::layout::{self, MAX_DOCUMENT_BYTES};
use super::refs::Budget;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use serde::Deserialize;
use std::io::Read;

/// The kind of an index entry.
#[derive(Debug)]
pub(super) enum Found {
    /// A bundle.
    Bundle(Box<Bundle>),
    /// A bundle whose config is intact but not understood by this version.
    Strange(anyhow::Error),
    /// An entry of another tool in the same layout.
    Foreign,
}

impl Cache {
    /// The bundles of this cache, in the order of its index. Manifests that are not bundles are skipped, and so are
    /// bundles that only a later version of this program understands, so that several versions can share a cache.
    /// Damage is an error.
    pub fn bundles(&self) -> Result<Vec<Bundle>> {
        let mut bundles = Vec::new();
        let mut budget = Budget::default();
        for entry in layout::read_index_of(&self.dir, self.owners)?.manifests() {
            if let Found::Bundle(bundle) = self.find(entry, &mut budget)? {
                bundles.push(*bundle);
            }
        }
        Ok(bundles)
    }

    /// A bundle by its tag.
    pub fn bundle(&self, tag: &str) -> Result<Option<Bundle>> {
        let index = layout::read_index_of(&self.dir, self.owners)?;
        let Some(entry) = index.manifests().iter().find(|entry| layout::tag_of(entry) == tag) else {
            return Ok(None);
        };
        match self.find(entry, &mut Budget::default())? {
            Found::Bundle(bundle) => Ok(Some(*bundle)),
            Found::Strange(error) => Err(error),
            Found::Foreign => Ok(None),
        }
    }

    /// Opens a blob for reading. Its bytes are verified only after [`BlobReader::finish`] has succeeded.
    pub fn blob(&self, digest: &Digest) -> Result<BlobReader> {
        BlobReader::open(&self.blob_path(digest), digest)
    }

    /// A blob that is a document, read whole and verified.
    pub(super) fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.document_within(digest, &mut Budget::default())
    }

    /// The same, as far as what may be read allows it.
    pub(super) fn document_within(&self, digest: &Digest, budget: &mut Budget) -> Result<Vec<u8>> {
        let mut blob = self.blob(digest)?;
        budget.take(blob.size().min(MAX_DOCUMENT_BYTES))?;
        if blob.size() > MAX_DOCUMENT_BYTES {
            return Err(Reason::CacheUnreadable.error(format!("the document `{digest}` is too large")));
        }
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes).with_context(|| format!("cannot read the blob `{digest}`"))?;
        blob.finish()?;
        Ok(bytes)
    }

    /// The document that a descriptor names, which must have the size that is said there.
    fn described(&self, descriptor: &Descriptor, budget: &mut Budget) -> Result<(Digest, Vec<u8>)> {
        let digest = layout::digest_of(descriptor)?;
        let bytes = self.document_within(&digest, budget)?;
        if bytes.len() as u64 == descriptor.size() {
            return Ok((digest, bytes));
        }
        let what = format!("the blob `{digest}` has {} bytes, not {}", bytes.len(), descriptor.size());
        Err(Reason::CacheUnreadable.error(what))
    }

    /// Follows an index entry. What is read counts whatever it turns out to be.
    pub(super) fn find(&self, entry: &Descriptor, budget: &mut Budget) -> Result<Found> {
        let declared = entry.artifact_type().as_ref().map(ToString::to_string);
        let may_be_ours = declared.is_none_or(|kind| kind == BUNDLE_TYPE);
        if *entry.media_type() != MediaType::ImageManifest || !may_be_ours {
            return Ok(Found::Foreign);
        }
        let tag = layout::tag_of(entry);
        self.read_manifest(&tag, entry, budget)
            .with_context(|| format!("cannot read `{}` in the cache", tag.escape_default()))
    }

    fn read_manifest(&self, tag: &str, entry: &Descriptor, budget: &mut Budget) -> Result<Found> {
        /// The artifact type is read from the manifest, because tools that copy manifests drop it from the index.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            artifact_type: Option<String>,
        }
        let (digest, bytes) = self.described(entry, budget)?;
        let name = digest.to_string();
        if layout::parse::<Kind>(&bytes, &name)?.artifact_type.as_deref() != Some(BUNDLE_TYPE) {
            return Ok(Found::Foreign);
        }
        let manifest: ImageManifest = layout::parse(&bytes, &name)?;
        let (config, bytes_of_config) = self.described(manifest.config(), budget)?;
        let parsed = layout::parse(&bytes_of_config, &config.to_string());
        let image: Image = match parsed.and_then(|image: Image| image.check_version().map(|()| image)) {
            Ok(image) => image,
            Err(error) => {
                let error =
                    error.context(format!("`{tag}` is of a later version of this program, or damaged"));
                return Ok(Found::Strange(error));
            }
        };
        let blob = Blob { digest, size: bytes.len() as u64 };
        Ok(Found::Bundle(Box::new(document::assemble(tag, blob, &manifest, image)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Lab, flip_a_bit};
    use super::*;

    #[test]
    fn a_flipped_bit_in_any_document_is_found_by_reading() {
        for document in ["manifest", "config"] {
            let lab = Lab::new();
            let bundle = lab.publish("one", &[("a.deb", b"a")]);
            let digest = if document == "manifest" { bundle.digest } else { bundle.config_blob.digest };
            flip_a_bit(&lab.cache.blob_path(&digest));
            let error = lab.cache.bundles().unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{error:#}");
            let message = format!("{error:#}");
            assert!(message.contains("`one`") && message.contains(&digest.hex()), "{message}");
        }
    }

    #[test]
    fn a_flipped_bit_in_a_file_is_found_by_reading_it_to_its_end() {
        let lab = Lab::new();
        let bundle = lab.publish("one", &[("a.deb", b"package")]);
        let digest = bundle.file("a.deb").unwrap().digest;
        lab.cache.blob(&digest).unwrap().finish().unwrap();
        flip_a_bit(&lab.cache.blob_path(&digest));
        let error = lab.cache.blob(&digest).unwrap().finish().unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch);
    }

    #[test]
    fn a_missing_blob_is_named() {
        let lab = Lab::new();
        let error = lab.cache.blob(&Digest::of_bytes(b"none")).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::CacheMissing);
        assert!(error.to_string().contains(&Digest::of_bytes(b"none").hex()), "{error}");
    }

    #[test]
    fn what_is_not_a_bundle_is_passed_over() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        lab.add_foreign("image", true);
        lab.add_foreign("untyped", false);
        let tags: Vec<String> = lab.cache.bundles().unwrap().into_iter().map(|bundle| bundle.tag).collect();
        assert_eq!(tags, ["one"]);
        assert_eq!(lab.cache.bundle("image").unwrap(), None);
    }

    #[test]
    fn a_bundle_of_a_later_version_hides_no_other() {
        let lab = Lab::new();
        lab.publish("one", &[("a.deb", b"a")]);
        lab.publish_strange("later");
        assert_eq!(lab.cache.bundles().unwrap().len(), 1);
        let error = lab.cache.bundle("later").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable, "{error:#}");
    }

    #[test]
    fn a_bundle_whose_words_would_forge_a_line_or_that_is_of_a_later_form_is_refused() {
        let documents = |change: fn(&mut serde_json::Value)| {
            let lab = Lab::new();
            let bundle = lab.publish("one", &[("a.deb", b"a")]);
            let mut config: serde_json::Value =
                serde_json::from_slice(&lab.cache.document(&bundle.config_blob.digest).unwrap()).unwrap();
            let mut manifest: serde_json::Value =
                serde_json::from_slice(&lab.cache.document(&bundle.digest).unwrap()).unwrap();
            change(&mut config);
            let mut writer = lab.writer();
            let blob = writer.put(&serde_json::to_vec(&config).unwrap()).unwrap();
            manifest["config"]["digest"] = blob.digest.to_string().into();
            manifest["config"]["size"] = blob.size.into();
            let blob = writer.put(&serde_json::to_vec(&manifest).unwrap()).unwrap();
            let entry = document::descriptor(MediaType::ImageManifest, &blob).unwrap();
            writer.merge(vec![entry]).unwrap();
            lab.cache.bundle(&blob.digest.to_string()).map_err(|error| format!("{error:#}"))
        };
        documents(|_| {}).unwrap().unwrap();
        for (change, said) in [
            (
                (|config| config["created"] = "2026-01-01T00:00:00Z\n\u{1b}[2J".into())
                    as fn(&mut serde_json::Value),
                "control characters",
            ),
            (|config| config["created"] = "yesterday".into(), "no time"),
            (|config| config["ofedctl"]["made_by"] = "x\ny".into(), "control characters"),
            (|config| config["ofedctl"]["packages"][0] = "a\u{7f}".into(), "control characters"),
            (|config| config["ofedctl"]["schema_version"] = 99.into(), "`schema_version` 99"),
        ] {
            let error = documents(change).unwrap_err();
            assert!(error.contains(said) && !error.contains(char::is_control), "{error}");
        }
    }
}
