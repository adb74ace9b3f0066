//! What else has a hand in interfaces, kernels and `ib_core`: found in a root, named in the plan, made and undone.

use crate::common::need::need_root;
use crate::common::program;
use crate::common::small_root::{KERNEL, MODULES, SmallRoot, edited};

const AGENT: &str = "usr/lib/python3/dist-packages/azurelinuxagent/common";

/// A root with a driver that somebody installed, the VM agent that looks for `ib0`, and these files.
pub(crate) fn with(files: &[(&str, &str)]) -> SmallRoot {
    without_driver(files).with_vendor_driver()
}

fn without_driver(files: &[(&str, &str)]) -> SmallRoot {
    let root = SmallRoot::ubuntu();
    root.put("etc/waagent.conf", "OS.EnableRDMA=y\n");
    root.put(&format!("{AGENT}/version.py"), "AGENT_VERSION = '2.7.3.0'\n");
    root.put(&format!("{AGENT}/rdma.py"), "sriov IPoIB_Data ib0 is not available\n");
    for (path, text) in files {
        root.put(path, text);
    }
    root
}

/// What the plan says, and the files that it edits.
fn plan(root: &SmallRoot, more: &[&str]) -> (String, Vec<String>) {
    let answer = root.plan(more);
    let plan = if answer["plan"].is_object() { &answer["plan"] } else { &answer };
    (plan["why"].to_string(), edited(&answer).into_iter().map(str::to_owned).collect())
}

#[test]
fn what_names_an_ipoib_interface_stays_in_charge_and_is_named_or_is_replaced() {
    need_root();
    // Shaped after Red Hat's 70-persistent-ipoib.rules: a name that the agent does not look for.
    let rule =
        "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{type}==\"32\", NAME=\"mlx5_ib0\"\n";
    let (why, _) = plan(&with(&[("etc/udev/rules.d/70-persistent-ipoib.rules", rule)]), &[]);
    assert!(why.contains("named as mlx5_ib0 by /etc/udev/rules.d/70-persistent-ipoib.rules"), "{why}");
    assert!(why.contains("the VM agent 2.7.3.0 looks for ib0 and gives it no address"), "{why}");

    let path = "usr/lib/systemd/network/05-hpc.link";
    let link = "[Match]\nType=infiniband\n[Link]\nName=hpc0\n";
    let root = with(&[(path, link)]);
    let (why, _) = plan(&root, &[]);
    assert!(
        why.contains("named as hpc0 by /usr/lib/systemd/network/05-hpc.link, which stays in charge"),
        "{why}"
    );
    root.put("etc/ofedctl/config.yaml", "replace_names: true\n");
    let over = "etc/systemd/network/05-hpc.link";
    root.bake().expect(0, "already-installed");
    assert!(root.read(over).contains("NamePolicy=\n"), "{}", root.read(over));
    // What was replaced is not forgotten by the next run.
    root.bake().expect(0, "already-installed");
    assert!(plan(&root, &[]).1.contains(&format!("/{over}")));
    root.run("verify", &[]).expect(0, "verified");
    root.run("uninstall", &[]).expect(0, "uninstalled");
    assert_eq!((root.read(over), root.read(path)), (String::new(), link.to_owned()));

    // A kernel argument keeps the names for every agent.
    let grub = "GRUB_CMDLINE_LINUX=\"net.ifnames=0 biosdevname=0\"\n";
    let (why, _) = plan(&with(&[("etc/default/grub", grub)]), &[]);
    assert!(why.contains("net.ifnames=0"), "{why}");
}

#[test]
fn managers_leave_interfaces_alone_that_others_look_after() {
    need_root();
    // As HPC images set it by hand: NetworkManager takes neither the second interface nor ib0.
    let root = with(&[("usr/sbin/NetworkManager", ""), ("usr/sbin/netplan", "")]);
    root.bake().expect(0, "already-installed");
    let manager = "etc/NetworkManager/conf.d/90-ofedctl.conf";
    assert!(root.read(manager).contains("unmanaged-devices+=type:infiniband;driver:mlx5_core"));
    let networkd =
        ["etc/systemd/network/05-ofedctl-functions.network", "etc/systemd/network/05-ofedctl-ipoib.network"];
    for path in networkd {
        assert!(root.read(path).contains("Unmanaged=yes"), "{path}");
    }
    root.bake().expect(0, "already-installed");
    root.run("verify", &[]).expect(0, "verified");
    root.run("uninstall", &[]).expect(0, "uninstalled");
    assert!([manager, networkd[0], networkd[1]].iter().all(|path| root.read(path).is_empty()));

    // Somebody's own file of an InfiniBand interface stays in charge, and is named with what it does to the boot.
    let netplan = "network:\n  ethernets:\n    ib0: {dhcp4: false}\n";
    let root = with(&[("usr/sbin/netplan", ""), ("etc/netplan/60-ib.yaml", netplan)]);
    let (why, edited) = plan(&root, &[]);
    assert!(why.contains("/etc/netplan/60-ib.yaml configures an InfiniBand interface"), "{why}");
    assert!(why.contains("the boot waits for it"), "{why}");
    assert!(!edited.iter().any(|path| path.ends_with("05-ofedctl-ipoib.network")), "{edited:?}");
}

#[test]
fn whoever_configures_an_infiniband_interface_stays_in_charge_whatever_the_file_is_called() {
    for (path, text, waits) in [
        // warewulf/warewulf issue 575: the file is called after the connection.
        ("etc/sysconfig/network-scripts/ifcfg-default", "DEVICE=ib0\nONBOOT=yes\n", true),
        // canonical/cloud-init issue 3959: the image's own network for cloud-init, in its first form.
        (
            "etc/cloud/cloud.cfg.d/99-net.cfg",
            "network:\n  version: 1\n  config:\n  - {type: physical, name: ib0, subnets: [{type: dhcp}]}\n",
            true,
        ),
        // openSUSE/wicked issue 840: a bond of interfaces that come when they come.
        ("etc/sysconfig/network/ifcfg-ib0", "STARTMODE='hotplug'\nBOOTPROTO='none'\n", false),
        // openhpc/ohpc issue 2001.
        (
            "etc/NetworkManager/system-connections/ibp65s0.nmconnection",
            "[connection]\nid=ibp65s0\ntype=infiniband\ninterface-name=ibp65s0\n",
            true,
        ),
        // systemd/systemd issue 27724: one that is optional beside those that are not.
        (
            "etc/systemd/network/20-all.network",
            "[Match]\nName=en* ib*\n[Link]\nRequiredForOnline=false\n",
            false,
        ),
    ] {
        let root = with(&[("usr/sbin/netplan", ""), ("usr/bin/cloud-init", ""), (path, text)]);
        let (why, edited) = plan(&root, &[]);
        assert!(why.contains(&format!("/{path} configures an InfiniBand interface")), "{why}");
        assert_eq!(why.contains("the boot waits for it"), waits, "{path}: {why}");
        assert!(!edited.iter().any(|path| path.ends_with("05-ofedctl-ipoib.network")), "{edited:?}");
    }
}

#[test]
fn an_old_cloud_init_that_stops_at_two_interfaces_of_one_address_is_named_with_the_version_that_does_not() {
    // canonical/cloud-init issues 3450 and 3660.
    let path = "usr/lib/python3/dist-packages/cloudinit/version.py";
    for (version, told) in [("20.1", true), ("22.4", true), ("22.4.2", false), ("25.1", false)] {
        let text = format!("__VERSION__ = \"{version}\"\n");
        let (why, _) = plan(&with(&[("usr/bin/cloud-init", ""), (path, &text)]), &[]);
        assert_eq!(why.contains("install 22.4.1 or newer"), told, "{version}: {why}");
    }
}

#[test]
fn what_installs_kernels_by_itself_is_judged_by_the_setting_in_force() {
    // Azure/batch-shipyard issue 174.
    let root = with(&[
        ("usr/bin/unattended-upgrade", ""),
        ("etc/apt/apt.conf.d/20auto-upgrades", "APT::Periodic::Unattended-Upgrade \"1\";\n"),
    ]);
    let (why, _) = plan(&root, &[]);
    assert!(
        why.contains("unattended-upgrades installs new kernels by itself") && why.contains("kernel_hold"),
        "{why}"
    );
    let (why, _) = plan(&root, &["--set", "kernel_hold=true"]);
    assert!(why.contains("the kernels are on hold"), "{why}");
    let root = with(&[("run/ostree-booted", ""), ("usr/bin/bootc", "")]);
    assert!(plan(&root, &[]).0.contains("bootc replaces this system as a whole"));
}

#[test]
fn a_read_only_usr_is_refused_by_name_before_any_change() {
    need_root();
    // coreos/fedora-coreos-tracker issue 941 and khenidak/dysk issue 60.
    let root = without_driver(&[("run/ostree-booted", ""), ("usr/bin/bootc", "")]);
    root.add_modules(&MODULES.map(|module| format!("kernel/{module}.ko:\n")).concat());
    let run = |command: &str| {
        let script = "mount --bind \"$0/usr\" \"$0/usr\"\nmount -o remount,bind,ro \"$0/usr\"\nexec \"$1\" \"$2\" --json \
            --driver inbox --nic cx6 --arch x86_64 --root \"$0\"\n";
        let mut ran = program::in_namespaces(script);
        ran.arg(root.path()).arg(env!("CARGO_BIN_EXE_ofedctl")).arg(command);
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
    assert!(!root.path().join("var/lib/ofedctl/receipt.json").exists());
    assert!(!root.path().join("etc/modules-load.d").exists());
}

#[test]
fn modules_that_share_ib_core_are_named_with_what_becomes_of_them() {
    // Azure/azhpc-images issue 333, cifsd-team/ksmbd issue 574, Mellanox/nv_peer_memory issue 84.
    let dep = "kernel/fs/smb/client/cifs.ko: updates/dkms/ib_core.ko\n\
        kernel/fs/smb/server/ksmbd.ko: updates/dkms/ib_core.ko\n\
        updates/dkms/nvidia-peermem.ko: updates/dkms/nvidia.ko\n\
        extra/lustre/net/ko2iblnd.ko: updates/dkms/ib_core.ko\n";
    let (why, _) = plan(&with(&[(&format!("lib/modules/{KERNEL}/modules.dep"), dep)]), &[]);
    assert!(why.contains(&format!("ko2iblnd, nvidia_peermem for {KERNEL} shares ib_core")), "{why}");
    assert!(why.contains(&format!("the own cifs, ksmbd of {KERNEL} does not load")), "{why}");
}
