//! Verifying and unpacking a vendor's archive, against what a user would run instead: `sha256sum -c`, then
//! `tar xzf`. Both in turn, several times; the medians and their ratio are printed with the budget.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use ofedctl::host::cancel::Cancel;
use ofedctl::host::unpack::unpack;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BUDGET: f64 = 0.30;
const RUNS: usize = 5;
/// What `MLNX_OFED` archives are: about 380 MB packed and 1.2 GB unpacked.
const PACKED_MIB: usize = 380;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("driver.tgz");
    make_archive(dir.path(), &archive);
    println!("archive: {} MiB", fs::metadata(&archive).unwrap().len() >> 20);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let (a, b) =
            (time(dir.path(), |into| we(&archive, into)), time(dir.path(), |into| they(&archive, into)));
        // The first warms the page cache.
        if run > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    let (a, b) = (median(ours), median(theirs));
    let ratio = a.as_secs_f64() / b.as_secs_f64();
    println!("ofedctl {a:.2?}   sha256sum -c && tar xzf {b:.2?}   ratio {ratio:.2} (budget {BUDGET:.2})");
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

fn time(dir: &Path, work: impl FnOnce(&Path)) -> Duration {
    let into = dir.join("into");
    fs::create_dir(&into).unwrap();
    let started = Instant::now();
    work(&into);
    let took = started.elapsed();
    fs::remove_dir_all(into).unwrap();
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
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
