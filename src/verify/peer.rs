//! Traffic between two VMs: one serves, the other comes to it. They tell each other what they are, play a ping-pong over
//! each pair of ports, and tell each other what came of it.

mod address;
mod judge;
mod ping_pong;
mod vm_facts;

pub use address::Address;
pub(super) use ping_pong::typical_ns;

use super::traffic;
use crate::facts::rdma::{self, VerbsDevice};
use crate::host::Host;
use crate::host::conversation::{Conversation, Listener};
use crate::ledger::Check;
use anyhow::{Context, Result, bail};
use ping_pong::{PingPong, PingPongResult};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vm_facts::{PortFacts, VmFacts};

/// The port that `--serve` listens on where no other is named; perftest's own begin with the next one.
pub const PORT: u16 = 18514;
/// How long the other VM may take to begin to listen: both are told to at about the same time.
const COMES_WITHIN: Duration = Duration::from_secs(120);
/// How long the other end may take to its next words, which are those after a ping-pong.
const ANSWERS_WITHIN: Duration = Duration::from_secs(traffic::PATIENCE + 60);

/// What the one that came asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    /// A ping-pong over the pair of ports of this index.
    PingPong(usize),
    /// No more.
    End,
}

/// Waits for another VM and measures the traffic with it. Whoever comes and is not understood is sent away.
pub(super) fn serve(host: &Host, name: &str, port: u16) -> Result<Vec<Check>> {
    let listener = Listener::on(port)?;
    let here = VmFacts::from_ports(host, traffic::alone(host, name)?);
    host.events.info(format!("waiting on TCP port {} for `--peer` of another VM", listener.port()?));
    loop {
        let mut conversation = listener.accept(&host.cancel)?;
        let name = conversation.peer().to_string();
        match meet(host, &mut conversation, &here) {
            Ok(peer) => return serve_one(host, &mut conversation, &here, &peer, &name),
            Err(error) => host.cancel.check().map(|()| host.events.warn(format!("{name}: {error:#}")))?,
        }
    }
}

/// Goes to a VM that serves, and measures the traffic with it.
pub(super) fn visit(host: &Host, name: &str, address: &Address) -> Result<Vec<Check>> {
    let machine = address.machine.as_str();
    let here = VmFacts::from_ports(host, traffic::alone(host, name)?);
    let met = Conversation::to(machine, address.port, COMES_WITHIN, &host.cancel)
        .and_then(|mut conversation| meet(host, &mut conversation, &here).map(|peer| (conversation, peer)));
    let (mut conversation, peer) = match met {
        Ok(met) => met,
        Err(error) => {
            host.cancel.check()?;
            let found = format!("{error:#}; run `ofedctl verify --traffic --serve` there");
            return Ok(vec![Check::new(format!("peer {machine}"), false, found)]);
        }
    };
    let mut results = Vec::new();
    for (at, (mine, theirs)) in here.ports.iter().zip(&peer.ports).enumerate() {
        let Some(shared) = mine.shared_with(theirs) else {
            results.push(None);
            continue;
        };
        conversation.send(&Request::PingPong(at))?;
        let tcp_port = conversation.receive(ANSWERS_WITHIN, &host.cancel)?;
        let result = ping_pong_over(host, mine, shared.indices[0], tcp_port, |ping_pong| {
            ping_pong.begin_with(host, machine)
        })?;
        conversation.send(&result)?;
        results.push(Some([result, conversation.receive(ANSWERS_WITHIN, &host.cancel)?]));
    }
    conversation.send(&Request::End)?;
    Ok(judge::judge(&here, &peer, machine, &results))
}

fn meet(host: &Host, conversation: &mut Conversation, here: &VmFacts) -> Result<VmFacts> {
    conversation.send(here)?;
    conversation.receive::<VmFacts>(ANSWERS_WITHIN, &host.cancel)?.understood()
}

fn serve_one(
    host: &Host,
    conversation: &mut Conversation,
    here: &VmFacts,
    peer: &VmFacts,
    name: &str,
) -> Result<Vec<Check>> {
    let pairs: Vec<(&PortFacts, &PortFacts)> = here.ports.iter().zip(&peer.ports).collect();
    let mut results = vec![None; pairs.len()];
    while let Request::PingPong(at) = conversation.receive(ANSWERS_WITHIN, &host.cancel)? {
        let Some((mine, theirs)) = pairs.get(at) else { bail!("{name} asks for a port that is not here") };
        let shared =
            mine.shared_with(theirs).with_context(|| format!("{name} asks for no common partition"))?;
        // Free now, and for as long as nobody else takes one at random.
        let tcp_port = Listener::on(0)?.port()?;
        conversation.send(&tcp_port)?;
        let result =
            ping_pong_over(host, mine, shared.indices[0], tcp_port, |ping_pong| ping_pong.serve(host))?;
        conversation.send(&result)?;
        results[at] = Some([result, conversation.receive(ANSWERS_WITHIN, &host.cancel)?]);
    }
    Ok(judge::judge(here, peer, name, &results))
}

fn ping_pong_over(
    host: &Host,
    port: &PortFacts,
    key: u32,
    tcp_port: u16,
    run: impl FnOnce(&PingPong) -> Result<PingPongResult>,
) -> Result<PingPongResult> {
    let devices = rdma::devices(host);
    let is_it = |device: &&VerbsDevice| device.name == port.device;
    let device = devices.iter().find(is_it).with_context(|| format!("{} has gone", port.device))?;
    run(&PingPong { device, port: port.number, key, tcp_port })
}

#[cfg(test)]
#[path = "peer/tests.rs"]
mod tests;
