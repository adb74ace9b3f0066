//! A catalogue of drivers in a registry: an OCI artifact with one file, signed as bundles are. It passes through a cache in
//! a temporary folder, and is never kept in one.

use crate::cache::document::descriptor;
use crate::cache::signature::{Key, PrivateKey};
use crate::cache::{Cache, Writer, layout};
use crate::host::Host;
use crate::host::http::Client;
use crate::host::registry::{Access, Registry};
use crate::host::temp::Folder;
use crate::outcome::{Cause, Reason, WithReason};
use crate::settings::Settings;
use anyhow::Result;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use serde_json::json;
use std::time::Duration;

/// The media type of the file, and the type of the artifact.
pub const CATALOG_TYPE: &str = "application/vnd.ofedctl.catalog.v1+yaml";
/// The config of an artifact that has none (OCI image specification 1.1, "Guidance for an Empty Descriptor").
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// Downloads the catalogue at `oci://…`, or from a mirror of it. It must be signed by the key in the settings, because it
/// says which files are installed as root.
pub fn pull_catalog(host: &Host, address: &str, settings: &Settings) -> Result<String> {
    let none =
        || Cause::CatalogUnsigned.error("no `public_key` is set that a catalogue could be checked with");
    let key = Key::from_settings(settings)?.ok_or_else(none)?;
    let folder = Folder::small("catalog")?;
    let cache = Cache::open_or_create(folder.path())?;
    let bytes = writer(host, &cache, settings)?.first_answer(address, settings, |writer, registry| {
        let client = Client::new(registry.network())?;
        let (digest, bytes) = writer.manifest_of(registry, &client)?;
        let manifest: ImageManifest = layout::parse(&bytes, &registry.address())?;
        let layer = only_file(&manifest, &registry.address())?;
        writer.put(&bytes)?;
        writer.pull_signatures(registry, &client, &digest, &key)?;
        key.check(&writer.cache, &digest)?;
        writer.download_all(registry.network(), writer.missing(registry, &manifest)?)?;
        writer.cache.document(&layout::digest_of(&layer)?)
    })?;
    let not_text = || format!("the file at `{address}` is no text");
    String::from_utf8(bytes).with_reason(Reason::BadSettings, not_text)
}

/// Writes a catalogue to `oci://…`, signed by the key if there is one. Returns the address with its digest.
pub fn push_catalog(
    host: &Host,
    text: &str,
    address: &str,
    key: Option<&PrivateKey>,
    settings: &Settings,
) -> Result<String> {
    let folder = Folder::small("catalog")?;
    let cache = Cache::open_or_create(folder.path())?;
    let mut writer = writer(host, &cache, settings)?;
    let (empty, file) = (writer.put(b"{}")?, writer.put(text.as_bytes())?);
    let kind = MediaType::ImageManifest.to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "artifactType": CATALOG_TYPE,
        "config": {"mediaType": EMPTY_TYPE, "digest": empty.digest.to_string(), "size": empty.size},
        "layers": [{
            "mediaType": CATALOG_TYPE,
            "digest": file.digest.to_string(),
            "size": file.size,
            "annotations": {"org.opencontainers.image.title": "catalog.yaml"},
        }],
    });
    let manifest = writer.put(&layout::canonical(&manifest)?)?;
    writer.merge(vec![descriptor(MediaType::ImageManifest, &manifest)?])?;
    if let Some(key) = key {
        writer.sign_manifest(&manifest.digest, key)?;
    }
    let registry = Registry::at(address, Access::Push { mount_from: None }, settings)?;
    let (_, pinned) = cache.push_all(host, &registry, &manifest.digest, vec![empty, file])?;
    Ok(pinned)
}

fn writer<'h>(host: &'h Host, cache: &Cache, settings: &Settings) -> Result<Writer<'h>> {
    cache.writer(host, Duration::from_secs(settings.lock_timeout))
}

/// The one file of the artifact. `oras push` makes such artifacts too, with a media type of the user's choice.
fn only_file(manifest: &ImageManifest, address: &str) -> Result<Descriptor> {
    match manifest.layers().as_slice() {
        [file] if file.size() <= layout::MAX_DOCUMENT_BYTES => Ok(file.clone()),
        [_] => {
            Err(Cause::CatalogFaulty.error(format!("the file at `{address}` is too large for a catalogue")))
        }
        all => {
            let what = format!("`{address}` has {} files, and a catalogue is one file", all.len());
            Err(Cause::CatalogFaulty.error(what))
        }
    }
}
