//! A key of a test's own that signs repositories, as the vendor's does.

use crate::common::need;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key, with the folder that holds it.
#[derive(Debug)]
pub struct Key {
    home: tempfile::TempDir,
}

impl Key {
    /// A new key.
    pub fn new() -> Self {
        need::need(&["gnupg"]);
        let key = Self { home: crate::common::scratch() };
        let make = ["--passphrase", "", "--quick-gen-key", "tests@example.com", "ed25519", "sign", "never"];
        key.gpg(&make);
        std::fs::write(key.file(), key.gpg(&["--armor", "--export"])).unwrap();
        key
    }

    /// Its public part, as a file.
    pub fn file(&self) -> PathBuf {
        self.home.path().join("key.asc")
    }

    /// Signs the `Release` of a folder.
    pub fn sign(&self, folder: &Path) {
        let at = |name: &str| folder.join(name).display().to_string();
        self.gpg(&["--armor", "--output", &at("Release.gpg"), "--detach-sign", &at("Release")]);
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.home.path()).args(["--batch", "--yes", "--quiet"]).args(args);
        let done = gpg.output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }
}

/// Secret keys are an agent's, which gpg starts by itself.
impl Drop for Key {
    fn drop(&mut self) {
        let mut kill = Command::new("gpgconf");
        let _ = kill.arg("--homedir").arg(self.home.path()).args(["--kill", "gpg-agent"]).status();
    }
}
