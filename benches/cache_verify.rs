//! `cache verify` against `sha256sum` over the same blobs, alternating, by the medians of their wall times.
//!
//! Two mixes: many files of the sizes a bundle has, and one vendor archive that makes up nearly all of it, which
//! no second processor can help with.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use ofedctl::cache::Cache;
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const BUDGET: f64 = 0.20;
const ROUNDS: usize = 7;
const MIB: u64 = 1 << 20;

fn main() {
    let packages = (0..64).map(|n| MIB / 2 + n * MIB / 10);
    measure("packages and drivers", std::iter::once(190 * MIB).chain(packages.clone()));
    measure("one vendor archive", std::iter::once(380 * MIB).chain(packages.take(8)));
    println!("peak memory: {}", peak_memory());
}

fn measure(name: &str, sizes: impl Iterator<Item = u64>) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::open(dir.path(), Events::silent(), Cancel::never()).unwrap();
    let cache = Cache::open_or_create(dir.path()).unwrap();
    let writer = cache.writer(&host, Duration::ZERO).unwrap();
    let random = std::fs::File::open("/dev/urandom").unwrap();
    let mut paths = Vec::new();
    let mut bytes = 0;
    for size in sizes {
        let mut blob = writer.blob(None).unwrap();
        bytes += std::io::copy(&mut (&random).take(size), &mut blob).unwrap();
        blob.flush().unwrap();
        paths.push(cache.blob_path(&blob.finish().unwrap().digest));
    }
    let sha256sum = duct::cmd("sha256sum", &paths).stdout_null();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first round warms the page cache for both.
    for round in 0..=ROUNDS {
        let (our, their) = (
            time(|| assert!(cache.verify(&host, None).unwrap().is_sound())),
            time(|| assert!(sha256sum.run().unwrap().status.success())),
        );
        if round > 0 {
            ours.push(our);
            theirs.push(their);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!(
        "{name}: {} blobs, {} MiB: cache verify {} ms, sha256sum {} ms, ratio {ratio:.3}, budget {BUDGET}: {}",
        paths.len(),
        bytes / MIB,
        ours.as_millis(),
        theirs.as_millis(),
        if ratio <= BUDGET { "kept" } else { "MISSED" }
    );
}

/// The most memory this process ever had, writing and verifying, as the kernel says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("unknown").trim().to_owned()
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
