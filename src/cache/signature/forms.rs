//! The forms of a manifest's signatures, and how each is checked.
//!
//! - The payload of "simple signing" in a layer, its signature in an annotation of the layer: `cosign` up to version 2,
//!   and 3 when it is asked to (`sigstore/cosign`, `specs/SIGNATURE_SPEC.md`).
//! - A Sigstore bundle in a layer: `cosign sign` of version 3 puts an in-toto statement in a DSSE envelope there, and
//!   `cosign sign-blob` the signature of the manifest's own bytes (`specs/BUNDLE_SPEC.md`; `sigstore/protobuf-specs`,
//!   `sigstore_bundle.proto`; `secure-systems-lab/dsse`, `protocol.md`).

use super::Key;
use crate::cache::Digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::Descriptor;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The media type of a layer with a payload of "simple signing".
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The prefix of the media types of Sigstore bundles; a version and `+json` follow.
const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// The annotation that holds a payload's signature.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The only type of a payload that is a signature of an image (`SIGNATURE_SPEC.md`, "Payload").
pub(super) const IMAGE_SIGNATURE: &str = "cosign container image signature";
/// The predicate of a statement that says only that the subject is signed.
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The result of checking one signature with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The signature is not by this key, or its form is unknown.
    Nothing,
    /// The key signed these digests.
    Signed(Vec<String>),
    /// The key signed a statement of another type, which is this.
    Other(String),
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SigstoreBundle {
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

/// Whether a layer may hold a signature.
pub(in crate::cache) fn may_sign(layer: &Descriptor) -> bool {
    let kind = layer.media_type().to_string();
    kind == SIMPLE_SIGNING || kind.starts_with(SIGSTORE_BUNDLE)
}

/// Checks a layer with this content as a signature of a manifest with these bytes.
pub(super) fn read(key: &Key, layer: &Descriptor, content: &[u8], manifest: &[u8]) -> Said {
    if layer.media_type().to_string().starts_with(SIGSTORE_BUNDLE) {
        return bundle(key, content, manifest);
    }
    let annotations = layer.annotations().as_ref();
    let signature = annotations.and_then(|annotations| annotations.get(SIGNATURE));
    if !signature.is_some_and(|signature| made(key, content, signature)) {
        return Said::Nothing;
    }
    match serde_json::from_slice::<Payload>(content) {
        Ok(Payload { critical }) if critical.kind == IMAGE_SIGNATURE => {
            Said::Signed(vec![critical.image.docker_manifest_digest])
        }
        Ok(Payload { critical }) => Said::Other(critical.kind),
        Err(_) => Said::Other("of an unknown form".to_owned()),
    }
}

fn bundle(key: &Key, content: &[u8], manifest: &[u8]) -> Said {
    let Ok(bundle) = serde_json::from_slice::<SigstoreBundle>(content) else { return Said::Nothing };
    if let Some(MessageSignature { signature }) = bundle.message_signature {
        // It covers the manifest's bytes; a signature of another manifest cannot be told from one by another key.
        let signed = made(key, manifest, &signature);
        return if signed {
            Said::Signed(vec![Digest::of_bytes(manifest).to_string()])
        } else {
            Said::Nothing
        };
    }
    bundle.dsse_envelope.map_or(Said::Nothing, |envelope| statement(key, &envelope))
}

fn statement(key: &Key, envelope: &Envelope) -> Said {
    let Ok(payload) = STANDARD.decode(envelope.payload.trim()) else { return Said::Nothing };
    let covered = covered(&envelope.payload_type, &payload);
    if !envelope.signatures.iter().any(|signature| made(key, &covered, &signature.sig)) {
        return Said::Nothing;
    }
    let statement = serde_json::from_slice::<Statement>(&payload);
    match statement {
        Ok(it) if envelope.payload_type == IN_TOTO && it.predicate_type == SIGN_PREDICATE => {
            let digests = it.subject.into_iter().flat_map(|subject| subject.digest);
            Said::Signed(digests.map(|(algorithm, hex)| format!("{algorithm}:{hex}")).collect())
        }
        // An attestation by the same key is no signature: it may even say that the bundle is bad.
        Ok(it) => Said::Other(it.predicate_type),
        Err(_) => Said::Other(envelope.payload_type.clone()),
    }
}

/// The bytes that the signature of an envelope covers (DSSE, "Pre-Authentication Encoding").
fn covered(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn made(key: &Key, message: &[u8], signature: &str) -> bool {
    STANDARD.decode(signature.trim()).is_ok_and(|signature| key.has_signed(message, &signature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_an_envelope_covers_is_as_its_specification_shows() {
        assert_eq!(
            covered("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    proptest! {
        #[test]
        fn no_content_makes_the_reader_panic(content: Vec<u8>, text in r#"\{"(dsseEnvelope|messageSignature)":\{"[a-z]{0,9}":"[^"]{0,40}"\}\}"#) {
            let key = Key { point: vec![4; 65] };
            for content in [content.as_slice(), text.as_bytes()] {
                prop_assert_eq!(bundle(&key, content, b"manifest"), Said::Nothing);
            }
        }
    }
}
