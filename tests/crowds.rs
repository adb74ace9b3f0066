//! Many runs at once, through several doors: one works, the others wait for it and return what it came to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::image::{self, VM_SIZE};
use common::program::{self, Ran};
use common::root::{Root, debian_root};
use common::wait;
use std::process::{Child, Command};

const SUITE: &str = "bookworm";

/// How often a package was unpacked, as dpkg's own log says.
fn unpacked(root: &Root, package: &str) -> usize {
    root.read("var/log/dpkg.log").matches(&format!(" install {package}:")).count()
}

/// Starts `count` processes inside a VM, each through the next door, and returns the code and result of each.
fn all_at_once(root: &Root, count: usize) -> Vec<Ran> {
    let script = r#"
        for n in $(seq "$1"); do
            case $((n % 4)) in
                0) set -- "$1" install ;;
                1) set -- "$1" bake --root / --vm-size "$0" ;;
                2) set -- "$1" cloud-init run ;;
                3) set -- "$1" verify ;;
            esac
            count=$1; shift
            (code=0; [ "$1" != verify ] || exec /srv/ofedctl verify --json >"/srv/out.$n" 2>&1
             /srv/ofedctl "$@" --cache /srv/cache --offline --json >"/srv/out.$n" 2>"/srv/err.$n" || code=$?
             echo "$code" >"/srv/code.$n") &
            set -- "$count"
        done
        wait
    "#;
    let ran = root.booted(&["sh", "-euc", script, VM_SIZE, &count.to_string()]);
    assert!(ran.status.success(), "{ran:?}");
    let read = |name: &str, n: usize| root.read(&format!("srv/{name}.{n}"));
    let result = |n: usize| Ran {
        code: read("code", n).trim().parse().unwrap_or(-1),
        stdout: read("out", n),
        stderr: read("err", n),
    };
    (1..=count).filter(|n| n % 4 != 3).map(result).collect()
}

#[test]
fn of_twenty_runs_through_several_doors_one_works_and_the_others_return_its_result() {
    let root = debian_root(SUITE);
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let mut cp = Command::new("cp");
    cp.args(["-a", &format!("{machine}/sys"), &format!("{machine}/run")]).arg(root.path());
    assert!(cp.status().unwrap().success());
    root.write("srv/empty", "");
    image::copy_of_staged(SUITE, &root.path().join("srv"));
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("srv/ofedctl")).unwrap();

    for ran in all_at_once(&root, 20) {
        assert_eq!(ran.code, 0, "{ran:?}\n{}", root.read("var/log/azure/ib-vmext-status"));
        assert!(["installed", "already-installed", "reboot-required"].contains(&&*ran.reason()), "{ran:?}");
    }
    assert_eq!(unpacked(&root, "rdma-core"), 1, "{}", root.read("var/log/dpkg.log"));
    assert_eq!(root.dpkg_verify(), "");
    assert_eq!(image::status(&root).state, "success");
    image::assert_left_alone(&root);
}

/// Whether a run has the file of the lock open.
fn is_at_the_lock(run: &Child) -> bool {
    let open = std::fs::read_dir(format!("/proc/{}/fd", run.id())).into_iter().flatten().flatten();
    let mut open = open.filter_map(|file| std::fs::read_link(file.path()).ok());
    open.any(|file| file.ends_with("run/ofedctl/lock"))
}

#[test]
fn a_crowd_behind_a_run_that_dies_goes_on_without_it() {
    let root = debian_root(SUITE);
    let cache = image::staged(SUITE);
    let mut holder =
        program::stop_at("repository-laid-out", program::program(&image::bake_args(&root, &cache)));
    let crowd: Vec<Child> =
        (0..10).map(|_| program::start(program::program(&image::bake_args(&root, &cache)))).collect();
    wait::until("all the others wait", || crowd.iter().all(is_at_the_lock));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let mut ends: Vec<String> = Vec::new();
    for child in crowd {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ends.push(ran.reason());
    }
    ends.sort();
    assert_eq!(ends.iter().filter(|end| *end == "installed").count(), 1, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| *end == "already-installed").count(), 9, "{ends:?}");
    assert_eq!(root.dpkg_verify(), "");
    image::assert_left_alone(&root);
}
