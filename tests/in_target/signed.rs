//! Package repositories that are signed with a test's own key.

use crate::common::deb::Deb;
use crate::common::need::need;
use std::path::Path;
use std::process::Command;

/// A key pair, made for a test.
pub(crate) struct Key {
    home: tempfile::TempDir,
}

impl Key {
    pub(crate) fn new() -> Self {
        need(&["gnupg", "dpkg-dev"]);
        // Not in the build's folder: the path of gpg's socket has at most 108 bytes.
        let home = tempfile::tempdir().unwrap();
        let key = Self { home };
        key.gpg(&["--passphrase", "", "--quick-generate-key", "test@example.com", "rsa2048", "sign"]);
        key
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(self.home.path()).args(["--batch", "--yes", "--quiet"]).args(args);
        let output = gpg.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// The public half, as apt reads it.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.gpg(&["--export"])
    }

    /// Builds packages into a folder, with an index that this key signs.
    pub(crate) fn publish(&self, debs: &[Deb], folder: &Path) {
        self.publish_packed(debs, folder, &[]);
    }

    /// The same, with the index packed too, by programs that name their files as given.
    pub(crate) fn publish_packed(&self, debs: &[Deb], folder: &Path, packers: &[(&str, &str)]) {
        for deb in debs {
            deb.build(folder);
        }
        let mut scan = Command::new("dpkg-scanpackages");
        let index = scan.args(["--multiversion", "."]).current_dir(folder).output().unwrap().stdout;
        let date = Command::new("date").args(["-u", "-R"]).env("LC_ALL", "C").output().unwrap().stdout;
        let date = String::from_utf8(date).unwrap().replace("+0000", "UTC");
        let line =
            |name: &str, bytes: &[u8]| format!(" {} {} {name}\n", crate::common::sha256(bytes), bytes.len());
        let mut release = format!("Suite: test\nDate: {date}SHA256:\n{}", line("Packages", &index));
        std::fs::write(folder.join("Packages"), index).unwrap();
        for (packer, name) in packers {
            let packed = Command::new(packer).args(["-c", "Packages"]).current_dir(folder).output().unwrap();
            assert!(packed.status.success(), "{packed:?}");
            release += &line(name, &packed.stdout);
            std::fs::write(folder.join(name), packed.stdout).unwrap();
        }
        std::fs::write(folder.join("Release"), release).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        self.gpg(&["--clearsign", "--output", &path("InRelease"), &path("Release")]);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // gpg starts an agent that lives on.
        let home = self.home.path().display().to_string();
        let _ = Command::new("gpgconf").args(["--homedir", &home, "--kill", "all"]).status();
    }
}
