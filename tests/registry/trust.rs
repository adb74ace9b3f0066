//! Signatures in the format of `cosign sign --key`. cosign itself is in no archive these tests install from, so openssl
//! signs, and the manifest around it is written as cosign's signature specification says.

use super::common::need::need;
use super::common::registry::Registry;
use super::{Lab, files, sha256, skopeo};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn openssl(folder: &Path, arguments: &str) {
    need(&["openssl"]);
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "openssl {arguments}: {made:?}");
}

/// A pair of keys; returns the public one.
pub(super) fn keys(lab: &Lab, name: &str) -> PathBuf {
    openssl(lab.dir.path(), &format!("ecparam -name prime256v1 -genkey -noout -out {name}.key"));
    openssl(lab.dir.path(), &format!("ec -in {name}.key -pubout -out {name}.pub"));
    lab.path(&format!("{name}.pub"))
}

/// What cosign pushes beside a manifest, as a layout in this folder; returns its tag.
fn sign(lab: &Lab, key: &str, signed: &str) -> String {
    sign_as(lab, key, signed, "cosign container image signature")
}

fn sign_as(lab: &Lab, key: &str, signed: &str, kind: &str) -> String {
    let folder = lab.path("signature");
    let _ = std::fs::remove_dir_all(&folder);
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        std::fs::write(blobs.join(&digest), bytes).unwrap();
        json!({"mediaType": kind, "size": bytes.len(), "digest": format!("sha256:{digest}")})
    };
    let payload = json!({"critical": {"identity": {"docker-reference": "registry.example/ib"},
        "image": {"docker-manifest-digest": signed}, "type": kind}, "optional": null});
    std::fs::write(lab.path("payload"), payload.to_string()).unwrap();
    openssl(lab.dir.path(), &format!("dgst -sha256 -sign {key}.key -out payload.sig payload"));
    openssl(lab.dir.path(), "base64 -A -in payload.sig -out payload.b64");
    let signature = std::fs::read_to_string(lab.path("payload.b64")).unwrap();
    let mut layer = put("application/vnd.dev.cosign.simplesigning.v1+json", payload.to_string().as_bytes());
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let config = json!({"architecture": "", "created": "0001-01-01T00:00:00Z", "os": "", "config": {},
        "history": [{"created": "0001-01-01T00:00:00Z"}], "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
    let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
    let mut manifest = put(kind, manifest.to_string().as_bytes());
    let tag = format!("{}.sig", lab.bundle.digest.to_string().replace(':', "-"));
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    std::fs::write(
        folder.join("index.json"),
        json!({"schemaVersion": 2, "manifests": [manifest]}).to_string(),
    )
    .unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    tag
}

/// Puts the signature where cosign does.
fn attach(lab: &Lab, registry: &Registry, tag: &str) {
    let from = format!("oci:{}:{tag}", lab.path("signature").display());
    skopeo(&["copy", "--dest-tls-verify=false", &from, &format!("docker://{}/ib:{tag}", registry.host())]);
}

#[test]
fn with_a_key_only_what_it_signed_comes_in() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let place = registry.place("ib:bundle");
    lab.push(&place, &[]).json();
    let key = format!("public_key={}", keys(&lab, "mine").display());
    let digest = lab.bundle.digest.to_string();
    let refused = |why: &str| {
        let copy = super::common::scratch();
        let ran = lab.pull(&place, copy.path().join("copy").as_path(), &["--set", &key]);
        ran.expect(14, "untrusted");
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        let large = lab.bundle.file("a_1_amd64.deb").unwrap().digest.hex();
        assert!(!copy.path().join("copy/blobs/sha256").join(large).exists(), "nothing large moved");
    };
    refused("has no signature");
    keys(&lab, "other");
    attach(&lab, &registry, &sign(&lab, "other", &digest));
    refused("the one signature");
    // A good signature, but of something else.
    attach(&lab, &registry, &sign(&lab, "mine", &format!("sha256:{}", "0".repeat(64))));
    refused("the key that is set signed another digest, `sha256:0000");
    // What is no signature of an image, by its own words.
    attach(&lab, &registry, &sign_as(&lab, "mine", &digest, "atomic container signature"));
    refused("is no signature, but `atomic container signature`");
    attach(&lab, &registry, &sign(&lab, "mine", &digest));
    lab.pull(&place, &lab.path("copy"), &["--set", &key]).json();
    // The signature is in the copy: it needs no registry to be checked again, and goes where the bundle goes.
    let second = Registry::open();
    super::cache(&lab.path("copy"), &["push", &second.place("ib:bundle")]).json();
    lab.pull(&second.place("ib:bundle"), &lab.path("third"), &["--set", &key]).json();
    assert_eq!(files(&lab.path("third")), files(&lab.path("copy")));
}

/// A mirror may be behind, ahead, or in other hands: what it has unsigned hides nothing of what is signed elsewhere.
#[test]
fn a_newer_unsigned_bundle_of_a_mirror_does_not_hide_the_signed_one() {
    let (lab, registry, mirror) = (Lab::new(), Registry::open(), Registry::open());
    let key = format!("public_key={}", keys(&lab, "mine").display());
    lab.push(&registry.place("ib:bundle"), &[]).json();
    attach(&lab, &registry, &sign(&lab, "mine", &lab.bundle.digest.to_string()));
    super::publish(&lab.path("newer"), "bundle", &[("a_2_amd64.deb", super::noise(9, 1000))]);
    super::cache(&lab.path("newer"), &["push", &mirror.place("ib:bundle")]).json();
    let mirrors = format!("mirrors=['oci://{}/=oci://{}/']", registry.host(), mirror.host());
    let copy = lab.path("copy");
    let ran = lab.pull(&registry.place("ib:bundle"), &copy, &["--set", &key, "--set", &mirrors]);
    assert_eq!(ran.json()["pulled"]["bundle"]["digest"], lab.bundle.digest.to_string());
    // Without a key the mirror is taken at its word.
    let open = lab.pull(&registry.place("ib:bundle"), &lab.path("open"), &["--set", &mirrors]);
    assert_ne!(open.json()["pulled"]["bundle"]["digest"], lab.bundle.digest.to_string());
}

#[test]
fn an_exported_file_keeps_its_signature() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let key = format!("public_key={}", keys(&lab, "mine").display());
    lab.push(&registry.place("ib:bundle"), &[]).json();
    attach(&lab, &registry, &sign(&lab, "mine", &lab.bundle.digest.to_string()));
    let copy = lab.path("copy");
    lab.pull(&registry.place("ib:bundle"), &copy, &["--set", &key]).json();
    let file = lab.path("signed.tar").display().to_string();
    super::cache(&copy, &["export", "--out", &file]).json();
    let other = lab.path("other");
    super::cache(&other, &["import", &file]).json();
    // The order in the index is that of arrival.
    let blobs =
        |cache: &Path| files(cache).into_iter().filter(|(name, _)| name != "index.json").collect::<Vec<_>>();
    assert_eq!(blobs(&other), blobs(&copy));
    super::cache(&other, &["gc"]).json();
    assert_eq!(blobs(&other), blobs(&copy));
    super::cache(&other, &["gc", "--remove", "bundle"]).json();
    assert_eq!(files(&other).len(), 2, "the signature goes with its bundle");
}

#[test]
fn a_key_that_is_none_is_refused() {
    let (lab, registry) = (Lab::new(), Registry::open());
    for text in ["public_key=/no/such/file", "public_key='-----BEGIN PUBLIC KEY-----'"] {
        let refused = lab.pull(&registry.place("ib:bundle"), &lab.path("copy"), &["--set", text]);
        refused.expect(1, "bad-settings");
    }
    openssl(lab.dir.path(), "ecparam -name secp384r1 -genkey -noout -out large.key");
    openssl(lab.dir.path(), "ec -in large.key -pubout -out large.pub");
    let large = format!("public_key={}", lab.path("large.pub").display());
    let refused = lab.pull(&registry.place("ib:bundle"), &lab.path("copy"), &["--set", &large]);
    refused.expect(1, "bad-settings");
    assert!(refused.stderr.contains("P-256"), "{}", refused.stderr);
}
