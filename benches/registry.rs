//! Bundles on their way: `pull`, `push`, `export` and `import`, each against skopeo on the same bundle, with Debian's
//! docker-registry on this machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use common::need::need;
use common::registry::Registry;
use common::{bundles, scratch};
use side_by_side::{Budget, Results, ofedctl, time};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

const AGAINST: &str = "`skopeo copy`";
const SMALL: Budget = Budget { what: "`cache pull` of 18 small files", against: AGAINST, at_most: 0.90 };
const LARGE: Budget = Budget { what: "`cache pull` of 400 MB", against: AGAINST, at_most: 0.60 };
const PUSH: Budget = Budget { what: "`cache push` of 400 MB", against: AGAINST, at_most: 0.80 };
const EXPORT: Budget = Budget { what: "`cache export` of 400 MB", against: AGAINST, at_most: 0.80 };
const IMPORT: Budget = Budget { what: "`cache import` of 400 MB", against: AGAINST, at_most: 0.80 };

fn main() -> ExitCode {
    need(&["skopeo"]);
    let mut results = Results::default();
    let folder = scratch();
    let small = bundles::of_small_files(&folder.path().join("small"), 18);
    compare_pulls(&mut results, SMALL, &small);
    let sizes = [("ofed_1_amd64.deb", 380 << 20), ("a_1_amd64.deb", 12 << 20), ("b_1_amd64.deb", 8 << 20)];
    let large = bundles::cache_of(&folder.path().join("large"), &sizes);
    compare_pulls(&mut results, LARGE, &large);
    compare_pushes(&mut results, &large);
    compare_archives(&mut results, folder.path(), &large);
    results.finish()
}

fn compare_pulls(results: &mut Results, budget: Budget, cache: &Path) {
    let registry = Registry::open();
    let place = registry.place("ib:v1");
    time(ofedctl(["cache", "push", &place, "--cache"]).arg(cache));
    let folder = scratch();
    let ours = || fresh(&folder.path().join("ours"), |to| ofedctl_in(to, &["pull", &place]));
    let theirs = || {
        fresh(&folder.path().join("theirs"), |to| {
            skopeo(&["--src-tls-verify=false", &place.replace("oci:", "docker:"), &oci(to)])
        })
    };
    results.compare(budget, ours, theirs);
}

/// Each time to a registry that has nothing yet.
fn compare_pushes(results: &mut Results, cache: &Path) {
    let ours = || {
        let registry = Registry::open();
        time(&mut ofedctl_in(cache, &["push", &registry.place("ib:v1")]))
    };
    let theirs = || {
        let registry = Registry::open();
        let place = registry.place("ib:v1").replace("oci:", "docker:");
        time(&mut skopeo(&["--dest-tls-verify=false", &oci(cache), &place]))
    };
    results.compare(PUSH, ours, theirs);
}

fn compare_archives(results: &mut Results, folder: &Path, cache: &Path) {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ours, theirs) = (folder.join("ours.tar"), folder.join("theirs.tar"));
    let archive = |path: &Path| format!("oci-archive:{}", path.display());
    let export = || fresh(&ours, |to| ofedctl_in(cache, &["export", "--out", &text(to)]));
    results.compare(EXPORT, export, || fresh(&theirs, |to| skopeo(&[&oci(cache), &archive(to)])));
    time(&mut ofedctl_in(cache, &["export", "--out", &text(&ours)]));
    let into = folder.join("into");
    let import = || fresh(&into, |to| ofedctl_in(to, &["import", &text(&ours)]));
    results.compare(IMPORT, import, || fresh(&into, |to| skopeo(&[&archive(&ours), &oci(to)])));
}

/// Times what makes a file or folder, which is not there before or afterwards.
fn fresh(path: &Path, command: impl FnOnce(&Path) -> Command) -> Duration {
    let took = time(&mut command(path));
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    took
}

fn ofedctl_in(cache: &Path, words: &[&str]) -> Command {
    let mut command = ofedctl(["cache"]);
    command.args(words).arg("--cache").arg(cache);
    command
}

fn skopeo(args: &[&str]) -> Command {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--quiet", "--insecure-policy"]).args(args);
    skopeo
}

fn oci(cache: &Path) -> String {
    let bundle = if cache.join("index.json").exists() { "bundle" } else { "v1" };
    format!("oci:{}:{bundle}", PathBuf::from(cache).display())
}
