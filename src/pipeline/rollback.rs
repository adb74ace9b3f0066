//! A vendor's packages whose modules do not build are removed again, so that the root works as well as before the
//! run.

use super::Job;
use super::driver_removal::DriverRemoval;
use crate::amounts::count;
use crate::drivers::{self, InstallOptions};
use crate::ledger::Journal;
use crate::outcome::Reason;
use crate::plan_document::Plan;
use crate::stage;
use anyhow::Result;

/// Whether a run failed in a way that left packages installed and no modules built. The packages of an unfinished
/// transaction stay, because the next run finishes it.
pub(super) fn is_due(plan: &Plan, error: &anyhow::Error) -> bool {
    let is_built_wrong = matches!(
        Reason::from_error(error),
        Reason::DkmsBuild | Reason::HeadersMissing | Reason::KernelUnsupported | Reason::DriverShadowed
    );
    is_built_wrong && drivers::ops(plan.driver).is_vendors() && plan.rebuilds.is_none()
}

/// Removes the packages that this run installed. Returns one line for the log.
pub(super) fn take_out(job: &Job, journal: &mut Journal, plan: &Plan) -> Result<String> {
    let Some(before) = journal.packages_before().cloned() else { return Ok("no package came".to_owned()) };
    let manager = stage::manager_of(plan)?;
    let now = manager.installed(job.host)?.versions;
    if drivers::was_there(&before, &now) {
        return Ok("the driver was there before and stays".to_owned());
    }
    let came: Vec<String> = now.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    let options = InstallOptions::new(job.settings, job.mode);
    let removal = DriverRemoval { host: job.host, manager, options, kernels: &plan.target.kernels };
    removal.remove_ours(journal, plan, &came)?;
    let now = manager.installed(job.host)?.versions;
    let lost = before.iter().filter(|(name, version)| now.get(*name) != Some(*version));
    let lost: Vec<String> = lost.map(|(name, version)| format!("{name} {version}")).collect();
    let out = format!("{} that came with {} are out again", count(came.len(), "package"), plan.driver_name());
    Ok(match lost.as_slice() {
        [] => out,
        lost => format!("{out}; others that they took the place of are gone: {}", lost.join(", ")),
    })
}
