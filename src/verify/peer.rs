//! Traffic between two VMs: one serves, the other comes to it. They tell each other what they are, play a ping-pong over
//! each pair of ports, and tell each other what came of it.

mod address;
mod game;
mod judge;
mod side;

pub use address::Address;

use super::traffic;
use crate::facts::rdma::{self, VerbsDevice};
use crate::host::Host;
use crate::host::talk::{Listener, Talk};
use crate::ledger::Check;
use anyhow::{Context, Result, bail};
use game::{Game, Played};
use serde::{Deserialize, Serialize};
use side::{Facing, Side};
use std::time::Duration;

/// The port that `--serve` listens on where no other is named; perftest's own begin with the next one.
pub const PORT: u16 = 18514;
/// How long the other VM may take to begin to listen: both are told to at about the same time.
const COMES_WITHIN: Duration = Duration::from_secs(120);
/// How long the other end may take to its next words, which are those after a game.
const ANSWERS_WITHIN: Duration = Duration::from_secs(traffic::PATIENCE + 60);

/// What the one that came asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    /// A game over the pair of ports of this index.
    Play(usize),
    /// No more.
    End,
}

/// Waits for another VM and plays with it. Whoever comes and is not understood is sent away.
pub(super) fn serve(host: &Host, name: &str, port: u16) -> Result<Vec<Check>> {
    let listener = Listener::on(port)?;
    let here = Side::from_ports(host, traffic::alone(host, name)?);
    host.events.info(format!("waiting on TCP port {} for `--peer` of another VM", listener.port()?));
    loop {
        let mut talk = listener.accept(&host.cancel)?;
        let name = talk.peer().to_string();
        match meet(host, &mut talk, &here) {
            Ok(peer) => return serve_one(host, &mut talk, &here, &peer, &name),
            Err(error) => host.cancel.check().map(|()| host.events.warn(format!("{name}: {error:#}")))?,
        }
    }
}

/// Goes to a VM that serves, and plays with it.
pub(super) fn visit(host: &Host, name: &str, address: &Address) -> Result<Vec<Check>> {
    let machine = address.machine.as_str();
    let here = Side::from_ports(host, traffic::alone(host, name)?);
    let met = Talk::to(machine, address.port, COMES_WITHIN, &host.cancel)
        .and_then(|mut talk| meet(host, &mut talk, &here).map(|peer| (talk, peer)));
    let (mut talk, peer) = match met {
        Ok(met) => met,
        Err(error) => {
            host.cancel.check()?;
            let found = format!("{error:#}; run `ofedctl verify --traffic --serve` there");
            return Ok(vec![Check::new(format!("peer {machine}"), false, found)]);
        }
    };
    let mut games = Vec::new();
    for (at, (mine, theirs)) in here.ports.iter().zip(&peer.ports).enumerate() {
        let Some(shared) = mine.shared_with(theirs) else {
            games.push(None);
            continue;
        };
        talk.say(&Ask::Play(at))?;
        let tcp_port = talk.hear(ANSWERS_WITHIN, &host.cancel)?;
        let played = game_of(host, mine, shared.indices[0], tcp_port, |game| game.begin_with(host, machine))?;
        talk.say(&played)?;
        games.push(Some([played, talk.hear(ANSWERS_WITHIN, &host.cancel)?]));
    }
    talk.say(&Ask::End)?;
    Ok(judge::judge(&here, &peer, machine, &games))
}

fn meet(host: &Host, talk: &mut Talk, here: &Side) -> Result<Side> {
    talk.say(here)?;
    talk.hear::<Side>(ANSWERS_WITHIN, &host.cancel)?.understood()
}

fn serve_one(host: &Host, talk: &mut Talk, here: &Side, peer: &Side, name: &str) -> Result<Vec<Check>> {
    let pairs: Vec<(&Facing, &Facing)> = here.ports.iter().zip(&peer.ports).collect();
    let mut games = vec![None; pairs.len()];
    while let Ask::Play(at) = talk.hear(ANSWERS_WITHIN, &host.cancel)? {
        let Some((mine, theirs)) = pairs.get(at) else { bail!("{name} asks for a port that is not here") };
        let shared =
            mine.shared_with(theirs).with_context(|| format!("{name} asks for no common partition"))?;
        // Free now, and for as long as nobody else takes one at random.
        let tcp_port = Listener::on(0)?.port()?;
        talk.say(&tcp_port)?;
        let played = game_of(host, mine, shared.indices[0], tcp_port, |game| game.serve(host))?;
        talk.say(&played)?;
        games[at] = Some([played, talk.hear(ANSWERS_WITHIN, &host.cancel)?]);
    }
    Ok(judge::judge(here, peer, name, &games))
}

fn game_of(
    host: &Host,
    port: &Facing,
    key: u32,
    tcp_port: u16,
    play: impl FnOnce(&Game) -> Result<Played>,
) -> Result<Played> {
    let devices = rdma::devices(host);
    let is_it = |device: &&VerbsDevice| device.name == port.device;
    let device = devices.iter().find(is_it).with_context(|| format!("{} has gone", port.device))?;
    play(&Game { device, port: port.number, key, tcp_port })
}
