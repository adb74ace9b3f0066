//! An image with a vendor's driver, booted with the kernel it was baked for and then with one it was not baked for.

use crate::azure::Azure;
use crate::common::image::{self, VM_SIZE};
use crate::common::program;
use crate::common::root::{Root, building_cloud_root};
use crate::common::shipped;
use crate::common::vendor::modules::BUILDS;
use crate::two_kernels::{bake, kernels, shop, target};
use crate::vm::{Booted, Vm, prepare};
use serde_json::Value;
use std::process::Command;

const VM_ID: &str = "5c0ffee0-0000-4000-8000-00000000d21f";

/// What the guest is asked at the end of a boot. Where a reboot is due, the kernel's own modules, which it had loaded
/// before there were others, are taken out and the module's command is run again: what a reboot would do, in less time.
/// The adapter and its port are shown as files, as at detection.
const LOOK: &str = "cp /run/ofedctl/reboot-required due\n\
    if [ -e due ]; then\n\
    ofedctl verify --json >before.json 2>before.log\n\
    for module in ib_ipoib mlx5_ib mlx5_core ib_umad rdma_ucm rdma_cm iw_cm ib_cm ib_uverbs ib_core; do\n\
    rmmod $module\ndone\n\
    ofedctl cloud-init run --json >again.json 2>again.log\n\
    fi\n\
    mount -t overlay overlay -o lowerdir=/opt/hardware/sys/class:/sys/class /sys/class\n\
    ofedctl verify --json >verified.json 2>verified.log\n\
    for module in mlx5_core mlx5_ib ib_uverbs; do\n\
    echo $module $(cat /sys/module/$module/srcversion) $(modinfo -F srcversion $module) $(modinfo -n $module)\n\
    done >sources\ncp /var/log/test-builds builds\n";

/// An initial file system of the modules that this machine needs alone, as a user may choose who knows the machine:
/// it is made and read in a fraction of the time.
fn boot_quickly(root: &Root) {
    root.write("etc/initramfs-tools/conf.d/list", "MODULES=list\nCOMPRESS=gzip\n");
    root.write("etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n");
    let made = root.inside(&["update-initramfs", "-u", "-k", "all"]);
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn a_baked_driver_is_loaded_at_boot_and_another_kernel_gets_what_the_cache_has_built_for_it() {
    let (shop, root) = (shop(), building_cloud_root("bookworm"));
    let [baked, other] = kernels(&root);
    let cache = root.path().join("var/cache");
    {
        // Another image of the same kind fills the cache.
        let first = building_cloud_root("bookworm");
        program::run(&target("stage", &first, &shop, &other)).expect(0, "staged");
        bake(&first, &shop, &other);
        crate::azure::run(
            Command::new("cp").arg("-a").arg(first.path().join("var/cache/ofedctl")).arg(cache),
        );
    }
    boot_quickly(&root);
    bake(&root, &shop, &baked);
    let mut setup = Command::new(shipped::program());
    setup
        .args(["cloud-init", "setup", "--json", "--offline", "--set", "driver=doca", "--root"])
        .arg(root.path());
    setup.args(["--set", "catalog=/etc/ofedctl-catalog.yaml"]);
    program::finish(setup).expect(0, "listed");
    image::ask("generalize", &root).expect(0, "generalized");
    prepare(&root, "hb120rs_v3-ubuntu20.04", LOOK);
    // What udev does where a real function appears.
    root.write("etc/modules-load.d/hardware.conf", "mlx5_core\nmlx5_ib\n");
    root.write(BUILDS, "");
    let vm = Vm::from_root(&root);
    let azure = Azure::start(VM_SIZE, VM_ID, "#cloud-config\n{}\n");

    // That the image has another kernel, which has no such modules, is no matter.
    let booted = vm.boot(&baked, &azure);
    assert_eq!(booted.errors(), Vec::<Value>::new(), "{}", booted.story());
    assert!(booted.read("log").contains("report: already-installed: doca "), "{}", booted.story());
    assert_eq!(booted.read("due"), "");
    assert_right(&booted);
    let (module, boot) = booted.share();
    eprintln!("the module took {module:.2} s of a boot of {boot:.0} s");
    // It only looks: less than one part in a hundred. A machine that is busy at the wrong moment may make it a few.
    assert!(module < boot * 0.05, "{module} s of {boot} s: {}", booted.story());

    let booted = vm.boot(&other, &azure);
    assert_eq!(booted.errors(), Vec::<Value>::new(), "{}", booted.story());
    // The kernel's own modules were loaded before the driver's were there.
    assert!(booted.read("log").contains("report: reboot-required: doca "), "{}", booted.story());
    assert_eq!(booted.read("due"), "report\n");
    let before = booted.json("before.json");
    let wrong = before["message"].as_str().unwrap();
    let stale = "loaded ib_uverbs: srcversion none, but that of the installed file is";
    assert!(wrong.contains(stale), "{before:#}");
    assert_eq!(booted.json("again.json")["reason"], "already-installed", "{}", booted.read("again.log"));
    assert_right(&booted);
}

/// Fails unless the loaded modules are the driver's, from the installed files, and nothing was compiled for that.
fn assert_right(booted: &Booted) {
    let verified = booted.json("verified.json");
    assert_eq!(verified["reason"], "verified", "{verified:#}\n{}", booted.story());
    assert_eq!(booted.read("builds"), "", "something was compiled");
    assert_eq!(booted.json("receipt.json")["vm_id"], VM_ID);
    let modules = booted.read("sources");
    assert_eq!(modules.lines().count(), 3, "{modules}");
    for line in modules.lines() {
        let [_, loaded, installed, file] = line.split(' ').collect::<Vec<_>>().try_into().expect(line);
        assert!(loaded == installed && file.contains("/updates/"), "{line}");
    }
}
