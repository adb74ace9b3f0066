//! Edits around a driver (names, limits and the agent's setting) in images that have some of them already.

use crate::common::program::{self, Ran};
use crate::common::{need::need_root, scratch};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

const KERNEL: &str = "5.15.0-1074-azure";
const MODULES: [&str; 6] = ["mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];
const RULES: &str = "etc/udev/rules.d/60-rdma-persistent-naming.rules";

/// A root with these files.
struct Given(TempDir);

impl Given {
    /// Ubuntu, as the marketplace has it, with a driver that somebody else installed.
    fn with_driver() -> Self {
        let given = Self(scratch());
        given.put("etc/os-release", "ID=ubuntu\nVERSION_ID=\"22.04\"\n");
        given.put("etc/waagent.conf", "# OS.EnableRDMA=y\n");
        given.put("var/lib/dpkg/status", "");
        let line = |module: &&str| format!("updates/dkms/{module}.ko:\n");
        given
            .put(&format!("lib/modules/{KERNEL}/modules.dep"), &MODULES.iter().map(line).collect::<String>());
        given.put("usr/bin/ofed_info", "#!/bin/bash\nif [ \"$1\" == \"-s\" ]; then\n\techo \"MLNX_OFED_LINUX-5.8-1.1.2.1:\"\n\texit 0\nfi\n");
        given.put("etc/init.d/openibd", "#!/bin/sh\n");
        given
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.path().join(path)).unwrap_or_default()
    }

    fn run(&self, command: &str, more: &[&str]) -> Ran {
        let root = self.0.path().display().to_string();
        program::run(&[&[command, "--json", "--root", &root][..], more].concat())
    }

    fn plan(&self) -> Value {
        let ran = self.run("plan", &["--arch", "x86_64"]);
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        ran.json()
    }
}

/// The files that a plan edits.
fn edited(answer: &Value) -> Vec<&str> {
    let edits = answer["plan"]["edits"].as_array().or_else(|| answer["edits"].as_array()).unwrap();
    edits.iter().filter_map(|edit| edit["path"].as_str()).collect()
}

#[test]
fn what_is_around_a_driver_is_made_and_undone_whoever_installed_it() {
    need_root();
    // WALinuxAgent 841 and azurehpc 167: EnableRDMA is off although OFED is there.
    let given = Given::with_driver();
    let before = given.read("etc/waagent.conf");
    let bake = || given.run("bake", &["--arch", "x86_64"]);
    bake().expect(0, "already-installed");
    assert_eq!(given.read("etc/waagent.conf"), "OS.EnableRDMA=y\n");
    for path in [
        "etc/modules-load.d/ofedctl.conf",
        "etc/security/limits.d/90-ofedctl.conf",
        "etc/security/limits.d/91-ofedctl-nofile.conf",
        "etc/systemd/system.conf.d/90-ofedctl.conf",
        RULES,
    ] {
        assert!(!given.read(path).is_empty(), "{path}");
    }
    given.run("verify", &[]).expect(0, "verified");
    bake().expect(0, "already-installed");
    // Somebody's change is seen, and mended.
    given.put("etc/waagent.conf", "OS.EnableRDMA=n\n");
    given.run("verify", &[]).expect(14, "verify-failed");
    bake().expect(0, "already-installed");
    given.run("verify", &[]).expect(0, "verified");
    given.run("uninstall", &[]).expect(0, "uninstalled");
    assert_ne!(given.read("etc/waagent.conf"), "OS.EnableRDMA=y\n", "before: {before}");
    assert!(!given.0.path().join(RULES).exists());
    assert!(given.read("usr/bin/ofed_info").contains("5.8"), "the driver is somebody else's and stays");
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
        let given = Given::with_driver();
        given.put(path, text);
        let plan = given.plan();
        assert!(plan.to_string().contains(&format!("{name}, which stays in charge")), "{plan}");
        assert!(edited(&plan).iter().all(|path| !path.contains("udev")), "{plan}");

        given.put("etc/ofedctl/config.yaml", "replace_names: true\n");
        given.run("bake", &["--arch", "x86_64"]).expect(0, "already-installed");
        assert!(given.read(RULES).contains("NAME_FIXED mlx5_ib7"), "{path}");
        if Path::new(path).extension().is_some_and(|extension| extension == "rules") {
            let etc = format!("etc/udev/rules.d/{}", path.rsplit('/').next().unwrap());
            assert!(path == RULES || !given.read(&etc).contains("rdma_rename"), "{etc}");
        }
        given.run("bake", &["--arch", "x86_64"]).expect(0, "already-installed");
        given.run("verify", &[]).expect(0, "verified");
        given.run("uninstall", &[]).expect(0, "uninstalled");
        assert_eq!(given.read(path), text);
        assert!(path == RULES || !given.0.path().join(RULES).exists(), "{path}");
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
