//! Baking, against what a user would run instead, on real Debian 12 roots: `bake --offline` against a bare
//! `apt-get install` from the same packages, and a bake that has nothing to do against the start of a Python that
//! does nothing. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use common::counts::{Counts, counted_of};
use common::image;
use common::measured::{Calls, Measured};
use common::root::{Root, debian_root};
use ofedctl::cache::Cache;
use side_by_side::programs::profile;
use side_by_side::{Budget, Results, ofedctl, time, time_of};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

const SUITE: &str = "bookworm";
const BAKE: Budget = Budget {
    what: "`bake --offline`, 50 packages",
    against: "`apt-get install` of the same files",
    at_most: 0.90,
};
const AGAIN: Budget = Budget { what: "`bake`, already right", against: "`python3 -c pass`", at_most: 0.40 };
const AGAIN_PAIRS: usize = 41;

fn main() -> ExitCode {
    let folder = common::scratch();
    let catalogue = folder.path().join("catalog.yaml");
    fs::write(&catalogue, with_mpi()).unwrap();
    let args = |verb: &str, root: &Root, cache: &Path| {
        let mut command = ofedctl([verb, "--vm-size", image::VM_SIZE, "--root"]);
        command.arg(root.path()).arg("--cache").arg(cache).arg("--catalog").arg(&catalogue);
        command
    };
    let cache = folder.path().join("cache");
    time(&mut args("stage", &debian_root(SUITE), &cache));
    let bundle = Cache::open(&cache).unwrap().bundles().unwrap().remove(0);
    assert!(bundle.files.len() > 50, "only {} files", bundle.files.len());
    let packages = bundle.config.packages;

    let mut results = Results::default();
    let mut baked = None;
    let bake = || {
        let root = debian_root(SUITE);
        nix::unistd::sync();
        let took = time(args("bake", &root, &cache).arg("--offline"));
        baked = Some(root);
        took
    };
    results.compare(BAKE, bake, || time_apt(&cache, &packages));
    let fresh = debian_root(SUITE);
    profile("A bake of these packages", args("bake", &fresh, &cache).arg("--offline"));
    let root = baked.unwrap();
    let again = || time(args("bake", &root, &cache).arg("--offline"));
    let python = || time(Command::new("/usr/bin/python3").args(["-c", "pass"]));
    results.compare_often(AGAIN_PAIRS, AGAIN, again, python);
    let (ran, Counts { children, connections, opened, syncs, .. }) =
        counted_of(args("bake", &root, &cache).arg("--offline"));
    assert_eq!(ran.code, 0, "{ran:?}");
    println!(
        "    files opened: {opened}, syncs: {syncs}, programs started: {children}, connections: {connections}"
    );
    if std::env::var_os("OFEDCTL_BENCH_DOCS").is_some() {
        let calls = Calls { children, connections, opened, syncs };
        Measured::change(|measured| measured.already_right = Some(calls));
    }
    results.finish()
}

/// The built-in catalogue, with an MPI beside the distribution's own driver, whose packages are fifty together.
fn with_mpi() -> String {
    let text = ofedctl::catalog::EMBEDDED
        .replace("infiniband-diags, perftest]", "infiniband-diags, perftest, openmpi-bin]");
    assert!(text.contains("openmpi-bin"));
    text
}

/// apt from a flat repository with the bundle's files, in the same kind of namespaces.
fn time_apt(cache: &Path, packages: &[String]) -> Duration {
    let root = debian_root(SUITE);
    lay_out(&root, cache);
    let script = "options='-qq -o Dir::Etc::sourcelist=/srv/repo/sources.list -o Dir::Etc::sourceparts=-
        -o APT::Sandbox::User=root'; export DEBIAN_FRONTEND=noninteractive
        apt-get $options update && apt-get $options --yes --no-install-recommends install \"$@\"";
    let arguments: Vec<&str> =
        ["sh", "-c", script, "apt"].into_iter().chain(packages.iter().map(String::as_str)).collect();
    nix::unistd::sync();
    time_of(|| {
        let output = root.inside(&arguments);
        assert!(output.status.success(), "{output:?}");
    })
}

fn lay_out(root: &Root, cache: &Path) {
    let cache = Cache::open(cache).unwrap();
    let repository = root.path().join("srv/repo");
    fs::create_dir_all(&repository).unwrap();
    for file in &cache.bundles().unwrap()[0].files {
        fs::copy(cache.blob_path(&file.digest), repository.join(&file.title)).unwrap();
    }
    root.write("srv/repo/sources.list", "deb [trusted=yes] file:/srv/repo ./\n");
}
