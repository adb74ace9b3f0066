//! An image that carries only the cache, with the distribution's own driver in it.

use crate::azure::Azure;
use crate::common::image::{self, VM_SIZE};
use crate::common::program;
use crate::common::root::cloud_root;
use crate::two;
use crate::vm::{Vm, prepare};
use serde_json::Value;

const USER_DATA: &str = "#cloud-config\nruncmd: [\"echo all the same > /var/log/azure/ran\"]\n";
const VM_ID: &str = "5c0ffee0-0000-4000-8000-00000000cafe";

/// What the guest is asked at the end of its boot. The adapter and its port are shown as files, as at detection; the
/// verbs beside them are real, over the network card in the place of an adapter.
const LOOK: &str = "modprobe rdma_rxe\nrdma link add rxe0 type rxe netdev eth0\n\
    overlay=/opt/hardware/sys/class/infiniband:/sys/class/infiniband\n\
    ofedctl verify --json >no-device.json 2>no-device.log\n\
    mount -t overlay overlay -o lowerdir=$overlay /sys/class/infiniband\n\
    mount -t overlay overlay -o lowerdir=/opt/hardware/sys/class/net:/sys/class/net /sys/class/net\n\
    ofedctl verify --json --traffic rxe0 >verified.json 2>verify.log\n\
    ofedctl verify --json --traffic rxe7 >no-traffic.json 2>no-traffic.log\n";

#[test]
fn an_image_with_only_the_cache_installs_at_its_first_boot_on_azure_and_carries_traffic() {
    let root = cloud_root("trixie");
    image::stage(&root, &root.path().join("var/cache/ofedctl")).expect(0, "staged");
    let mut setup = std::process::Command::new(crate::common::shipped::program());
    setup.args(["cloud-init", "setup", "--json", "--offline", "--root"]).arg(root.path());
    program::finish(setup).expect(0, "listed");
    image::ask("generalize", &root).expect(0, "generalized");
    prepare(&root, "hb120rs_v3-ubuntu20.04", LOOK);
    two::prepare(&root);
    // What udev does where a real function appears.
    root.write("etc/modules-load.d/hardware.conf", "mlx5_ib\n");
    let vm = Vm::from_root(&root);
    let azure = Azure::start(VM_SIZE, VM_ID, USER_DATA);
    let kernel = vm.kernels()[0].to_owned();
    let booted = vm.boot(&kernel, &azure);

    // The platform was asked by cloud-init alone: once for the metadata, once for the goal, and told that it is ready.
    let metadata = "GET /metadata/instance?api-version=2021-08-01&extended=true";
    let requests = [metadata, "GET /machine/?comp=goalstate", "POST /machine?comp=health"];
    assert_eq!(azure.requests(), requests, "{}", booted.story());
    assert_eq!(booted.errors(), Vec::<Value>::new(), "{}", booted.story());
    let log = booted.read("log");
    assert!(log.contains("report: installed: inbox"), "{}", booted.story());
    assert!(log.contains("; Standard_HB120rs_v3; 1 InfiniBand function (cx6)"), "{log}");
    assert_eq!(booted.json("receipt.json")["vm_id"], VM_ID);
    assert_eq!(booted.read("ran"), "all the same\n", "{}", booted.story());

    // The modules are in the kernel, but no driver has found an adapter.
    let without = booted.json("no-device.json");
    assert_eq!(without["reason"], "verify-failed", "{without:#}");
    assert_eq!(failed(&without), ["InfiniBand devices: none"]);
    let verified = booted.json("verified.json");
    assert_eq!(verified["reason"], "verified", "{verified:#}\n{}", booted.read("verify.log"));
    let found = |name: &str| {
        let checks = verified["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == name)
            .map(|check| check["found"].as_str().unwrap().to_owned())
    };
    assert_eq!(found("loaded mlx5_ib").unwrap(), "loaded");
    assert_eq!(found("port mlx5_ib0/1").unwrap(), "InfiniBand, ACTIVE, LinkUp, 200 Gb/s");
    assert_eq!(found("address ib0").unwrap(), "172.16.1.4");
    assert_eq!(found("names").unwrap(), "mlx5_ib0 in PCI domain 0101");
    assert_eq!(found("memlock").unwrap(), "soft unlimited, hard unlimited for new sessions");
    assert!(found("traffic rxe0/1").unwrap().starts_with("8192000 bytes in "), "{verified:#}");
    assert_eq!(failed(&booted.json("no-traffic.json")), ["traffic: there is no verbs device rxe7"]);
    two::see_traffic(&vm, &kernel);
}

/// The checks that failed, each in a line.
fn failed(verified: &Value) -> Vec<String> {
    let failed = verified["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
    failed
        .map(|check| format!("{}: {}", check["name"].as_str().unwrap(), check["found"].as_str().unwrap()))
        .collect()
}
