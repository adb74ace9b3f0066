//! Findings about two VMs that stand in for real ones: of their facts, and of what perftest said at each.

use super::*;
use serde_json::json;

const HBV3: &str = "Standard_HB120rs_v3";

/// A VM of a size with one port, as it should be.
fn side(size: &str) -> VmFacts {
    let port = json!({"device": "mlx5_ib0", "number": 1, "is_infiniband": true, "state": "ACTIVE",
        "phys_state": "LinkUp", "gbps": 200, "keys": [[0, 0x8001], [1, 0x7fff]], "alone": true,
        "alone_found": "8192000 bytes in 0.01 seconds = 6553.60 Mbit/sec", "alone_usec": 3.0});
    serde_json::from_value(json!({"protocol": 1, "vm_size": size, "ports": [port]})).unwrap()
}

fn result(code: i32, ns: Option<u32>) -> PingPongResult {
    PingPongResult { code, said: if code == 0 { String::new() } else { "Failed status 12".to_owned() }, ns }
}

fn lines(here: &VmFacts, peer: &VmFacts, results: Option<[PingPongResult; 2]>) -> Vec<String> {
    let checks = judge(here, peer, "vm-2", &[results]);
    let line =
        |check: Check| format!("{} {}: {}", if check.ok { "ok" } else { "FAIL" }, check.name, check.found);
    checks.into_iter().map(line).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "it is the result of a ping-pong that may not have been run")]
fn good(ns: u32) -> Option<[PingPongResult; 2]> {
    Some([result(0, Some(ns)), result(0, Some(ns + 3))])
}

#[test]
fn two_vms_that_are_right_are_measured_by_their_sizes_own_figures() {
    let said = lines(&side(HBV3), &side(HBV3), good(1640));
    assert_eq!(
        said,
        [
            "ok link here mlx5_ib0/1: ACTIVE, LinkUp, 200 Gb/s; Standard_HB120rs_v3 has 200",
            "ok link vm-2 mlx5_ib0/1: ACTIVE, LinkUp, 200 Gb/s; Standard_HB120rs_v3 has 200",
            "ok partition here mlx5_ib0/1 - vm-2 mlx5_ib0/1: 0x0001 in both",
            "ok traffic here mlx5_ib0/1 - vm-2 mlx5_ib0/1: 1.64 us a message; Azure documents 1.20",
        ]
    );
    // No figure is made up for a size that none is documented for.
    let unknown = side("Standard_ND96asr_v4");
    assert!(lines(&unknown, &unknown, good(9000))[3].ends_with(": 9.00 us a message"));
}

#[test]
fn the_end_with_the_lower_rate_or_without_a_link_is_named() {
    let mut peer = side(HBV3);
    peer.ports[0].gbps = Some(100);
    let said = lines(&side(HBV3), &peer, good(1640));
    assert_eq!(said[1], "FAIL link vm-2 mlx5_ib0/1: ACTIVE, LinkUp, 100 Gb/s; Standard_HB120rs_v3 has 200");
    let (mut here, mut peer) = (side("Standard_D4s_v5"), side("Standard_D4s_v5"));
    here.ports[0].gbps = Some(100);
    peer.ports[0].state = Some("INIT".to_owned());
    let said = lines(&here, &peer, Some([result(1, None), result(1, None)]));
    assert_eq!(said[0], "FAIL link here mlx5_ib0/1: ACTIVE, LinkUp, 100 Gb/s; the other end has 200");
    assert_eq!(said[1], "FAIL link vm-2 mlx5_ib0/1: INIT, LinkUp, 200 Gb/s");
    assert!(said[3].contains(": wrong: here and vm-2; "), "{}", said[3]);
}

#[test]
fn vms_without_a_common_partition_are_told_which_of_them_has_none() {
    let mut peer = side(HBV3);
    peer.ports[0].keys = vec![(0, 0x8002), (1, 0x7fff)];
    let said = lines(&side(HBV3), &peer, None);
    assert_eq!(
        said[2..],
        [
            "FAIL partition here mlx5_ib0/1 - vm-2 mlx5_ib0/1: none in common, 0x8001 0x7fff here, 0x8002 0x7fff at vm-2: \
          the VMs are not in one scale set or availability set"
        ]
    );
    peer.ports[0].keys = vec![(0, 0x7fff)];
    assert!(lines(&side(HBV3), &peer, None)[2].ends_with("wrong: vm-2: no full member of a partition"));
    assert!(lines(&peer, &side(HBV3), None)[2].ends_with("wrong: here: no full member of a partition"));
}

#[test]
fn the_partition_is_agreed_on_by_both_ends_whatever_the_order_of_their_keys() {
    let mut peer = side(HBV3);
    peer.ports[0].keys = vec![(0, 0xffff), (3, 0x8001)];
    let mut here = side(HBV3);
    here.ports[0].keys.push((2, 0xffff));
    let of = |a: &VmFacts, b: &VmFacts| a.ports[0].shared_with(&b.ports[0]).unwrap();
    assert_eq!((of(&here, &peer).partition, of(&here, &peer).indices), (1, [0, 3]));
    assert_eq!((of(&peer, &here).partition, of(&peer, &here).indices), (1, [3, 0]));
    // A limited member reaches a full one.
    here.ports[0].keys = vec![(4, 0x0001)];
    assert_eq!(of(&here, &peer).indices, [4, 3]);
}

#[test]
fn a_vm_that_is_slow_alone_is_the_slow_one() {
    let mut peer = side(HBV3);
    peer.ports[0].alone_usec = Some(9.5);
    let found = |here: &VmFacts, peer: &VmFacts| lines(here, peer, good(4200)).pop().unwrap();
    let slow = "FAIL traffic here mlx5_ib0/1 - vm-2 mlx5_ib0/1: 4.20 us a message, Azure documents 1.20: ";
    let alone = "alone 3 us there and back here, 9.5 us at vm-2";
    assert_eq!(found(&side(HBV3), &peer), format!("{slow}wrong: vm-2 ({alone})"));
    assert!(found(&peer, &side(HBV3)).contains("wrong: here ("));
    assert!(
        found(&side(HBV3), &side(HBV3)).contains("each is right alone, so look at what lies between them")
    );
}

#[test]
fn where_nothing_comes_over_the_vm_that_fails_alone_is_wrong() {
    let failed = || Some([result(1, None), result(124, None)]);
    let mut peer = side(HBV3);
    peer.ports[0].alone = false;
    peer.ports[0].alone_found = "the server ended with 1".to_owned();
    let said = lines(&side(HBV3), &peer, failed()).pop().unwrap();
    assert!(said.contains(": wrong: vm-2; here alone: 8192000 bytes"), "{said}");
    assert!(
        said.ends_with(
            "; vm-2 alone: the server ended with 1; here ended with 1 and said Failed status 12; \
        vm-2 ended with 124 and said Failed status 12"
        ),
        "{said}"
    );
    let said = lines(&side(HBV3), &side(HBV3), failed()).pop().unwrap();
    assert!(said.contains("each is right alone, so look at what lies between them"), "{said}");
    let said = lines(&side(HBV3), &side(HBV3), Some([result(0, Some(9)), result(127, None)])).pop().unwrap();
    assert!(said.ends_with(": wrong: vm-2: `ib_send_lat` is missing, install perftest"), "{said}");
}

/// pytorch/tensorpipe issue 455: of two adapters one had no link, and what users saw was `transport retry counter exceeded`.
#[test]
fn of_two_adapters_the_one_without_a_link_is_named() {
    let two = |state: &str| {
        let mut side = side(HBV3);
        let mut second = side.ports[0].clone();
        second.device = "mlx5_ib1".to_owned();
        second.state = Some(state.to_owned());
        second.alone = state == "ACTIVE";
        side.ports.push(second);
        side
    };
    let failed = Some([result(1, None), result(1, None)]);
    let checks = judge(&two("ACTIVE"), &two("DOWN"), "vm-2", &[good(1300), failed]);
    let wrong: Vec<&str> = checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    assert_eq!(wrong, ["link vm-2 mlx5_ib1/1", "traffic here mlx5_ib1/1 - vm-2 mlx5_ib1/1"]);
    assert!(checks.iter().any(|check| !check.ok && check.found.contains("wrong: vm-2; ")));
}

#[test]
fn a_vm_with_fewer_ports_is_told_so_and_its_words_drive_no_terminal() {
    let mut peer = side(HBV3);
    peer.ports[0].state = Some("\u{1b}[2J".to_owned());
    assert!(!lines(&side(HBV3), &peer, good(1000))[1].contains('\u{1b}'));
    peer.ports.clear();
    assert_eq!(lines(&side(HBV3), &peer, None), ["FAIL ports: 1 here, 0 at vm-2"]);
}
