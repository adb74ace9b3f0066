//! Bakes InfiniBand into a clean Debian root without a network, and accounts for every change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::image::{self, STEPS};
use common::program::{self, Ran};
use common::root::{Root, debian_root};
use common::tree::{self, Tree};
use common::wait;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::path::Path;

/// All properties of one suite's bake, in the order in which a user would see them.
fn bakes_offline(suite: &'static str) {
    let root = debian_root(suite);
    // A file of somebody else, which must exist again afterwards.
    root.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n");
    let cache = image::staged(suite);
    let before = Tree::of(root.path());
    assert_eq!(root.dpkg_verify(), "", "before the bake");

    let ran = image::bake(&root, &cache);
    ran.expect(0, "installed");
    let baked = Tree::of(root.path());
    assert_eq!(image::unaccounted(&root, &tree::diff(&before, &baked)), Vec::<String>::new());
    assert_eq!(root.dpkg_verify(), "");
    assert!(root.installed("rdma-core").is_some());
    image::assert_left_alone(&root);

    assert_reported(&root);
    assert_eq!(image::status(&root).step_names(), STEPS);
    image::ask("verify", &root).expect(0, "verified");
    let status = image::ask("status", &root);
    assert_eq!(status.code, 0, "{status:?}");

    let before = Tree::of(root.path());
    image::bake(&root, &cache).expect(0, "already-installed");
    image::assert_untouched(&root, &before);
    assert_reported(&root);
}

/// Checks that status document, receipt and log have the specified content.
#[track_caller]
fn assert_reported(root: &Root) {
    let status = image::status(root);
    assert_eq!((status.state.as_str(), status.code), ("success", 0), "{status:?}");
    assert!(status.steps.iter().all(|(_, state, _)| state == "success"), "{status:?}");
    let receipt = image::receipt(root);
    assert_eq!(receipt["schema_version"], 1);
    assert!(receipt["packages"]["rdma-core"].is_string(), "{receipt}");
    assert!(receipt["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true), "{receipt}");
    let log = root.read("var/log/azure/ib-vmext-status");
    assert!(!log.is_empty());
    for line in log.lines() {
        assert!(is_log_line(line), "not a line of the log's form: {line:?}");
    }
}

/// `2026-11-20T10:11:12Z INFO  install: …`, or the indented rest of a message of several lines.
fn is_log_line(line: &str) -> bool {
    let Some((time, rest)) = line.split_at_checked(20) else { return false };
    let time_is_one = humantime::parse_rfc3339(time).is_ok();
    let level = [" INFO  ", " WARN  ", " ERROR "].iter().find_map(|level| rest.strip_prefix(level));
    let step = level.and_then(|rest| rest.split_once(": ")).is_some_and(|(step, _)| STEPS.contains(&step));
    time_is_one && step
}

#[test]
fn a_debian_12_root_is_baked_offline_and_every_change_is_accounted_for() {
    bakes_offline("bookworm");
}

#[test]
fn a_debian_13_root_is_baked_offline_and_every_change_is_accounted_for() {
    bakes_offline("trixie");
}

/// The paths in which two equal runs may still differ.
fn is_of_the_moment(path: &str) -> bool {
    let logs_and_times = ["var/log", "var/lib/ofedctl", "var/cache/ldconfig", "var/lib/dpkg/status-old"];
    logs_and_times.iter().any(|start| Path::new(path).starts_with(start)) || RECORDS.contains(&path)
}

/// Sorts the records of dpkg and apt, whose order depends on the order of the work.
const RECORDS: [&str; 2] = ["var/lib/dpkg/status", "var/lib/apt/extended_states"];

fn records(root: &Root) -> [BTreeSet<String>; 2] {
    RECORDS.map(|path| root.read(path).split("\n\n").map(|record| record.trim().to_owned()).collect())
}

/// The fault points that a bake reaches, in this order. Records of a killed run are not written again by later runs.
const POINTS: [&str; 9] = [
    "journal-begun",
    "packages-noted",
    "repository-laid-out",
    "packages-installed",
    "edit-noted#2",
    "edit-made#2",
    "file-half-written#4",
    "temporary-undone",
    "receipt-written",
];

/// Kills a bake while dpkg is in the middle of its work, as its log shows.
fn kill_while_dpkg_is_at_work(root: &Root, cache: &Path) {
    let unpacked = || root.read("var/log/dpkg.log").matches(" status unpacked ").count();
    let before = unpacked();
    let mut child = program::start(program::program(&image::bake_args(root, cache)));
    wait::until_at_work(&mut child, "dpkg unpacks packages", || unpacked() > before);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_bake_killed_at_every_point_in_turn_ends_as_if_it_had_never_been_killed() {
    let cache = image::staged("trixie");
    let calm = debian_root("trixie");
    image::bake(&calm, &cache).expect(0, "installed");

    let shaken = debian_root("trixie");
    for point in POINTS {
        if point == "packages-installed" {
            kill_while_dpkg_is_at_work(&shaken, &cache);
            image::assert_left_alone(&shaken);
        }
        program::kill_at(point, program::program(&image::bake_args(&shaken, &cache)));
        image::assert_left_alone(&shaken);
    }
    let ran = image::bake(&shaken, &cache);
    assert_eq!(ran.code, 0, "{ran:?}");

    let tree = |root: &Root| Tree::of(root.path()).without(is_of_the_moment);
    let difference = tree::diff(&tree(&calm), &tree(&shaken));
    assert!(difference.is_empty(), "{difference}");
    assert_eq!(records(&calm), records(&shaken));
    assert_eq!(shaken.dpkg_verify(), "");
    let packages = |root: &Root| image::receipt(root)["packages"].clone();
    assert_eq!(packages(&calm), packages(&shaken));
    image::ask("verify", &shaken).expect(0, "verified");
}

#[test]
fn an_uninstall_killed_at_every_point_in_turn_leaves_nothing_in_the_end() {
    let root = debian_root("trixie");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    image::bake(&root, &image::staged("trixie")).expect(0, "installed");
    let uninstall = ["uninstall", "--root", root.path().to_str().unwrap()];
    for point in ["packages-removed", "edits-taken-back", "receipt-removed"] {
        program::kill_at(point, program::program(&uninstall));
        image::assert_left_alone(&root);
    }
    // Everything is removed; only the journal of the last run is left.
    image::ask("uninstall", &root).expect(0, "not-installed");
    assert!(root.installed("rdma-core").is_none());
    assert_eq!(root.read("etc/waagent.conf"), "# OS.EnableRDMA=y\n");
    assert_eq!(root.dpkg_verify(), "");
    for left in ["journal.json", "receipt.json", "saved"] {
        assert!(!root.path().join("var/lib/ofedctl").join(left).exists(), "{left}");
    }
}

#[test]
fn a_bake_asked_to_stop_says_so_and_the_next_one_finishes() {
    let cache = image::staged("trixie");
    let root = debian_root("trixie");
    let child = program::stop_at("repository-laid-out", program::program(&image::bake_args(&root, &cache)));
    assert_eq!(image::status(&root).state, "transitioning");
    program::send(&child, Signal::SIGTERM);
    program::go_on(&child);
    Ran::from(child.wait_with_output().unwrap()).expect(14, "interrupted");
    let status = image::status(&root);
    assert_eq!((status.state.as_str(), status.code), ("error", 14));
    assert!(status.message.starts_with("interrupted: "), "{}", status.message);
    image::assert_left_alone(&root);
    let ran = image::bake(&root, &cache);
    assert_eq!(ran.code, 0, "{ran:?}");
    image::ask("verify", &root).expect(0, "verified");
}

#[test]
fn a_build_vm_bakes_itself_with_the_same_command() {
    let root = debian_root("bookworm");
    std::fs::create_dir_all(root.path().join("srv")).unwrap();
    image::copy_of_staged("bookworm", &root.path().join("srv"));
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("srv/ofedctl")).unwrap();
    let before = Tree::of(root.path());

    let bake = ["/srv/ofedctl", "bake", "--root", "/", "--cache", "/srv/cache", "--offline", "--json"];
    Ran::from(root.booted(&bake)).expect(0, "installed");
    assert_eq!(image::unaccounted(&root, &tree::diff(&before, &Tree::of(root.path()))), Vec::<String>::new());
    Ran::from(root.booted(&["/srv/ofedctl", "verify", "--json"])).expect(0, "verified");
    image::assert_left_alone(&root);
    Ran::from(root.booted(&bake)).expect(0, "already-installed");
}

#[test]
fn what_was_baked_can_be_taken_out_again() {
    let root = debian_root("bookworm");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    let before = Tree::of(root.path()).without(is_of_the_moment);
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    assert_eq!(root.read("etc/waagent.conf"), "OS.EnableRDMA=y\n");

    image::ask("uninstall", &root).expect(0, "uninstalled");
    let status = image::status(&root);
    assert_eq!((status.state.as_str(), status.code), ("success", 0), "{status:?}");
    let after = Tree::of(root.path()).without(is_of_the_moment);
    // rdma-core creates a group and keeps it on removal, as Debian's policy says.
    let groups = ["etc/group", "etc/group-", "etc/gshadow", "etc/gshadow-"];
    let traces = [
        "var/cache/debconf",
        "var/lib/systemd/deb-systemd-helper",
        "var/lib/dpkg/info/format",
        "var/lib/dpkg/triggers",
    ];
    let left = |path: &&str| !groups.contains(path) && !traces.iter().any(|trace| path.starts_with(trace));
    let difference = tree::diff(&before, &after);
    assert_eq!(difference.paths().filter(left).collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(root.installed("rdma-core").is_none());
    image::ask("uninstall", &root).expect(0, "not-installed");
}

#[test]
fn what_a_killed_bake_began_must_be_finished_before_it_can_be_taken_out() {
    let root = debian_root("trixie");
    // Once packages may have changed, there may be packages that no receipt lists.
    let cache = image::staged("trixie");
    program::kill_at("packages-noted", program::program(&image::bake_args(&root, &cache)));
    image::ask("uninstall", &root).expect(14, "verify-failed");
}

#[test]
fn what_was_added_to_a_file_after_the_bake_stays_when_the_edit_is_taken_back() {
    let root = debian_root("bookworm");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    root.write("etc/waagent.conf", "OS.EnableRDMA=y\nResourceDisk.Format=y\n");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read("etc/waagent.conf"), "# OS.EnableRDMA=y\nResourceDisk.Format=y\n");
    assert!(!root.path().join("etc/modules-load.d/ofedctl.conf").exists());
}

#[test]
fn a_generalized_image_keeps_its_receipt_and_nothing_of_the_machine() {
    let root = debian_root("bookworm");
    let cache = image::staged("bookworm");
    image::bake(&root, &cache).expect(0, "installed");
    image::ask("generalize", &root).expect(0, "generalized");
    assert!(!root.path().join("var/lib/ofedctl/status/0.status").exists());
    assert!(!root.path().join("var/log/azure/ib-vmext-status").exists());
    assert!(!root.path().join("var/log/azure/ofedctl").exists());
    image::ask("verify", &root).expect(0, "verified");
    image::bake(&root, &cache).expect(0, "already-installed");
}

/// The hardware is a tree of the files that detection reads, modelled on the VM size; the kernel is this machine's,
/// which has no modules in the root, so that a reboot is due.
#[test]
fn a_live_vm_installs_for_itself_and_says_that_a_reboot_is_due() {
    let root = debian_root("bookworm");
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let mut cp = std::process::Command::new("cp");
    cp.args(["-a", &format!("{machine}/sys"), &format!("{machine}/run")]).arg(root.path());
    assert!(cp.status().unwrap().success());
    std::fs::create_dir_all(root.path().join("srv")).unwrap();
    image::copy_of_staged("bookworm", &root.path().join("srv"));
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("srv/ofedctl")).unwrap();

    let install = ["/srv/ofedctl", "install", "--cache", "/srv/cache", "--offline", "--json"];
    let ran = Ran::from(root.booted(&install));
    ran.expect(0, "reboot-required");
    let receipt = image::receipt(&root);
    assert_eq!(receipt["vm_id"], "71e9ccfe-ac09-50f2-a1d8-9f4d3f30a51d");
    assert_eq!(receipt["plan"]["target"]["vm_size"], "Standard_HB120rs_v3");
    let status = image::status(&root);
    let (_, last, _) = status.steps.last().unwrap();
    assert_eq!((status.state.as_str(), last.as_str()), ("success", "warning"), "{status:?}");
    assert!(root.installed("rdma-core").is_some());
    Ran::from(root.booted(&install)).expect(0, "reboot-required");
    let calm = root.booted(&[&install[..], &["--set", "reboot=never"]].concat());
    Ran::from(calm).expect(0, "already-installed");

    std::fs::remove_dir_all(root.path().join("sys/bus/pci/devices")).unwrap();
    Ran::from(root.booted(&[&install[..], &["--set", "wait_for_device=1"]].concat()))
        .expect(11, "no-ib-device");
    std::fs::remove_dir_all(root.path().join("sys/bus/vmbus")).unwrap();
    Ran::from(root.booted(&install)).expect(10, "no-vmbus");
}

#[test]
fn a_package_that_was_upgraded_since_is_known_by_its_new_version_after_the_next_bake() {
    let root = debian_root("bookworm");
    let cache = image::staged("bookworm");
    image::bake(&root, &cache).expect(0, "installed");
    // As if the bake had installed an older version; only the receipt records it.
    let receipt = root.read("var/lib/ofedctl/receipt.json");
    let now = image::receipt(&root)["packages"]["libibverbs1"].as_str().unwrap().to_owned();
    let older = receipt.replace(&format!("\"libibverbs1\": \"{now}\""), "\"libibverbs1\": \"1\"");
    assert_ne!(older, receipt);
    root.write("var/lib/ofedctl/receipt.json", &older);
    image::ask("verify", &root).expect(14, "verify-failed");

    std::fs::remove_file(root.path().join("etc/modules-load.d/ofedctl.conf")).unwrap();
    image::bake(&root, &cache).expect(0, "installed");
    image::ask("verify", &root).expect(0, "verified");
}
