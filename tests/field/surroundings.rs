//! What else has a hand in interfaces, kernels and `ib_core`: found in a root, named in the plan, made and undone.

use crate::common::program::{self, Ran};
use crate::common::{need::need_root, scratch};
use serde_json::Value;
use tempfile::TempDir;

const KERNEL: &str = "5.15.0-1074-azure";
const MODULES: [&str; 6] = ["mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];
const AGENT: &str = "usr/lib/python3/dist-packages/azurelinuxagent/common";

/// A root with a driver that somebody installed, the VM agent that looks for `ib0`, and these files.
struct Given(TempDir);

impl Given {
    fn with(files: &[(&str, &str)]) -> Self {
        let given = Self::without_driver(files);
        let line = |module: &&str| format!("updates/dkms/{module}.ko: updates/dkms/ib_core.ko\n");
        let dep = given.read(&format!("lib/modules/{KERNEL}/modules.dep"));
        let dep = dep + &MODULES.iter().map(line).collect::<String>();
        given.put(&format!("lib/modules/{KERNEL}/modules.dep"), &dep);
        let release = "#!/bin/bash\nif [ \"$1\" == \"-s\" ]; then\n\techo \"MLNX_OFED_LINUX-5.8-1.1.2.1:\"\n\texit 0\nfi\n";
        given.put("usr/bin/ofed_info", release);
        given.put("etc/init.d/openibd", "#!/bin/sh\n");
        given
    }

    fn without_driver(files: &[(&str, &str)]) -> Self {
        let given = Self(scratch());
        given.put("etc/os-release", "ID=ubuntu\nVERSION_ID=\"22.04\"\n");
        given.put("etc/waagent.conf", "OS.EnableRDMA=y\n");
        given.put("var/lib/dpkg/status", "");
        given.put(&format!("lib/modules/{KERNEL}/modules.dep"), "");
        given.put(&format!("{AGENT}/version.py"), "AGENT_VERSION = '2.7.3.0'\n");
        given.put(&format!("{AGENT}/rdma.py"), "sriov IPoIB_Data ib0 is not available\n");
        for (path, text) in files {
            given.put(path, text);
        }
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

    fn bake(&self, more: &[&str]) -> Ran {
        self.run("bake", &[&["--arch", "x86_64"], more].concat())
    }

    /// What the plan says, and the files that it edits.
    fn plan(&self, more: &[&str]) -> (String, Vec<String>) {
        let ran = self.run("plan", &[&["--arch", "x86_64"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        let answer: Value = ran.json();
        let plan = if answer["plan"].is_object() { &answer["plan"] } else { &answer };
        let edits = plan["edits"].as_array().unwrap();
        let paths = edits.iter().filter_map(|edit| edit["path"].as_str().map(str::to_owned)).collect();
        (plan["why"].to_string(), paths)
    }
}

#[test]
fn what_names_an_ipoib_interface_stays_in_charge_and_is_named_or_is_replaced() {
    need_root();
    // Shaped after Red Hat's 70-persistent-ipoib.rules: a name that the agent does not look for.
    let rule =
        "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{type}==\"32\", NAME=\"mlx5_ib0\"\n";
    let (why, _) = Given::with(&[("etc/udev/rules.d/70-persistent-ipoib.rules", rule)]).plan(&[]);
    assert!(why.contains("named as mlx5_ib0 by /etc/udev/rules.d/70-persistent-ipoib.rules"), "{why}");
    assert!(why.contains("the VM agent 2.7.3.0 looks for ib0 and gives it no address"), "{why}");

    let path = "usr/lib/systemd/network/05-hpc.link";
    let link = "[Match]\nType=infiniband\n[Link]\nName=hpc0\n";
    let given = Given::with(&[(path, link)]);
    let (why, _) = given.plan(&[]);
    assert!(
        why.contains("named as hpc0 by /usr/lib/systemd/network/05-hpc.link, which stays in charge"),
        "{why}"
    );
    given.put("etc/ofedctl/config.yaml", "replace_names: true\n");
    let over = "etc/systemd/network/05-hpc.link";
    given.bake(&[]).expect(0, "already-installed");
    assert!(given.read(over).contains("NamePolicy=\n"), "{}", given.read(over));
    // What was replaced is not forgotten by the next run.
    given.bake(&[]).expect(0, "already-installed");
    assert!(given.plan(&[]).1.contains(&format!("/{over}")));
    given.run("verify", &[]).expect(0, "verified");
    given.run("uninstall", &[]).expect(0, "uninstalled");
    assert_eq!((given.read(over), given.read(path)), (String::new(), link.to_owned()));

    // A kernel argument keeps the names for every agent.
    let grub = "GRUB_CMDLINE_LINUX=\"net.ifnames=0 biosdevname=0\"\n";
    let (why, _) = Given::with(&[("etc/default/grub", grub)]).plan(&[]);
    assert!(why.contains("net.ifnames=0"), "{why}");
}

#[test]
fn managers_leave_interfaces_alone_that_others_look_after() {
    need_root();
    // As HPC images set it by hand: NetworkManager takes neither the second interface nor ib0.
    let given = Given::with(&[("usr/sbin/NetworkManager", ""), ("usr/sbin/netplan", "")]);
    given.bake(&[]).expect(0, "already-installed");
    let manager = "etc/NetworkManager/conf.d/90-ofedctl.conf";
    assert!(given.read(manager).contains("unmanaged-devices+=type:infiniband;driver:mlx5_core"));
    let networkd =
        ["etc/systemd/network/05-ofedctl-functions.network", "etc/systemd/network/05-ofedctl-ipoib.network"];
    for path in networkd {
        assert!(given.read(path).contains("Unmanaged=yes"), "{path}");
    }
    given.bake(&[]).expect(0, "already-installed");
    given.run("verify", &[]).expect(0, "verified");
    given.run("uninstall", &[]).expect(0, "uninstalled");
    assert!([manager, networkd[0], networkd[1]].iter().all(|path| given.read(path).is_empty()));

    // Somebody's own file of an InfiniBand interface stays in charge, and is named with what it does to the boot.
    let netplan = "network:\n  ethernets:\n    ib0: {dhcp4: false}\n";
    let given = Given::with(&[("usr/sbin/netplan", ""), ("etc/netplan/60-ib.yaml", netplan)]);
    let (why, edited) = given.plan(&[]);
    assert!(why.contains("/etc/netplan/60-ib.yaml configures an InfiniBand interface"), "{why}");
    assert!(why.contains("the boot waits for it"), "{why}");
    assert!(!edited.iter().any(|path| path.ends_with("05-ofedctl-ipoib.network")), "{edited:?}");
}

#[test]
fn an_old_cloud_init_that_stops_at_two_interfaces_of_one_address_is_named_with_the_version_that_does_not() {
    // canonical/cloud-init issues 3450 and 3660.
    let path = "usr/lib/python3/dist-packages/cloudinit/version.py";
    for (version, told) in [("20.1", true), ("22.4", true), ("22.4.2", false), ("25.1", false)] {
        let text = format!("__VERSION__ = \"{version}\"\n");
        let (why, _) = Given::with(&[("usr/bin/cloud-init", ""), (path, &text)]).plan(&[]);
        assert_eq!(why.contains("install 22.4.1 or newer"), told, "{version}: {why}");
    }
}

#[test]
fn what_installs_kernels_by_itself_is_judged_by_the_setting_in_force() {
    // Azure/batch-shipyard issue 174.
    let given = Given::with(&[
        ("usr/bin/unattended-upgrade", ""),
        ("etc/apt/apt.conf.d/20auto-upgrades", "APT::Periodic::Unattended-Upgrade \"1\";\n"),
    ]);
    let (why, _) = given.plan(&[]);
    assert!(
        why.contains("unattended-upgrades installs new kernels by itself") && why.contains("kernel_hold"),
        "{why}"
    );
    let (why, _) = given.plan(&["--set", "kernel_hold=true"]);
    assert!(why.contains("the kernels are on hold"), "{why}");
    let given = Given::with(&[("run/ostree-booted", ""), ("usr/bin/bootc", "")]);
    assert!(given.plan(&[]).0.contains("bootc replaces this system as a whole"));
}

#[test]
fn a_read_only_usr_is_refused_by_name_before_any_change() {
    need_root();
    // coreos/fedora-coreos-tracker issue 941 and khenidak/dysk issue 60.
    let given = Given::without_driver(&[("run/ostree-booted", ""), ("usr/bin/bootc", "")]);
    for module in MODULES {
        let dep = given.read(&format!("lib/modules/{KERNEL}/modules.dep"));
        given.put(&format!("lib/modules/{KERNEL}/modules.dep"), &format!("{dep}kernel/{module}.ko:\n"));
    }
    let run = |command: &str| {
        let script = "mount --bind \"$0/usr\" \"$0/usr\"\nmount -o remount,bind,ro \"$0/usr\"\nexec \"$1\" \"$2\" --json \
            --driver inbox --nic cx6 --arch x86_64 --root \"$0\"\n";
        let mut ran = program::in_namespaces(script);
        ran.arg(given.0.path()).arg(env!("CARGO_BIN_EXE_ofedctl")).arg(command);
        program::finish(ran)
    };
    for command in ["plan", "bake"] {
        let ran = run(command);
        ran.expect(14, "read-only");
        let answer = ran.json();
        assert_eq!(answer["cause"], "usr-read-only", "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("bootc replaces this system"), "{answer}");
        assert!(answer["remedy"].as_str().unwrap().contains("where the system's image is built"), "{answer}");
    }
    assert!(!given.0.path().join("var/lib/ofedctl/receipt.json").exists());
    assert!(!given.0.path().join("etc/modules-load.d").exists());
}

#[test]
fn modules_that_share_ib_core_are_named_with_what_becomes_of_them() {
    // Azure/azhpc-images issue 333, cifsd-team/ksmbd issue 574, Mellanox/nv_peer_memory issue 84.
    let dep = "kernel/fs/smb/client/cifs.ko: updates/dkms/ib_core.ko\n\
        kernel/fs/smb/server/ksmbd.ko: updates/dkms/ib_core.ko\n\
        updates/dkms/nvidia-peermem.ko: updates/dkms/nvidia.ko\n\
        extra/lustre/net/ko2iblnd.ko: updates/dkms/ib_core.ko\n";
    let (why, _) = Given::with(&[(&format!("lib/modules/{KERNEL}/modules.dep"), dep)]).plan(&[]);
    assert!(why.contains(&format!("ko2iblnd, nvidia_peermem for {KERNEL} shares ib_core")), "{why}");
    assert!(why.contains(&format!("the own cifs, ksmbd of {KERNEL} does not load")), "{why}");
}
