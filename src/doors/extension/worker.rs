//! The long work, in a process of its own: the agent kills an `enable` after five minutes and everything in its process
//! group with it, and on some distributions the agent's own restart ends whatever it has started.

use super::environment::Handler;
use super::settings::{self, Given};
use super::status_guard::{self, StatusGuard};
use super::telemetry;
use crate::host::Host;
use crate::host::{process, run};
use crate::outcome::{Outcome, Reason};
use crate::pipeline::{self, Job};
use crate::plan::Described;
use crate::remedies::{Door, Situation};
use crate::target::Mode;
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};

/// Held by the worker that works; others wait for it, each with settings of its own.
const LOCK: &str = "extension.lock";
/// A worker that is asked to stop gives its package manager 20 s, and the kernel 10 to end what is killed then.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// A service manager may take this long to start a worker.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long Azure waits for an extension to end, less what a run needs to end its children and to undo its edits.
const LONGEST: Duration = Duration::from_secs(90 * 60 - 2 * run::STOPPING.as_secs());
const POLL: Duration = Duration::from_millis(100);

/// A worker process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Worker {
    pid: i32,
    pub(super) seq: u64,
    pub(super) dir: Option<String>,
}

/// The words that start a worker for these settings.
fn arguments(handler: &Handler) -> Vec<String> {
    let mut args = ["extension", "worker", "--seq"].map(str::to_owned).to_vec();
    args.push(handler.seq.to_string());
    if let Some(dir) = &handler.dir {
        args.extend(["--handler-dir".to_owned(), dir.clone()]);
    }
    args
}

/// Reads a process's command line; none when it is no worker's.
fn parse(pid: i32, line: &[String]) -> Option<Worker> {
    let [_, extension, worker, _, seq, rest @ ..] = line else { return None };
    if extension != "extension" || worker != "worker" {
        return None;
    }
    let dir = rest.get(1).filter(|dir| !dir.is_empty()).cloned();
    Some(Worker { pid, seq: seq.parse().ok()?, dir })
}

/// The worker processes of this handler, at work or waiting.
pub(super) fn all() -> Vec<Worker> {
    process::all().iter().filter_map(|(pid, line)| parse(*pid, line)).collect()
}

/// Starts a worker for the settings that count now.
pub(super) fn start(host: &Host, handler: &Handler) -> Result<()> {
    let name = format!("ofedctl-extension-{}-{}", handler.seq, std::process::id());
    host.detach(&name, &arguments(handler))
}

/// Waits until the run for the settings that count now has ended, and tells how; none at the end of the wait.
pub(super) fn wait_for_end(host: &Host, handler: &Handler, until: Instant) -> Option<Outcome> {
    let mut last_seen = Instant::now();
    while Instant::now() < until {
        if let Some(outcome) = status_guard::ended(host, handler) {
            return Some(outcome);
        }
        if all().iter().any(|worker| worker.seq == handler.seq && worker.dir == handler.dir) {
            last_seen = Instant::now();
        } else if last_seen.elapsed() > START_PATIENCE {
            return Some(Outcome::new(
                Reason::Interrupted,
                "the worker is gone and did not say how it ended",
            ));
        }
        if let Err(error) = host.cancel.check() {
            return Some(Situation::at(Door::Extension).outcome(&error));
        }
        std::thread::sleep(POLL);
    }
    None
}

/// Stops every worker, in order where there is time for that, and ends the status of those it has to kill.
pub(super) fn stop_all(host: &Host) -> usize {
    let workers = all();
    for worker in &workers {
        host.events.info(format!("stopping the worker {} for the settings {}", worker.pid, worker.seq));
        process::terminate(worker.pid);
    }
    let end = Instant::now() + STOP_PATIENCE;
    while Instant::now() < end && all().iter().any(|left| workers.contains(left)) {
        std::thread::sleep(POLL);
    }
    for left in all().iter().filter(|left| workers.contains(left)) {
        process::kill(left.pid);
        let handler = Handler { seq: left.seq, ..Handler::find(host, left.dir.as_deref().map(Path::new)) };
        let outcome = Outcome::new(Reason::Interrupted, "the worker did not stop when asked, and was killed");
        StatusGuard::new(host, &handler).settle(&outcome, &[]);
    }
    workers.len()
}

/// Does the work: one run of the pipeline, whose report is the handler's status document.
pub(super) fn work(host: Host, handler: &Handler) -> Outcome {
    process::leave_caller();
    let given = settings::read(&host, handler);
    let host = match &given {
        Ok(given) => host.within(Duration::from_secs(given.settings.deadline).min(LONGEST)),
        Err(_) => host,
    };
    telemetry::attach(&host, handler, super::status_guard::OPERATION);
    let ending = StatusGuard::new(&host, handler);
    let warnings = given.as_ref().map_or_else(|_| Vec::new(), |given| given.warnings.clone());
    let outcome = given
        .and_then(|given| run(&host, handler, &given))
        .unwrap_or_else(|error| Situation::at(Door::Extension).outcome(&error));
    ending.settle(&outcome, &warnings);
    outcome
}

fn run(host: &Host, handler: &Handler, given: &Given) -> Result<Outcome> {
    let _lock = host.lock_named(LOCK, Duration::from_secs(given.settings.deadline))?;
    let status_file = handler.status_file();
    Ok(pipeline::run(&Job {
        host,
        settings: &given.settings,
        described: &Described::default(),
        mode: Mode::Live,
        door: "extension",
        status_file: status_file.as_deref(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_known_by_its_command_line() {
        let mut handler = Handler { seq: 7, dir: Some("/h".to_owned()), ..Handler::default() };
        let line = |handler: &Handler| [vec!["/x/ofedctl".to_owned()], arguments(handler)].concat();
        assert_eq!(parse(9, &line(&handler)), Some(Worker { pid: 9, seq: 7, dir: Some("/h".to_owned()) }));
        handler.dir = None;
        assert_eq!(parse(9, &line(&handler)), Some(Worker { pid: 9, seq: 7, dir: None }));
        for other in ["ofedctl extension enable --handler-dir /h", "sh -c extension worker --seq 7", "", "x"]
        {
            let words: Vec<String> = other.split(' ').map(str::to_owned).collect();
            assert_eq!(parse(9, &words), None, "{other}");
        }
    }
}
