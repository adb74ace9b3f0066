//! Baking, against what a user would run instead, on real Debian 12 roots: `bake --offline` against a bare
//! `apt-get install` from the same packages, and a bake that has nothing to do against the start of a Python that
//! does nothing. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::image;
use common::root::{Root, debian_root};
use ofedctl::cache::Cache;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SUITE: &str = "bookworm";
const RUNS: usize = 5;
const QUICK_RUNS: usize = 41;

fn main() {
    let cache = image::staged(SUITE);
    let packages = Cache::open(&cache).unwrap().bundles().unwrap().remove(0).config.packages;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut baked = None;
    for run in 0..=RUNS {
        let (a, root) = time_bake(&cache);
        let b = time_apt(&cache, &packages);
        // The first warms the page cache.
        if run > 0 {
            ours.push(a);
            theirs.push(b);
        }
        baked = Some(root);
    }
    say("bake --offline", median(ours), "apt-get install", median(theirs), 1.05);

    let root = baked.unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..QUICK_RUNS {
        ours.push(time(Command::new(env!("CARGO_BIN_EXE_ofedctl")).args(image::bake_args(&root, &cache))));
        theirs.push(time(Command::new("/usr/bin/python3").args(["-c", "pass"])));
    }
    say("bake, already right", median(ours), "python3 -c pass", median(theirs), 0.5);
}

fn time_bake(cache: &Path) -> (Duration, Root) {
    let root = debian_root(SUITE);
    nix::unistd::sync();
    let took = time(Command::new(env!("CARGO_BIN_EXE_ofedctl")).args(image::bake_args(&root, cache)));
    (took, root)
}

/// apt from a flat repository with the bundle's files, in the same kind of namespaces.
fn time_apt(cache: &Path, packages: &[String]) -> Duration {
    let root = debian_root(SUITE);
    let cache = Cache::open(cache).unwrap();
    let repository = root.path().join("srv/repo");
    fs::create_dir_all(&repository).unwrap();
    for file in &cache.bundles().unwrap()[0].files {
        fs::copy(cache.blob_path(&file.digest), repository.join(&file.title)).unwrap();
    }
    root.write("srv/repo/sources.list", "deb [trusted=yes] file:/srv/repo ./\n");
    let script = "options='-qq -o Dir::Etc::sourcelist=/srv/repo/sources.list -o Dir::Etc::sourceparts=-
        -o APT::Sandbox::User=root'; export DEBIAN_FRONTEND=noninteractive
        apt-get $options update && apt-get $options --yes --no-install-recommends install \"$@\"";
    nix::unistd::sync();
    let begun = Instant::now();
    let arguments: Vec<&str> =
        ["sh", "-c", script, "apt"].into_iter().chain(packages.iter().map(String::as_str)).collect();
    let output = root.inside(&arguments);
    let took = begun.elapsed();
    assert!(output.status.success(), "{output:?}");
    took
}

fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}");
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn say(ours: &str, a: Duration, theirs: &str, b: Duration, budget: f64) {
    let ratio = a.as_secs_f64() / b.as_secs_f64();
    println!("{ours} {a:.2?}   {theirs} {b:.2?}   ratio {ratio:.2} (budget {budget:.2})");
}
