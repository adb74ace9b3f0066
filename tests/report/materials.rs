//! Bills of materials and statements, as other programs read them.

use crate::common::image;
use crate::common::need::need;
use crate::{baked, report, reported};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The validators that the makers of the two forms publish, from the Python registry.
fn validators() -> PathBuf {
    need(&["python3-venv"]);
    let folder = crate::common::kept("test-sbom-validators");
    let _lock = crate::common::lock(&crate::common::kept("test-locks").join("sbom-validators"));
    let done = folder.join("installed-1");
    if !done.exists() {
        let venv = Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&folder).status().unwrap();
        assert!(venv.success());
        let packages = ["cyclonedx-python-lib[json-validation]==11.5.0", "spdx-tools==0.8.3"];
        let pip =
            Command::new(folder.join("bin/pip")).args(["install", "-q"]).args(packages).output().unwrap();
        assert!(pip.status.success(), "this test needs PyPI: {pip:?}");
        std::fs::write(done, "").unwrap();
    }
    folder.join("bin")
}

#[test]
fn the_validators_of_both_forms_accept_the_bills_of_materials() {
    let root = baked();
    let bin = validators();
    let cyclonedx: Value =
        serde_json::from_str(&reported(&root, "cyclonedx.json", &["--sbom", "cyclonedx"])).unwrap();
    let spdx: Value = serde_json::from_str(&reported(&root, "spdx.json", &["--sbom", "spdx"])).unwrap();
    let check = "import sys\nfrom cyclonedx.schema import SchemaVersion\n\
                 from cyclonedx.validation.json import JsonStrictValidator\n\
                 wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
                 sys.exit(str(wrong) if wrong else 0)";
    let checked =
        Command::new(bin.join("python")).args(["-c", check]).arg(root.beside("cyclonedx.json")).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let checked =
        Command::new(bin.join("pyspdxtools")).arg("-i").arg(root.beside("spdx.json")).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let packages = image::receipt(&root)["packages"].as_object().unwrap().clone();
    assert_eq!(cyclonedx["components"].as_array().unwrap().len(), packages.len());
    assert_eq!(spdx["packages"].as_array().unwrap().len(), packages.len() + 1);
    let purls: Vec<&str> =
        cyclonedx["components"].as_array().unwrap().iter().filter_map(|it| it["purl"].as_str()).collect();
    assert!(purls.iter().any(|purl| purl.starts_with("pkg:deb/debian/ibverbs-providers@")), "{purls:?}");
}

/// A key pair: the private one in PEM, and the public one.
fn key(folder: &Path) -> [PathBuf; 2] {
    let files = ["key.pem", "key.pub"].map(|name| folder.join(name));
    let openssl = |args: &[&str]| assert!(Command::new("openssl").args(args).status().unwrap().success());
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", files[0].to_str().unwrap()]);
    openssl(&["ec", "-in", files[0].to_str().unwrap(), "-pubout", "-out", files[1].to_str().unwrap()]);
    files
}

#[track_caller]
fn assert_signed(public: &Path, message: &[u8], signature: &str) {
    let folder = crate::common::scratch();
    let [message_file, signature_file] = ["message", "signature"].map(|name| folder.path().join(name));
    std::fs::write(&message_file, message).unwrap();
    std::fs::write(&signature_file, STANDARD.decode(signature.trim()).unwrap()).unwrap();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["dgst", "-sha256", "-verify"])
        .arg(public)
        .arg("-signature")
        .arg(signature_file)
        .arg(message_file);
    let checked = openssl.output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_statement_names_the_receipt_and_what_went_in_by_digest_and_its_signature_holds() {
    let root = baked();
    let folder = crate::common::scratch();
    let [private, public] = key(folder.path());
    let cache = image::staged("bookworm");
    root.write("etc/ofedctl/config.yaml", &format!("cache: {}\n", cache.display()));
    let plain = reported(&root, "statement.json", &["--provenance"]);
    let signed = reported(&root, "signed.json", &["--provenance", "--key", private.to_str().unwrap()]);
    let signed: Value = serde_json::from_str(&signed).unwrap();
    let payload = STANDARD.decode(signed["payload"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8_lossy(&payload), plain);
    let kind = signed["payloadType"].as_str().unwrap();
    let message = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), &payload].concat();
    assert_signed(&public, &message, signed["signatures"][0]["sig"].as_str().unwrap());

    let statement: Value = serde_json::from_str(&plain).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let receipt = crate::common::sha256(root.read("var/lib/ofedctl/receipt.json").as_bytes());
    assert_eq!(statement["subject"][0]["digest"]["sha256"], receipt);
    let inputs = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert!(inputs[0]["name"] == "bundle" && inputs.len() > 5, "every file of the bundle: {inputs:#?}");
    for input in inputs {
        let digest = input["digest"]["sha256"].as_str().unwrap();
        assert!(cache.join("blobs/sha256").join(digest).exists(), "{input}");
    }
}

#[test]
fn a_signature_lies_beside_any_other_form() {
    let root = baked();
    let folder = crate::common::scratch();
    let [private, public] = key(folder.path());
    let html = reported(&root, "report.html", &["--key", private.to_str().unwrap()]);
    let signature = std::fs::read_to_string(root.beside("report.html.sig")).unwrap();
    assert_signed(&public, html.as_bytes(), &signature);
    let (file, ran) = report(&root, "other.html", &["--key", public.to_str().unwrap(), "--json"]);
    ran.expect(1, "usage");
    assert!(!file.exists(), "a key that cannot sign is refused before anything is written");
}
