//! A vendor's driver that somebody else installed: real packages with the vendor's files, and its own uninstaller.

use crate::common::deb::{Deb, Repository};
use crate::common::disk::{leave, moved_to_a_disk};
use crate::common::image;
use crate::common::other_driver::{
    RELEASE, UNINSTALLER, in_initramfs, kernel, make_initramfs, own_module, with_another_driver,
};
use crate::common::program::{self, Ran};
use crate::common::root::Root;
use crate::common::wait;
use serde_json::Value;
use std::path::Path;

fn inbox(root: &Root, replace: &str) {
    root.write("etc/ofedctl/config.yaml", &format!("{{driver: inbox, replace_driver: {replace}}}\n"));
}

fn bake(root: &Root) -> Ran {
    image::bake(root, &image::staged("bookworm"))
}

#[test]
fn another_driver_is_kept_where_it_is_right_and_refused_where_it_is_in_the_way() {
    let root = with_another_driver(UNINSTALLER);
    bake(&root).expect(0, "already-installed");
    inbox(&root, "refuse");
    let refused = bake(&root);
    refused.expect(12, "driver-present");
    assert!(refused.json()["message"].as_str().unwrap().contains(RELEASE), "{refused:?}");
    assert!(refused.stderr.contains("replace_driver=replace"), "{refused:?}");
    assert!(root.installed("ofed-scripts").is_some());
    let plan = image::ask("plan", &root);
    plan.expect(12, "driver-present");
}

#[test]
fn another_driver_is_taken_out_by_its_own_uninstaller_and_the_kernel_has_its_modules_again() {
    let root = with_another_driver(UNINSTALLER);
    make_initramfs(&root);
    assert!(in_initramfs(&root)[0].starts_with("updates/"), "{:?}", in_initramfs(&root));
    inbox(&root, "replace");
    let plan: Value = image::ask("plan", &root).json();
    assert_eq!(plan["replaces"], RELEASE);
    bake(&root).expect(0, "installed");
    assert!(root.installed("ofed-scripts").is_none() && root.installed("rdma-core").is_some());
    let own = own_module(&root);
    let found = root.inside(&["modinfo", "-n", "-k", &kernel(&root), "mlx5_core"]);
    assert!(String::from_utf8(found.stdout).unwrap().trim().ends_with(&own));
    assert_eq!(in_initramfs(&root), [own]);
    image::ask("verify", &root).expect(0, "verified");
    bake(&root).expect(0, "already-installed");
    image::ask("uninstall", &root).expect(0, "uninstalled");
}

#[test]
fn a_driver_without_an_uninstaller_or_with_one_that_fails_is_left_to_who_installed_it() {
    let root = with_another_driver("");
    inbox(&root, "replace");
    let ran = bake(&root);
    ran.expect(12, "driver-present");
    assert!(ran.json()["message"].as_str().unwrap().contains("ofed_uninstall.sh"), "{ran:?}");

    let root =
        with_another_driver("#!/bin/sh\necho 'Failed to remove mlnx-ofed-kernel-modules' >&2\nexit 174\n");
    inbox(&root, "replace");
    let ran = bake(&root);
    ran.expect(14, "package-manager");
    assert!(ran.json()["message"].as_str().unwrap().contains("Failed to remove mlnx-ofed"), "{ran:?}");
    assert!(root.installed("rdma-core").is_none());

    let root = with_another_driver("#!/bin/sh\nexit 0\n");
    inbox(&root, "replace");
    let ran = bake(&root);
    ran.expect(14, "verify-failed");
    assert!(ran.json()["message"].as_str().unwrap().contains("updates/mlx5_core.ko"), "{ran:?}");
}

#[test]
fn a_bake_killed_while_it_takes_a_driver_out_is_finished_by_the_next() {
    let root = with_another_driver(
        "#!/bin/sh\nset -e\ndpkg --purge mlnx-ofed-kernel-modules\n: > /srv/half-way\n\
         while [ ! -e /srv/go-on ]; do sleep 0.05; done\ndpkg --purge ofed-scripts\n",
    );
    inbox(&root, "replace");
    let mut child = program::start(program::program(&image::bake_args(&root, &image::staged("bookworm"))));
    wait::until_at_work(&mut child, "the uninstaller is half-way", || {
        root.path().join("srv/half-way").exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    image::assert_left_alone(&root);
    root.write("srv/go-on", "");
    bake(&root).expect(0, "installed");
    assert!(root.installed("ofed-scripts").is_none());
    image::ask("verify", &root).expect(0, "verified");
}

#[test]
fn an_uninstall_finishes_what_a_failed_bake_left_of_a_driver_that_it_took_out() {
    let root = with_another_driver(UNINSTALLER);
    make_initramfs(&root);
    bake(&root).expect(0, "already-installed");
    inbox(&root, "replace");
    moved_to_a_disk(&root, "boot");
    leave(&root, "boot", Some(0));
    bake(&root).expect(14, "no-space");
    leave(&root, "boot", None);
    assert!(in_initramfs(&root)[0].starts_with("updates/"), "{:?}", in_initramfs(&root));
    image::ask("uninstall", &root).expect(0, "uninstalled");
    assert_eq!(in_initramfs(&root), [own_module(&root)]);
    assert!(!root.path().join("var/lib/ofedctl/other-driver-removal").exists());
}

#[test]
fn what_will_be_taken_out_is_not_counted_on_when_the_cache_is_filled() {
    let root = with_another_driver(UNINSTALLER);
    let packages =
        ["rdma-core", "ibverbs-utils", "ibverbs-providers", "rdmacm-utils", "infiniband-diags", "perftest"];
    let repository = Repository::of(&packages.map(|name| Deb { name, version: "50", ..Deb::default() }));
    for source in ["etc/apt/sources.list", "etc/apt/sources.list.d"] {
        let source = root.path().join(source);
        let _ = std::fs::remove_file(&source).or_else(|_| std::fs::remove_dir_all(&source));
    }
    root.add_source(&repository.source_line());
    // The vendor's, newer than the distribution's.
    let vendors =
        Deb { name: "rdma-core", version: "58mlnx43", ..Deb::default() }.build(&root.beside("debs"));
    std::fs::copy(&vendors, root.path().join("srv/rdma-core.deb")).unwrap();
    assert!(root.inside(&["dpkg", "-i", "/srv/rdma-core.deb"]).status.success());
    inbox(&root, "replace");
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    let files = staged.json()["bundle"]["files"].to_string();
    assert!(files.contains("rdma-core_50_all.deb"), "{files}");
    assert!(Path::new(&cache).join("index.json").exists());
}
