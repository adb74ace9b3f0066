//! Small real Debian packages, and a repository to install them from.

use super::{need, web::Web};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package to build.
#[derive(Debug, Clone, Default)]
pub struct Deb {
    pub name: &'static str,
    pub version: &'static str,
    /// `all` when empty.
    pub arch: &'static str,
    pub depends: &'static str,
    /// Path and text of each file.
    pub files: Vec<(&'static str, &'static str)>,
    /// Name (`postinst` …) and text of each script that dpkg runs.
    pub scripts: Vec<(&'static str, &'static str)>,
}

impl Deb {
    /// Builds the package into a folder.
    pub fn build(&self, folder: &Path) -> PathBuf {
        let tree = super::scratch();
        let put = |path: &str, text: &str, mode: u32| {
            let path = tree.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        // Scratch folders are private, and the folder becomes the package's `/`.
        std::fs::set_permissions(tree.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let Self { name, version, .. } = self;
        let arch = if self.arch.is_empty() { "all" } else { self.arch };
        let depends = if self.depends.is_empty() { "" } else { &format!("Depends: {}\n", self.depends) };
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {arch}\n{depends}\
             Maintainer: Tests <tests@example.com>\nDescription: made by a test\n"
        );
        put("DEBIAN/control", &control, 0o644);
        self.files.iter().for_each(|(path, text)| put(path, text, 0o644));
        self.scripts.iter().for_each(|(name, text)| put(&format!("DEBIAN/{name}"), text, 0o755));
        let deb = folder.join(format!("{name}_{version}_{arch}.deb"));
        let mut build = Command::new("dpkg-deb");
        build.args(["--build", "--root-owner-group", "-Zgzip"]).arg(tree.path()).arg(&deb);
        assert!(build.output().unwrap().status.success(), "cannot build {name}");
        deb
    }
}

/// A repository of packages, served on this machine.
#[derive(Debug)]
pub struct Repository {
    pub web: Web,
    folder: tempfile::TempDir,
}

impl Repository {
    /// Builds the packages, their index and its Release file, and serves them.
    pub fn of(debs: &[Deb]) -> Self {
        let folder = super::scratch();
        for deb in debs {
            deb.build(folder.path());
        }
        Self::in_folder(folder)
    }

    /// The same for files that are there, each under a name.
    pub fn of_files(files: &[(String, PathBuf)]) -> Self {
        let folder = super::scratch();
        for (name, file) in files {
            std::fs::copy(file, folder.path().join(name)).unwrap();
        }
        Self::in_folder(folder)
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        need::need(&["dpkg-dev"]);
        let scan =
            Command::new("dpkg-scanpackages").args(["--multiversion", "."]).current_dir(&folder).output();
        let index = scan.unwrap().stdout;
        let digest = super::sha256(&index);
        let date = Command::new("date").args(["-u", "-R"]).env("LC_ALL", "C").output().unwrap().stdout;
        let release = format!(
            "Suite: test\nDate: {}SHA256:\n {digest} {} Packages\n",
            String::from_utf8(date).unwrap().replace("+0000", "UTC"),
            index.len()
        );
        std::fs::write(folder.path().join("Packages"), index).unwrap();
        std::fs::write(folder.path().join("Release"), release).unwrap();
        Self { web: Web::serve(folder.path()), folder }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The line that makes apt use it.
    pub fn source_line(&self) -> String {
        format!("deb [trusted=yes] {} ./", self.web.address())
    }
}
