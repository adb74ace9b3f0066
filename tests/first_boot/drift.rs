//! An image with a vendor's driver, and a kernel that it was not baked for.

use crate::common::program::{self, Ran};
use crate::common::root::{Root, building_cloud_root};
use crate::common::vendor::modules::BUILDS;
use crate::two_kernels::{bake, kernels, shop, target};

/// Runs in a root what cloud-init would run in a VM of a size with InfiniBand. The running kernel is this machine's.
fn run_in(root: &Root) -> Ran {
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let folders = [format!("{machine}/sys"), format!("{machine}/run")];
    crate::azure::run(std::process::Command::new("cp").arg("-a").args(folders).arg(root.path()));
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("usr/bin/ofedctl")).unwrap();
    let run = ["/usr/bin/ofedctl", "cloud-init", "run", "--json", "--offline", "--driver", "doca"];
    Ran::from(root.booted(&[&run[..], &["--catalog", "/etc/ofedctl-catalog.yaml"]].concat()))
}

#[test]
fn a_kernel_whose_headers_are_nowhere_ends_the_boot_with_their_name() {
    let (shop, root) = (shop(), building_cloud_root("bookworm"));
    let [staged, other] = kernels(&root);
    program::run(&target("stage", &root, &shop, &staged)).expect(0, "staged");
    let headers = format!("linux-headers-{other}");
    let purged = root.inside(&["dpkg", "--purge", "--force-depends", &headers]);
    assert!(purged.status.success(), "{purged:?}");
    std::fs::copy(shop.catalog(), root.path().join("etc/ofedctl-catalog.yaml")).unwrap();
    let ran = run_in(&root);
    ran.expect(14, "cache-missing");
    assert!(ran.json()["message"].as_str().unwrap().contains(&headers), "{}", ran.stdout);
}

#[test]
fn a_kernel_the_image_was_not_baked_for_gets_its_modules_built_offline() {
    let (shop, root) = (shop(), building_cloud_root("bookworm"));
    let [baked, other] = kernels(&root);
    program::run(&target("stage", &root, &shop, &baked)).expect(0, "staged");
    bake(&root, &shop, &baked);
    let builds = root.read(BUILDS);
    assert!(!builds.contains(&other), "built for a kernel that was not asked for: {builds}");
    root.write(BUILDS, "");
    run_in(&root).expect(0, "reboot-required");
    let builds = root.read(BUILDS);
    assert!(builds.contains(&format!("mlnx-ofed-kernel {other}")) && !builds.contains(&baked), "{builds}");
    let modules = root.path().join(format!("lib/modules/{other}/updates/dkms"));
    assert!(std::fs::read_dir(modules).unwrap().count() >= 8);
    run_in(&root).expect(0, "reboot-required");
    assert_eq!(root.read(BUILDS), builds, "built again");
}
