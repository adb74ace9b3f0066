//! Which key for kernel modules is refused, before anything is changed, and where no program sees one.

use crate::common::module_key::ModuleKey;
use ofedctl::module_signing::Certificate;
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn a_key_that_cannot_sign_is_refused_with_what_is_wrong() {
    let (one, two) = (ModuleKey::new("one"), ModuleKey::new("two"));
    let scratch = crate::common::scratch();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let text = |path: std::path::PathBuf| path.display().to_string();
    openssl(&[
        "rsa",
        "-in",
        &text(one.key()),
        "-aes128",
        "-passout",
        "pass:word",
        "-out",
        &path("encrypted"),
    ]);
    openssl(&[
        "rsa",
        "-traditional",
        "-in",
        &text(one.key()),
        "-aes128",
        "-passout",
        "pass:word",
        "-out",
        &path("old"),
    ]);
    openssl(&["ecparam", "-genkey", "-name", "prime256v1", "-out", &path("elliptic")]);
    openssl(&["genrsa", "-out", &path("short"), "1024"]);
    std::fs::copy(one.key(), path("open")).unwrap();
    let image = scratch.path().join("image");
    std::fs::create_dir_all(image.join("etc")).unwrap();
    std::fs::write(image.join("etc/os-release"), "ID=ubuntu\nVERSION_ID=\"22.04\"\n").unwrap();
    std::fs::copy(one.key(), image.join("etc/key.pem")).unwrap();
    for name in ["encrypted", "old", "elliptic", "short", "image/etc/key.pem"] {
        std::fs::set_permissions(path(name), Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(path("open"), Permissions::from_mode(0o640)).unwrap();
    std::fs::write(path("no-certificate"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();

    let certificate = text(one.certificate());
    let inside = path("image/etc/key.pem");
    let table = [
        (text(one.key()), text(two.certificate()), "not that of the key"),
        (path("encrypted"), certificate.clone(), "is encrypted"),
        (path("old"), certificate.clone(), "is encrypted"),
        (path("open"), certificate.clone(), "chmod 600"),
        (path("elliptic"), certificate.clone(), "not an RSA private key"),
        (path("short"), certificate.clone(), "not an RSA private key"),
        (certificate.clone(), certificate.clone(), "chmod 600"),
        (text(one.key()), path("no-certificate"), "no X.509 certificate"),
        (inside.clone(), certificate, "lies in the image"),
    ];
    for (key, certificate, wanted) in table {
        let (key, certificate) =
            (format!("module_signing_key={key}"), format!("module_signing_cert={certificate}"));
        let root = image.display().to_string();
        let args = [
            "plan",
            "--json",
            "--root",
            &root,
            "--vm-size",
            "Standard_HB120rs_v3",
            "--set",
            &key,
            "--set",
            &certificate,
        ];
        let (code, document) = ran(&args);
        let message = document["message"].as_str().unwrap();
        assert_eq!((code, &document["reason"]), (1, &Value::from("bad-settings")), "{message}");
        assert_eq!(document["cause"], "signing-key-unusable", "{message}");
        assert!(message.contains(wanted), "{message}");
        assert!(!document.to_string().contains("PRIVATE KEY"), "{document}");
    }
    let alone = format!("module_signing_key={}", one.key().display());
    let (code, document) = ran(&["plan", "--json", "--distro", "ubuntu22.04", "--set", &alone]);
    assert!(
        code == 1 && document["message"].as_str().unwrap().contains("needs `module_signing_cert`"),
        "{document}"
    );
}

#[test]
fn a_certificate_is_one_in_pem_and_in_der() {
    let key = ModuleKey::new("one");
    let pem = Certificate::read(&key.certificate()).unwrap();
    assert_eq!(pem.der(), key.der());
    let der = crate::common::scratch();
    std::fs::write(der.path().join("cert.der"), key.der()).unwrap();
    assert_eq!(Certificate::read(&der.path().join("cert.der")).unwrap(), pem);
    assert_eq!((pem.subject(), pem.sha256()), ("CN=one".to_owned(), crate::common::sha256(&key.der())));
}

fn ran(args: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_ofedctl")).args(args).output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), document)
}
