//! Signs a bundle or a catalogue, for users who have a key and no `cosign`. The form is the oldest one, which every version of
//! `cosign` and the policies of podman and of registries can check.

use super::forms::{IMAGE_SIGNATURE, SIGNATURE, SIMPLE_SIGNING};
use super::{Key, signature_tag};
use crate::cache::write::Writer;
use crate::cache::{Blob, Bundle, Digest, layout};
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// A key to sign with.
#[derive(Debug)]
pub struct PrivateKey {
    key: Arc<dyn SigningKey>,
    public: Key,
}

/// A bundle that has a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The bundle.
    pub bundle: Bundle,
    /// The tag of its signatures.
    pub tag: String,
    /// Whether this signature is new; false where the key had signed it before.
    pub is_new: bool,
}

impl PrivateKey {
    /// Reads an ECDSA P-256 key in PEM, of PKCS #8 or SEC 1, that is not encrypted.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let pem = crate::host::read_here(path)?;
        if pem.contains("-----BEGIN ENCRYPTED ") {
            // Cosign's keys have a format of their own, which only cosign reads.
            return Err(Reason::Usage.error(format!(
                "the key `{name}` is encrypted: sign with `cosign sign --key`, or give one that `openssl` has decrypted"
            )));
        }
        let wrong = || format!("`{name}` is not an ECDSA P-256 private key in PEM");
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).with_reason(Reason::Usage, wrong)?;
        // The parser's message could quote the key.
        let key = any_ecdsa_type(&der).map_err(|_| Reason::Usage.error(wrong()))?;
        let public = key.public_key().and_then(|der| Key::of_der(&der));
        Ok(Self { public: public.ok_or_else(|| Reason::Usage.error(wrong()))?, key })
    }

    /// The signature of a message: ECDSA with SHA-256, in DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signer = self.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
        let signer = signer.context("the key does not sign with SHA-256")?;
        signer.sign(message).context("cannot sign")
    }
}

impl Writer<'_> {
    /// Signs a bundle, unless this key has signed it before. Other signatures stay.
    pub fn sign(&mut self, bundle: &Bundle, key: &PrivateKey) -> Result<Signed> {
        let is_new = self.sign_manifest(&bundle.digest, key)?;
        Ok(Signed { bundle: bundle.clone(), tag: signature_tag(&bundle.digest), is_new })
    }

    /// Signs a manifest of the cache. Returns whether this signature is new.
    pub(in crate::cache) fn sign_manifest(&mut self, manifest: &Digest, key: &PrivateKey) -> Result<bool> {
        if key.public.check(&self.cache, manifest).is_ok() {
            return Ok(false);
        }
        let tag = signature_tag(manifest);
        let before = match self.cache.manifest_tagged(&tag)? {
            Some(digest) => layout::parse(&self.cache.document(&digest)?, &tag)?,
            None => Value::Null,
        };
        let mut layers = before["layers"].as_array().cloned().unwrap_or_default();
        layers.push(self.layer(manifest, key)?);
        // What cosign writes, so that its next signature is added to this one.
        let diffs: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let config = json!({
            "architecture": "", "os": "", "config": {}, "created": "0001-01-01T00:00:00Z",
            "history": vec![json!({"created": "0001-01-01T00:00:00Z"}); layers.len()],
            "rootfs": {"type": "layers", "diff_ids": diffs},
        });
        let config =
            described(self.put(&layout::canonical(&config)?)?, "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let signatures = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut entry = described(self.put(&layout::canonical(&signatures)?)?, kind);
        entry["annotations"] = json!({layout::TAG: tag});
        self.merge(vec![serde_json::from_value(entry)?])?;
        Ok(true)
    }

    fn layer(&self, manifest: &Digest, key: &PrivateKey) -> Result<Value> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": manifest.to_string()},
                "type": IMAGE_SIGNATURE,
            },
            "optional": null,
        });
        let payload = layout::canonical(&payload)?;
        let signature = STANDARD.encode(key.sign(&payload)?);
        let mut layer = described(self.put(&payload)?, SIMPLE_SIGNING);
        layer["annotations"] = json!({SIGNATURE: signature});
        Ok(layer)
    }
}

fn described(blob: Blob, kind: &str) -> Value {
    json!({"mediaType": kind, "digest": blob.digest.to_string(), "size": blob.size})
}
