//! The program itself, which stages a driver from an archive of a vendor's, and imports an archive of a cache.

use crate::common::program::program;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with a file to read, a cache, and the sources of a root.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = crate::common::scratch();
        std::fs::create_dir_all(folder.path().join("sources/etc")).unwrap();
        let release = "ID=ubuntu\nVERSION_ID=\"20.04\"\n";
        std::fs::write(folder.path().join("sources/etc/os-release"), release).unwrap();
        Self { folder }
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.path().join("archive.tgz")
    }

    /// Writes the file to read, piece by piece.
    pub(crate) fn write(&self, write: impl FnOnce(&mut BufWriter<File>)) {
        let mut file = BufWriter::new(File::create(self.archive()).unwrap());
        write(&mut file);
        file.flush().unwrap();
    }

    /// Stages the file as a driver of which nobody published a digest.
    pub(crate) fn stage(&self) -> Command {
        let path = |path: PathBuf| path.display().to_string();
        let digest = digest_of(&self.archive());
        let (archive, cache) = (path(self.archive()), path(self.cache()));
        let sources = path(self.folder.path().join("sources"));
        program(
            &[
                &[
                    "stage",
                    "--json",
                    "--distro",
                    "ubuntu20.04",
                    "--kernel",
                    "5.4.0-42-generic",
                    "--nic",
                    "cx6",
                ][..],
                &["--driver", "mlnx_ofed", "--driver-version", "5.8-9.9.9.9", "--sha256", &digest],
                &["--sources", &sources, "--cache", &cache, "--artifact", &archive],
            ]
            .concat(),
        )
    }

    /// Imports the file.
    pub(crate) fn import(&self) -> Command {
        self.of_cache(&["import", self.archive().to_str().unwrap()])
    }

    /// A command about the cache.
    pub(crate) fn of_cache(&self, words: &[&str]) -> Command {
        let cache = self.cache().display().to_string();
        program(&[&["cache", "--json", "--cache", &cache][..], words].concat())
    }
}

fn digest_of(path: &Path) -> String {
    let mut hasher = ofedctl::cache::Hasher::default();
    let mut file = File::open(path).unwrap();
    let mut piece = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut file, &mut piece).unwrap() {
            0 => return hasher.finish().0.hex(),
            read => hasher.update(&piece[..read]),
        }
    }
}
