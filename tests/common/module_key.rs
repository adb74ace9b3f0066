//! Keys for kernel modules, as users make them with OpenSSL, and OpenSSL's own word on what they signed.

use super::need;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a signed module ends with.
const MAGIC: &[u8] = b"~Module signature appended~\n";

/// A key and its certificate.
#[derive(Debug)]
pub struct ModuleKey {
    folder: tempfile::TempDir,
}

impl ModuleKey {
    /// A new one, for a name.
    pub fn new(name: &str) -> Self {
        need::need(&["openssl"]);
        let folder = super::scratch();
        let subject = format!("/CN={name}/");
        let path = |file: &str| folder.path().join(file).display().to_string();
        openssl(&[
            "req",
            "-new",
            "-x509",
            "-nodes",
            "-newkey",
            "rsa:2048",
            "-days",
            "3",
            "-subj",
            &subject,
            "-keyout",
            &path("key.pem"),
            "-out",
            &path("cert.pem"),
        ]);
        std::fs::set_permissions(path("key.pem"), Permissions::from_mode(0o600)).unwrap();
        Self { folder }
    }

    /// The key's file.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// The certificate's file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The certificate in DER.
    pub fn der(&self) -> Vec<u8> {
        let out = self.folder.path().join("cert.der").display().to_string();
        openssl(&["x509", "-in", &self.certificate().display().to_string(), "-outform", "DER", "-out", &out]);
        std::fs::read(out).unwrap()
    }

    /// The settings that name the certificate.
    pub fn by_certificate(&self) -> [String; 2] {
        ["--set".to_owned(), format!("module_signing_cert={}", self.certificate().display())]
    }

    /// The settings that name both.
    pub fn by_key(&self) -> [String; 4] {
        let [set, certificate] = self.by_certificate();
        [set.clone(), certificate, set, format!("module_signing_key={}", self.key().display())]
    }

    /// Whether OpenSSL, too, finds that this key signed a module that is not compressed.
    pub fn signed(&self, module: &[u8]) -> bool {
        let Some(rest) = module.strip_suffix(MAGIC) else { return false };
        let (rest, trailer) = rest.split_at(rest.len() - 12);
        assert_eq!(trailer[..8], [0, 0, 2, 0, 0, 0, 0, 0], "PKCS #7, and nothing else is said");
        let length = u32::from_be_bytes(trailer[8..].try_into().unwrap());
        let (bare, signature) = rest.split_at(rest.len() - usize::try_from(length).unwrap());
        assert!(!bare.ends_with(MAGIC), "two signatures");
        let scratch = super::scratch();
        let put = |name: &str, bytes: &[u8]| {
            std::fs::write(scratch.path().join(name), bytes).unwrap();
            scratch.path().join(name).display().to_string()
        };
        let (bare, signature) = (put("module", bare), put("signature", signature));
        let certificate = self.certificate().display().to_string();
        let args = [
            "cms",
            "-verify",
            "-binary",
            "-noverify",
            "-inform",
            "DER",
            "-in",
            &signature,
            "-content",
            &bare,
            "-certfile",
            &certificate,
            "-out",
            "/dev/null",
        ];
        let mut verify = Command::new("openssl");
        verify.args(args).stderr(Stdio::null()).status().unwrap().success()
    }
}

/// The modules below a folder.
pub fn modules_below(folder: &Path) -> Vec<PathBuf> {
    let find = Command::new("find").arg(folder).args(["-name", "*.ko*", "-type", "f"]).output().unwrap();
    String::from_utf8(find.stdout).unwrap().lines().map(PathBuf::from).collect()
}

#[track_caller]
fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
