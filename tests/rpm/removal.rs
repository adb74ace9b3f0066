//! Taking out what was installed on an rpm root: a removal that is refused takes nothing out, and edits are undone as they
//! are with other managers.

use crate::bake::{give, known, prepared, stack};
use crate::common::image;
use crate::common::program;
use crate::common::tree::{self, Tree};
use crate::packages::Rpm;
use crate::roots::ALMA8;
use std::os::unix::fs::symlink;

#[test]
fn a_removal_that_rpm_would_refuse_takes_nothing_out_and_names_what_needs_what() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    root.write("etc/ofedctl/config.yaml", "driver: inbox\nkernel_hold: true\n");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
    let held = root.read("etc/dnf/dnf.conf");
    assert!(held.contains("kernel"), "{held}");
    give(&root, &Rpm::plain("site-tool", "1", "libibverbs = 48.0"));
    let (before, packages) = (Tree::of(root.path()).without(may_differ), known(&root));

    let refused = image::ask("uninstall", &root);
    refused.expect(14, "package-manager");
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("libibverbs = 48.0 is needed by (installed) site-tool-1-1.noarch"), "{message}");
    let touched = tree::diff(&before, &Tree::of(root.path()).without(may_differ));
    assert!(touched.is_empty(), "{touched}");
    image::assert_left_alone(&root);
    assert_eq!((known(&root), root.read("etc/dnf/dnf.conf")), (packages, held));
    image::ask("verify", &root).expect(0, "verified");

    assert!(root.inside(&["rpm", "--erase", "site-tool"]).status.success());
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read("etc/waagent.conf"), "# OS.EnableRDMA=y\n");
    assert!(!root.read("etc/dnf/dnf.conf").contains("kernel"), "{}", root.read("etc/dnf/dnf.conf"));
    assert_eq!(known(&root).trim(), "test-release-8-1.noarch");
}

/// rpm opens its database for writing even to look; what it knows is compared instead.
fn may_differ(path: &str) -> bool {
    path.starts_with("var/lib/rpm") || image::is_ours(path)
}

#[test]
fn a_line_that_was_added_since_stays_and_a_link_is_still_a_link_when_edits_are_undone() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    root.write("etc/ofedctl/config.yaml", "driver: inbox\nkernel_hold: true\n");
    root.write("etc/site/waagent.conf", "# OS.EnableRDMA=y\n");
    symlink("site/waagent.conf", root.path().join("etc/waagent.conf")).unwrap();
    root.write("etc/dnf/dnf.conf", "[main]\ngpgcheck=1\n");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(root.read("etc/site/waagent.conf"), "OS.EnableRDMA=y\n");
    root.write("etc/site/waagent.conf", "OS.EnableRDMA=y\nAdmins=line\n");
    root.write("etc/dnf/dnf.conf", &(root.read("etc/dnf/dnf.conf") + "best=False\n"));

    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read("etc/site/waagent.conf"), "# OS.EnableRDMA=y\nAdmins=line\n");
    assert!(root.path().join("etc/waagent.conf").is_symlink());
    assert_eq!(root.read("etc/dnf/dnf.conf"), "[main]\ngpgcheck=1\nbest=False\n");
}

#[test]
fn a_bake_killed_between_two_edits_is_undone_and_finished_by_the_next() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    for point in ["edit-noted#1", "edit-made#2", "receipt-written"] {
        program::kill_at(point, program::program(&image::bake_args(&root, &cache)));
        image::assert_left_alone(&root);
    }
    image::bake(&root, &cache).expect(0, "installed");
    image::ask("verify", &root).expect(0, "verified");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(root.read("etc/waagent.conf"), "# OS.EnableRDMA=y\n");
}
