//! Two machines of one disk on one wire, with verbs devices over their network cards: what they say of each other.

use crate::common::image::VM_SIZE;
use crate::common::root::Root;
use crate::vm::{Booted, Vm};
use serde_json::Value;

/// Runs in the place of systemd. The first machine serves, the second one comes to it: first over the wire as it is. Then
/// three ports of each are shown as InfiniBand of a size, which has 200 Gb/s and 1.2 us: the second machine's `rxe0` has the
/// half of that rate, its `rxe1` is in another partition, and the first machine's `rxe2` has no link.
///
/// Software RDMA is addressed as Ethernet is, so that the real programs are told the address by those in their place.
const PROGRAM: &str = r#"#!/bin/sh
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
for word in $(cat /proc/cmdline); do case $word in at=*) at=${word#at=};; esac; done
mkdir -p /tmp/result; cd /tmp/result
modprobe -a virtio_net rdma_rxe ib_uverbs dummy
ip link set lo up
ip address add 10.9.0.$at/24 dev eth0
ip link set eth0 up
ip link add still type dummy; ip address add 10.9.$at.1/24 dev still; ip link set still up
ip link add far type dummy; ip address add 10.9.1$at.1/24 dev far; ip link set far up
rdma link add rxe0 type rxe netdev eth0
rdma link add rxe1 type rxe netdev still
rdma link add rxe2 type rxe netdev far
together() {
    name=$1; shift
    if [ $at = 1 ]; then set -- "$@" --serve; else set -- "$@" --peer 10.9.0.1; fi
    timeout 300 ofedctl verify --json --traffic "$@" >$name.json 2>$name.log
}
together wire rxe0

show() { echo "$2" >/run/$at-$$-$(echo $1 | tr / -); mount --bind /run/$at-$$-$(echo $1 | tr / -) /sys/class/infiniband/$1; }
for device in rxe0 rxe1 rxe2; do
    show $device/ports/1/link_layer InfiniBand
    show $device/ports/1/rate "200 Gb/sec (4X HDR)"
    show $device/ports/1/pkeys/0 0x8001
done
if [ $at = 1 ]; then
    ip link set far down
else
    show rxe0/ports/1/rate "100 Gb/sec (2X HDR)"
    show rxe1/ports/1/pkeys/0 0x8002
fi
mkdir -p /run/cloud-init
echo '{"ds": {"meta_data": {"imds": {"compute": {"vmSize": "VM_SIZE"}}}}}' >/run/cloud-init/instance-data.json
address() { printf '#!/bin/sh\nexec /usr/bin/%s %s 1 "$@"\n' $1 $2 >/usr/local/bin/$1; chmod 755 /usr/local/bin/$1; }
address ibv_rc_pingpong -g
address ib_send_lat -x
together size

cp /proc/uptime .
tar -cf /dev/vdb .
sync
echo o >/proc/sysrq-trigger
sleep 60
"#;

/// Lays the program into an image.
pub fn prepare(root: &Root) {
    root.write("opt/two", &PROGRAM.replace("VM_SIZE", VM_SIZE));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path().join("opt/two"), mode).unwrap();
}

/// Boots two machines and looks at what each says of both.
pub fn see_traffic(vm: &Vm, kernel: &str) {
    let booted = vm.boot_two(kernel, "/opt/two");
    for (machine, other) in booted.iter().zip(["10.9.0.2", "10.9.0.1"]) {
        sees_a_good_wire(machine, other);
    }
    // Each names itself `here`.
    see_a_size(&booted[0], "10.9.0.2", "here", "10.9.0.2");
    see_a_size(&booted[1], "10.9.0.1", "10.9.0.1", "here");
}

fn sees_a_good_wire(machine: &Booted, other: &str) {
    let found = Findings::of(machine, "wire");
    let between = format!("here rxe0/1 - {other} rxe0/1");
    for end in ["here", other] {
        assert!(found.right(&format!("link {end} rxe0/1")).starts_with("ACTIVE, LinkUp"), "{found:?}");
    }
    assert_eq!(found.right(&format!("partition {between}")), "0x7fff in both");
    assert!(found.right(&format!("traffic {between}")).ends_with(" us a message"), "{found:?}");
}

/// Both know which of the two is wrong, and that the other one is right. Of the two machines, each with its name, the first
/// one is that which served.
fn see_a_size(machine: &Booted, other: &str, first: &str, second: &str) {
    let found = Findings::of(machine, "size");
    let between = |device: &str| format!("here {device}/1 - {other} {device}/1");
    let (of_size, up) = (format!("{VM_SIZE} has 200"), "ACTIVE, LinkUp");
    assert_eq!(found.right(&format!("link {first} rxe0/1")), format!("{up}, 200 Gb/s; {of_size}"));
    assert_eq!(found.wrong(&format!("link {second} rxe0/1")), format!("{up}, 100 Gb/s; {of_size}"));
    assert_eq!(found.right(&format!("partition {}", between("rxe0"))), "0x0001 in both");
    let slow = found.wrong(&format!("traffic {}", between("rxe0")));
    assert!(slow.contains(" us a message, Azure documents 1.20: "), "{slow}");

    let strangers = found.wrong(&format!("partition {}", between("rxe1")));
    assert!(strangers.ends_with(": the VMs are not in one scale set or availability set"), "{strangers}");
    assert!(strangers.contains("0x8001") && strangers.contains("0x8002"), "{strangers}");

    assert!(found.wrong(&format!("link {first} rxe2/1")).starts_with("DOWN, "), "{found:?}");
    assert!(found.right(&format!("link {second} rxe2/1")).starts_with(up), "{found:?}");
    let none = found.wrong(&format!("traffic {}", between("rxe2")));
    assert!(none.starts_with(&format!("wrong: {first}; ")), "{none}");
}

/// What a machine found of both.
#[derive(Debug)]
struct Findings {
    checks: Vec<Value>,
    log: String,
}

impl Findings {
    fn of(machine: &Booted, name: &str) -> Self {
        let checks = machine.json(&format!("{name}.json"))["checks"].as_array().cloned().unwrap_or_default();
        Self { checks, log: machine.read(&format!("{name}.log")) }
    }

    #[track_caller]
    fn find(&self, name: &str, ok: bool) -> &str {
        let check = self.checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("{name} in {:#?}\n{}", self.checks, self.log));
        assert_eq!(check["ok"], ok, "{check:#}");
        check["found"].as_str().unwrap()
    }

    #[track_caller]
    fn right(&self, name: &str) -> &str {
        self.find(name, true)
    }

    #[track_caller]
    fn wrong(&self, name: &str) -> &str {
        self.find(name, false)
    }
}
