//! Checks whether a bundle is signed by the key that the settings name. The signatures are those of `cosign sign
//! --key`, because users of registries sign with it, and registries, policies and `skopeo copy` support its signatures.
//! They lie in separate manifests, found by a tag or by their `subject` (`places`), in one of three forms (`forms`). A
//! layout on disk and an exported file hold them in the same way. The key is ECDSA P-256 with SHA-256, as `cosign
//! generate-key-pair` creates it; transparency logs and certificates are not checked.

mod forms;
mod places;
mod sign;

pub(super) use forms::may_sign;
pub(super) use places::{MAX_REFERRERS, about_what, signature_tag};
pub use sign::{PrivateKey, Signed};

use super::{Cache, Digest};
use crate::host::owner::{owners, read_owned};
use crate::outcome::{Reason, WithReason};
use crate::settings::Settings;
use anyhow::Result;
use forms::Said;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// The DER prefix of every uncompressed P-256 public key (RFC 5480, 2.1.1).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that bundles must be signed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    point: Vec<u8>,
}

impl Key {
    /// The key of the settings, if they name one: PEM, or a file with it.
    pub fn from_settings(settings: &Settings) -> Result<Option<Self>> {
        let Some(text) = &settings.public_key else { return Ok(None) };
        let pem = if text.contains("-----BEGIN") {
            text.clone()
        } else {
            read_owned(std::path::Path::new(text), owners(settings)?)?
        };
        let wrong = || "key `public_key`: this is not an ECDSA P-256 public key in PEM".to_owned();
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .with_reason(Reason::BadSettings, wrong)?;
        Self::of_der(&der).ok_or_else(|| Reason::BadSettings.error(wrong())).map(Some)
    }

    fn of_der(der: &[u8]) -> Option<Self> {
        let point = der.strip_prefix(P256.as_slice())?;
        (point.len() == 65 && point[0] == 4).then(|| Self { point: point.to_vec() })
    }

    /// Fails unless the cache holds this manifest and a signature of it by this key.
    pub fn check(&self, cache: &Cache, manifest: &Digest) -> Result<()> {
        let bytes = cache.document(manifest)?;
        let (mut count, mut others, mut kinds) = (0, Vec::new(), Vec::new());
        for layer in cache.signatures(manifest)? {
            count += 1;
            match forms::read(self, &layer.descriptor, &layer.content, &bytes) {
                Said::Signed(digests) if digests.contains(&manifest.to_string()) => return Ok(()),
                // A valid signature of another digest does not count.
                Said::Signed(digests) => others.extend(digests),
                Said::Other(kind) => kinds.push(kind),
                Said::Nothing => {}
            }
        }
        let listed = |all: &[String]| all.join("`, `").escape_default().to_string();
        Err(Reason::Untrusted.error(if count == 0 {
            let tag = signature_tag(manifest);
            format!("`{manifest}` has no signature: there is neither `{tag}` nor a Sigstore bundle about it")
        } else if !others.is_empty() {
            format!("the key that is set signed another digest, `{}`, and not `{manifest}`", listed(&others))
        } else if !kinds.is_empty() {
            format!("what the key that is set said of `{manifest}` is no signature, but `{}`", listed(&kinds))
        } else {
            let signatures = if count == 1 { "the one signature" } else { "none of the signatures" };
            let verb = if count == 1 { "is not" } else { "is" };
            format!("{signatures} of `{manifest}` {verb} by the key that is set")
        }))
    }

    /// Whether a signature of a message is by this key.
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}
