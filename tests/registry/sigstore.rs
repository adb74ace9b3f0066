//! Signatures as `cosign sign --key` of version 3 makes them: a Sigstore bundle in a manifest whose subject is the signed
//! one (sigstore/cosign, `specs/BUNDLE_SPEC.md`, and `signDigestBundle` in cmd/cosign/cli/sign/sign.go). cosign itself is in
//! no archive these tests install from: openssl signs, and the documents around it are written as those say.

use super::common::registry::Registry;
use super::common::web::Web;
use super::trust::{keys, openssl};
use super::{Lab, cache, files, sha256, skopeo};
use serde_json::{Value, json};
use std::path::Path;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// A signature of these bytes, in base64.
fn signature(lab: &Lab, key: &str, bytes: &[u8]) -> String {
    std::fs::write(lab.path("message"), bytes).unwrap();
    openssl(lab.dir.path(), &format!("dgst -sha256 -sign {key}.key -out message.sig message"));
    openssl(lab.dir.path(), "base64 -A -in message.sig -out message.b64");
    std::fs::read_to_string(lab.path("message.b64")).unwrap()
}

fn base64(lab: &Lab, bytes: &[u8]) -> String {
    std::fs::write(lab.path("plain"), bytes).unwrap();
    openssl(lab.dir.path(), "base64 -A -in plain -out plain.b64");
    std::fs::read_to_string(lab.path("plain.b64")).unwrap()
}

/// A statement in an envelope, as `cosign sign` and `cosign attest` make it.
fn statement(lab: &Lab, key: &str, digest: &str, predicate: &str) -> Value {
    let kind = "application/vnd.in-toto+json";
    let (algorithm, hex) = digest.split_once(':').unwrap();
    let payload =
        json!({"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": {},
        "subject": [{"digest": {algorithm: hex}}]})
        .to_string();
    let covered = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": "a2V5"}, "tlogEntries": []},
        "dsseEnvelope": {"payload": base64(lab, payload.as_bytes()), "payloadType": kind,
            "signatures": [{"sig": signature(lab, key, covered.as_bytes())}]}})
}

/// What `cosign sign-blob` makes of the manifest itself.
fn of_the_bytes(lab: &Lab, key: &str) -> Value {
    let hex = lab.bundle.digest.to_string().replace("sha256:", "");
    let manifest = std::fs::read(lab.cache().join("blobs/sha256").join(hex)).unwrap();
    json!({"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": "a2V5"}},
        "messageSignature": {"signature": signature(lab, key, &manifest)}})
}

/// Puts a blob into a layout; returns what describes it.
fn put(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let digest = sha256(bytes);
    std::fs::write(layout.join("blobs/sha256").join(&digest), bytes).unwrap();
    json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
}

/// Lays a signature into a layout as `oras copy --recursive` does: an entry of the index without a tag.
fn attach(lab: &Lab, layout: &Path, bundle: &Value) -> Value {
    let layer = put(layout, BUNDLE, bundle.to_string().as_bytes());
    let config = put(layout, "application/vnd.oci.empty.v1+json", b"{}");
    let digest = lab.bundle.digest.to_string();
    let hex = digest.replace("sha256:", "");
    let size = std::fs::metadata(lab.cache().join("blobs/sha256").join(hex)).unwrap().len();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": config,
        "layers": [layer], "subject": {"mediaType": MANIFEST, "digest": digest, "size": size},
        "annotations": {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": SIGN}});
    let mut entry = put(layout, MANIFEST, manifest.to_string().as_bytes());
    entry["artifactType"] = json!(BUNDLE);
    let file = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(entry.clone());
    std::fs::write(file, index.to_string()).unwrap();
    entry
}

#[test]
fn a_signature_of_cosign_3_goes_where_its_bundle_goes() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let key = format!("public_key={}", keys(&lab, "mine").display());
    let digest = lab.bundle.digest.to_string();
    attach(&lab, &lab.cache(), &statement(&lab, "mine", &digest, SIGN));
    let place = registry.place("ib:bundle");
    lab.push(&place, &[]).json();
    // This registry keeps no lists of what is about a manifest: the tag that stands for one is there.
    let tag = digest.replace(':', "-");
    let list = skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{}/ib:{tag}", registry.host()),
    ]);
    assert!(list.contains(BUNDLE), "{list}");
    // Pushing again adds nothing.
    lab.push(&place, &[]).json();
    let again = skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{}/ib:{tag}", registry.host()),
    ]);
    assert_eq!(again, list);

    let copy = lab.path("copy");
    lab.pull(&place, &copy, &["--set", &key]).json();
    let file = lab.path("signed.tar").display().to_string();
    cache(&copy, &["export", "--out", &file]).json();
    let other = lab.path("other");
    cache(&other, &["import", &file]).json();
    cache(&other, &["gc"]).json();
    assert_eq!(files(&other).len(), files(&copy).len(), "the signature came along");
    let second = Registry::open();
    cache(&other, &["push", &second.place("ib:bundle")]).json();
    lab.pull(&second.place("ib:bundle"), &lab.path("third"), &["--set", &key]).json();
    cache(&other, &["gc", "--remove", "bundle"]).json();
    assert_eq!(files(&other).len(), 2, "the signature goes with its bundle");
}

/// A registry of files that lists by itself what is about a manifest.
fn with_referrers(lab: &Lab, signatures: &[Value]) -> (Web, tempfile::TempDir) {
    let folder = super::common::scratch();
    let layout = lab.path("served");
    let _ = std::fs::remove_dir_all(&layout);
    let copied = std::process::Command::new("cp").arg("-a").arg(lab.cache()).arg(&layout).status().unwrap();
    assert!(copied.success());
    let entries: Vec<Value> = signatures.iter().map(|bundle| attach(lab, &layout, bundle)).collect();
    let v2 = folder.path().join("v2/ib");
    for kind in ["manifests", "blobs", "referrers"] {
        std::fs::create_dir_all(v2.join(kind)).unwrap();
    }
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap().map(Result::unwrap) {
        let name = format!("sha256:{}", blob.file_name().display());
        for kind in ["manifests", "blobs"] {
            std::fs::copy(blob.path(), v2.join(kind).join(&name)).unwrap();
        }
    }
    let list = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries});
    std::fs::write(v2.join("referrers").join(lab.bundle.digest.to_string()), list.to_string()).unwrap();
    (Web::serve(folder.path()), folder)
}

/// Pulls from such a registry with the key `mine`; says how it ended.
fn pulled(lab: &Lab, signatures: &[Value]) -> Result<(), String> {
    let key = format!("public_key={}", lab.path("mine.pub").display());
    let (web, _folder) = with_referrers(lab, signatures);
    let host = web.address().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let copy = super::common::scratch();
    let place = format!("oci://{host}/ib@{}", lab.bundle.digest);
    let ran = lab.pull(&place, &copy.path().join("copy"), &["--set", &key]);
    if ran.code == 0 {
        return Ok(());
    }
    ran.expect(14, "untrusted");
    let large = lab.bundle.file("a_1_amd64.deb").unwrap().digest.hex();
    assert!(!copy.path().join("copy/blobs/sha256").join(large).exists(), "nothing large moved");
    Err(ran.stderr)
}

#[test]
fn only_what_says_that_this_bundle_is_signed_counts() {
    let lab = Lab::new();
    keys(&lab, "mine");
    keys(&lab, "other");
    let digest = lab.bundle.digest.to_string();
    let elsewhere = format!("sha256:{}", "0".repeat(64));
    let refused = |signatures: &[Value], why: &str| {
        let said = pulled(&lab, signatures).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    };
    refused(&[], "has no signature");
    refused(&[statement(&lab, "other", &digest, SIGN)], "the one signature");
    refused(&[of_the_bytes(&lab, "other")], "the one signature");
    let another = statement(&lab, "mine", &elsewhere, SIGN);
    refused(std::slice::from_ref(&another), &format!("signed another digest, `{elsewhere}`"));
    // An attestation by the same key says something about the bundle, and not that it is good.
    let attested = statement(&lab, "mine", &digest, "https://cosign.sigstore.dev/attestation/vuln/v1");
    refused(&[attested], "is no signature, but `https://cosign.sigstore.dev/attestation/vuln/v1`");
    // Others may say what they like, before and after.
    let mine = statement(&lab, "mine", &digest, SIGN);
    pulled(&lab, &[json!({"mediaType": BUNDLE}), another, mine]).unwrap();
    pulled(&lab, &[of_the_bytes(&lab, "mine")]).unwrap();
}

#[test]
fn a_key_signs_without_cosign_and_what_it_signed_is_pulled() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let key = format!("public_key={}", keys(&lab, "mine").display());
    let private = lab.path("mine.key").display().to_string();
    let sign = |key: &str| cache(&lab.cache(), &["sign", "--key", key]);
    assert_eq!(sign(&private).json()["signed"]["is_new"], true);
    let before = files(&lab.cache());
    assert_eq!(sign(&private).json()["signed"]["is_new"], false);
    assert_eq!(files(&lab.cache()), before, "signed once");
    // A second key signs beside it; PKCS #8 is read as SEC 1 is.
    keys(&lab, "other");
    openssl(lab.dir.path(), "pkcs8 -topk8 -nocrypt -in other.key -out other.p8");
    assert_eq!(sign(&lab.path("other.p8").display().to_string()).json()["signed"]["is_new"], true);
    let place = registry.place("ib:bundle");
    lab.push(&place, &[]).json();
    for (name, copy) in [("mine", "one"), ("other", "two")] {
        let key = format!("public_key={}", lab.path(&format!("{name}.pub")).display());
        lab.pull(&place, &lab.path(copy), &["--set", &key]).json();
    }
    // skopeo sees what cosign would have put there.
    let tag = format!("{}.sig", lab.bundle.digest.to_string().replace(':', "-"));
    let raw = skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        &format!("docker://{}/ib:{tag}", registry.host()),
    ]);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2, "{raw}");
    openssl(lab.dir.path(), "ec -in mine.key -aes128 -passout pass:x -out locked.key");
    openssl(lab.dir.path(), "pkcs8 -topk8 -in mine.key -passout pass:x -out locked.p8");
    sign(&lab.path("locked.p8").display().to_string()).expect(1, "usage");
    for wrong in ["locked.key", "mine.pub"] {
        let refused = sign(&lab.path(wrong).display().to_string());
        refused.expect(1, "usage");
        assert!(refused.stderr.contains(wrong), "{}", refused.stderr);
    }
    let _ = key;
}
