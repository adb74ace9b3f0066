//! What two VMs' facts and results say together: a finding for each end's link, for the partition and for the traffic, and
//! which of the two VMs is wrong. Both ends come to the same findings, each with its own names for the two.

use super::ping_pong::PingPongResult;
use super::vm_facts::{PortFacts, VmFacts};
use crate::ledger::Check;
use crate::outcome::shown;

/// A message may take so many times the documented time: that was measured with a process that is bound to the
/// processor next to the adapter, and on the shortest way.
const SLACK: u32 = 2;
/// From this share on, one adapter is slower than another.
const SLOWER: f64 = 1.5;
const HERE: &str = "here";

/// Both ends of a pair of ports.
struct Pair<'a> {
    sides: [&'a VmFacts; 2],
    ports: [&'a PortFacts; 2],
    names: [&'a str; 2],
}

/// The findings of all pairs of ports; `results` are those of the ping-pongs that were run, at both ends.
pub(super) fn judge(
    here: &VmFacts,
    peer: &VmFacts,
    name: &str,
    results: &[Option<[PingPongResult; 2]>],
) -> Vec<Check> {
    let mut checks = Vec::new();
    if here.ports.len() != peer.ports.len() || here.ports.is_empty() {
        let found = format!("{} here, {} at {name}", here.ports.len(), peer.ports.len());
        checks.push(check("ports", false, &found));
    }
    for (at, ports) in here.ports.iter().zip(&peer.ports).enumerate() {
        let pair = Pair { sides: [here, peer], ports: [ports.0, ports.1], names: [HERE, name] };
        let links = [pair.link(0), pair.link(1)];
        let partition = pair.partition();
        let right = [0, 1].map(|end| links[end].ok && pair.ports[end].alone && pair.ports[end].is_member());
        let result = results.get(at).and_then(Option::as_ref);
        let traffic = result.map(|result| pair.traffic(result, right));
        checks.extend(links);
        checks.push(partition);
        checks.extend(traffic);
    }
    checks
}

/// Some of the words are those of another machine.
fn check(name: &str, ok: bool, found: &str) -> Check {
    Check::new(shown::line(name), ok, shown::line(found))
}

impl Pair<'_> {
    fn port_name(&self, end: usize) -> String {
        let port = self.ports[end];
        format!("{} {}/{}", self.names[end], port.device, port.number)
    }

    fn both(&self) -> String {
        format!("{} - {}", self.port_name(0), self.port_name(1))
    }

    /// Whether one end's link is up, with the rate of its size, or else with that of the other end.
    fn link(&self, end: usize) -> Check {
        let (port, other) = (self.ports[end], self.ports[1 - end]);
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        let side = self.sides[end];
        let documented = side.documented_gbps().filter(|_| port.is_infiniband);
        let (is_right, of_what) = match (port.gbps, documented, other.gbps) {
            (Some(gbps), Some(documented), _) => {
                let vm = side.vm_size.as_deref().unwrap_or_default();
                (gbps == documented, format!("; {vm} has {documented}"))
            }
            (Some(gbps), None, Some(others)) if gbps < others => {
                (false, format!("; the other end has {others}"))
            }
            _ => (true, String::new()),
        };
        let rate = port.gbps.map(|gbps| format!(", {gbps} Gb/s")).unwrap_or_default();
        let found = format!("{}, {}{rate}{of_what}", word(&port.state), word(&port.phys_state));
        check(&format!("link {}", self.port_name(end)), port.is_up() && is_right, &found)
    }

    fn partition(&self) -> Check {
        let keys = |end: usize| {
            let keys: Vec<String> =
                self.ports[end].keys.iter().map(|(_, key)| format!("0x{key:04x}")).collect();
            let keys = if keys.is_empty() { "no key".to_owned() } else { keys.join(" ") };
            format!("{keys} {}", if end == 0 { HERE.to_owned() } else { format!("at {}", self.names[end]) })
        };
        let shared = self.ports[0].shared_with(self.ports[1]);
        let found = if let Some(shared) = shared {
            format!("0x{:04x} in both", shared.partition)
        } else {
            let why = match [0, 1].map(|end| self.ports[end].is_member()) {
                [true, true] => "the VMs are not in one scale set or availability set".to_owned(),
                members => format!("{}: no full member of a partition", self.wrong(members)),
            };
            format!("none in common, {}, {}: {why}", keys(0), keys(1))
        };
        check(&format!("partition {}", self.both()), shared.is_some(), &found)
    }

    fn traffic(&self, result: &[PingPongResult; 2], right: [bool; 2]) -> Check {
        let name = format!("traffic {}", self.both());
        let ns = result.iter().find_map(|end| end.ns).filter(|_| result.iter().all(PingPongResult::ok));
        let Some(ns) = ns else { return check(&name, false, &self.why_none(result, right)) };
        let is_infiniband = self.ports.iter().all(|port| port.is_infiniband);
        let documented =
            self.sides.iter().filter_map(|side| side.documented_ns()).max().filter(|_| is_infiniband);
        let took = format!("{} us a message", usec(ns));
        match documented {
            Some(documented) if ns > documented.saturating_mul(SLACK) => {
                let found = format!("{took}, Azure documents {}: {}", usec(documented), self.slower());
                check(&name, false, &found)
            }
            Some(documented) => check(&name, true, &format!("{took}; Azure documents {}", usec(documented))),
            None => check(&name, true, &took),
        }
    }

    /// Why no message came over, and which of the two VMs is to be looked at.
    fn why_none(&self, result: &[PingPongResult; 2], right: [bool; 2]) -> String {
        let lacking = result.iter().position(PingPongResult::lacks_the_program);
        if let Some(end) = lacking {
            return format!("wrong: {}: `ib_send_lat` is missing, install perftest", self.names[end]);
        }
        let said = |end: usize| {
            let PingPongResult { code, said, .. } = &result[end];
            let words = if said.is_empty() { "nothing" } else { said };
            format!("{} ended with {code} and said {words}", self.names[end])
        };
        let alone = |end: usize| format!("{} alone: {}", self.names[end], self.ports[end].alone_found);
        let wrong = self.wrong(right);
        format!("{wrong}; {}; {}; {}; {}", alone(0), alone(1), said(0), said(1))
    }

    /// Which VM is wrong, when each is right by itself or not.
    fn wrong(&self, right: [bool; 2]) -> String {
        match right {
            [true, true] => "each is right alone, so look at what lies between them".to_owned(),
            [false, false] => format!("wrong: {} and {}", self.names[0], self.names[1]),
            [false, true] => format!("wrong: {}", self.names[0]),
            [true, false] => format!("wrong: {}", self.names[1]),
        }
    }

    /// Which VM is slow, by the time of a message that does not leave its adapter.
    fn slower(&self) -> String {
        let [Some(here), Some(peer)] = self.ports.map(|port| port.alone_usec) else {
            return "which is slow is not known".to_owned();
        };
        let times = format!("alone {here} us there and back {HERE}, {peer} us at {}", self.names[1]);
        let right = [here <= peer * SLOWER, peer <= here * SLOWER];
        format!("{} ({times})", self.wrong(right))
    }
}

fn usec(ns: u32) -> String {
    format!("{:.2}", f64::from(ns) / 1000.0)
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
