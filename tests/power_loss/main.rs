//! Power cuts: a bake and an install on a disk with a volatile cache, cut at any moment; the next run ends as one that
//! nothing disturbed. `OFEDCTL_POWER_CUTS=20` says how many of each are tried; `make power-loss` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The figures of a sweep are what it is run for.
#![allow(clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod disk;
mod guest;

use common::image;
use common::program::Ran;
use common::root::{self, Root};
use common::tree::{self, Tree};
use disk::{Disk, Request, cut_power};
use guest::Guest;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "bookworm";
/// Says how many cuts are tried of each run in a virtual machine.
const IN_GUEST: &str = "OFEDCTL_POWER_CUTS_GUEST";
/// How many cuts are tried where nobody says.
const FEW: usize = 1;

/// A disk image of a root with the program, a cache and the files that tell of an HPC VM's hardware.
fn image_of_a_root(folder: &Path, put_more: impl FnOnce(&Root)) -> PathBuf {
    let root = root::debian_root(SUITE);
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let copied = Command::new("cp")
        .args(["-a", &format!("{machine}/sys"), &format!("{machine}/run")])
        .arg(root.path())
        .status();
    assert!(copied.unwrap().success());
    root.write("srv/empty", "");
    image::copy_of_staged(SUITE, &root.path().join("srv"));
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("srv/ofedctl")).unwrap();
    put_more(&root);
    let disk = folder.join("clean");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(root.path())
        .arg(&disk)
        .arg("2G")
        .output();
    assert!(made.unwrap().status.success());
    disk
}

/// The toss of a coin; the same in every run.
fn luck(random: &mut u32) -> bool {
    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *random >> 31 == 0
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["--sparse=always", "--reflink=auto"]).args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn bake(root: &Root) -> Ran {
    image::bake(root, &root.path().join("srv/cache"))
}

fn install(root: &Root) -> Ran {
    Ran::from(root.booted(&["/srv/ofedctl", "install", "--cache", "/srv/cache", "--offline", "--json"]))
}

/// What two equal runs may differ in: logs and times, and the records whose order is that of the work.
fn is_of_the_moment(path: &str) -> bool {
    let starts =
        ["run", "var/log", "var/lib/ofedctl", "var/cache/ldconfig", "var/lib/dpkg/status-old", "lost+found"];
    starts.iter().any(|start| Path::new(path).starts_with(start)) || tree::RECORDS.contains(&path)
}

/// What runs leave: the files, and the records of package managers.
type Left = (Tree, BTreeSet<(&'static str, String)>);

fn left(root: &Root) -> Left {
    (Tree::of(root.path()).without(is_of_the_moment), tree::records(root.path()))
}

/// Cuts the power at moments evenly spread over what came to a disk, the first and the last among them; the run after each
/// must leave what was wanted.
fn assert_every_cut_heals(
    name: &str,
    (clean, requests): (&Path, &[Request]),
    cuts: usize,
    (run, wanted): (fn(&Root) -> Ran, &Left),
) {
    let folder = common::scratch();
    let shaken = folder.path().join("shaken");
    let count = requests.len();
    println!("{name}: {count} writes and flushes");
    for cut in 0..cuts {
        // Late ones are tried as well as early ones, and the moment at which the run says that it has ended.
        let at = if cuts == 1 { count / 3 } else { count * cut / (cuts - 1) };
        copy(clean, &shaken);
        let mut random = u32::try_from(cut).unwrap();
        let image = File::options().write(true).open(&shaken).unwrap();
        cut_power(&image, &requests[..at], || luck(&mut random));
        drop(image);
        let what = format!("{name} cut after {at} of {count}");
        let root = root::root_on_an_image(&shaken);
        let ran = run(&root);
        assert_eq!(ran.code, 0, "{what}: {ran:?}\n{}", root.read("var/log/azure/ib-vmext-status"));
        image::assert_left_alone(&root);
        let (files, records) = left(&root);
        let difference = tree::diff(&wanted.0, &files);
        assert!(difference.is_empty(), "{what}:\n{difference}");
        tree::assert_same_records(&what, &wanted.1, &records);
        assert_eq!(image::status(&root).state, "success", "{what}");
        assert!(!root.path().join("var/lib/ofedctl/journal.json").exists(), "{what}");
        println!("{what}: {}", ran.reason());
    }
}

/// How many cuts a variable asks for.
fn cuts(variable: &str) -> usize {
    std::env::var(variable).ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(FEW)
}

#[test]
fn after_a_power_cut_at_any_moment_the_next_run_ends_as_if_there_had_been_none() {
    common::need::need(&["e2fsprogs", "mount"]);
    let folder = common::scratch();
    let clean = image_of_a_root(folder.path(), |_| {});
    for (name, run) in [("bake", bake as fn(&Root) -> Ran), ("install", install)] {
        let shaken = folder.path().join("shaken");
        copy(&clean, &shaken);
        let disk = Disk::serve(&shaken);
        let calm = root::root_on_an_image(&disk.path());
        let ran = run(&calm);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        let requests = disk.requests();
        let wanted = left(&calm);
        drop(calm);
        drop(disk);
        assert_every_cut_heals(name, (&clean, &requests), cuts("OFEDCTL_POWER_CUTS"), (run, &wanted));
    }
}

/// The words of a run in a guest, and the run on this machine that comes after it.
type InGuest = (&'static str, String, fn(&Root) -> Ran);

#[test]
fn after_a_power_cut_of_a_virtual_machine_the_next_run_ends_as_if_there_had_been_none() {
    common::need::need(&["e2fsprogs", "mount"]);
    let folder = common::scratch();
    let mut guest = None;
    let clean = image_of_a_root(folder.path(), |root| guest = Some(Guest::of(root.path(), folder.path())));
    let guest = guest.unwrap();
    let of_bake = format!("bake --root / --vm-size {} --offline --json --cache /srv/cache", image::VM_SIZE);
    let of_install = "install --cache /srv/cache --offline --json".to_owned();
    let mut runs: Vec<InGuest> = vec![("bake in a guest", of_bake, bake)];
    // A guest takes its time: where nobody asks for more, one run of one is a sample.
    if std::env::var_os(IN_GUEST).is_some() {
        runs.push(("install in a guest", of_install, install));
    }
    for (name, words, run) in runs {
        let shaken = folder.path().join("shaken");
        copy(&clean, &shaken);
        let disk = Disk::serve(&shaken);
        guest.run(&disk, folder.path(), &words);
        let requests = disk.requests();
        drop(disk);
        let in_guest = left(&root::root_on_an_image(&shaken));
        // What the same run leaves on this machine, which nobody disturbed either.
        copy(&clean, &shaken);
        let calm = root::root_on_an_image(&shaken);
        let ran = run(&calm);
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        let wanted = left(&calm);
        drop(calm);
        let difference = tree::diff(&wanted.0, &in_guest.0);
        assert!(difference.is_empty(), "{name}, undisturbed:\n{difference}");
        tree::assert_same_records(name, &wanted.1, &in_guest.1);
        assert_every_cut_heals(name, (&clean, &requests), cuts(IN_GUEST), (run, &wanted));
    }
}
