//! The way to an `IPoIB` address: a root is baked, and then the agent's own daemon runs in it, in a network namespace with
//! an interface that stands for an adapter's, and with the addresses that the host tells.
//!
//! `make hosts-newest` tries the newest agent in place of the distribution's.

use crate::common::hosts;
use crate::common::image;
use crate::common::program;
use crate::common::root::Root;
use crate::vm::Vm;
use serde_json::Value;
use std::path::Path;

/// What ends an adapter's 20-byte address, and how Azure writes it (Azure/WALinuxAgent, `update_iboip_interfaces`).
const HARDWARE: &str = "00:00:01:49:fe:80:00:00:00:00:00:00:00:15:5d:ff:fd:33:ff:2a";
const MAC: &str = "00155D33FF2A";
const ADDRESS: &str = "172.16.1.4";
const LINK: &str = "etc/systemd/network/10-ofedctl-ipoib.link";

/// What the host tells an agent when it starts.
#[derive(Clone, Copy)]
struct Told<'a> {
    /// In the host's key-value pairs.
    kvp: Option<&'a str>,
    /// In the fabric's `SharedConfig`.
    shared: bool,
}

const BOTH: Told = Told { kvp: Some("NUMPAIRS:1|00155D33FF2A:172.16.1.4"), shared: true };

/// A root with the agent, baked with what the agent needs.
fn baked(suite: &str) -> Vm {
    let vm = Vm::with_root(suite);
    let cache = vm.root.path().join("srv/cache");
    image::stage(&vm.root, &cache).expect(0, "staged");
    image::bake(&vm.root, &cache).expect(0, "installed");
    vm
}

/// Starts the agent where an adapter has an interface of this name. Returns that interface's addresses, and what the
/// agent wrote to its log.
fn addresses(root: &Root, interface: &str, told: Told) -> (Vec<String>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/extension/agent/address.py");
    std::fs::copy(script, root.path().join("srv/agent/address.py")).unwrap();
    let pool = root.path().join("var/lib/hyperv/.kvp_pool_0");
    let _ = std::fs::remove_file(&pool);
    if let Some(value) = told.kvp {
        std::fs::create_dir_all(pool.parent().unwrap()).unwrap();
        let field = |text: &str, length: usize| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(length, 0);
            bytes
        };
        // As hv_kvp_daemon keeps them: 512 bytes of name and 2048 of value.
        std::fs::write(&pool, [field("IPoIB_Data", 512), field(value, 2048)].concat()).unwrap();
    }
    let _ = std::fs::remove_file(root.path().join("var/log/waagent.log"));
    let namespace = r#"
        ip link set lo up
        ip address add 168.63.129.16/32 dev lo
        ip address add 169.254.169.254/32 dev lo
        ip link add "$1" type veth peer name other
        mount --bind "$0" "$0"
        cd "$0"
        mount -t proc proc proc
        mount --bind /dev dev
        mount -t tmpfs tmpfs run
        mount -t tmpfs tmpfs sys
        mkdir -p "sys/class/net/$1" sys/class/infiniband/mlx5_ib0
        echo "$2" >"sys/class/net/$1/address"
        exec chroot . python3 -W ignore /srv/agent/address.py "$3" "$4"
    "#;
    let (address, mac) = if told.shared { (ADDRESS, MAC) } else { ("", "") };
    let mut command = program::in_namespaces(namespace);
    command.arg(root.path()).args([interface, HARDWARE, address, mac]).env("LC_ALL", "C.UTF-8");
    let ran = program::finish(command);
    let log = root.read("var/log/waagent.log");
    assert_eq!(ran.code, 0, "{ran:?}\n{log}");
    let all: Value = serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|_| panic!("{ran:?}\n{log}"));
    let found = all[interface].as_array().into_iter().flatten();
    (found.map(|it| it.as_str().unwrap().to_owned()).collect(), log)
}

#[track_caller]
fn is_addressed(root: &Root, interface: &str, told: Told) {
    let (found, log) = addresses(root, interface, told);
    assert_eq!(found, [format!("{ADDRESS}/16")], "{interface}\n{log}");
}

fn keeps_names(root: &Root) -> bool {
    root.read(LINK).contains("OriginalName=ib[0-9]*")
}

/// The distribution's agent gives the address in every way that its version knows, and `keeps_names` where it needs that.
#[track_caller]
fn gives_addresses(suite: &str, wants_ib0: bool) {
    let vm = baked(suite);
    let root = &vm.root;
    let plan = &image::receipt(root)["plan"];
    assert_eq!(plan["optional"], serde_json::json!(["net-tools", "hyperv-daemons"]), "{plan:#}");
    for package in ["net-tools", "hyperv-daemons"] {
        assert!(root.installed(package).is_some(), "{package}");
    }
    assert!(root.read("etc/waagent.conf").lines().any(|line| line == "OS.EnableRDMA=y"));
    assert_eq!(keeps_names(root), wants_ib0);

    // By the host's key-value pairs, and where they are missing by the one address of SharedConfig.
    is_addressed(root, "ib0", BOTH);
    is_addressed(root, "ib0", Told { kvp: None, ..BOTH });
    is_addressed(root, "ibP257s0", BOTH);
    let (found, log) = addresses(root, "ibP257s0", Told { kvp: None, ..BOTH });
    assert_eq!(found.is_empty(), wants_ib0, "{log}");
    let named = named_by_systemd(root);
    assert_eq!(
        named.contains("ID_NET_LINK_FILE=/etc/systemd/network/10-ofedctl-ipoib.link"),
        wants_ib0,
        "{named}"
    );
    assert!(!wants_ib0 || !named.contains("ID_NET_NAME=") || named.contains("ID_NET_NAME=ib0"), "{named}");

    // What no image can mend: Azure tells the agent nothing (Azure/WALinuxAgent pull request 3591).
    let (found, log) = addresses(root, "ib0", Told { shared: false, ..BOTH });
    assert!(found.is_empty() && log.contains("Could not find rdmaIPv4Address"), "{log}");
    image::ask("verify", root).expect(0, "verified");
    image::ask("uninstall", root).expect(0, "uninstalled");
    assert_eq!((root.installed("net-tools"), root.read(LINK)), (None, String::new()));
}

/// What systemd says of the name of an interface that the kernel calls `ib0`.
fn named_by_systemd(root: &Root) -> String {
    let script = r#"
        ip link add ib0 type veth peer name other
        mount --bind "$0" "$0"
        cd "$0"
        mount -t proc proc proc
        mount -t sysfs sysfs sys
        mount -t tmpfs tmpfs run
        exec chroot . udevadm test-builtin net_setup_link /sys/class/net/ib0
    "#;
    let mut command = program::in_namespaces(script);
    command.arg(root.path());
    let ran = program::finish(command);
    assert!(ran.code == 0 && ran.stdout.contains("ID_NET_LINK_FILE="), "{ran:?}");
    ran.stdout
}

#[test]
fn an_agent_that_looks_for_ib0_finds_it_in_a_baked_root() {
    // 2.7.3.0 of Debian 12.
    gives_addresses("bookworm", !hosts::has_agent());
}

#[test]
fn an_agent_that_takes_any_name_finds_the_interface_in_a_baked_root() {
    // 2.12.0.2 of Debian 13.
    gives_addresses("trixie", false);
}

#[test]
fn without_what_is_planned_for_it_the_agent_gives_no_address() {
    // Azure/WALinuxAgent issue 1712.
    let vm = Vm::new();
    vm.root.write("etc/waagent.conf", "OS.EnableRDMA=y\n");
    let (found, log) = addresses(&vm.root, "ib0", Told { kvp: None, ..BOTH });
    assert!(found.is_empty() && log.contains("ifconfig"), "{log}");
    // Azure/WALinuxAgent issue 841: the setting as Debian ships it.
    vm.root.write("etc/waagent.conf", "# OS.EnableRDMA=y\n");
    let (found, log) = addresses(&vm.root, "ib0", BOTH);
    assert!(found.is_empty() && log.contains("RDMA capabilities are not enabled"), "{log}");
}
