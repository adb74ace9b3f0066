//! Staging a Debian 12 root, against `apt-get update` and `apt-get --download-only` of the same packages inside it, both from
//! one mirror on this machine: a copy of the archive's own indexes, and of the packages. Needs root, and the archive once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
mod side_by_side;

use common::nginx::Nginx;
use common::root::{Root, debian_root};
use common::{archive, image, scratch};
use ofedctl::cache::Cache;
use side_by_side::programs::profile;
use side_by_side::{Budget, Results, ofedctl, time, time_of};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

const SUITE: &str = "bookworm";
const STAGE: Budget = Budget {
    what: "`stage` from a mirror",
    against: "`apt-get update`, then `--download-only` of the same set",
    at_most: 0.90,
};
/// What bare apt is run with: it gets, as `stage` does, no index of translations, and nothing that is only recommended.
const BARE: &str = "rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
    apt-get -qq -o Acquire::Languages=none update &&
    apt-get -qq --yes --no-install-recommends --download-only install \"$@\"";

fn main() -> ExitCode {
    let first = image::staged(SUITE);
    let packages = Cache::open(&first).unwrap().bundles().unwrap().remove(0).config.packages;
    let folder = scratch();
    let root = debian_root(SUITE);
    copy_archive(&root, &packages, folder.path());
    let _nginx = serve(&root, folder.path());
    let cache = root.beside("cache");
    let mut stage_there = ofedctl(["stage", "--vm-size", image::VM_SIZE, "--root"]);
    stage_there.arg(root.path()).arg("--cache").arg(&cache);
    profile("Staging from a mirror", &stage_there);
    let stage = || {
        fs::remove_dir_all(&cache).unwrap();
        time(&mut stage_there)
    };
    let bare = || {
        time_of(|| {
            let bare = with_network(&root, BARE, &packages);
            assert!(bare.status.success(), "{bare:?}");
        })
    };
    let mut results = Results::default();
    results.compare(STAGE, stage, bare);
    results.finish()
}

/// Copies what the root's apt would ask the archive for, to the paths it asks for.
fn copy_archive(root: &Root, packages: &[String], folder: &Path) {
    let mirror = archive::mirror().expect("a mirror of Debian's archive");
    let mirror = mirror.trim_end_matches('/');
    let fetch = |path: &str| {
        let to = folder.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let address = format!("{mirror}/{path}");
        let curl = Command::new("curl").args(["-fsSL", "-o"]).arg(&to).arg(&address).status().unwrap();
        assert!(curl.success(), "{address}");
        to
    };
    let dists = format!("dists/{SUITE}");
    fetch(&format!("{dists}/InRelease"));
    for packed in ["Packages.xz", "Packages.gz"] {
        let index = fetch(&format!("{dists}/main/binary-amd64/{packed}"));
        let digest = common::sha256(&fs::read(&index).unwrap());
        let by_hash = index.with_file_name("by-hash").join("SHA256");
        fs::create_dir_all(&by_hash).unwrap();
        fs::hard_link(&index, by_hash.join(digest)).unwrap();
    }
    let nginx = serve(root, folder);
    let script = "apt-get -qq -o Acquire::Languages=none update &&
        apt-get --print-uris --yes --no-install-recommends --download-only install \"$@\"";
    let printed = with_network(root, script, packages);
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let start = format!("'http://127.0.0.1:{}/", nginx.port);
    for (path, _) in printed.lines().filter_map(|line| line.strip_prefix(&start)?.split_once('\'')) {
        // What apt writes in another way in an address, of all that the names of Debian's packages may have.
        fetch(&path.replace("%7e", "~").replace("%2b", "+").replace("%3a", ":"));
    }
}

/// Serves the folder with the real nginx, and makes it the root's only source.
fn serve(root: &Root, folder: &Path) -> Nginx {
    let nginx = Nginx::serve(folder, "", &format!("root {};", folder.display()));
    let source = format!("deb http://127.0.0.1:{} {SUITE} main\n", nginx.port);
    root.write("etc/apt/sources.list", &source);
    nginx
}

/// Runs a script inside, in namespaces of its own but with this machine's network.
fn with_network(root: &Root, script: &str, arguments: &[String]) -> Output {
    let enter = "mount -t proc proc \"$0/proc\"; exec chroot \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-ec", enter]);
    unshare.arg(root.path()).args(["sh", "-ec", script, "sh"]).args(arguments);
    unshare.env("LC_ALL", "C").output().unwrap()
}
