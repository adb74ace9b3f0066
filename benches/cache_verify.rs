//! `cache verify` against `sha256sum` over the same blobs. Two mixes: many files of the sizes a bundle has, and one vendor
//! archive that makes up nearly all of it, which no second processor can help with. Beside each stands what SHA-256 alone
//! takes on all processors, from memory: no program that hashes every byte is faster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use common::bundles;
use ofedctl::cache::Cache;
use sha2::{Digest, Sha256};
use side_by_side::{Budget, Results, ofedctl, time, time_of};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

const AGAINST: &str = "`sha256sum` over the same files";
const ONE: Budget = Budget { what: "`cache verify`, one archive of 380 MB", against: AGAINST, at_most: 0.20 };
const MANY: Budget = Budget { what: "`cache verify`, 64 files", against: AGAINST, at_most: 0.12 };
const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    let mut results = Results::default();
    let small = |count: u64| (0..count).map(|number| MIB / 2 + number * MIB / 10).collect::<Vec<_>>();
    measure(&mut results, MANY, 2, &small(64));
    measure(&mut results, ONE, 1, &[&[380 * MIB][..], &small(8)].concat());
    results.finish()
}

fn measure(results: &mut Results, budget: Budget, processors: u32, sizes: &[u64]) {
    let folder = common::scratch();
    let names: Vec<String> = (0..sizes.len()).map(|number| format!("{number}_1_amd64.deb")).collect();
    let files: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
    let path = bundles::cache_of(folder.path(), &files);
    let cache = Cache::open(&path).unwrap();
    let held = cache.bundles().unwrap().remove(0).files;
    let blobs: Vec<PathBuf> = held.iter().map(|file| cache.blob_path(&file.digest)).collect();
    let verify = || time(ofedctl(["cache", "verify", "--cache"]).arg(&path));
    results.compare(budget, verify, || time(Command::new("sha256sum").args(&blobs)));
    let alone = sha_alone(sizes.iter().sum()) / processors;
    println!(
        "    SHA-256 alone, from memory, on {processors} processors: {:.1} ms",
        alone.as_secs_f64() * 1000.0
    );
}

/// How long one processor hashes so many bytes.
fn sha_alone(bytes: u64) -> Duration {
    const CHUNK: usize = 1 << 20;
    let chunk = vec![7; CHUNK];
    time_of(|| {
        let mut hash = Sha256::new();
        (0..bytes / CHUNK as u64).for_each(|_| hash.update(&chunk));
        std::hint::black_box(hash.finalize());
    })
}
