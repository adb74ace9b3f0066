//! Staging and baking as a user does it, and checks of the result.

use super::program::{self, Ran};
use super::root::{self, Root};
use super::status::{self, Status};
use super::still::Still;
use super::tree::{self, Difference, Tree};
use super::wait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A size with ConnectX-6.
pub const VM_SIZE: &str = "Standard_HB120rs_v3";
/// The steps of a run, each with its substatus.
pub const STEPS: [&str; 7] = ["detect", "plan", "stage", "install", "configure", "verify", "report"];

/// Files that packages create during their installation, beside the files in them.
pub const MADE_BY_PACKAGES: &[(&str, &str)] = &[
    ("var/lib/dpkg/", "dpkg's own database"),
    ("var/lib/apt/extended_states", "which packages came only as dependencies"),
    ("var/log/dpkg.log", "dpkg's log"),
    ("var/log/apt", "apt's logs"),
    ("var/cache/debconf/", "debconf's own database and scratch folder"),
    ("etc/ld.so.cache", "ldconfig, for the new libraries"),
    ("var/cache/ldconfig", "ldconfig, for the new libraries"),
    ("etc/group", "rdma-core makes the group `rdma`"),
    ("etc/gshadow", "rdma-core makes the group `rdma`"),
    ("etc/rc", "links to init scripts, by update-rc.d"),
    ("etc/systemd/system/", "units enabled by deb-systemd-helper"),
    ("var/lib/systemd/deb-systemd-helper-", "what deb-systemd-helper enabled"),
];

/// The command line that bakes a root with the network cut.
pub fn bake_args(root: &Root, cache: &Path) -> Vec<String> {
    arguments("bake", root, &["--vm-size", VM_SIZE, "--offline", "--json", "--cache"], cache)
}

/// Bakes a root offline, where this process has no network either.
pub fn bake(root: &Root, cache: &Path) -> Ran {
    program::finish(program::program_without_network(&bake_args(root, cache)))
}

/// Fills a cache for a root from the sources that root has.
pub fn stage(root: &Root, cache: &Path) -> Ran {
    program::run(&arguments("stage", root, &["--vm-size", VM_SIZE, "--json", "--cache"], cache))
}

/// Fills a cache by the target's own package manager, which must leave the root as it was, times included.
#[track_caller]
pub fn stage_in_target(root: &Root, cache: &Path) -> Ran {
    let before = Still::of(root.path());
    let staged = stage(root, cache);
    staged.expect(0, "staged");
    assert!(!staged.stderr.contains("stands in"), "{staged:?}");
    before.assert_same(root.path());
    staged
}

/// Runs `ofedctl COMMAND --root ROOT --json`.
pub fn ask(command: &str, root: &Root) -> Ran {
    program::run(&[command, "--json", "--root", root.path().to_str().unwrap()])
}

fn arguments(command: &str, root: &Root, options: &[&str], cache: &Path) -> Vec<String> {
    let mut all = vec![command.to_owned(), "--root".to_owned(), root.path().display().to_string()];
    all.extend(options.iter().map(|option| (*option).to_owned()));
    all.push(cache.display().to_string());
    all
}

/// A cache that holds what a fresh root of the suite needs. Staged once for all test programs; only to be read.
pub fn staged(suite: &'static str) -> PathBuf {
    staged_for(suite, || root::debian_root(suite))
}

/// The same for another kind of root, by its name.
pub fn staged_for(name: &str, fresh: impl FnOnce() -> Root) -> PathBuf {
    static STAGED: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut staged = STAGED.lock().unwrap_or_else(PoisonError::into_inner);
    staged.entry(name.to_owned()).or_insert_with(|| stage_once(name, &fresh())).clone()
}

fn stage_once(name: &str, root: &Root) -> PathBuf {
    let cache = super::kept("test-caches").join(name);
    let told = cache.with_extension("made-for");
    let program = std::fs::metadata(env!("CARGO_BIN_EXE_ofedctl")).unwrap();
    let packages = super::sha256(root.read("var/lib/dpkg/status").as_bytes());
    let wanted = format!("{:?} {} {packages}", program.modified().unwrap(), program.len());
    let is_wanted = || std::fs::read_to_string(&told).is_ok_and(|made_for| made_for == wanted);
    // Shared with other test programs, until this one ends.
    let lock = super::lock_shared(&cache.with_extension("lock"));
    if !is_wanted() {
        lock.lock().unwrap();
        if !is_wanted() {
            let _ = std::fs::remove_dir_all(&cache);
            stage(root, &cache).expect(0, "staged");
            std::fs::write(&told, &wanted).unwrap();
        }
        lock.lock_shared().unwrap();
    }
    std::mem::forget(lock);
    cache
}

/// A copy of the suite's cache, to be damaged.
pub fn copy_of_staged(suite: &'static str, folder: &Path) -> PathBuf {
    let copy = folder.join("cache");
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-a").arg(staged(suite)).arg(&copy).status().unwrap().success());
    copy
}

/// The blobs of a cache with their sizes.
pub fn blobs(cache: &Path) -> BTreeMap<String, u64> {
    let folder = std::fs::read_dir(cache.join("blobs/sha256"));
    let files = folder.map_or_else(|_| Vec::new(), |files| files.map(Result::unwrap).collect());
    let described =
        |file: &std::fs::DirEntry| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len());
    files.iter().map(described).collect()
}

/// The root's status document, which must be valid.
#[track_caller]
pub fn status(root: &Root) -> Status {
    let bytes =
        std::fs::read(root.path().join("var/lib/ofedctl/status/0.status")).expect("a status document");
    status::read(&bytes).unwrap_or_else(|broken| panic!("the status document {broken}"))
}

/// The root's receipt.
pub fn receipt(root: &Root) -> Value {
    let receipt = serde_json::from_str(&root.read("var/lib/ofedctl/receipt.json")).expect("a receipt");
    super::documents::assert_follows(&receipt, "receipt");
    receipt
}

/// Whether a path is where this program keeps its state and its log.
pub fn is_ours(path: &str) -> bool {
    ["var/lib/ofedctl", "var/log/azure", "run/ofedctl"]
        .iter()
        .any(|folder| Path::new(path).starts_with(folder))
}

/// Fails if anything but this program's state and log has changed.
#[track_caller]
pub fn assert_untouched(root: &Root, before: &Tree) {
    let touched = tree::diff(&before.clone().without(is_ours), &Tree::of(root.path()).without(is_ours));
    assert!(touched.is_empty(), "the root was touched:\n{touched}");
    assert_left_alone(root);
}

/// Fails when a mount or a process of a run is still there. The kernel needs a moment after a kill.
#[track_caller]
pub fn assert_left_alone(root: &Root) {
    let left = || (program::processes_in(root.path()), program::mounts_in(root.path()));
    let is_alone = wait::within(Duration::from_secs(10), || left() == (Vec::new(), Vec::new()));
    assert!(is_alone, "processes and mounts are left: {:?}", left());
}

/// The changed paths that neither a package, nor a recorded edit, nor this program's state accounts for.
pub fn unaccounted(root: &Root, difference: &Difference) -> Vec<String> {
    let owned = tree::owned_by_packages(root.path());
    let receipt = receipt(root);
    let changes = receipt["changes"].as_array().expect("the receipt lists changes");
    let mut edits: Vec<&str> = Vec::new();
    for change in changes {
        edits.push(change["path"].as_str().unwrap());
        edits.extend(change["folders"].as_array().unwrap().iter().filter_map(Value::as_str));
    }
    let made = |path: &str| MADE_BY_PACKAGES.iter().any(|(start, _)| path.starts_with(start));
    let edited = |path: &str| edits.iter().any(|edit| edit.trim_start_matches('/') == path);
    let strange = |path: &&str| !owned.contains(*path) && !made(path) && !edited(path) && !is_ours(path);
    difference.paths().filter(strange).map(str::to_owned).collect()
}
