//! A root whose files are the input, for the parsers that read files.

use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::host::fs::Root;
use std::path::Path;
use tempfile::TempDir;

/// Puts the parts of the input, which a zero byte ends, into these files of a new root.
pub fn with_files(input: &[u8], paths: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder for a root");
    for (path, bytes) in paths.iter().zip(input.split(|byte| *byte == 0)) {
        put(dir.path(), path, bytes);
    }
    dir
}

/// Puts one file into a folder.
pub fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().expect("a path inside the root")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// The root in a folder.
pub fn root(dir: &TempDir) -> Root {
    Root::open(dir.path()).expect("a root")
}

/// A host with that root, which says nothing.
pub fn host(dir: &TempDir) -> Host {
    Host::open(dir.path(), Events::silent(), Cancel::never()).expect("a host")
}
