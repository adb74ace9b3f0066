//! The two documents of a bundle, its manifest and its config, written and read. The manifest's config is a real OCI
//! image config with this program's document as a further member. With an own media type for the config, plain `skopeo
//! inspect` (1.9.3) refuses the manifest; with OCI's type it works and shows the labels, and every registry accepts it.
//! The artifact type marks the manifest as a bundle.

use super::blob::Blob;
use super::bundle::{self, BUNDLE_TYPE, Bundle, BundleConfig, BundleFile, TITLE};
use super::digest::Digest;
use super::layout;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use oci_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The config blob.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Image {
    created: String,
    architecture: String,
    os: String,
    config: ImageRuntime,
    rootfs: ImageRootfs,
    ofedctl: BundleConfig,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageRuntime {
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageRootfs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

/// The two documents of a bundle, as bytes.
#[derive(Debug)]
pub(super) struct Documents {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
}

impl Documents {
    /// Writes the documents. The same arguments give the same bytes.
    pub(super) fn write(config: &BundleConfig, created: &str, files: &[BundleFile]) -> Result<Self> {
        let mut labels = BTreeMap::new();
        for (name, value) in [
            ("driver", config.driver.to_string()),
            ("driver-version", config.driver_version.clone().unwrap_or_default()),
            ("distro", config.distro.to_string()),
            ("arch", config.arch.to_string()),
            ("kernels", config.kernels.join(" ")),
            ("made-by", config.made_by.clone()),
        ] {
            if !value.is_empty() {
                labels.insert(format!("dev.ofedctl.{name}"), value);
            }
        }
        let diff_ids = files.iter().map(|file| file.digest).collect();
        let image = layout::canonical(&Image {
            created: created.to_owned(),
            architecture: config.arch.debian().to_owned(),
            os: "linux".to_owned(),
            config: ImageRuntime { labels },
            rootfs: ImageRootfs { kind: "layers".to_owned(), diff_ids },
            ofedctl: config.clone(),
        })?;
        let descriptor = descriptor(
            MediaType::ImageConfig,
            &Blob { digest: Digest::of_bytes(&image), size: image.len() as u64 },
        )?;
        let layers = files.iter().map(layer).collect::<Result<Vec<_>>>()?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(MediaType::from(BUNDLE_TYPE))
            .config(descriptor)
            .layers(layers)
            .build()
            .context("cannot write a bundle's manifest")?;
        Ok(Self { config: image, manifest: layout::canonical(&manifest)? })
    }
}

/// A descriptor of a blob.
pub(super) fn descriptor(media_type: MediaType, blob: &Blob) -> Result<Descriptor> {
    let digest = oci_spec::image::Digest::try_from(blob.digest.to_string())
        .with_context(|| format!("cannot describe the blob `{}`", blob.digest))?;
    Ok(Descriptor::new(media_type, blob.size, digest))
}

fn layer(file: &BundleFile) -> Result<Descriptor> {
    let blob = Blob { digest: file.digest, size: file.size };
    let mut layer = descriptor(MediaType::from(file.media_type.as_str()), &blob)?;
    layer.set_annotations(Some(HashMap::from([(TITLE.to_owned(), file.title.clone())])));
    Ok(layer)
}

/// Builds a bundle from its verified documents.
pub(super) fn assemble(
    tag: &str,
    manifest_blob: Blob,
    manifest: &ImageManifest,
    image: Image,
) -> Result<Bundle> {
    let files = manifest.layers().iter().map(file_of).collect::<Result<Vec<_>>>()?;
    check_words(tag, &image, &files)?;
    bundle::check_files(&files, image.ofedctl.repository.as_ref())?;
    let config_blob = Blob { digest: layout::digest_of(manifest.config())?, size: manifest.config().size() };
    let size_in_all = files
        .iter()
        .fold(manifest_blob.size.saturating_add(config_blob.size), |sum, file| sum.saturating_add(file.size));
    Ok(Bundle {
        tag: tag.to_owned(),
        digest: manifest_blob.digest,
        size_in_all,
        created: image.created,
        config: image.ofedctl,
        files,
        config_blob,
        manifest_size: manifest_blob.size,
    })
}

/// Checks the texts of a bundle, which are printed, logged and compared: no control characters, and a valid time.
fn check_words(tag: &str, image: &Image, files: &[BundleFile]) -> Result<()> {
    let config = &image.ofedctl;
    let distro = config.distro.to_string();
    let words = [tag, &image.created, &config.made_by, &distro]
        .into_iter()
        .chain(config.driver_version.as_deref())
        .chain(config.kernels.iter().chain(&config.packages).map(String::as_str))
        .chain(files.iter().map(|file| file.media_type.as_str()));
    if let Some(word) = words.into_iter().find(|word| word.chars().any(char::is_control)) {
        let word = word.escape_default();
        return Err(Reason::CacheUnreadable.error(format!("`{word}` has control characters")));
    }
    if let Some(name) = config.kernels.iter().chain(&config.packages).find(|name| !is_name(name)) {
        return Err(Reason::CacheUnreadable.error(format!("`{name}` is no name of a package or a kernel")));
    }
    if humantime::parse_rfc3339(&image.created).is_err() {
        let created = image.created.escape_default();
        return Err(Reason::CacheUnreadable.error(format!("`{created}` is no time")));
    }
    Ok(())
}

/// Whether package managers take a text for a name: with a hyphen before it, it is an option; with one behind it, apt
/// removes what it names.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && !text.ends_with('-')
}

/// The newest schema version of a bundle's document that this program understands.
const SCHEMA_VERSION: u32 = 1;

impl Image {
    /// Refuses a document of a later schema version, because its meaning may have changed.
    pub(super) fn check_version(&self) -> Result<()> {
        let version = self.ofedctl.schema_version;
        if version <= SCHEMA_VERSION {
            return Ok(());
        }
        Err(Reason::CacheUnreadable
            .error(format!("it has `schema_version` {version}, and this program knows 1")))
    }
}

fn file_of(layer: &Descriptor) -> Result<BundleFile> {
    let digest = layout::digest_of(layer)?;
    let title = layer.annotations().as_ref().and_then(|annotations| annotations.get(TITLE)).cloned();
    let title =
        title.ok_or_else(|| Reason::CacheUnreadable.error(format!("the layer `{digest}` has no title")))?;
    Ok(BundleFile { title, media_type: layer.media_type().to_string(), digest, size: layer.size() })
}
