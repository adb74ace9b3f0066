//! After a package manager was killed in any state, the next run ends like an undisturbed one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::deb::{Deb, Repository};
use common::image;
use common::root::{Root, debian_root};
use common::tree::{self, Tree};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const SUITE: &str = "trixie";

/// Kills dpkg, the parent of its scripts, once where a file says that this script shall.
fn kills_once(name: &str) -> &'static str {
    let script =
        format!("#!/bin/sh\n[ ! -e /srv/{name} ] || {{ rm /srv/{name}; kill -9 $PPID; sleep 60; }}\n");
    script.leak()
}

/// Makes a group, as shadow-utils(8) would be left that was killed after `/etc/group` and before `/etc/gshadow`: the number
/// in its lock is that of a process that lives in every sandbox.
const MAKES_A_GROUP: &str = "[ ! -e /srv/half-a-group ] || { rm /srv/half-a-group; echo perf:x:990: >>/etc/group; \
    printf '1\\0' >/etc/gshadow.lock; cp /etc/gshadow.lock /etc/gshadow.1; : >/etc/gshadow.77; kill -9 $PPID; sleep 60; }\n\
    getent group perf >/dev/null || groupadd --system perf\n";

/// A root, staged from a source with a package whose scripts kill dpkg; the line that names this source; and the cache.
fn staged() -> &'static (Root, String, PathBuf) {
    static STAGED: OnceLock<(Root, String, PathBuf)> = OnceLock::new();
    STAGED.get_or_init(|| {
        let mut scripts = ["preinst", "prerm", "postrm"].map(|name| (name, kills_once(name))).to_vec();
        let makes_a_group: &str = format!("{}{MAKES_A_GROUP}", kills_once("postinst")).leak();
        scripts.push(("postinst", makes_a_group));
        let files = vec![("/usr/share/perftest/data", "data\n"), ("/etc/perftest.conf", "setting\n")];
        let repository =
            Repository::of(&[Deb { name: "perftest", version: "99", scripts, files, ..Deb::default() }]);
        let (root, line) = (debian_root(SUITE), repository.source_line());
        root.add_source(&line);
        let cache = root.beside("cache");
        image::stage(&root, &cache).expect(0, "staged");
        (root, line, cache)
    })
}

fn cache() -> PathBuf {
    staged().2.clone()
}

/// Another root with that source: nobody signs it, so its packages are good only for roots that name it themselves.
fn root() -> Root {
    let root = debian_root(SUITE);
    root.add_source(&staged().1);
    root
}

/// The status lines of all packages that are not simply installed.
fn torn(root: &Root) -> Vec<String> {
    let mut text = root.read("var/lib/dpkg/status");
    for update in std::fs::read_dir(root.path().join("var/lib/dpkg/updates")).unwrap() {
        text += &std::fs::read_to_string(update.unwrap().path()).unwrap();
    }
    let lines = text.lines().filter(|line| line.starts_with("Status: ") && !line.ends_with(" ok installed"));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn bakes_well(root: &Root, cache: &Path) {
    image::bake(root, cache).expect(0, "installed");
    assert_eq!(torn(root), Vec::<String>::new());
    assert_eq!(root.dpkg_verify(), "");
    assert!(root.installed("rdma-core").is_some() && root.installed("perftest").is_some());
}

#[test]
fn a_dpkg_killed_in_a_script_is_finished_by_the_next_bake() {
    for (script, left) in [
        ("preinst", "Status: install reinstreq half-installed"),
        ("postinst", "Status: install ok half-configured"),
    ] {
        let (root, cache) = (root(), cache());
        root.write(&format!("srv/{script}"), "");
        image::bake(&root, &cache).expect(14, "package-manager");
        assert!(torn(&root).contains(&left.to_owned()), "{script}: {:?}", torn(&root));
        bakes_well(&root, &cache);
    }
}

/// A script that finds its group in `/etc/group` does not make it again, and programs wait in vain for a lock with a number
/// that lives (coreos/fedora-coreos-tracker 1250).
#[test]
fn a_group_that_a_killed_script_made_by_half_is_made_whole_by_the_next_bake() {
    let calm = root();
    bakes_well(&calm, &cache());
    let root = root();
    root.write("srv/half-a-group", "");
    image::bake(&root, &cache()).expect(14, "package-manager");
    assert!(root.read("etc/group").contains("perf:x:") && !root.read("etc/gshadow").contains("perf:"));
    bakes_well(&root, &cache());
    for file in ["etc/group", "etc/gshadow", "etc/group-", "etc/gshadow-"] {
        assert_eq!(root.read(file), calm.read(file), "{file}");
    }
    let names = |root: &Root| -> std::collections::BTreeSet<_> {
        std::fs::read_dir(root.path().join("etc")).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names(&root), names(&calm));
}

/// The flag goes when all is unpacked; the state changes before. Configuring does not help then
/// (arduino/arduino-app-cli 9, TheAssassin/AppImageLauncher 241).
#[test]
fn a_package_that_dpkg_wants_installed_again_is_installed_again_from_the_cache() {
    for state in ["reinstreq unpacked", "reinstreq half-installed", "reinstreq installed"] {
        let root = root();
        let cache = cache();
        bakes_well(&root, &cache);
        let status = root.read("var/lib/dpkg/status");
        let (before, after) = status.split_once("Package: ibverbs-providers\n").expect("it was installed");
        let after = after.replacen("install ok installed", &format!("install {state}"), 1);
        root.write("var/lib/dpkg/status", &format!("{before}Package: ibverbs-providers\n{after}"));
        let libraries = "usr/lib/x86_64-linux-gnu/libibverbs";
        std::fs::remove_dir_all(root.path().join(libraries)).unwrap();
        bakes_well(&root, &cache);
        assert!(root.path().join(libraries).is_dir(), "{state}");
    }
}

#[test]
fn an_uninstall_killed_within_dpkg_is_finished_by_the_next_one_triggers_too() {
    for script in ["prerm", "postrm"] {
        let (root, cache) = (root(), cache());
        let before = Tree::of(root.path());
        let linker = root.path().join("etc/ld.so.cache");
        let libraries = std::fs::read(&linker).unwrap();
        image::bake(&root, &cache).expect(0, "installed");
        root.write(&format!("srv/{script}"), "");
        image::ask("uninstall", &root).expect(14, "package-manager");
        assert_ne!(torn(&root), Vec::<String>::new(), "{script}");
        image::ask("uninstall", &root).expect(0, "uninstalled");
        assert_eq!(torn(&root), Vec::<String>::new(), "{script}");
        assert_eq!(std::fs::read(&linker).unwrap(), libraries, "{script}: the linker's cache is old");
        let updates = std::fs::read_dir(root.path().join("var/lib/dpkg/updates")).unwrap();
        assert_eq!(updates.count(), 0, "{script}");
        let after = Tree::of(root.path());
        let is_left = |path: &&str| path.contains("perftest") || path.contains("libibverbs");
        let difference = tree::diff(&before, &after);
        let left: Vec<&str> = difference.paths().filter(is_left).collect();
        assert_eq!(left, Vec::<&str>::new(), "{script}");
    }
}
