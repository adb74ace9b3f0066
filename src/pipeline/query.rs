//! Questions about a root that change nothing: its facts, a plan for it, whether it still matches its receipt.

use super::settled::Asked;
use super::{Job, reboot, signing, without_infiniband};
use crate::catalog::Catalog;
use crate::configure::Loaded;
use crate::detect::{self, bug_report};
use crate::drivers;
use crate::edits::{Depth, Edit, due};
use crate::events::Step;
use crate::facts::Facts;
use crate::facts::waagent::Waagent;
use crate::host::Host;
use crate::ledger::{self, Check, Receipt};
use crate::outcome::{Outcome, Reason};
use crate::packages::Installed;
use crate::plan::{self, Described};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::stage::{self, first_use, for_agent};
use crate::target::Mode;
use crate::verify::{self, traffic::Traffic};
use anyhow::Result;
use std::time::Duration;

/// The facts of a root. For an image that is baked on another machine, they come from its files alone.
pub(super) fn facts(host: &Host, mode: Mode, settings: &Settings) -> Result<Facts> {
    match mode {
        Mode::Bake => detect::detect(host),
        Mode::Live => detect::detect_live(host, settings),
    }
}

/// Detects, if there is a root, and plans. Changes nothing.
pub fn plan_only(
    host: Option<&Host>,
    described: &Described,
    mode: Mode,
    settings: &Settings,
) -> Result<(Option<Facts>, Plan)> {
    // A captured copy of a machine is described by its files; this machine's metadata service does not know it.
    let facts = host.map(|host| {
        if bug_report::is_copy(&host.root) { detect::detect(host) } else { facts(host, mode, settings) }
    });
    let facts = facts.transpose()?;
    let catalog = Catalog::from_settings(settings)?;
    let receipt = host.map(|host| Receipt::load(&host.root)).transpose()?.flatten();
    let described = &signing::described(host, described, settings, receipt.as_ref())?;
    let mut plan = plan::plan(described, facts.as_ref(), mode, &catalog, settings)?;
    // A copy of a machine has no packages to compare with.
    let whole = host.filter(|host| !bug_report::is_copy(&host.root));
    if let Some((host, facts)) = whole.zip(facts.as_ref()) {
        let asked = Asked { host, described, facts, mode, settings, catalog: &catalog };
        plan = asked.settle(plan, receipt.as_ref())?;
    }
    first_use::remember(&mut plan, settings, receipt.as_ref())?;
    Ok((facts, plan))
}

/// What a run would do on a root.
#[derive(Debug)]
pub enum Outlook {
    /// Nothing; a run would end with this outcome.
    Right(Outcome),
    /// It would carry out or finish this plan, given in one line.
    Work(String),
}

/// Finds out what a run would do, without taking the lock, and refuses what a run would refuse. It waits no longer
/// than `patience` for an adapter that may still appear. It changes no file; where the driver is installed, it loads
/// the modules that the running kernel lacks.
pub fn outlook(job: &Job, patience: Duration) -> Result<Outlook> {
    find_outlook(job, patience).or_else(|error| {
        let is_early = job.settings.wait_for_device > patience.as_secs();
        if is_early && Reason::from_error(&error) == Reason::NoIbDevice {
            return Ok(Outlook::Work(format!("waiting for the adapter: {error:#}")));
        }
        without_infiniband(job.settings, error).map(Outlook::Right)
    })
}

fn find_outlook(job: &Job, patience: Duration) -> Result<Outlook> {
    let host = job.host;
    let wait_for_device = job.settings.wait_for_device.min(patience.as_secs());
    let facts = facts(host, job.mode, &Settings { wait_for_device, ..job.settings.clone() })?;
    let earlier = Receipt::load(&host.root)?;
    let (_, plan) = plan_or_reuse(job, &facts, earlier.as_ref())?;
    ledger::require_readable(host)?;
    if host.root.exists(ledger::JOURNAL) || !is_already_right(job, &plan, earlier.as_ref())? {
        return Ok(Outlook::Work(plan_summary(&plan)));
    }
    in_place(job, &facts, &plan).map(Outlook::Right)
}

/// The outcome of a run that finds everything in place.
pub(super) fn in_place(job: &Job, facts: &Facts, plan: &Plan) -> Result<Outcome> {
    let loaded = if reboot::modules_are_loaded(job, facts, plan)? {
        Loaded::All
    } else {
        reboot::load_modules(job, plan)?
    };
    let message = match &plan.present {
        Some(_) => plan.why.join("; "),
        None => format!("{} is in place", plan.driver_name()),
    };
    // Else nothing can be missing, and the packages need not be asked for.
    let message = if facts.waagent.as_ref().is_some_and(Waagent::lacks_programs) {
        for_agent::with_lack(message, job.host, plan)?
    } else {
        message
    };
    reboot::outcome(job, plan, loaded, (Reason::AlreadyInstalled, message))
}

/// A plan in one line.
pub(super) fn plan_summary(plan: &Plan) -> String {
    format!("{}: {}", plan.driver_name(), plan.why.join("; "))
}

/// The plan, and the digest of all it was made from. If the receipt has the same digest, the receipt's plan is taken.
pub(super) fn plan_or_reuse(job: &Job, facts: &Facts, earlier: Option<&Receipt>) -> Result<(String, Plan)> {
    let (source, text) = Catalog::text(job.settings)?;
    let described = &signing::described(Some(job.host), job.described, job.settings, earlier)?;
    let question = plan::plan_fingerprint(described, facts, job.mode, &text, job.settings)?;
    if let Some(receipt) = earlier.filter(|receipt| receipt.question == question) {
        let mut plan = receipt.plan.clone();
        first_use::remember(&mut plan, job.settings, earlier)?;
        return Ok((question, plan));
    }
    let catalog = Catalog::parse(source, &text)?;
    let plan = plan::plan(described, Some(facts), job.mode, &catalog, job.settings)?;
    let Job { host, mode, settings, .. } = *job;
    let asked = Asked { host, described, facts, mode, settings, catalog: &catalog };
    let mut plan = asked.settle(plan, earlier)?;
    first_use::remember(&mut plan, job.settings, earlier)?;
    if plan.present.is_none() || !plan.edits.is_empty() {
        stage::manager_of(&plan)?;
    }
    Ok((question, plan))
}

/// Whether the receipt is of this plan, except perhaps for other kernels, and the root's files agree with it.
pub(super) fn is_already_right(job: &Job, plan: &Plan, receipt: Option<&Receipt>) -> Result<bool> {
    let host = job.host;
    if plan.present.is_some() && receipt.is_none() {
        // A first run looks for what the VM agent lacks.
        return Ok(plan.packages.is_empty() && nothing_is_due(job, plan, &[], None)?);
    }
    let same = |receipt: &&Receipt| receipt.plan.does_the_same(plan) && plan.replaces.is_none();
    let Some(receipt) = receipt.filter(same) else { return Ok(false) };
    let installed = stage::manager_of(plan)?.installed(host)?;
    let checks = verify::check_files(host, plan, &installed, Some(receipt))?;
    let is_wrong = !installed.broken.is_empty() || verify::failures(&checks).is_some();
    if is_wrong || for_agent::is_to_be_had(host, job.settings, plan, &installed) {
        return Ok(false);
    }
    // The initial file system of a kernel that was installed since has not been checked yet.
    nothing_is_due(job, plan, &receipt.plan.edits, Some(installed))
}

/// Whether every edit, except those in `made`, is made already. `installed` is looked up where it is not known yet.
fn nothing_is_due(job: &Job, plan: &Plan, made: &[Edit], installed: Option<Installed>) -> Result<bool> {
    let mut left = plan.edits.iter().filter(|edit| !made.contains(edit)).peekable();
    if left.peek().is_none() {
        return Ok(true);
    }
    let installed = match installed {
        Some(installed) => installed,
        None => stage::manager_of(plan)?.installed(job.host)?,
    };
    let depth = Depth::All { sealed: job.mode == Mode::Bake };
    for edit in left {
        if !due(job.host, edit, &installed, depth)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares a root with its receipt; fails if there is none. On the running system also checks the loaded modules and
/// devices and, if asked, sends test traffic (ping-pong), within this machine or to another one.
pub fn verify_only(host: &Host, traffic: Option<&Traffic>) -> Result<(Receipt, Vec<Check>)> {
    let receipt = Receipt::load(&host.root)?
        .ok_or_else(|| Reason::NeverRun.error(format!("`{}` has no receipt", host.root.path().display())))?;
    host.events.begin(Step::Verify);
    let manager = stage::manager_of(&receipt.plan)?;
    let mut checks = verify::check_all(host, manager, &receipt.plan, &receipt.packages)?;
    checks.extend(drivers::check_users(host, &receipt.plan)?);
    if host.is_running_system() {
        checks.extend(verify::live::check_running_system(host, &receipt.plan)?);
    }
    if let Some(traffic) = traffic {
        checks.extend(verify::traffic::play(host, traffic)?);
    }
    Ok((receipt, checks))
}
