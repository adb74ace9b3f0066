//! Sends verbs traffic inside one VM: runs the ping-pong program of the distribution's `ibverbs-utils` as server and
//! client through one adapter.

use super::peer::Address;
use crate::facts::rdma::{self, Port, VerbsDevice};
use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::ledger::Check;
use crate::outcome::Reason;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

const PROGRAM: &str = "ibv_rc_pingpong";
/// The time limit in seconds. With software RDMA on the slowest emulated machine, the test takes some seconds.
pub(super) const PATIENCE: u64 = 60;
/// How long the server may take to start listening.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);
/// The global identifier of a port that has none.
const NO_GID: &str = "0000:0000:0000:0000:0000:0000:0000:0000";

/// The traffic that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// A verbs device, or `all` that are InfiniBand.
    pub device: String,
    /// The other end.
    pub with: With,
}

/// The other end of traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum With {
    /// The VM itself.
    Itself,
    /// A VM that serves.
    Peer(Address),
    /// One that comes to this TCP port.
    Visitor(u16),
}

/// What came of traffic from a port to itself.
#[derive(Debug)]
pub(super) struct Alone {
    pub(super) device: String,
    pub(super) port: Port,
    pub(super) check: Check,
    /// Microseconds of a message there and back.
    pub(super) usec: Option<f64>,
}

/// How a program wants the index of a global identifier.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flag {
    Pingpong,
    Perftest,
}

/// Sends the traffic, over the named verbs device or over `all` InfiniBand devices.
pub fn play(host: &Host, traffic: &Traffic) -> Result<Vec<Check>> {
    let name = &traffic.device;
    match &traffic.with {
        With::Itself => Ok(alone(host, name)?.into_iter().map(|alone| alone.check).collect()),
        With::Peer(address) => super::peer::visit(host, name, address),
        With::Visitor(port) => super::peer::serve(host, name, *port),
    }
    .map(|checks| if checks.is_empty() { vec![nothing(name)] } else { checks })
}

fn nothing(name: &str) -> Check {
    let found = match name {
        "all" => "there is no InfiniBand device".to_owned(),
        name => format!("there is no verbs device {name}"),
    };
    Check::new("traffic", false, found)
}

/// Runs ping-pong from each port to itself.
pub(super) fn alone(host: &Host, name: &str) -> Result<Vec<Alone>> {
    let mut devices = rdma::devices(host);
    devices.retain(|it| if name == "all" { it.is_infiniband() } else { it.name == name });
    let ports = devices.iter().flat_map(|device| device.ports.iter().map(move |port| (device, port)));
    ports.map(|(device, port)| over(host, device, port)).collect()
}

fn over(host: &Host, device: &VerbsDevice, port: &Port) -> Result<Alone> {
    let name = format!("traffic {}/{}", device.name, port.number);
    let ended = |ok: bool, found: String, usec: Option<f64>| Alone {
        device: device.name.clone(),
        port: port.clone(),
        check: Check::new(name.clone(), ok, found),
        usec,
    };
    let Some(addressing) = addressing(host, device, port, Flag::Pingpong) else {
        return Ok(ended(false, "the port has no address (GID) yet".to_owned(), None));
    };
    // Not always the same port, so that two users of the machine do not collide.
    let tcp_port = 20_000 + std::process::id() % 10_000;
    let cmd = |peer: Option<&str>| {
        Cmd::new("timeout")
            .args([PATIENCE.to_string().as_str(), PROGRAM, "-d", &device.name])
            .args(["-i".to_owned(), port.number.to_string(), "-p".to_owned(), tcp_port.to_string()])
            .args(addressing.clone())
            .args(peer.map(str::to_owned))
            .captured()
    };
    let (listen, connect) = (cmd(None), cmd(Some("127.0.0.1")));
    let (first, second) = std::thread::scope(|scope| {
        let server = scope.spawn(|| host.run(&listen));
        let second = loop_until_it_listens(host, &connect, || server.is_finished());
        (server.join(), second)
    });
    let Ok(first) = first else { bail!("a bug in ofedctl: the server's thread ended") };
    let (first, second) = (first?, second?);
    if first.code == 127 || second.code == 127 {
        let what = format!("`{PROGRAM}` is missing: install ibverbs-utils (libibverbs-utils on RHEL)");
        return Err(Reason::ToolMissing.error(what));
    }
    let ok = first.code == 0 && second.code == 0;
    let found = if ok { speed(&second.stdout) } else { why(&first, &second) };
    Ok(ended(ok, found, usec(&second.stdout).filter(|_| ok)))
}

/// The client ends at once while nobody listens.
pub(super) fn loop_until_it_listens(
    host: &Host,
    client: &Cmd,
    is_over: impl Fn() -> bool,
) -> Result<Finished> {
    let begin = Instant::now();
    loop {
        let ended = host.run(client)?;
        if ended.code == 0 || is_over() || begin.elapsed() > LISTENS_WITHIN {
            return Ok(ended);
        }
        std::thread::sleep(POLL);
    }
}

/// InfiniBand ports have addresses of their own kind; Ethernet ones are named by the index of a global identifier.
pub(super) fn addressing(host: &Host, device: &VerbsDevice, port: &Port, flag: Flag) -> Option<Vec<String>> {
    if port.is_infiniband() {
        return Some(Vec::new());
    }
    let base = format!("/sys/class/infiniband/{}/ports/{}", device.name, port.number);
    let is_routable = |index: &u32| {
        let attribute = |what: &str| host.root.attribute(&format!("{base}/{what}/{index}"));
        attribute("gids").is_some_and(|gid| gid != NO_GID)
            && attribute("gid_attrs/types").is_some_and(|kind| kind == "RoCE v2")
    };
    let mut routable: Vec<u32> = (0..32).filter(is_routable).collect();
    // The last identifiers are those of IPv4 addresses, which do not change while the test runs.
    let index = routable.pop()?;
    let flag = match flag {
        Flag::Pingpong => "-g",
        Flag::Perftest => "-x",
    };
    Some(vec![flag.to_owned(), index.to_string()])
}

/// `8192000 bytes in 0.04 seconds = 1489.45 Mbit/sec`, the program's own words.
fn speed(printed: &str) -> String {
    let line = printed.lines().find(|line| line.contains(" bytes in "));
    line.map_or_else(|| "it played".to_owned(), |line| line.trim().to_owned())
}

/// `1000 iters in 0.04 seconds = 44.02 usec/iter`, the program's own words.
fn usec(printed: &str) -> Option<f64> {
    let line = printed.lines().find(|line| line.ends_with(" usec/iter"))?;
    line.rsplit(' ').nth(1)?.parse().ok()
}

fn why(server: &Finished, client: &Finished) -> String {
    let said = |who: &str, ended: &Finished| {
        let words = if ended.tail.is_empty() { "nothing" } else { &ended.tail };
        format!("the {who} ended with {} and said {words}", ended.code)
    };
    format!("{}; {}", said("server", server), said("client", client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_words_tell_speed_and_time() {
        let said = "  local address:  LID 0x0000\n8192000 bytes in 0.04 seconds = 1489.45 Mbit/sec\n\
            1000 iters in 0.04 seconds = 44.02 usec/iter\n";
        assert_eq!(speed(said), "8192000 bytes in 0.04 seconds = 1489.45 Mbit/sec");
        assert_eq!(usec(said), Some(44.02));
        assert_eq!((speed(""), usec("")), ("it played".to_owned(), None));
    }
}
