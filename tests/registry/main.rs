//! Bundles in a real registry: Debian's docker-registry, with skopeo and openssl beside this program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod archive;
mod catalog;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod doors;
mod herd;
mod sigstore;
mod troubles;
mod trust;

use common::program::{self, Ran};
use common::sha256;
use ofedctl::cache::{APT_INDEX_TYPE, Blob, Bundle, BundleFile, Cache, DEB_TYPE};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A cache with one bundle, and room for copies.
struct Lab {
    dir: tempfile::TempDir,
    bundle: Bundle,
}

/// Bytes that no two seeds have in common.
fn noise(seed: u32, length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_add(seed << 16).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

impl Lab {
    fn new() -> Self {
        Self::with(&[("a_1_amd64.deb", noise(1, 3 << 20)), ("b_2_amd64.deb", noise(2, 1000))])
    }

    fn with(packages: &[(&str, Vec<u8>)]) -> Self {
        let dir = common::scratch();
        let bundle = publish(&dir.path().join("cache"), "bundle", packages);
        Self { dir, bundle }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn push(&self, to: &str, more: &[&str]) -> Ran {
        cache(&self.cache(), &[&["push", to], more].concat())
    }

    #[allow(clippy::unused_self, reason = "it reads like `push`")]
    fn pull(&self, from: &str, into: &Path, more: &[&str]) -> Ran {
        cache(into, &[&["pull", from], more].concat())
    }
}

/// Runs `ofedctl cache … --json` with little patience.
fn cache(folder: &Path, arguments: &[&str]) -> Ran {
    program::run(&words(folder, arguments))
}

fn words(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let folder = folder.display().to_string();
    let works_with_a_network = ["push", "pull"].contains(&arguments[0]);
    let little: &[&str] =
        if works_with_a_network { &["--set", "retries=2", "--set", "stall_timeout=2"] } else { &[] };
    let all = [&["cache"], arguments, &["--json", "--cache", &folder], little].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn host(root: &Path) -> Host {
    Host::open(root, Events::silent(), Cancel::never().within(Duration::from_secs(100))).unwrap()
}

fn publish(folder: &Path, tag: &str, packages: &[(&str, Vec<u8>)]) -> Bundle {
    let cache = Cache::open_or_create(folder).unwrap();
    let host = host(Path::new("/"));
    let mut writer = cache.writer(&host, Duration::ZERO).unwrap();
    let index = b"Package: a\nFilename: ./a_1_amd64.deb\n".to_vec();
    let mut files = Vec::new();
    for (title, bytes) in packages.iter().chain(&[("Packages", index)]) {
        let media_type = if *title == "Packages" { APT_INDEX_TYPE } else { DEB_TYPE };
        let Blob { digest, size } = writer.put(bytes).unwrap();
        files.push(BundleFile { title: (*title).into(), media_type: media_type.into(), digest, size });
    }
    writer.publish(tag, &common::bundle_config(), SystemTime::UNIX_EPOCH, files).unwrap()
}

/// Every file of a cache with its digest.
fn files(cache: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for folder in ["", "blobs/sha256"] {
        for entry in std::fs::read_dir(cache.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let digest = common::sha256(&std::fs::read(&path).unwrap());
                all.insert(path.strip_prefix(cache).unwrap().display().to_string(), digest);
            }
        }
    }
    all
}

fn skopeo(arguments: &[&str]) -> String {
    common::need::need(&["skopeo"]);
    let all = ["--insecure-policy"].iter().chain(arguments);
    let output = std::process::Command::new("skopeo").args(all).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
