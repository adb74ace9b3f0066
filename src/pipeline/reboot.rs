//! Whether the running kernel has loaded the planned modules, and the outcome that follows from that.

use super::Job;
use crate::configure::{self, Loaded};
use crate::drivers;
use crate::facts::Facts;
use crate::host::Host;
use crate::outcome::{Cause, Outcome, Reason};
use crate::plan_document::Plan;
use crate::settings::RebootPolicy;
use crate::target::Mode;
use crate::verify;
use anyhow::Result;

/// Whether the running kernel has loaded every module of the plan.
pub(super) fn modules_are_loaded(job: &Job, facts: &Facts, plan: &Plan) -> Result<bool> {
    let is_there = plan.modules.iter().all(|name| facts.loaded.iter().any(|module| module.name == *name));
    Ok(is_there && are_own(job.host, plan)?)
}

/// Loads the plan's modules into the running kernel, if the root is the running system, and returns the result.
pub(super) fn load_modules(job: &Job, plan: &Plan) -> Result<Loaded> {
    if job.mode == Mode::Bake {
        return Ok(Loaded::All);
    }
    match configure::load_modules(job.host, &plan.modules)? {
        Loaded::All if !are_own(job.host, plan)? => Ok(Loaded::NotAll),
        loaded => Ok(loaded),
    }
}

/// The outcome of a run that succeeded: it says that a reboot is due where the modules are not `loaded`, and is a
/// failure where no reboot will load them. Where they are loaded, it says whether the VM agent has to look again.
pub(super) fn outcome(
    job: &Job,
    plan: &Plan,
    loaded: Loaded,
    (reason, message): (Reason, String),
) -> Result<Outcome> {
    match (loaded, job.settings.reboot) {
        (Loaded::All, _) => {
            let due = (job.mode == Mode::Live).then(|| verify::ipoib::restart_due(job.host, plan)).flatten();
            Ok(Outcome::new(reason, [vec![message], due.into_iter().collect()].concat().join("; ")))
        }
        (Loaded::Refused(said), _) => {
            let what = format!("{message}, but the kernel does not take its modules: {said}");
            Err(Cause::ModulesRefused.error(what))
        }
        (Loaded::NotAll, RebootPolicy::Never) => {
            Ok(Outcome::new(reason, format!("{message}; its modules are loaded at the next boot")))
        }
        (Loaded::NotAll, RebootPolicy::Report | RebootPolicy::PowerState) => {
            Ok(Outcome::new(Reason::RebootRequired, message))
        }
    }
}

/// Whether the loaded modules are the driver's. The kernel may have loaded its own before the vendor's were installed,
/// because Accelerated Networking needs them, too.
fn are_own(host: &Host, plan: &Plan) -> Result<bool> {
    Ok(!drivers::ops(plan.driver).is_vendors()
        || verify::failures(&verify::live::loaded(host, plan)?).is_none())
}
