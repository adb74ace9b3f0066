//! Builds one Debian package that resembles the vendor's.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package to build.
#[derive(Debug, Clone, Default)]
pub struct Package {
    name: String,
    version: String,
    arch: &'static str,
    fields: String,
    files: Vec<(String, Vec<u8>, u32)>,
}

impl Package {
    /// An architecture-independent package without content.
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), arch: "all", ..Self::default() }
    }

    /// One for this machine's kind of processor.
    pub fn built(name: &str, version: &str) -> Self {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { arch, ..Self::new(name, version) }
    }

    /// A field of its control file, such as `Depends`.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        writeln!(self.fields, "{name}: {value}").unwrap();
        self
    }

    /// A file.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into(), 0o644));
        self
    }

    /// A program.
    pub fn program(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into(), 0o755));
        self
    }

    /// A script that dpkg runs, such as `postinst`.
    pub fn script(self, name: &str, text: &str) -> Self {
        self.program(&format!("DEBIAN/{name}"), text)
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version, self.arch)
    }

    /// Builds it into a folder.
    pub fn build(&self, folder: &Path) -> PathBuf {
        let tree = crate::common::scratch();
        // Scratch folders are private, and the folder becomes the package's `/`.
        std::fs::set_permissions(tree.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let Self { name, version, arch, fields, .. } = self;
        // In KiB, each file rounded up, as dpkg-gencontrol counts for every package that debhelper builds.
        let size: usize = self.files.iter().map(|(_, content, _)| content.len().div_ceil(1024)).sum();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {arch}\n{fields}Installed-Size: {size}\n\
             Maintainer: Tests <tests@example.com>\nDescription: made by a test\n"
        );
        put(tree.path(), "DEBIAN/control", control.as_bytes(), 0o644);
        self.files.iter().for_each(|(path, content, mode)| put(tree.path(), path, content, *mode));
        std::fs::create_dir_all(folder).unwrap();
        let deb = folder.join(self.file_name());
        let mut build = Command::new("dpkg-deb");
        build.args(["--build", "--root-owner-group", "-Zgzip"]).arg(tree.path()).arg(&deb);
        let done = build.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        deb
    }
}

/// Writes a file below a folder, with the folders above it.
pub(super) fn put(folder: &Path, path: &str, content: &[u8], mode: u32) {
    let path = folder.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Makes a folder of packages a flat repository, as the vendor does: with its index plain and packed by bzip2, as in 5.0.
/// `label` is what its Release file says it is.
pub(super) fn index(folder: &Path, label: &str) {
    let scan = Command::new("dpkg-scanpackages").args(["--multiversion", "."]).current_dir(folder).output();
    let index = scan.unwrap().stdout;
    std::fs::write(folder.join("Packages"), index).unwrap();
    let packed = Command::new("bzip2").args(["--keep", "--force", "Packages"]).current_dir(folder).status();
    assert!(packed.unwrap().success());
    let listed = ["Packages", "Packages.bz2"].map(|name| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        format!(" {} {} {name}\n", crate::common::sha256(&bytes), bytes.len())
    });
    let date = Command::new("date").args(["-u", "-R"]).env("LC_ALL", "C").output().unwrap().stdout;
    let date = String::from_utf8(date).unwrap().replace("+0000", "UTC");
    // Bundles of 2020 say nothing of themselves here.
    let label = if label.is_empty() { String::new() } else { format!("Origin: {label}\nLabel: {label}\n") };
    let release = format!("{label}Date: {date}SHA256:\n{}", listed.concat());
    std::fs::write(folder.join("Release"), release).unwrap();
}
