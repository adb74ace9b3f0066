//! Verifying and unpacking a vendor's archive, against what a user would run instead: `sha256sum -c`, then `tar xzf`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use ofedctl::host::cancel::Cancel;
use ofedctl::host::unpack::unpack;
use side_by_side::{Budget, Results, time_of};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

const UNPACK: Budget = Budget {
    what: "verifying and unpacking a vendor's tgz of 380 MB",
    against: "`sha256sum -c`, then `tar xzf`",
    at_most: 0.14,
};
/// What `MLNX_OFED` archives are: about 380 MB packed and 1.2 GB unpacked.
const PACKED_MIB: usize = 380;

fn main() -> ExitCode {
    let folder = common::scratch();
    let archive = folder.path().join("driver.tgz");
    make_archive(folder.path(), &archive);
    let mut results = Results::default();
    let ours = || time(folder.path(), |into| we(&archive, into));
    results.compare(UNPACK, ours, || time(folder.path(), |into| they(&archive, into)));
    results.finish()
}

fn we(archive: &Path, into: &Path) {
    let wanted = fs::read_to_string(archive.with_extension("sha256")).unwrap();
    let unpacked = unpack(&Cancel::never(), archive, into).unwrap();
    assert!(wanted.starts_with(&unpacked.sha256));
}

fn they(archive: &Path, into: &Path) {
    let sums = archive.with_extension("sha256");
    assert!(Command::new("sha256sum").args(["-c", "--quiet"]).arg(sums).status().unwrap().success());
    assert!(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(into).status().unwrap().success());
}

fn time(folder: &Path, work: impl FnOnce(&Path)) -> Duration {
    let into = folder.join("into");
    fs::create_dir(&into).unwrap();
    let took = time_of(|| work(&into));
    fs::remove_dir_all(into).unwrap();
    took
}

/// A tree of packages, incompressible as real ones are, and of sources, which pack to about a fifth.
fn make_archive(dir: &Path, archive: &Path) {
    let tree = dir.join("MLNX_OFED_LINUX");
    fs::create_dir_all(tree.join("DEBS")).unwrap();
    fs::create_dir_all(tree.join("src")).unwrap();
    let mut seed = 1;
    for package in 0..100 {
        let mut file = File::create(tree.join(format!("DEBS/{package}.deb"))).unwrap();
        file.write_all(&noise(&mut seed, (PACKED_MIB << 20) * 3 / 400)).unwrap();
    }
    for source in 0..100 {
        let mut file = File::create(tree.join(format!("src/{source}.c"))).unwrap();
        for word in noise(&mut seed, (PACKED_MIB << 20) / 200).chunks(4) {
            // One random byte among sixteen that repeat.
            file.write_all(&[
                word[0], b'\n', b' ', b' ', b' ', b' ', b'r', b'e', b't', b'u', b'r', b'n', b' ', b'0', b';',
                b'}',
            ])
            .unwrap();
        }
    }
    let tar = Command::new("tar")
        .arg("czf")
        .arg(archive)
        .arg("-C")
        .arg(dir)
        .arg("MLNX_OFED_LINUX")
        .status()
        .unwrap();
    assert!(tar.success());
    let sum = Command::new("sha256sum").arg(archive).output().unwrap();
    fs::write(archive.with_extension("sha256"), sum.stdout).unwrap();
    fs::remove_dir_all(tree).unwrap();
}

/// xorshift64: quick, and nothing a compressor can use.
fn noise(seed: &mut u64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        out.extend_from_slice(&seed.to_le_bytes());
    }
    out.truncate(bytes);
    out
}
