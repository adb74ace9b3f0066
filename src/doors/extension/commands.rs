//! The commands that the agent starts. Each may come again, in any order, and without the one that should have been
//! before it; none may take long.

use super::environment::Handler;
use super::settings::{self, Given};
use super::status_guard::{self, StatusGuard};
use super::{telemetry, update, worker};
use crate::events::{Events, Step};
use crate::host::cancel::Cancel;
use crate::host::process;
use crate::host::{Host, LOG_FILE};
use crate::outcome::{Outcome, Reason};
use crate::pipeline::{self, Job, Outlook};
use crate::plan::Described;
use crate::remedies::{Door, Situation};
use crate::status::verdict;
use crate::target::Mode;
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long `enable` itself waits for a late adapter; for longer, the worker does. The agent kills it after 300 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long `enable` waits for the worker where nobody reads its status document: the agent gives `enable` 300 s, and
/// what it has done by then is all that the platform hears (`WALinuxAgent`, azurelinuxagent/ga/exthandlers.py).
const UNREAD_PATIENCE: Duration = Duration::from_secs(240);
/// The agent gives `uninstall` 300 s.
const UNINSTALL_LIMIT: Duration = Duration::from_secs(270);
/// The folder the shim runs this program from, wherever that is.
const COPY_FOLDER: &str = "ofedctl-extension";

/// What the agent may ask of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// After the package was unpacked.
    Install,
    /// For new settings, and at every start of the agent.
    Enable,
    /// Before an update or a removal, and when a user asks for it.
    Disable,
    /// Of the new version, while the old one is still there.
    Update,
    /// Before the package is removed.
    Uninstall,
    /// Forget what was done.
    Reset,
    /// Not a command of the agent: the background process that `enable` starts for the settings of this number.
    Work(u64),
}

/// Carries a command out. `dir` is the handler's folder, which is looked for when not given. What it says is short, as
/// the agent keeps little.
pub fn run(verb: Verb, dir: Option<&Path>, cancel: &Cancel) -> Result<Outcome> {
    let host = Host::open(Path::new("/"), Events::silent(), cancel.clone())?;
    host.require_superuser()?;
    let handler = Handler::find(&host, dir);
    if let Verb::Work(seq) = verb {
        return Ok(worker::work(host, &Handler { seq, ..handler }));
    }
    let events = host.events.clone();
    if let Err(error) = host.open_log() {
        host.events.warn(format!("cannot write `{LOG_FILE}`: {error:#}"));
    }
    telemetry::attach(&host, &handler, name(verb));
    host.events.enter(Step::Report);
    let ended = match verb {
        Verb::Enable => Ok(enable(&host, &handler)),
        Verb::Install => install(&host, &handler),
        Verb::Update => update::begin(&host).map(|()| ready("an update is under way")),
        Verb::Disable => Ok(disable(&host)),
        Verb::Uninstall => Ok(uninstall(host, &handler)),
        Verb::Reset => reset(&host, &handler),
        Verb::Work(_) => Err(Reason::Internal.error("a worker is no command of the agent's")),
    };
    let outcome = ended.unwrap_or_else(|error| Situation::at(Door::Extension).outcome(&error));
    let said = format!("{}: {}", name(verb).to_lowercase(), verdict(&outcome));
    if outcome.is_success() {
        events.info(said);
    } else {
        events.error(said);
    }
    Ok(status_guard::brief(&events, &outcome))
}

fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Install => "Install",
        Verb::Enable | Verb::Work(_) => status_guard::OPERATION,
        Verb::Disable => "Disable",
        Verb::Update => "Update",
        Verb::Uninstall => "Uninstall",
        Verb::Reset => "Reset",
    }
}

fn ready(message: &str) -> Outcome {
    Outcome::new(Reason::HandlerReady, message)
}

fn install(host: &Host, handler: &Handler) -> Result<Outcome> {
    host.require_distribution()?;
    update::end(host)?;
    let version = handler.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    Ok(ready(&format!("version {version}, ofedctl {}", env!("CARGO_PKG_VERSION"))))
}

/// Checks, and starts the work where there is some. Always leaves a status document, and a terminal one unless a
/// worker is there to end it.
fn enable(host: &Host, handler: &Handler) -> Outcome {
    let started = Instant::now();
    let failed_before = status_guard::ended(host, handler).filter(|outcome| !outcome.is_success());
    status_guard::announce(host, handler, "looking at this VM");
    let ending = StatusGuard::new(host, handler);
    let begun = prepare(host, handler).and_then(|given| Ok((begin(host, handler, &given)?, given.warnings)));
    match begun {
        Err(error) => {
            let outcome = Situation::at(Door::Extension).outcome(&error);
            ending.settle(&outcome, &[]);
            outcome
        }
        Ok((Begun::AtWork(text), _)) => {
            ending.hand_over();
            if settings::are_given(host, handler) {
                return Outcome::new(Reason::AtWork, text);
            }
            match worker::wait_for_end(host, handler, started + UNREAD_PATIENCE) {
                Some(outcome) => outcome,
                None => still_at_work(&text, failed_before),
            }
        }
        Ok((Begun::Right(outcome), _))
            if handler.is_seen(host) && status_guard::stands(host, handler, &outcome) =>
        {
            // The status document of the installation says more than this, so it stays.
            ending.hand_over();
            outcome
        }
        Ok((Begun::Right(outcome), warnings)) => {
            ending.settle(&outcome, &warnings);
            outcome
        }
    }
}

/// What the agent is told when the run takes longer than `enable` waits. Where an earlier run with these settings
/// failed, the VM must not be shown as ready while the next try runs.
fn still_at_work(text: &str, failed_before: Option<Outcome>) -> Outcome {
    if let Some(failed) = failed_before {
        let message = &failed.message;
        let what = format!("{message}; another try is at work, `ofedctl status` tells how it ends");
        return failed.with_message(&what);
    }
    let limit = UNREAD_PATIENCE.as_secs();
    let what = format!("{text}; still working after {limit} s, `ofedctl status` tells how it ends");
    Outcome::new(Reason::AtWork, what)
}

enum Begun {
    /// There is nothing to do.
    Right(Outcome),
    /// A worker process does the work.
    AtWork(String),
}

fn prepare(host: &Host, handler: &Handler) -> Result<Given> {
    host.require_distribution()?;
    update::end(host)?;
    let given = settings::read(host, handler)?;
    for warning in &given.warnings {
        host.events.warn(warning.as_str());
    }
    Ok(given)
}

fn begin(host: &Host, handler: &Handler, given: &Given) -> Result<Begun> {
    let workers = worker::all();
    if workers.iter().any(|worker| worker.seq == handler.seq && worker.dir == handler.dir) {
        return Ok(Begun::AtWork(format!("the settings {} are being dealt with", handler.seq)));
    }
    host.events.enter(Step::Detect);
    let job = Job {
        host,
        settings: &given.settings,
        described: &Described::default(),
        mode: Mode::Live,
        door: "extension",
        status_file: None,
    };
    let text = match pipeline::outlook(&job, PATIENCE) {
        // While a worker runs, the state of the root may still change, so nothing is called done yet.
        Ok(Outlook::Right(outcome)) if workers.is_empty() => return Ok(Begun::Right(outcome)),
        Ok(Outlook::Right(outcome)) => outcome.message,
        Ok(Outlook::Work(text)) => text,
        Err(error) => return Err(error),
    };
    status_guard::begin(host, handler, &text);
    worker::start(host, handler)?;
    Ok(Begun::AtWork(text))
}

fn disable(host: &Host) -> Outcome {
    let stopped = worker::stop_all(host);
    // An update begins with the old version's `disable`; the new version's commands report for themselves.
    if let Err(error) = update::end(host) {
        host.events.warn(format!("{error:#}"));
    }
    Outcome::new(Reason::LetGo, format!("{stopped} workers stopped"))
}

fn uninstall(host: Host, handler: &Handler) -> Outcome {
    worker::stop_all(&host);
    let outcome = if update::is_under_way(&host) {
        Outcome::new(Reason::LetGo, "another version takes over")
    } else {
        take_out(host, handler)
    };
    if let Ok(program) = process::program()
        && program.parent().is_some_and(|folder| folder.ends_with(COPY_FOLDER))
    {
        process::remove_program(&program);
    }
    outcome
}

/// Removes the driver, where the settings ask for that.
fn take_out(host: Host, handler: &Handler) -> Outcome {
    match settings::read(&host, handler) {
        Ok(given) if given.settings.remove_on_uninstall => {
            let host = host.within(UNINSTALL_LIMIT);
            pipeline::uninstall(&host, &given.settings, Mode::Live)
        }
        Ok(_) => Outcome::new(Reason::LetGo, "the driver stays"),
        Err(error) => {
            // Settings that cannot be read ask for nothing, and must not keep the extension on the VM.
            Outcome::new(Reason::LetGo, format!("the driver stays: {error:#}"))
        }
    }
}

fn reset(host: &Host, handler: &Handler) -> Result<Outcome> {
    worker::stop_all(host);
    update::end(host)?;
    handler.forget(host)?;
    Ok(ready("forgot which settings were dealt with"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_looks_right_only_where_none_failed_before() {
        assert!(still_at_work("waiting", None).is_success());
        let again = still_at_work("waiting", Some(Outcome::new(Reason::DkmsBuild, "make said no")));
        assert_eq!(again.reason, Reason::DkmsBuild);
        assert!(again.message.starts_with("make said no; another try"), "{}", again.message);
    }
}
