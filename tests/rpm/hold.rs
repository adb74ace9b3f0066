//! Kernels that are held back by setting: an upgrade from a newer repository leaves them alone, and takes all else.

use crate::bake::{give, known, prepared, stack};
use crate::common::image;
use crate::common::root::Root;
use crate::packages::{Repository, Rpm};
use crate::roots::{ALMA8, CENTOS7, Identity, SLES15};

/// Runs a program inside a root, and fails with its words when it fails.
#[track_caller]
pub(crate) fn run(root: &Root, program: &[&str]) {
    let ran = root.inside(program);
    assert!(ran.status.success(), "{program:?}: {ran:?}");
}

/// A kernel, what goes with it, and what does not.
fn kernel(name: &'static str, with: &'static str, version: &'static str) -> Vec<Rpm> {
    let needs = crate::vendor_packages::text(format!("{name} = {version}"));
    vec![
        Rpm::plain(name, version, ""),
        Rpm::plain(with, version, needs),
        Rpm::plain("kernel-headers", version, ""),
    ]
}

struct Case {
    identity: Identity,
    repositories: &'static str,
    /// The file that says what is held back, what users wrote there, and what an upgrade leaves alone then.
    file: &'static str,
    theirs: &'static str,
    kernel: [&'static str; 2],
    upgrade: &'static [&'static str],
}

/// Holds by setting, lets go by setting, holds again, and takes it all out.
fn holds(case: &Case) {
    let [name, with] = case.kernel;
    let (root, _repository) = prepared(case.identity, case.repositories, &stack());
    root.write(case.file, case.theirs);
    for rpm in kernel(name, with, "1") {
        give(&root, &rpm);
    }
    give(&root, &Rpm::plain("by-user", "1", ""));
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    root.write("etc/ofedctl/config.yaml", "driver: inbox\nkernel_hold: true\n");
    image::bake(&root, &cache).expect(0, "installed");
    image::bake(&root, &cache).expect(0, "already-installed");
    image::ask("verify", &root).expect(0, "verified");

    let newer = Repository::of(&[kernel(name, with, "2"), vec![Rpm::plain("by-user", "2", "")]].concat());
    newer.copy_into(&root, &format!("{}/test.repo", case.repositories));
    run(&root, case.upgrade);
    let now = known(&root);
    for package in [name, with, "by-user"] {
        assert!(now.contains(&format!("{package}-1-1")) && !now.contains(&format!("{package}-2-1")), "{now}");
    }
    assert!(now.contains("kernel-headers-2-1"), "{now}");

    // Somebody lets go: that is seen, and mended. Switched off, what users hold stays.
    let held = root.read(case.file);
    root.write(case.file, case.theirs);
    image::ask("verify", &root).expect(14, "verify-failed");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.read(case.file), held);
    root.write("etc/ofedctl/config.yaml", "driver: inbox\n");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.read(case.file), case.theirs);
    root.write("etc/ofedctl/config.yaml", "driver: inbox\nkernel_hold: true\n");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.read(case.file), held);
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read(case.file), case.theirs);
    run(&root, case.upgrade);
    let now = known(&root);
    for package in [name, with] {
        assert!(now.contains(&format!("{package}-2-1")), "{now}");
    }
    assert!(now.contains("by-user-1-1") && !now.contains("by-user-2-1"), "{now}");
}

#[test]
fn dnf_leaves_the_kernels_alone_beside_what_users_exclude() {
    holds(&Case {
        identity: ALMA8,
        repositories: "etc/yum.repos.d",
        file: "etc/dnf/dnf.conf",
        theirs: "[main]\ngpgcheck=1\nexcludepkgs = by-user,\n  nothing\nexclude=nothing*\nbest=True\n",
        kernel: ["kernel-core", "kernel-modules-extra"],
        upgrade: &["dnf", "-y", "upgrade"],
    });
}

#[test]
fn yum_leaves_the_kernels_alone_beside_what_users_exclude() {
    holds(&Case {
        identity: CENTOS7,
        repositories: "etc/yum.repos.d",
        file: "etc/yum.conf",
        theirs: "[main]\nexclude=by-user\nbest=1\n",
        kernel: ["kernel-uek", "kernel-devel"],
        upgrade: &["yum", "-y", "-c", "/etc/yum.conf", "upgrade"],
    });
}

#[test]
fn zypper_leaves_the_kernels_alone_beside_what_users_lock() {
    holds(&Case {
        identity: SLES15,
        repositories: "etc/zypp/repos.d",
        file: "etc/zypp/locks",
        theirs: "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: by-user\n\n",
        kernel: ["kernel-default", "kernel-default-devel"],
        upgrade: &["zypper", "--non-interactive", "--no-gpg-checks", "update", "--no-recommends"],
    });
}
