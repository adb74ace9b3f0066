//! Everything around a vendor's driver in an image, and the image as it was when the driver is out again.

use super::scene::Scene;
use crate::common::disk::{leave, moved_to_a_disk};
use crate::common::image;
use crate::common::other_driver::{in_initramfs, make_initramfs};
use crate::common::root::Root;
use crate::common::tree::{self, Tree};
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::shop::Shop;
use serde_json::{Value, json};

const COMPONENTS: &str = "opt/azurehpc/component_versions.txt";
const ENABLED: &str = "etc/systemd/system/multi-user.target.wants/openibd.service";

/// What packages leave behind when they are purged, and what is made anew and is no copy of what was.
const TRACES: &[&str] = &[
    "var/log",
    "var/lib/ofedctl",
    "var/cache/ldconfig",
    "var/cache/debconf",
    "var/lib/dpkg",
    "var/lib/apt/extended_states",
    "var/lib/systemd/deb-systemd-helper",
    "var/lib/ucf",
    "var/lib/dkms",
    "etc/group",
    "etc/gshadow",
    "etc/ld.so.cache",
    "boot/initrd.img-",
];

fn components(root: &Root) -> Value {
    serde_json::from_str(&root.read(COMPONENTS)).unwrap()
}

/// Bakes, looks at every edit, takes the driver out, and compares the root with what it was.
fn goes_in_and_out(shop: &Shop, versions: &Value) {
    let scene = Scene::new(shop, vendor::building_root_as("ubuntu22.04"));
    let root = &scene.root;
    let there = |path: &str| root.path().join(path).exists();
    root.write(COMPONENTS, "{\"HPCX\": \"v2.24\"}\n");
    root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    make_initramfs(root);
    let own = in_initramfs(root);
    assert!(own[0].starts_with("kernel/"), "{own:?}");
    let before = Tree::of(root.path());

    scene.stage(&[]).expect(0, "staged");
    scene.bake(&[]).expect(0, "installed");
    let link = std::fs::read_link(root.path().join(ENABLED)).unwrap();
    assert!(link.ends_with("openibd.service"), "{}", link.display());
    assert!(
        root.read("etc/systemd/system/openibd.service.d/ofedctl.conf")
            .contains("Before=walinuxagent.service")
    );
    // Pins that apt cannot read are an error of every command.
    let no_caches = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="];
    let policy = [&["apt-cache"][..], &no_caches, &["policy", "rdma-core"]].concat();
    assert!(root.inside(&policy).status.success());
    assert!(!root.read("etc/security/limits.conf").contains("\n* soft memlock"));
    assert!(root.read("etc/apt/preferences.d/ofedctl").contains("Pin-Priority: 90"));
    assert_eq!(components(root), *versions);
    let inside = in_initramfs(root);
    assert!(inside.len() == 1 && inside[0].starts_with("updates/"), "{inside:?}");
    image::ask("verify", root).expect(0, "verified");
    scene.bake(&[]).expect(0, "already-installed");

    // What differs is named.
    root.write(COMPONENTS, "{\"OFED\": \"0\"}\n");
    std::fs::remove_file(root.path().join(ENABLED)).unwrap();
    let verified = image::ask("verify", root);
    verified.expect(14, "verify-failed");
    for part in ["component_versions.txt", "openibd.service: no link"] {
        assert!(verified.json()["message"].as_str().unwrap().contains(part), "{verified:?}");
    }
    root.write(COMPONENTS, "{\"HPCX\": \"v2.24\", \"OFED\": \"0\", \"NCCL\": \"2\"}\n");

    image::ask("uninstall", root).expect(0, "uninstalled");
    assert_eq!(components(root), json!({"HPCX": "v2.24", "NCCL": "2"}));
    assert_eq!(in_initramfs(root), own);
    assert!(!there("etc/systemd/system/openibd.service.d") && !there("usr/bin/ofed_info"));
    root.write(COMPONENTS, "{\"HPCX\": \"v2.24\"}\n");
    let after = Tree::of(root.path());
    let difference = tree::diff(&before, &after);
    let left: Vec<&str> =
        difference.paths().filter(|path| !TRACES.iter().any(|trace| path.starts_with(trace))).collect();
    assert_eq!(left, Vec::<&str>::new());
    image::assert_left_alone(root);
}

#[test]
fn mlnx_ofed_goes_in_with_all_around_it_and_out_without_a_trace() {
    let shop = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &MlnxOfed::default())));
    goes_in_and_out(&shop, &json!({"HPCX": "v2.24", "OFED": "5.8-2.0.3.0"}));
}

#[test]
fn doca_goes_in_with_all_around_it_and_out_without_a_trace() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    goes_in_and_out(&shop, &json!({"HPCX": "v2.24", "OFED": "25.10-1.7.1", "DOCA": "3.2.1"}));
}

/// A vendor's modules are larger than the kernel's, and so is the file system that has them: it may not fit where the old
/// one did.
const LARGER: &str = "#!/bin/sh\n[ \"$1\" != prereqs ] || exit 0\nset -- /lib/modules/*/updates\n\
    [ ! -d \"$1\" ] || head -c 4M /dev/urandom >\"$DESTDIR/larger\"\n";

#[test]
fn a_boot_that_is_too_small_for_a_vendors_modules_is_named_and_its_kernels_still_boot() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let root = &scene.root;
    make_initramfs(root);
    let hook = "etc/initramfs-tools/hooks/larger";
    root.write(hook, LARGER);
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path().join(hook), runs).unwrap();
    moved_to_a_disk(root, "boot");
    let staged = scene.stage(&[]).json();
    let counted = &staged["bundle"]["config"]["vendor_room"];
    assert!(
        counted["unpacked"].as_u64() > Some(10_000) && counted["packages"].as_u64() > Some(10_000),
        "{staged}"
    );
    let before = Tree::of(&root.path().join("boot"));
    let old = root.path().join(format!("boot/initrd.img-{}", scene.kernel())).metadata().unwrap().len() >> 10;
    // Less than is needed by what is known beforehand, and as much.
    for (kib, comes_far) in [(0, false), (old + 64, true)] {
        leave(root, "boot", Some(kib));
        let ran = scene.bake(&[]);
        ran.expect(14, "no-space");
        assert!(ran.json()["message"].as_str().unwrap().contains("boot"), "{ran:?}");
        assert_eq!(root.installed("mlnx-ofed-kernel-dkms").is_some(), comes_far, "{ran:?}");
        let left = tree::diff(&before, &Tree::of(&root.path().join("boot")));
        assert!(left.is_empty(), "{kib} KiB:\n{left}");
    }
    leave(root, "boot", None);
    scene.bake(&[]).expect(0, "installed");
    let inside = in_initramfs(root);
    assert!(inside.len() == 1 && inside[0].starts_with("updates/"), "{inside:?}");
    image::ask("verify", root).expect(0, "verified");
}
