//! Pulls a bundle from a registry; it is identical to the one that was pushed.

use crate::amounts::{count, size};
use crate::cache::blob::Blob;
use crate::cache::bundle::{BUNDLE_TYPE, Bundle};
use crate::cache::digest::Digest;
use crate::cache::document;
use crate::cache::download::{Source, Wanted};
use crate::cache::layout;
use crate::cache::read::Found;
use crate::cache::refs::Budget;
use crate::cache::signature::{Key, MAX_REFERRERS, may_sign, signature_tag};
use crate::cache::write::Writer;
use crate::host::download::alternatives;
use crate::host::http::Client;
use crate::host::registry::{Access, Registry};
use crate::outcome::{Reason, WithReason};
use crate::settings::Settings;
use anyhow::Result;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// The result of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// The bundle.
    pub bundle: Bundle,
    /// How many of its blobs were missing.
    pub new_blobs: usize,
    /// Their bytes.
    pub new_bytes: u64,
    /// Those blobs, which have been verified on their way in.
    #[serde(skip)]
    pub fresh: Vec<Digest>,
}

impl Writer<'_> {
    /// Pulls the bundle at `oci://…`, or from a mirror of it, and adds it to the index under its tag in the registry.
    /// With a public key in the settings, only its documents are downloaded unless it is signed.
    pub fn pull(&mut self, address: &str, settings: &Settings) -> Result<Pulled> {
        let key = Key::from_settings(settings)?;
        self.first_answer(address, settings, |writer, registry| writer.pull_from(registry, key.as_ref()))
    }

    /// What `pull` gets from the first place that has it: the mirrors of an address, then the address itself.
    pub(super) fn first_answer<T>(
        &mut self,
        address: &str,
        settings: &Settings,
        pull: impl Fn(&mut Self, &Registry) -> Result<T>,
    ) -> Result<T> {
        let mut failed = Vec::new();
        let places = alternatives(&settings.mirrors, address)?;
        for (nth, place) in places.iter().enumerate() {
            let registry = Registry::at(place, Access::Pull, settings)?;
            let registry = if nth + 1 < places.len() { registry.one_of_several() } else { registry };
            match pull(self, &registry) {
                Ok(pulled) => return Ok(pulled),
                Err(error) => {
                    self.host.cancel.check()?;
                    failed.push(error.context(format!("cannot pull `{}`", registry.address())));
                }
            }
        }
        // The error of the original registry, which is tried last, tells most.
        let last =
            failed.pop().unwrap_or_else(|| Reason::DownloadFailed.error("there is no place to pull from"));
        let mirrors = failed.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; ");
        Err(if mirrors.is_empty() { last } else { last.context(format!("no mirror helped ({mirrors})")) })
    }

    fn pull_from(&mut self, registry: &Registry, key: Option<&Key>) -> Result<Pulled> {
        let client = Client::new(registry.network())?;
        let (digest, bytes) = self.manifest_of(registry, &client)?;
        let manifest = bundle_manifest(&digest, &bytes)?;
        // The signature is checked before anything larger is downloaded.
        if let Some(key) = key {
            self.put(&bytes)?;
            self.pull_signatures(registry, &client, &digest, key)?;
            key.check(&self.cache, &digest)?;
        }
        let mut missing = self.missing(registry, &manifest)?;
        let fresh: Vec<Digest> = missing.iter().map(|blob| blob.digest).collect();
        let (new_blobs, new_bytes) =
            (missing.len(), crate::cache::total(missing.iter().map(|blob| blob.size)));
        if new_blobs > 0 {
            let from = registry.address();
            self.host.events.info(format!(
                "pulling {}, {}, from {from}",
                count(new_blobs, "file"),
                size(new_bytes)
            ));
            // The config first, so that nothing else is downloaded if this is no bundle or one of a later version.
            let config = layout::digest_of(manifest.config())?;
            let (first, rest) = missing.drain(..).partition(|blob| blob.digest == config);
            self.download_all(registry.network(), first)?;
            self.download_all(registry.network(), rest)?;
        }
        let blob = self.put(&bytes)?;
        let tag = match registry.tag() {
            Some(tag) => tag.to_owned(),
            // A bundle that has a tag in the cache needs no second one.
            None => self.tag_of(&digest)?.unwrap_or_else(|| digest.hex()[..12].to_owned()),
        };
        let entry = entry(&blob, Some(&tag), Some(BUNDLE_TYPE))?;
        let bundle = match self.cache.find(&entry, &mut Budget::default())? {
            Found::Bundle(bundle) => *bundle,
            Found::Strange(error) => return Err(error),
            Found::Foreign => return Err(no_bundle(&digest)),
        };
        self.merge(vec![entry])?;
        Ok(Pulled { bundle, new_blobs, new_bytes, fresh })
    }

    /// The manifest, from the cache if its digest is known and the cache has it.
    pub(super) fn manifest_of(&self, registry: &Registry, client: &Client) -> Result<(Digest, Vec<u8>)> {
        let pinned = registry.digest().map(str::parse::<Digest>).transpose();
        let pinned = pinned.map_err(|error| Reason::BadSettings.error(error))?;
        if let Some(digest) = pinned.filter(|digest| self.has(digest))
            && let Ok(bytes) = self.cache.document(&digest)
        {
            return Ok((digest, bytes));
        }
        let name = registry.digest().or(registry.tag()).unwrap_or_default();
        let missing =
            || Reason::NotOnServer.error(format!("there is no `{name}` at `{}`", registry.address()));
        let bytes = registry.manifest(self.host, client, name)?.ok_or_else(missing)?;
        let found = Digest::of_bytes(&bytes);
        match pinned.filter(|pinned| *pinned != found) {
            Some(pinned) => {
                let message =
                    format!("expected the manifest `{pinned}`, found `{found}` at `{}`", registry.address());
                Err(Reason::DigestMismatch.error(message))
            }
            None => Ok((found, bytes)),
        }
    }

    fn tag_of(&self, manifest: &Digest) -> Result<Option<String>> {
        let index = layout::read_index(&self.cache.dir)?;
        let mut entries = index.manifests().iter();
        let same = |entry: &&Descriptor| layout::digest_of(entry).is_ok_and(|digest| digest == *manifest);
        Ok(entries.find(same).map(layout::tag_of))
    }

    /// Downloads signatures of a manifest, if there are any, until one is by the key.
    pub(super) fn pull_signatures(
        &mut self,
        registry: &Registry,
        client: &Client,
        digest: &Digest,
        key: &Key,
    ) -> Result<()> {
        if key.check(&self.cache, digest).is_ok() {
            return Ok(());
        }
        let tag = signature_tag(digest);
        if let Some(bytes) = registry.manifest(self.host, client, &tag)? {
            self.pull_signature(registry, digest, &bytes, Some(&tag))?;
        }
        if key.check(&self.cache, digest).is_ok() {
            return Ok(());
        }
        let (Some(list), _) = registry.referrers(self.host, client, &digest.to_string())? else {
            return Ok(());
        };
        let list: ImageIndex = layout::parse(&list, &format!("what is about {digest}"))?;
        for entry in list.manifests().iter().take(MAX_REFERRERS) {
            let Ok(name) = layout::digest_of(entry) else { continue };
            let bytes = registry.manifest(self.host, client, &name.to_string())?;
            let Some(bytes) = bytes.filter(|bytes| Digest::of_bytes(bytes) == name) else { continue };
            self.pull_signature(registry, digest, &bytes, None)?;
            if key.check(&self.cache, digest).is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// Downloads one manifest with signatures. Anything that is no signature, or too large for one, is skipped, because
    /// everybody who may write to the registry may attach manifests to a bundle.
    fn pull_signature(
        &mut self,
        registry: &Registry,
        about: &Digest,
        bytes: &[u8],
        tag: Option<&str>,
    ) -> Result<()> {
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(bytes) else { return Ok(()) };
        let subject = manifest.subject().as_ref().and_then(|it| layout::digest_of(it).ok());
        let is_large = |it: &Descriptor| it.size() > layout::MAX_DOCUMENT_BYTES;
        let is_none = tag.is_none() && (subject != Some(*about) || !manifest.layers().iter().any(may_sign));
        if is_none || is_large(manifest.config()) || manifest.layers().iter().any(is_large) {
            return Ok(());
        }
        let missing = self.missing(registry, &manifest)?;
        self.download_all(registry.network(), missing)?;
        let blob = self.put(bytes)?;
        let kind = manifest.artifact_type().as_ref().map(ToString::to_string);
        self.merge(vec![entry(&blob, tag, kind.as_deref())?])
    }

    /// The blobs of a manifest that the cache lacks.
    pub(super) fn missing<'r>(
        &self,
        registry: &'r Registry<'r>,
        manifest: &ImageManifest,
    ) -> Result<Vec<Wanted<'r>>> {
        let mut missing = BTreeMap::new();
        for descriptor in std::iter::once(manifest.config()).chain(manifest.layers()) {
            let (digest, size) = (layout::digest_of(descriptor)?, descriptor.size());
            if self.cache.size_of(&digest) != Some(size) {
                let source = Source::Registry(registry);
                missing.insert(digest, Wanted { digest, size, title: title_of(descriptor, &digest), source });
            }
        }
        Ok(missing.into_values().collect())
    }
}

fn title_of(descriptor: &Descriptor, digest: &Digest) -> String {
    let annotations = descriptor.annotations().as_ref();
    let title = annotations.and_then(|annotations| annotations.get(crate::cache::bundle::TITLE));
    title.map_or_else(|| digest.to_string(), |title| title.escape_default().to_string())
}

/// Reads a manifest, which must be a bundle's.
fn bundle_manifest(digest: &Digest, bytes: &[u8]) -> Result<ImageManifest> {
    let kind: serde_json::Value = serde_json::from_slice(bytes)
        .with_reason(Reason::CacheUnreadable, || format!("the manifest `{digest}` is not JSON"))?;
    if kind["artifactType"] != BUNDLE_TYPE {
        return Err(no_bundle(digest));
    }
    layout::parse(bytes, &digest.to_string())
}

fn no_bundle(digest: &Digest) -> anyhow::Error {
    Reason::CacheMissing.error(format!("`{digest}` is no bundle of ofedctl"))
}

/// The index entry of a manifest, equal to the one that publishing it here would write.
fn entry(blob: &Blob, tag: Option<&str>, kind: Option<&str>) -> Result<Descriptor> {
    let mut entry = document::descriptor(MediaType::ImageManifest, blob)?;
    entry.set_artifact_type(kind.map(MediaType::from));
    entry.set_annotations(tag.map(|tag| HashMap::from([(layout::TAG.to_owned(), tag.to_owned())])));
    Ok(entry)
}
