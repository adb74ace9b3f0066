//! Disks that are full, read-only, broken or oddly mounted: the reason is the disk's, nothing is lost, and the next run ends
//! well once the cause is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The figures of a sweep are what it is run for.
#![allow(clippy::print_stdout)]

mod common;

use common::disk::{leave, mounted, moved_to_a_disk, remounted};
use common::image;
use common::need::need;
use common::other_driver::{UNINSTALLER, in_initramfs, make_initramfs, with_another_driver};
use common::program::{self, Ran};
use common::root::{self, Root};
use common::tree::{self, Tree};
use nix::mount::MsFlags;
use std::path::Path;
use std::process::Command;

const SUITE: &str = "bookworm";

fn bakes_well(root: &Root) {
    let ran = image::bake(root, &image::staged(SUITE));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(root.dpkg_verify(), "");
    image::ask("verify", root).expect(0, "verified");
}

/// Stops a run behind the check of the room, lets the disk shrink to so many KiB of free space, and lets it go on.
#[track_caller]
fn with_the_disk_full_from(point: &str, root: &Root, kib: u64, args: &[String]) -> Ran {
    let child = program::stop_at(point, program::program(args));
    root.leave_free(kib);
    program::go_on(&child);
    let ran = Ran::from(child.wait_with_output().unwrap());
    root.leave_free(1 << 20);
    ran
}

/// How much is free in turn, in KiB: enough for some of the packages. `OFEDCTL_TORTURE=1` tries many sizes.
fn sizes() -> Vec<u64> {
    let all = (0..40).map(|step| step * 512);
    if std::env::var_os("OFEDCTL_TORTURE").is_some() { all.collect() } else { vec![1024] }
}

#[test]
fn a_disk_that_fills_up_at_any_moment_of_a_bake_and_an_uninstall_is_named_and_nothing_is_lost() {
    let cache = image::staged(SUITE);
    let calm = root::debian_root(SUITE);
    image::bake(&calm, &cache).expect(0, "installed");
    for kib in sizes() {
        for point in ["packages-noted", "repository-laid-out", "packages-installed"] {
            let root = root::root_on_a_small_disk(&root::debian(SUITE));
            let ran = with_the_disk_full_from(point, &root, kib, &image::bake_args(&root, &cache));
            let what = format!("{kib} KiB from {point}");
            if ran.code != 0 {
                assert_eq!((ran.code, &*ran.reason()), (14, "no-space"), "{what}: {ran:?}");
            }
            bakes_well(&root);
            let is_same = |path: &str| calm.path().join(path).is_file() == root.path().join(path).is_file();
            assert!(is_same("etc/udev/rules.d/60-rdma-persistent-naming.rules"), "{what}");

            let uninstall =
                ["uninstall", "--json", "--root", root.path().to_str().unwrap()].map(str::to_owned);
            let ran = with_the_disk_full_from("journal-begun", &root, kib, &uninstall);
            if ran.code != 0 {
                assert_eq!((ran.code, &*ran.reason()), (14, "no-space"), "uninstall with {what}: {ran:?}");
                image::ask("uninstall", &root).expect(0, "uninstalled");
            }
            assert!(root.installed("rdma-core").is_none(), "{what}");
            assert_eq!(root.dpkg_verify(), "", "{what}");
        }
    }
}

#[test]
fn a_cache_on_a_disk_of_its_own_that_is_full_is_named_and_goes_on_where_it_was() {
    let root = root::debian_root(SUITE);
    mounted(&root, "srv/cache", MsFlags::empty(), "size=64k");
    let cache = root.path().join("srv/cache");
    for size in ["64k", "512k", "1m"] {
        remounted(&root, "srv/cache", MsFlags::empty(), Some(&format!("size={size}")));
        image::stage(&root, &cache).expect(14, "no-space");
    }
    remounted(&root, "srv/cache", MsFlags::empty(), Some("size=1g"));
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
}

/// What is free on a disk of its own in turn, in KiB: from nothing on, in steps; two of them without `OFEDCTL_TORTURE`.
fn free(step: u64, count: u64) -> Vec<u64> {
    let all = (0..count).map(|at| at * step);
    if std::env::var_os("OFEDCTL_TORTURE").is_some() { all.collect() } else { vec![0, step * count / 3] }
}

#[test]
fn a_boot_on_a_disk_of_its_own_that_is_full_is_named_and_its_kernels_still_boot() {
    let (mut full, mut enough) = (0, 0);
    for kib in free(1024, 24) {
        let root = with_another_driver(UNINSTALLER);
        make_initramfs(&root);
        root.write("etc/ofedctl/config.yaml", "{driver: inbox, replace_driver: replace}\n");
        moved_to_a_disk(&root, "boot");
        let before = Tree::of(&root.path().join("boot"));
        leave(&root, "boot", Some(kib));
        let ran = image::bake(&root, &image::staged(SUITE));
        if ran.code == 0 {
            enough += 1;
        } else {
            full += 1;
            assert_eq!((ran.code, &*ran.reason()), (14, "no-space"), "{kib} KiB: {ran:?}");
            assert!(ran.json()["message"].as_str().unwrap().contains("boot"), "{kib} KiB: {ran:?}");
            let left = tree::diff(&before, &Tree::of(&root.path().join("boot")));
            assert!(left.is_empty(), "{kib} KiB:\n{left}");
        }
        leave(&root, "boot", None);
        bakes_well(&root);
        let held = in_initramfs(&root);
        assert!(held.len() == 1 && held[0].starts_with("kernel/"), "{kib} KiB: {held:?}");
        let names = |tree: &Tree| tree.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&Tree::of(&root.path().join("boot"))), names(&before), "{kib} KiB");
    }
    println!("/boot was too small {full} times, and large enough {enough} times");
    assert!(full > 0, "no size was too small");
}

/// Of what is said there, nothing is worth a machine without its driver.
#[test]
fn a_var_log_on_a_disk_of_its_own_that_is_full_stops_neither_a_bake_nor_an_uninstall() {
    for kib in free(8, 40) {
        for inodes in [0, 40] {
            let root = root::debian_root(SUITE);
            moved_to_a_disk(&root, "var/log");
            let limit = |kib: u64| if inodes == 0 { Some(kib) } else { None };
            leave(&root, "var/log", limit(kib));
            if inodes > 0 {
                let there = nix::sys::statvfs::statvfs(&root.path().join("var/log")).unwrap();
                let used = there.files() - there.files_free();
                let option = format!("nr_inodes={}", used + kib / 64);
                remounted(&root, "var/log", MsFlags::empty(), Some(&option));
            }
            let what = format!("{kib} KiB, inodes {inodes}");
            let ran = image::bake(&root, &image::staged(SUITE));
            ran.expect(0, "installed");
            if kib == 0 {
                assert!(
                    ran.stderr.contains("ib-vmext-status` and the logs beside it are not whole"),
                    "{what}: {ran:?}"
                );
            }
            assert_eq!(root.dpkg_verify(), "", "{what}");
            image::ask("verify", &root).expect(0, "verified");
            let ran = image::ask("uninstall", &root);
            ran.expect(0, "uninstalled");
            remounted(&root, "var/log", MsFlags::empty(), Some("size=1g,nr_inodes=100000"));
            bakes_well(&root);
        }
    }
}

#[test]
fn a_read_only_root_is_named_as_such_by_every_command_that_writes() {
    let root = root::debian_root(SUITE);
    image::bake(&root, &image::staged(SUITE)).expect(0, "installed");
    let before = Tree::of(root.path());
    remounted(&root, "", MsFlags::MS_RDONLY, None);
    let changed = |mut args: Vec<String>| {
        args.extend(["--set", "memlock=false"].map(str::to_owned));
        args
    };
    program::run(&changed(image::bake_args(&root, &image::staged(SUITE)))).expect(14, "read-only");
    for command in ["uninstall", "generalize"] {
        image::ask(command, &root).expect(14, "read-only");
    }
    image::ask("verify", &root).expect(0, "verified");
    assert!(tree::diff(&before, &Tree::of(root.path())).is_empty());
    remounted(&root, "", MsFlags::empty(), None);
    image::ask("uninstall", &root).expect(0, "uninstalled");
}

/// The log is a help, and no reason to leave a machine without its driver.
#[test]
fn a_log_that_cannot_be_written_is_told_and_the_bake_ends_well() {
    for (flags, options) in [(MsFlags::MS_RDONLY, ""), (MsFlags::empty(), "size=4k,nr_inodes=2")] {
        let root = root::debian_root(SUITE);
        mounted(&root, "var/log/azure", flags, options);
        let ran = image::bake(&root, &image::staged(SUITE));
        ran.expect(0, "installed");
        assert!(ran.stderr.contains("ib-vmext-status` and the logs beside it are not whole"), "{ran:?}");
        let status = image::ask("status", &root);
        assert!(status.stdout.contains("not whole"), "{status:?}");
        image::ask("uninstall", &root).expect(0, "uninstalled");
        nix::mount::umount(&root.path().join("var/log/azure")).unwrap();
        bakes_well(&root);
    }
}

#[test]
fn a_blob_that_the_disk_cannot_read_is_a_disk_error_and_nothing_is_touched() {
    need(&["strace"]);
    let root = root::debian_root(SUITE);
    let before = Tree::of(root.path());
    let cache = image::staged(SUITE);
    let blobs = image::blobs(&cache);
    let largest = blobs.iter().max_by_key(|(_, size)| **size).unwrap().0;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(cache.join("blobs/sha256").join(largest));
    strace.args(["--trace=read,pread64,readv,preadv", "--inject=read,pread64,readv,preadv:error=EIO"]);
    strace.arg(env!("CARGO_BIN_EXE_ofedctl")).args(image::bake_args(&root, &cache)).env_clear();
    strace.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let ran = program::finish(strace);
    assert!(["disk-error", "digest-mismatch"].contains(&&*ran.reason()), "{ran:?}");
    assert!(ran.stdout.contains("os error 5") || ran.stdout.contains("cannot be read"), "{ran:?}");
    image::assert_untouched(&root, &before);
    bakes_well(&root);
}

#[test]
fn a_tmp_that_is_missing_or_runs_no_programs_is_no_hindrance_on_either_side() {
    let root = root::debian_root(SUITE);
    std::fs::remove_dir(root.path().join("tmp")).unwrap();
    bakes_well(&root);
    image::ask("uninstall", &root).expect(0, "uninstalled");
    std::fs::create_dir_all(root.path().join("tmp")).unwrap();
    mounted(&root, "tmp", MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID, "mode=1777");
    bakes_well(&root);

    let root = root::debian_root(SUITE);
    let mut bake = program::program(&image::bake_args(&root, &image::staged(SUITE)));
    bake.env("TMPDIR", "/nonexistent");
    let ran = program::finish(bake);
    assert!(ran.code == 0 || ran.reason() == "unexpected-file", "{ran:?}");
    bakes_well(&root);
}

#[test]
fn a_clock_that_went_backwards_since_the_last_run_changes_nothing() {
    let root = root::debian_root(SUITE);
    bakes_well(&root);
    for path in ["receipt.json", "run.json", "status/0.status"] {
        let path = format!("var/lib/ofedctl/{path}");
        let text = root.read(&path);
        if !text.is_empty() {
            root.write(&path, &text.replace("\"202", "\"209"));
        }
    }
    assert!(image::receipt(&root)["finished"].as_str().unwrap().starts_with("209"));
    image::bake(&root, &image::staged(SUITE)).expect(0, "already-installed");
    let status = image::ask("status", &root);
    assert_eq!(status.code, 0, "{status:?}");
    image::ask("verify", &root).expect(0, "verified");
    let changed = [
        image::bake_args(&root, &image::staged(SUITE)),
        ["--set", "memlock=false"].map(str::to_owned).into(),
    ];
    program::run(&changed.concat()).expect(0, "installed");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert!(!Path::new(&root.path().join("var/lib/ofedctl/journal.json")).exists());
}
