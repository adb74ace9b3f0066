//! netplan and cloud-init, which write for the managers of interfaces: what Debian's own packages of them make of an image's
//! settings is what this program says of these, and what the managers then make of it leaves alone what is not theirs.
//! wicked, of SUSE, is in no archive of Debian; its files are read in `facts/network_managers.rs` only.

use crate::common::need::need_root;
use crate::common::program;
use crate::common::root::Root;
use crate::common::small_root::SmallRoot;
use crate::managers::root_with_managers;
use std::path::Path;

const IB: &str = "etc/netplan/60-ib.yaml";
const CLOUD: &str = "etc/cloud/cloud.cfg.d/99-ib.cfg";
const WAITS: &str = "the boot waits for it unless it is made optional there";

/// Renders the settings of every folder below `$1`, those for cloud-init by that one, and all by netplan.
const RENDER: &str = r#"
    mount --bind "$0" "$0"; cd "$0"
    mount -t proc proc proc; mount --bind /dev dev; mount --bind "$1" mnt
    for root in mnt/*; do
        for own in "$root"/etc/cloud/cloud.cfg.d/99-ib.cfg; do
            [ ! -e "$own" ] || chroot . cloud-init devel net-convert --kind yaml --network-data "/$own" \
                --output-kind netplan --distro ubuntu --directory "/$root" --mac eth0,00:15:5d:00:00:01 >/dev/null
        done
        chroot . netplan generate --root-dir "/$root"
    done
"#;

/// An image with netplan and cloud-init, with these files.
fn image(files: &[(&str, &str)]) -> SmallRoot {
    let root = SmallRoot::ubuntu().with_vendor_driver();
    root.put("usr/sbin/netplan", "");
    root.put("usr/bin/cloud-init", "");
    for (path, text) in files {
        root.put(path, text);
    }
    root
}

/// What netplan says of InfiniBand interfaces in a root: nothing, or whether the boot waits for one.
fn rendered(root: &Path) -> Option<bool> {
    let texts = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_name().to_string_lossy().contains("netplan-"));
        files.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect::<Vec<_>>()
    };
    let networkd = texts("run/systemd/network");
    let networkd = networkd.iter().filter(|text| text.contains("[Network]"));
    let waits = networkd.map(|text| !text.contains("RequiredForOnline=no"));
    let manager = texts("run/NetworkManager/system-connections");
    let all: Vec<bool> =
        waits.chain(manager.iter().map(|text| !text.contains("autoconnect=false"))).collect();
    (!all.is_empty()).then(|| all.contains(&true))
}

#[test]
fn the_boot_waits_for_an_interface_where_netplan_and_cloud_init_make_it_wait() {
    need_root();
    let plain = "network:\n  version: 2\n  ethernets:\n    ib0: {dhcp4: false, addresses: [172.16.1.4/16]}\n";
    let optional = "network:\n  version: 2\n  ethernets:\n    ib0: {optional: true}\n";
    let manager =
        "network:\n  version: 2\n  renderer: NetworkManager\n  ethernets:\n    ib0: {dhcp4: true}\n";
    let by_hand = "network:\n  version: 2\n  ethernets:\n    ib0: {activation-mode: manual}\n";
    let pattern = "network:\n  version: 2\n  ethernets:\n    all: {match: {name: \"ib*\"}, dhcp4: true}\n";
    let first =
        "network:\n  version: 1\n  config:\n  - {type: physical, name: ib0, subnets: [{type: dhcp}]}\n";
    let cases: [&[(&str, &str)]; 10] = [
        &[(IB, plain)],
        &[(IB, optional)],
        &[(IB, manager)],
        &[(IB, by_hand)],
        &[(IB, pattern)],
        // What a later document adds, and one of the same name in a folder that counts more.
        &[(IB, plain), ("etc/netplan/99-optional.yaml", optional)],
        &[("lib/netplan/60-ib.yaml", plain), (IB, optional)],
        &[("lib/netplan/60-ib.yaml", plain)],
        &[(CLOUD, plain)],
        &[(CLOUD, first)],
    ];
    let folder = crate::common::scratch();
    let images: Vec<SmallRoot> = cases.iter().map(|files| image(files)).collect();
    for (at, files) in cases.iter().enumerate() {
        for (path, text) in *files {
            let path = folder.path().join(at.to_string()).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let root = root_with_managers();
    let mut render = program::in_namespaces(RENDER);
    render.arg(root.path()).arg(folder.path()).env("LC_ALL", "C.UTF-8");
    let ran = program::finish(render);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut seen = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let real = rendered(&folder.path().join(at.to_string()));
        let why = image.plan(&[])["why"].to_string();
        assert!(why.contains("configures an InfiniBand interface and stays in charge of it"), "{at}: {why}");
        assert_eq!(Some(why.contains(WAITS)), real, "{:?}: {why}\n{ran:?}", cases[at]);
        seen.extend(real);
    }
    assert!(seen.contains(&true) && seen.contains(&false));
}

/// An interface that stands for the synthetic one, and one with a driver's name and the same hardware address, which stands
/// for its virtual function. Prints what networkd makes of each.
const TWINS: &str = r#"
    ip link set lo up
    mount --bind "$0" "$0"; cd "$0"
    mount -t proc proc proc; mount --bind /dev dev; mount -t sysfs -o ro sysfs sys; mount -t tmpfs run run
    if [ "$1" = networkd ]; then
        chroot . cloud-init devel net-convert --kind azure-imds --network-data /srv/imds.json --output-kind networkd \
            --distro debian --directory / >/dev/null
        # The file names the address and eth0, and udev gives that name to whichever of the two comes first.
        sed -i '/^Name=/d' etc/systemd/network/10-cloud-init-*
    else
        chroot . netplan generate
    fi
    ip tuntap add dev eth0 mode tap
    ip link set eth0 address 00:15:5d:00:00:01
    ip link add enP1s1 address 00:15:5d:00:00:01 type veth peer name other
    mkdir -p run/systemd/netif/links run/systemd/netif/leases run/systemd/netif/lldp
    chroot . chown -R systemd-network run/systemd/netif
    timeout 60 chroot . /lib/systemd/systemd-networkd >/dev/null 2>run/networkd.log &
    networkd=$!
    state() { sed -n 's/^ADMIN_STATE=//p' "run/systemd/netif/links/$(cat "sys/class/net/$1/ifindex")" 2>/dev/null; }
    is_settled() { case $(state "$1") in unmanaged | configured | configuring) ;; *) false ;; esac; }
    until_true() { for try in $(seq 200); do "$@" && return; sleep 0.1; done; }
    for link in eth0 enP1s1; do until_true is_settled $link; echo "$link $(state $link)"; done
    kill $networkd
    cat run/systemd/network/*.network etc/systemd/network/*.network >&2
    rm -f etc/systemd/network/10-cloud-init-*
"#;

#[test]
fn what_debian_and_cloud_init_tell_a_manager_of_a_machine_leaves_its_virtual_function_alone() {
    need_root();
    let root = root_with_managers();
    // As Debian's images for clouds have it; and canonical/cloud-init pull request 539: by the address, which the virtual
    // function has too.
    let everything = "network:\n  version: 2\n  ethernets:\n    all-en: {match: {name: en*}, dhcp4: true}\n    \
        all-eth: {match: {name: eth*}, dhcp4: true}\n";
    root.write("etc/netplan/90-default.yaml", everything);
    let interface = r#"{"macAddress": "00155D000001", "ipv6": {"ipAddress": []},
        "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}], "subnet": [{"address": "10.0.0.0", "prefix": "24"}]}}"#;
    root.write("srv/imds.json", &format!("{{\"network\": {{\"interface\": [{interface}]}}}}"));
    let small = image(&[("etc/netplan/90-default.yaml", everything)]);
    small.bake().expect(0, "already-installed");
    let functions = "etc/systemd/network/05-ofedctl-functions.network";
    let ours = small.read(functions);
    for way in ["netplan", "networkd"] {
        std::fs::remove_file(root.path().join(functions)).ok();
        let (without, story) = twins(&root, way);
        assert_eq!(without, "eth0 configuring\nenP1s1 configuring\n", "{way}\n{story}");
        // No driver of an adapter is to be had here, so that of a virtual link stands for one.
        root.write(functions, &ours.replace("mlx5_core", "veth"));
        let (with, story) = twins(&root, way);
        assert_eq!(with, "eth0 configuring\nenP1s1 unmanaged\n", "{way}\n{story}");
    }
}

fn twins(root: &Root, way: &str) -> (String, String) {
    let mut command = program::in_namespaces(TWINS);
    command.arg(root.path()).arg(way).env("LC_ALL", "C.UTF-8");
    let ran = program::finish(command);
    (ran.stdout, ran.stderr)
}

/// Shows two interfaces of one hardware address as files, with these drivers, and asks cloud-init which has it.
const BY_ADDRESS: &str = r#"
    mount --bind "$0" "$0"; cd "$0"
    mount -t proc proc proc; mount --bind /dev dev; mount -t tmpfs sys sys
    for named in "eth0 $1" "eth1 $2"; do
        set -- $named
        mkdir -p sys/class/net/$1/device sys/drivers/$2
        ln -s ../../../../drivers/$2 sys/class/net/$1/device/driver
        for file in address=00:15:5d:00:00:01 addr_assign_type=0 type=1 operstate=up; do
            echo "${file#*=}" >"sys/class/net/$1/${file%%=*}"
        done
    done
    exec chroot . python3 -c 'from cloudinit import net; print(net.get_interfaces_by_mac())'
"#;

#[test]
fn a_cloud_init_that_nothing_is_said_of_takes_two_interfaces_of_one_address() {
    need_root();
    // canonical/cloud-init issue 3450 and pull request 1853: in 22.4 the second call ends as the first one does here.
    let root = root_with_managers();
    let asked = |drivers: [&str; 2]| {
        let mut command = program::in_namespaces(BY_ADDRESS);
        command.arg(root.path()).args(drivers).env("LC_ALL", "C.UTF-8");
        program::finish(command)
    };
    let strangers = asked(["veth", "mana"]);
    assert!(strangers.code == 1 && strangers.stderr.contains("duplicate mac found!"), "{strangers:?}");
    let twins = asked(["hv_netvsc", "mana"]);
    assert!(twins.code == 0 && twins.stdout.contains("'00:15:5d:00:00:01': 'eth0'"), "{twins:?}");
    let version = "usr/lib/python3/dist-packages/cloudinit/version.py";
    let real = root.read(version);
    let told = |text: &str| image(&[(version, text)]).plan(&[])["why"].to_string();
    assert!(real.contains("__VERSION__ = \"22.4.2\""), "{real}");
    assert!(!told(&real).contains("one hardware address"), "{}", told(&real));
    let old = told(&real.replace("22.4.2", "22.4"));
    assert!(
        old.contains("cloud-init 22.4 gives up on the network") && old.contains("install 22.4.1 or newer"),
        "{old}"
    );
}
