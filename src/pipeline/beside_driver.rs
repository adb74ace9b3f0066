//! Where a driver is there already, what is installed beside it: packages that the VM agent lacks. A machine is right without
//! them, so no fault of the cache is one of the run.

use super::Job;
use super::install::install_from_cache;
use super::step::{Declared, Steps};
use crate::amounts::count;
use crate::cache::Bundle;
use crate::drivers::InstallOptions;
use crate::events::Step;
use crate::facts::Facts;
use crate::install::{self, Installed};
use crate::ledger::{Journal, Receipt};
use crate::outcome::Reason;
use crate::plan_document::Plan;
use crate::stage::{self, for_agent};
use anyhow::Result;

/// Installs those that the cache has. Returns the bundle they came from, if any.
pub(super) fn install<'h>(
    job: &Job<'h>,
    steps: &mut Steps<'_, 'h>,
    facts: &Facts,
    plan: &Plan,
    earlier: Option<&Receipt>,
) -> Result<(Option<Bundle>, Installed)> {
    let host = job.host;
    if for_agent::lack(host, plan)?.is_some() {
        match install_from_cache(job, steps, facts, plan, earlier) {
            Ok((bundle, installed)) => return Ok((Some(bundle), installed)),
            Err(error)
                if host.events.step() == Step::Stage
                    || Reason::from_error(&error) == Reason::CacheMissing =>
            {
                host.cancel.check()?;
                let missing = plan.packages.join(", ");
                steps.go_on(
                    "packages",
                    &format!("goes on without {missing}, which the VM agent needs: {error:#}"),
                );
            }
            Err(error) => return Err(error),
        }
    }
    if !steps.began_to_install() {
        return Ok((None, Installed::default()));
    }
    let installed = steps.change(Declared {
        name: Step::Install,
        act: |journal: &mut Journal| {
            let options = InstallOptions::new(job.settings, job.mode);
            install::take_over(host, journal, stage::manager_of(plan)?, plan, options)
        },
        say: |installed: &Installed| format!("{} installed or upgraded", count(installed.changed, "package")),
    })?;
    Ok((None, installed))
}
