//! Runs the steps in their order: detect, plan, stage, install, configure, verify, report. An entry point (command
//! line, Packer, cloud-init, VM extension) passes a [`Job`] and gets an [`Outcome`]. All differences between entry
//! points are data in the job.

mod beside_driver;
mod driver_removal;
mod generalize;
mod install;
mod previous_run;
mod query;
mod reboot;
mod rollback;
mod run;
mod settled;
mod signing;
mod step;
mod uninstall;

pub use generalize::generalize;
pub use query::{Outlook, outlook, plan_only, verify_only};
pub use run::run;
pub use uninstall::{forget, uninstall};

use crate::facts;
use crate::host::Host;
use crate::ledger::RunRecord;
use crate::outcome::{ExitCode, Outcome, Reason};
use crate::plan::Described;
use crate::remedies::{Door, Situation};
use crate::report::{Report, reported};
use crate::settings::Settings;
use crate::target::Mode;
use anyhow::Result;
use std::time::Duration;

/// One run on one root.
#[derive(Debug)]
pub struct Job<'a> {
    /// The root.
    pub host: &'a Host,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The target as the user describes it.
    pub described: &'a Described,
    /// Whether an image is baked or a running VM is changed.
    pub mode: Mode,
    /// The entry point's name, e.g. `shell`.
    pub door: &'static str,
    /// A file of the root that gets a copy of the status document while it is written.
    pub status_file: Option<&'a str>,
}

/// Reports a run on a VM that cannot begin, for example because its settings are wrong. On an unattended VM, the log
/// and the status are the only way to see it.
pub fn refused(host: &Host, error: anyhow::Error) -> Outcome {
    with_run_lock(host, &Settings::default(), ("Install", None, Door::CloudInit), |_| Err(error))
}

/// Turns the outcome for a machine without InfiniBand into a success where none is required.
fn without_infiniband(settings: &Settings, error: anyhow::Error) -> Result<Outcome> {
    let reason = Reason::from_error(&error);
    let is_absent =
        matches!(reason.exit_code(), ExitCode::NoVmbus | ExitCode::NoDevice | ExitCode::SizeNotRdma);
    if is_absent && settings.required == Some(false) {
        return Ok(Outcome::new(Reason::NotNeeded, format!("{reason}: {error:#}")));
    }
    Err(error)
}

/// Runs `steps` as the only run on the root, with a log and a report in the root, and a copy of the report if the job
/// asks for one.
fn with_run_lock<'h>(
    host: &'h Host,
    settings: &Settings,
    (operation, copy, door): (&str, Option<&'h str>, Door),
    steps: impl FnOnce(&mut Report<'h>) -> Result<Outcome>,
) -> Outcome {
    // Until these two conditions hold, there is no place for a log or a status document.
    let ready = host.require_superuser().and_then(|()| {
        host.require_distribution()?;
        let lock = host.lock_run(Duration::from_secs(settings.lock_timeout))?;
        host.open_log_if_possible()?;
        Ok(lock)
    });
    let distro = facts::os::read_distro(&host.root);
    let situation = Situation { distro, settings: Some(settings.clone()), door };
    match ready {
        Err(error) => situation.outcome(&error),
        Ok(_lock) => {
            let run = RunRecord::begin(host, operation, door, settings);
            reported(host, (operation, run), copy, &situation, steps)
        }
    }
}
