//! Shared by the integration tests: real roots, real packages, and functions that inspect the result of a run. Nothing
//! here imitates a package manager, a root or a registry. Missing programs are installed, or the test fails and says
//! what to install; no test skips itself.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod archive;
pub mod bundles;
pub mod cost;
pub mod counts;
pub mod deb;
pub mod disk;
pub mod documents;
pub mod endings;
pub mod hostile_text;
pub mod hosts;
pub mod image;
pub mod layers;
pub mod measured;
pub mod module_key;
pub mod need;
pub mod nginx;
pub mod other_driver;
pub mod program;
pub mod qemu;
pub mod registry;
pub mod relay;
pub mod root;
pub mod shipped;
pub mod small_root;
pub mod status;
pub mod still;
pub mod tree;
pub mod tunnel;
pub mod vendor;
pub mod wait;
pub mod web;

use ofedctl::cache::{BundleConfig, Repository, RepositoryKind};
use ofedctl::target::{Arch, Distro, Driver};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder for files of tests: on the disk that holds the build, never in a `/tmp` that may be in memory.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("test-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A folder for files that are reused between test runs.
pub fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a small bundle with one package says it is for.
pub fn bundle_config() -> BundleConfig {
    BundleConfig {
        schema_version: 1,
        driver: Driver::Inbox,
        driver_version: None,
        distro: Distro::new("debian", "12"),
        arch: Arch::X86_64,
        kernels: vec!["6.1.0-25-amd64".into()],
        packages: vec!["a".into()],
        repository: Some(Repository { kind: RepositoryKind::Apt, index: "Packages".into() }),
        vendor_file: None,
        vendor_room: None,
        unsigned: Vec::new(),
        origins: Vec::new(),
        made_by: "ofedctl 0.1.0".into(),
    }
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    ofedctl::host::hex(&Sha256::digest(bytes))
}

/// Holds a lock between test processes until the result is dropped.
pub fn lock(path: &Path) -> File {
    let file = lock_file(path);
    file.lock().unwrap();
    file
}

/// The same, beside others who only read.
pub fn lock_shared(path: &Path) -> File {
    let file = lock_file(path);
    file.lock_shared().unwrap();
    file
}

fn lock_file(path: &Path) -> File {
    File::options().create(true).truncate(false).write(true).open(path).unwrap()
}
