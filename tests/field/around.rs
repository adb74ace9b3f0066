//! Edits around a driver (names, limits and the agent's setting) in images that have some of them already.

use crate::common::need::need_root;
use crate::common::program;
use crate::common::small_root::{SmallRoot, edited};
use std::path::Path;

const RULES: &str = "etc/udev/rules.d/60-rdma-persistent-naming.rules";

#[test]
fn what_is_around_a_driver_is_made_and_undone_whoever_installed_it() {
    need_root();
    // WALinuxAgent 841 and azurehpc 167: EnableRDMA is off although OFED is there.
    let root = SmallRoot::ubuntu().with_vendor_driver();
    let before = root.read("etc/waagent.conf");
    root.bake().expect(0, "already-installed");
    assert_eq!(root.read("etc/waagent.conf"), "OS.EnableRDMA=y\n");
    for path in [
        "etc/modules-load.d/ofedctl.conf",
        "etc/security/limits.d/90-ofedctl.conf",
        "etc/security/limits.d/91-ofedctl-nofile.conf",
        "etc/systemd/system.conf.d/90-ofedctl.conf",
        RULES,
    ] {
        assert!(!root.read(path).is_empty(), "{path}");
    }
    root.run("verify", &[]).expect(0, "verified");
    root.bake().expect(0, "already-installed");
    // Somebody's change is seen, and mended.
    root.put("etc/waagent.conf", "OS.EnableRDMA=n\n");
    root.run("verify", &[]).expect(14, "verify-failed");
    root.bake().expect(0, "already-installed");
    root.run("verify", &[]).expect(0, "verified");
    root.run("uninstall", &[]).expect(0, "uninstalled");
    assert_ne!(root.read("etc/waagent.conf"), "OS.EnableRDMA=y\n", "before: {before}");
    assert!(!root.path().join(RULES).exists());
    assert!(root.read("usr/bin/ofed_info").contains("5.8"), "the driver is somebody else's and stays");
}

#[test]
fn rules_and_services_that_name_devices_stay_in_charge_or_are_replaced() {
    need_root();
    // az-hop 394, OpenLogic/AzureBuildCentOS 92, and the service of Azure's HPC images.
    let rename =
        "ACTION==\"add\", SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n";
    let unit = "[Unit]\nDescription=names\n[Service]\nType=oneshot\nExecStart=/bin/true\n";
    for (path, text, name) in [
        ("etc/udev/rules.d/60-ib.rules", rename, "/etc/udev/rules.d/60-ib.rules"),
        // As guides to GPU clusters have it.
        ("etc/udev/rules.d/99-rdma-persistent-naming.rules", rename, "99-rdma-persistent-naming.rules"),
        // Of a builder's own package.
        ("usr/lib/udev/rules.d/70-persistent-net.rules", rename, "70-persistent-net.rules"),
        (RULES, rename, "60-rdma-persistent-naming.rules"),
        (
            "etc/systemd/system/azure_persistent_rdma_naming.service",
            unit,
            "azure_persistent_rdma_naming.service",
        ),
    ] {
        let root = SmallRoot::ubuntu().with_vendor_driver();
        root.put(path, text);
        let plan = root.plan(&[]);
        assert!(plan.to_string().contains(&format!("{name}, which stays in charge")), "{plan}");
        assert!(edited(&plan).iter().all(|path| !path.contains("udev")), "{plan}");

        root.put("etc/ofedctl/config.yaml", "replace_names: true\n");
        root.bake().expect(0, "already-installed");
        assert!(root.read(RULES).contains("NAME_FIXED mlx5_ib7"), "{path}");
        if Path::new(path).extension().is_some_and(|extension| extension == "rules") {
            let etc = format!("etc/udev/rules.d/{}", path.rsplit('/').next().unwrap());
            assert!(path == RULES || !root.read(&etc).contains("rdma_rename"), "{etc}");
        }
        root.bake().expect(0, "already-installed");
        root.run("verify", &[]).expect(0, "verified");
        root.run("uninstall", &[]).expect(0, "uninstalled");
        assert_eq!(root.read(path), text);
        assert!(path == RULES || !root.path().join(RULES).exists(), "{path}");
    }
}

#[test]
fn limits_are_for_logins_and_services_on_every_distribution() {
    // trixie 81 and nodewright-packages 42.
    for distro in ["ubuntu22.04", "debian12", "almalinux9.6", "sles15.5", "azurelinux3.0", "centos7.9"] {
        let ran = program::run(&["plan", "--json", "--driver", "inbox", "--nic", "cx6", "--distro", distro]);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        let plan = ran.json();
        let paths = edited(&plan);
        for part in ["limits.d/90", "limits.d/91", "system.conf.d/90", "system.conf.d/91", "user.conf.d/90"] {
            assert!(paths.iter().any(|path| path.contains(part)), "{distro} {part}: {paths:?}");
        }
    }
}
