//! Two VMs that stand in for real ones, in one process. Their adapters have no address yet, so that no other program is
//! needed for an end.

use super::*;
use crate::host::cancel::Cancel;
use crate::host::testing::on_an_empty_root;
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, channel};

const DEVICE: &str = "mlx5_an0";
const SOON: Duration = Duration::from_secs(20);

/// A VM whose adapter is in these partitions.
fn vm(keys: &[&str]) -> (tempfile::TempDir, Host) {
    let (dir, host) = on_an_empty_root(Cancel::never());
    let port = format!("/sys/class/infiniband/{DEVICE}/ports/1");
    let facts = [("link_layer", "Ethernet"), ("state", "4: ACTIVE"), ("phys_state", "5: LinkUp")];
    for (file, text) in facts.into_iter().chain([("rate", "200 Gb/sec (4X HDR)")]) {
        host.root.write_text(&format!("{port}/{file}"), text).unwrap();
    }
    for (index, key) in keys.iter().enumerate() {
        host.root.write_text(&format!("{port}/pkeys/{index}"), key).unwrap();
    }
    (dir, host)
}

/// A VM that serves in a thread of its own: the port that it says it waits on, what it says later, and its end.
struct Server {
    port: u16,
    said: Receiver<String>,
    thread: std::thread::JoinHandle<Result<Vec<Check>>>,
}

impl Server {
    fn with(keys: &'static [&'static str]) -> Self {
        let (to, said) = channel();
        let thread = std::thread::spawn(move || {
            let (_dir, host) = vm(keys);
            host.events.attach(Box::new(move |event| {
                let _ = to.send(event.log_line().unwrap_or_default());
            }));
            serve(&host, DEVICE, 0)
        });
        let line = said.recv_timeout(SOON).unwrap();
        let (_, rest) = line.split_once("waiting on TCP port ").unwrap();
        let port = rest.split(' ').next().unwrap().parse().unwrap();
        Self { port, said, thread }
    }

    fn address(&self) -> Address {
        Address { machine: "127.0.0.1".to_owned(), port: self.port }
    }

    fn come(&self) -> Conversation {
        Conversation::to("127.0.0.1", self.port, SOON, &Cancel::never()).unwrap()
    }

    fn end(self) -> Result<Vec<Check>> {
        self.thread.join().unwrap()
    }
}

fn lines(checks: Vec<Check>) -> Vec<String> {
    let line =
        |check: Check| format!("{} {}: {}", if check.ok { "ok" } else { "FAIL" }, check.name, check.found);
    checks.into_iter().map(line).collect()
}

fn hear(conversation: &mut Conversation) -> Value {
    conversation.receive(SOON, &Cancel::never()).unwrap()
}

#[test]
fn both_ends_of_a_ping_pong_come_to_the_same_findings() {
    let server = Server::with(&["0x8001", "0x7fff", "0x0000", "none"]);
    let (_dir, host) = vm(&["0x7fff", "0x8001"]);
    let visitors = lines(visit(&host, DEVICE, &server.address()).unwrap());
    assert_eq!(visitors[2], "ok partition here mlx5_an0/1 - 127.0.0.1 mlx5_an0/1: 0x0001 in both");
    assert!(visitors[3].starts_with("FAIL traffic here"), "{visitors:?}");
    assert!(visitors[3].contains("the port has no address (GID) yet"), "{visitors:?}");
    assert_eq!(visitors.len(), 4, "{visitors:?}");
    assert_eq!(lines(server.end().unwrap()), visitors);
}

#[test]
fn nothing_is_played_over_ports_without_a_common_partition() {
    let server = Server::with(&["0x8002"]);
    let (_dir, host) = vm(&["0x8001"]);
    let visitors = lines(visit(&host, DEVICE, &server.address()).unwrap());
    assert_eq!(
        visitors[2..],
        ["FAIL partition here mlx5_an0/1 - 127.0.0.1 mlx5_an0/1: none in common, 0x8001 here, 0x8002 at \
          127.0.0.1: the VMs are not in one scale set or availability set"]
    );
    assert_eq!(server.end().unwrap().len(), 3);
}

#[test]
fn whoever_is_not_understood_is_sent_away_and_the_next_one_served() {
    let server = Server::with(&["0x8001"]);
    for (says, why) in [
        (json!("GET / HTTP/1.1"), "what the other end says is not understood"),
        (json!({"protocol": 2, "vm_size": null, "ports": []}), "the other ofedctl speaks version 2"),
    ] {
        let mut stranger = server.come();
        assert_eq!(hear(&mut stranger)["protocol"], 1);
        stranger.send(&says).unwrap();
        let line = server.said.recv_timeout(SOON).unwrap();
        assert!(line.contains("127.0.0.1") && line.contains(why), "{line}");
    }
    let (_dir, host) = vm(&["0x8001"]);
    assert_eq!(visit(&host, DEVICE, &server.address()).unwrap().len(), 4);
    assert_eq!(server.end().unwrap().len(), 4);
}

#[test]
fn a_visitor_gets_no_ping_pong_over_what_the_two_do_not_share() {
    let with = |keys: Value| {
        json!({"device": "x", "number": 1, "is_infiniband": true, "state": null, "phys_state": null,
            "gbps": null, "keys": keys, "alone": true, "alone_found": "", "alone_usec": null})
    };
    for (ports, why) in [
        (json!([]), "asks for a port that is not here"),
        (json!([with(json!([[0, 0x8002]]))]), "asks for no common partition"),
    ] {
        let server = Server::with(&["0x8001"]);
        let mut visitor = server.come();
        hear(&mut visitor);
        visitor.send(&json!({"protocol": 1, "vm_size": null, "ports": ports})).unwrap();
        visitor.send(&Request::PingPong(0)).unwrap();
        let error = format!("{:#}", server.end().unwrap_err());
        assert_eq!(error, format!("127.0.0.1 {why}"));
    }
}

#[test]
fn a_server_of_another_release_is_a_finding_and_not_an_error() {
    let listener = Listener::on(0).unwrap();
    let port = listener.port().unwrap();
    let other = std::thread::spawn(move || {
        let mut conversation = listener.accept(&Cancel::never()).unwrap();
        conversation.send(&json!({"protocol": 7, "vm_size": null, "ports": []})).unwrap();
        hear(&mut conversation);
    });
    let (_dir, host) = vm(&["0x8001"]);
    let address = Address { machine: "127.0.0.1".to_owned(), port };
    let found = lines(visit(&host, DEVICE, &address).unwrap());
    assert!(found[0].starts_with("FAIL peer 127.0.0.1: the other ofedctl speaks version 7"), "{found:?}");
    assert!(found[0].ends_with("run `ofedctl verify --traffic --serve` there"), "{found:?}");
    other.join().unwrap();
}

#[test]
fn a_port_that_went_away_meanwhile_is_named() {
    let (_dir, host) = vm(&["0x8001"]);
    let facts = VmFacts::from_ports(&host, traffic::alone(&host, DEVICE).unwrap());
    let (_other_dir, other) = on_an_empty_root(Cancel::never());
    let error =
        ping_pong_over(&other, &facts.ports[0], 0, 1, |ping_pong| ping_pong.serve(&other)).unwrap_err();
    assert_eq!(error.to_string(), format!("{DEVICE} has gone"));
    let mut gone = facts.ports[0].clone();
    gone.number = 2;
    let result = ping_pong_over(&host, &gone, 0, 1, |ping_pong| ping_pong.serve(&host)).unwrap();
    assert_eq!((result.ok(), result.said.as_str()), (false, "the port has gone"));
}
