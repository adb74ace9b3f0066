//! Sends verbs traffic inside one VM: runs the ping-pong program of the distribution's `ibverbs-utils` as server and
//! client through one adapter.

use super::peer::{self, Address};
use crate::facts::rdma::{self, Port, VerbsDevice};
use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::ledger::Check;
use crate::outcome::Reason;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

const PROGRAM: &str = "ibv_rc_pingpong";
/// Plays it with another partition key than the first one, which is all that the other program knows.
const OF_ANY_KEY: &str = "ib_send_lat";
/// The bit of a partition key that makes a full member.
const FULL: u16 = 0x8000;
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
        With::Peer(address) => peer::visit(host, name, address),
        With::Visitor(port) => peer::serve(host, name, *port),
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
    let program = Program::for_keys(&rdma::partition_keys(host, &device.name, port.number));
    let Some(addressing) = addressing(host, device, port, program.flag()) else {
        return Ok(ended(false, "the port has no address (GID) yet".to_owned(), None));
    };
    // Not always the same port, so that two users of the machine do not collide.
    let tcp_port = 20_000 + std::process::id() % 10_000;
    let cmd = |peer: Option<&str>| {
        Cmd::new("timeout")
            .args([PATIENCE.to_string().as_str(), program.name(), "-d", &device.name])
            .args(["-i".to_owned(), port.number.to_string(), "-p".to_owned(), tcp_port.to_string()])
            .args(program.options())
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
        return Err(Reason::ToolMissing.error(program.missing()));
    }
    let ok = first.code == 0 && second.code == 0;
    let found = if ok { program.found(&second.stdout) } else { why(&first, &second) };
    Ok(ended(ok, found, program.usec(&second.stdout).filter(|_| ok)))
}

/// What plays ping-pong inside a VM. Two limited members of a partition do not reach each other, and so a port whose first
/// key is such a one plays with another (Azure's documents do not say which comes first, MicrosoftDocs/azure-docs issue
/// 69185; NVIDIA/nccl issue 1323).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Pingpong,
    /// With the key of an index.
    Perftest(u32, u16),
}

impl Program {
    fn for_keys(keys: &[(u32, u16)]) -> Self {
        let is_first = |(index, key): &&(u32, u16)| *index == 0 && key & FULL == 0;
        let full = keys.iter().find(|(_, key)| key & FULL != 0);
        match (keys.iter().find(is_first), full) {
            (Some(_), Some((index, key))) => Self::Perftest(*index, *key),
            _ => Self::Pingpong,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Pingpong => PROGRAM,
            Self::Perftest(..) => OF_ANY_KEY,
        }
    }

    const fn flag(self) -> Flag {
        match self {
            Self::Pingpong => Flag::Pingpong,
            Self::Perftest(..) => Flag::Perftest,
        }
    }

    fn options(self) -> Vec<String> {
        match self {
            Self::Pingpong => Vec::new(),
            Self::Perftest(index, _) => {
                let words = ["-s", "4096", "-n", "1000", "-F"].map(str::to_owned);
                words.into_iter().chain([format!("--pkey_index={index}")]).collect()
            }
        }
    }

    fn missing(self) -> String {
        let package = match self {
            Self::Pingpong => "ibverbs-utils (libibverbs-utils on RHEL)",
            Self::Perftest(..) => "perftest",
        };
        format!("`{}` is missing: install {package}", self.name())
    }

    fn found(self, printed: &str) -> String {
        match self {
            Self::Pingpong => speed(printed),
            Self::Perftest(index, key) => {
                let took = self.usec(printed).map(|usec| format!(", {usec:.2} us there and back"));
                format!("it played with the key 0x{key:04x} of index {index}{}", took.unwrap_or_default())
            }
        }
    }

    /// Microseconds of a message there and back.
    fn usec(self, printed: &str) -> Option<f64> {
        match self {
            Self::Pingpong => usec(printed),
            Self::Perftest(..) => peer::typical_ns(printed).map(|ns| f64::from(ns) * 2.0 / 1000.0),
        }
    }
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

    #[test]
    fn a_port_whose_first_key_is_a_limited_members_plays_with_the_key_of_a_full_one() {
        for (keys, program) in [
            (vec![(0, 0x8001), (1, 0x7fff)], Program::Pingpong),
            (vec![(0, 0x7fff), (1, 0x8001)], Program::Perftest(1, 0x8001)),
            (vec![(0, 0x7fff)], Program::Pingpong),
            (vec![], Program::Pingpong),
        ] {
            assert_eq!(Program::for_keys(&keys), program, "{keys:?}");
        }
        let other = Program::Perftest(1, 0x8001);
        assert!(other.options().contains(&"--pkey_index=1".to_owned()) && other.name() == OF_ANY_KEY);
        let table =
            " #bytes #iterations t_min[usec] t_max[usec] t_typical[usec]\n 4096 1000 1.07 4.22 1.12\n";
        assert_eq!(other.usec(table), Some(2.24));
        assert_eq!(other.found(table), "it played with the key 0x8001 of index 1, 2.24 us there and back");
        assert!(other.missing().ends_with("install perftest"));
    }
}
