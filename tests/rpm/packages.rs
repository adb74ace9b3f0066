//! Small real rpm packages, and a repository of them.

use crate::common::need::need;
use crate::common::root::Root;
use crate::common::web::Web;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that belong to the packages with files in them.
const OWN_FOLDERS: [&str; 2] = ["/etc/infiniband", "/etc/rdma"];

/// A package to build.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rpm {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// `1` when empty.
    pub(crate) release: &'static str,
    /// `noarch` when empty.
    pub(crate) arch: &'static str,
    pub(crate) requires: &'static str,
    /// Further lines of the spec's head, such as `Conflicts: x`.
    pub(crate) head: &'static str,
    /// Path and text of each file.
    pub(crate) files: Vec<(&'static str, &'static str)>,
    /// Files of this machine, each with its folder in the package.
    pub(crate) copies: Vec<(PathBuf, &'static str)>,
    /// The script that rpm runs after it has installed the files.
    pub(crate) post: &'static str,
    /// The script that rpm runs before it removes them.
    pub(crate) preun: &'static str,
}

impl Rpm {
    /// A package with one file that names it.
    pub(crate) fn plain(name: &'static str, version: &'static str, requires: &'static str) -> Self {
        Self { name, version, requires, ..Self::default() }
    }

    /// Builds the package into a folder.
    pub(crate) fn build(&self, folder: &Path) -> PathBuf {
        need(&["rpm"]);
        let work = crate::common::scratch();
        let Self { name, version, requires, head, files, copies, post, preun, .. } = self;
        let release = if self.release.is_empty() { "1" } else { self.release };
        let mut spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: made by a test\nLicense: MIT\n\
             AutoReqProv: no\n{head}\n"
        );
        let arch = if self.arch.is_empty() { "noarch" } else { self.arch };
        if arch == "noarch" {
            spec += "BuildArch: noarch\n";
        }
        if !requires.is_empty() {
            let _ = writeln!(spec, "Requires: {requires}");
        }
        let mark = format!("/usr/share/made-by-tests/{name}");
        let own = [(mark.as_str(), *version)];
        let files: Vec<(&str, &str)> = own.into_iter().chain(files.iter().copied()).collect();
        spec += "%description\nMade by a test.\n%install\n";
        for (number, (path, text)) in files.iter().enumerate() {
            std::fs::write(work.path().join(number.to_string()), text).unwrap();
            let from = work.path().join(number.to_string());
            let mode = if text.starts_with("#!") { 755 } else { 644 };
            let _ = writeln!(spec, "install -D -m {mode} {} %{{buildroot}}{path}", from.display());
        }
        for (from, folder) in copies {
            let _ = writeln!(spec, "install -D -m 644 -t %{{buildroot}}{folder} {}", from.display());
        }
        if !post.is_empty() {
            let _ = writeln!(spec, "%post\n{post}");
        }
        if !preun.is_empty() {
            let _ = writeln!(spec, "%preun\n{preun}");
        }
        spec += "%files\n";
        for (from, folder) in copies {
            let _ = writeln!(spec, "{folder}/{}", from.file_name().unwrap().display());
        }
        for (path, _) in &files {
            let config = if path.starts_with("/etc/") { "%config(noreplace) " } else { "" };
            let _ = writeln!(spec, "{config}{path}");
        }
        for folder in
            OWN_FOLDERS.iter().filter(|folder| files.iter().any(|(path, _)| path.starts_with(**folder)))
        {
            let _ = writeln!(spec, "%dir {folder}");
        }
        let path = work.path().join("a.spec");
        std::fs::write(&path, spec).unwrap();
        let mut build = Command::new("rpmbuild");
        build
            .args(["-bb", "--target", arch])
            .arg(&path)
            .arg("--define")
            .arg(format!("_topdir {}", work.path().display()));
        build.arg("--define").arg(format!("_rpmdir {}", folder.display()));
        build.args(["--define", "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm"]);
        let output = build.args(["--define", "__os_install_post %{nil}"]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        folder.join(format!("{name}-{version}-{release}.{arch}.rpm"))
    }
}

/// A repository of packages, served on this machine.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) web: Web,
    folder: tempfile::TempDir,
}

impl Repository {
    /// Builds the packages and their metadata, and serves them.
    pub(crate) fn of(rpms: &[Rpm]) -> Self {
        let folder = crate::common::scratch();
        for rpm in rpms {
            rpm.build(folder.path());
        }
        index(folder.path());
        Self { web: Web::serve(folder.path()), folder }
    }

    /// Copies it into a root, whose network is cut, under the name of a repository file there.
    pub(crate) fn copy_into(&self, root: &Root, file: &str) {
        let folder = root.path().join("var/repository");
        let _ = std::fs::remove_dir_all(&folder);
        let mut cp = Command::new("cp");
        assert!(cp.arg("-a").arg(self.folder.path()).arg(&folder).status().unwrap().success());
        root.write(file, "[test]\nname=test\nbaseurl=file:///var/repository\nenabled=1\ngpgcheck=0\n");
    }

    /// Where its packages and metadata lie.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A repository file that names it.
    pub(crate) fn file(&self, more: &str) -> String {
        format!("[test]\nname=test\nbaseurl={}\nenabled=1\ngpgcheck=0\n{more}\n", self.web.address())
    }
}

/// Makes the metadata of a folder of packages.
pub(crate) fn index(folder: &Path) {
    need(&["createrepo-c"]);
    assert!(Command::new("createrepo_c").arg("--quiet").arg(folder).status().unwrap().success());
}

/// A key pair in a folder of its own.
#[derive(Debug)]
pub(crate) struct Key {
    home: tempfile::TempDir,
}

impl Key {
    pub(crate) fn new() -> Self {
        need(&["gnupg"]);
        // Not in the build's folder: the path of gpg's socket has at most 108 bytes.
        let key = Self { home: tempfile::Builder::new().prefix("key-").tempdir_in("/var/tmp").unwrap() };
        key.gpg(&["--passphrase", "", "--quick-gen-key", "Tests <tests@example.com>", "rsa2048", "sign"]);
        key
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .arg("--batch")
            .args(args)
            .env("GNUPGHOME", self.home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    pub(crate) fn public(&self) -> String {
        String::from_utf8(self.gpg(&["--armor", "--export"])).unwrap()
    }

    pub(crate) fn sign(&self, folder: &Path) {
        let mut sign = Command::new("rpmsign");
        sign.args(["--define", "__gpg /usr/bin/gpg", "--define", "_gpg_name tests@example.com", "--addsign"])
            .env("GNUPGHOME", self.home.path());
        let rpms = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let output =
            sign.args(rpms.filter(|path| path.extension().is_some_and(|it| it == "rpm"))).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Signs the index of a repository, and puts the key beside it, as zypper wants both.
    pub(crate) fn sign_index(&self, folder: &Path) {
        let index = folder.join("repodata/repomd.xml");
        let signature = self.gpg(&["--armor", "--detach-sign", "--output", "-", index.to_str().unwrap()]);
        std::fs::write(folder.join("repodata/repomd.xml.asc"), signature).unwrap();
        std::fs::write(folder.join("repodata/repomd.xml.key"), self.public()).unwrap();
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.home.path()).status();
    }
}
