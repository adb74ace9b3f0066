//! Whether a bundle is signed by the key the settings name.
//!
//! The signatures are those of `cosign sign --key`, because that is what users of registries sign with and what
//! registries, policies and `skopeo copy` carry along: a manifest under the tag `sha256-<digest>.sig` beside the
//! bundle's, whose layers are the signed payloads (`sigstore/cosign`, `specs/SIGNATURE_SPEC.md`). A layout on disk and
//! an exported file hold it in the same way. The key is ECDSA P-256 with SHA-256, which is what `cosign
//! generate-key-pair` makes; transparency logs and certificates are not looked at.

use super::remote::signature_tag;
use super::{Cache, Digest, layout};
use crate::host::owner::{owners, read_owned};
use crate::outcome::{Reason, WithReason};
use crate::settings::Settings;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::{Descriptor, ImageManifest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// The annotation that holds a payload's signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What stands before the point in every P-256 key of this form (RFC 5480, 2.1.1, uncompressed).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that bundles must be signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    point: Vec<u8>,
}

/// The part of a payload that counts (its "simple signing" format).
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Key {
    /// The key of the settings, if they name one: PEM, or a file with it.
    pub fn of(settings: &Settings) -> Result<Option<Self>> {
        let Some(text) = &settings.public_key else { return Ok(None) };
        let pem = if text.contains("-----BEGIN") {
            text.clone()
        } else {
            read_owned(std::path::Path::new(text), owners(settings)?)?
        };
        Self::parse(&pem).map(Some)
    }

    fn parse(pem: &str) -> Result<Self> {
        let wrong = || "key `public_key`: this is not an ECDSA P-256 public key in PEM".to_owned();
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .with_reason(Reason::BadSettings, wrong)?;
        let point = der.strip_prefix(P256.as_slice()).filter(|point| point.len() == 65 && point[0] == 4);
        let point = point.ok_or_else(|| Reason::BadSettings.error(wrong()))?.to_vec();
        Ok(Self { point })
    }

    /// Fails unless the cache holds a signature of this manifest by this key.
    pub fn check(&self, cache: &Cache, manifest: &Digest) -> Result<()> {
        let tag = signature_tag(manifest);
        let Some(digest) = cache.manifest_tagged(&tag)? else {
            return Err(
                Reason::Untrusted.error(format!("`{manifest}` has no signature (there is no `{tag}`)"))
            );
        };
        let signatures: ImageManifest = layout::parse(&cache.document(&digest)?, &tag)?;
        let good = |layer: &Descriptor| self.is_good(cache, layer, manifest).unwrap_or(false);
        if signatures.layers().iter().any(good) {
            return Ok(());
        }
        let count = signatures.layers().len();
        Err(Reason::Untrusted
            .error(format!("none of the {count} signatures of `{manifest}` is by the key that is set")))
    }

    fn is_good(&self, cache: &Cache, layer: &Descriptor, manifest: &Digest) -> Result<bool> {
        let annotations = layer.annotations().as_ref();
        let Some(signature) = annotations.and_then(|annotations| annotations.get(SIGNATURE)) else {
            return Ok(false);
        };
        let payload = cache.document(&layout::digest_of(layer)?)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point);
        if key.verify(&payload, &STANDARD.decode(signature.trim())?).is_err() {
            return Ok(false);
        }
        // A good signature of something else is worth nothing here.
        let payload: Payload = serde_json::from_slice(&payload)?;
        Ok(payload.critical.image.docker_manifest_digest == manifest.to_string())
    }
}

impl Cache {
    /// The manifest that an index entry with this tag points to.
    pub(super) fn manifest_tagged(&self, tag: &str) -> Result<Option<Digest>> {
        let index = layout::read_index(&self.dir)?;
        let entry = index.manifests().iter().find(|entry| layout::tag_of(entry) == tag);
        entry.map(layout::digest_of).transpose()
    }
}
