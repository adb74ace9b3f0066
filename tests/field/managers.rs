//! Real network managers and what this program writes for them: `NetworkManager` and systemd-networkd start in a network
//! namespace with an interface of the driver that a file names and one that is InfiniBand by its kind. With the files they
//! leave both alone; without, they take them.

use crate::common::need::need_root;
use crate::common::program;
use crate::common::root::{Root, layers, root_of};
use crate::common::small_root::SmallRoot;
use std::collections::BTreeMap;

const FUNCTIONS: &str = "etc/systemd/network/05-ofedctl-functions.network";
const IPOIB: &str = "etc/systemd/network/05-ofedctl-ipoib.network";
const NETWORK_MANAGER: &str = "etc/NetworkManager/conf.d/90-ofedctl.conf";

/// `vf0` has the driver veth, and `ib0` the kind of an InfiniBand interface (32, `ARPHRD_INFINIBAND`). Prints a line for what
/// each manager makes of each. A file of the image's own gives everything to networkd that nobody else takes.
const MANAGERS: &str = r#"
    ip link set lo up
    ip link add vf0 type veth peer name vf1
    python3 -c '
import fcntl, os, struct
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH", b"ib0", 0x1001))
fcntl.ioctl(tun, 0x400454CD, 32)
fcntl.ioctl(tun, 0x400454CB, 1)'
    mount --bind "$0" "$0"; cd "$0"
    mount -t proc proc proc; mount --bind /dev dev; mount -t sysfs -o ro sysfs sys; mount -t tmpfs run run
    mkdir -p run/systemd/netif/links run/systemd/netif/leases run/systemd/netif/lldp run/dbus
    chroot . chown -R systemd-network run/systemd/netif
    until_true() { for try in $(seq 200); do "$@" && return; sleep 0.1; done; }
    timeout 60 chroot . /lib/systemd/systemd-networkd >/dev/null 2>run/networkd.log &
    networkd=$!
    state() { sed -n 's/^ADMIN_STATE=//p' "run/systemd/netif/links/$(cat "sys/class/net/$1/ifindex")" 2>/dev/null; }
    is_settled() { case $(state "$1") in unmanaged | configured) ;; *) false ;; esac; }
    for link in vf0 ib0; do until_true is_settled $link; echo "networkd $link $(state $link)"; done
    kill $networkd
    chroot . NetworkManager --print-config | sed -n 's/^unmanaged-devices=/print-config unmanaged-devices /p'
    chroot . dbus-daemon --system --fork
    timeout 60 chroot . NetworkManager --no-daemon >/dev/null 2>run/manager.log &
    manager=$!
    runs() { chroot . nmcli -t -f RUNNING,STARTUP general 2>/dev/null | grep -q '^running'; }
    until_true runs
    managed() { chroot . nmcli -t -g GENERAL.NM-MANAGED device show vf0 2>/dev/null; }
    has_seen() { [ -n "$(managed)" ]; }
    until_true has_seen
    echo "NetworkManager vf0 $(managed)"
    kill $manager $(cat run/dbus/pid)
"#;

/// A root with these managers, and with what writes for them.
pub(crate) fn root_with_managers() -> Root {
    let packages = "network-manager,udev,systemd,dbus,iproute2,netplan.io,cloud-init";
    root_of(&layers("managers", "bookworm", packages))
}

#[test]
fn a_file_that_keeps_managers_off_a_part_of_the_functions_or_not_always_stays_and_ours_comes_beside_it() {
    need_root();
    // Azure/azure-vm-utils issue 106: the rule asks for a flag that the kernel sets later. flatcar/init pull request 106: a
    // list of drivers without MANA. coreos/fedora-coreos-tracker issue 1383: nothing keeps NetworkManager off.
    let rule = "SUBSYSTEM==\"net\", DRIVERS==\"mana|mlx5_core\", ATTR{flags}==\"0x?[89ABCDEF]??\", ENV{NM_UNMANAGED}=\"1\"\n";
    let part = "[keyfile]\nunmanaged-devices=driver:mlx4_core;driver:mlx5_core\n";
    let whole = "[keyfile]\nunmanaged-devices=driver:mlx4_core;driver:mlx5_core;driver:mana\n";
    for (path, text, ours) in [
        ("etc/udev/rules.d/10-azure-unmanaged-sriov.rules", rule, true),
        ("etc/NetworkManager/conf.d/vf.conf", part, true),
        ("etc/NetworkManager/conf.d/none.conf", "", true),
        ("etc/NetworkManager/conf.d/vf.conf", whole, false),
    ] {
        let root = SmallRoot::ubuntu().with_vendor_driver();
        root.put("usr/sbin/NetworkManager", "");
        root.put(path, text);
        root.bake().expect(0, "already-installed");
        assert_eq!(root.read(NETWORK_MANAGER).contains("driver:mana"), ours, "{path}: {text}");
        assert_eq!(root.read(path), text);
    }
}

#[test]
fn real_managers_leave_alone_what_the_files_name_and_take_it_without_them() {
    need_root();
    // Written for an image with both managers.
    let small = SmallRoot::ubuntu().with_vendor_driver();
    small.put("usr/sbin/NetworkManager", "");
    small.put("usr/sbin/netplan", "");
    small.bake().expect(0, "already-installed");
    let root = root_with_managers();
    root.write(
        "etc/systemd/network/90-all.network",
        "[Match]\nName=*\n\n[Network]\nLinkLocalAddressing=no\n",
    );
    let said = |wanted: &str| {
        let mut command = program::in_namespaces(MANAGERS);
        command.arg(root.path()).env("LC_ALL", "C");
        let ran = program::finish(command);
        let lines = ran.stdout.lines().filter_map(|line| line.rsplit_once(' '));
        let lines: BTreeMap<String, String> =
            lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert!(lines.contains_key("NetworkManager vf0"), "{wanted}: {ran:?}");
        lines
    };
    let without = said("without the files");
    assert_eq!(without["networkd vf0"], "configured");
    assert_eq!(without["networkd ib0"], "configured");
    assert_eq!(without["NetworkManager vf0"], "yes");
    for path in [FUNCTIONS, IPOIB, NETWORK_MANAGER] {
        let text = small.read(path);
        assert!(!text.is_empty(), "{path}");
        // No driver of an adapter is to be had here, so that of a virtual link stands for one.
        root.write(path, &text.replace("mlx5_core", "veth"));
    }
    let with = said("with the files");
    assert_eq!(with["networkd vf0"], "unmanaged");
    assert_eq!(with["networkd ib0"], "unmanaged");
    assert_eq!(with["NetworkManager vf0"], "no");
    let all = "type:infiniband,driver:veth,driver:mlx4_core,driver:mlx4_en,driver:mana";
    assert_eq!(with["print-config unmanaged-devices"], all);
}
