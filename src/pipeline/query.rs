//! What is asked of a root without changing it: its facts, a plan for it, whether it is as its receipt says.

use super::Job;
use crate::catalog::Catalog;
use crate::detect;
use crate::edits::{Depth, due};
use crate::events::Step;
use crate::facts::Facts;
use crate::host::Host;
use crate::ledger::{Check, Receipt};
use crate::outcome::Reason;
use crate::plan::{self, Described};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::stage::{self, first_use};
use crate::target::Mode;
use crate::verify;
use anyhow::Result;

/// The facts of a root. Of an image that is baked on another machine, files tell all there is to know.
pub(super) fn facts(host: &Host, mode: Mode, settings: &Settings) -> Result<Facts> {
    match mode {
        Mode::Bake => detect::detect(host),
        Mode::Live => detect::detect_live(host, settings),
    }
}

/// Detects, where there is a root to detect in, and plans. Changes nothing.
pub fn plan_only(
    host: Option<&Host>,
    described: &Described,
    mode: Mode,
    settings: &Settings,
) -> Result<(Option<Facts>, Plan)> {
    let facts = host.map(|host| facts(host, mode, settings)).transpose()?;
    let mut plan = plan::plan(described, facts.as_ref(), mode, &Catalog::of(settings)?, settings)?;
    let receipt = host.map(|host| Receipt::load(&host.root)).transpose()?.flatten();
    first_use::remember(&mut plan, settings, receipt.as_ref())?;
    Ok((facts, plan))
}

/// Whether the receipt is of this very plan, at most for other kernels, and all that files can show agrees with it.
pub(super) fn is_already_right(job: &Job, plan: &Plan, receipt: Option<&Receipt>) -> Result<bool> {
    let host = job.host;
    let same = |receipt: &&Receipt| receipt.plan.does_the_same(plan) && plan.replaces.is_none();
    let Some(receipt) = receipt.filter(same) else { return Ok(false) };
    let installed = stage::manager_of(plan)?.installed(host)?;
    let checks = verify::look(host, plan, &installed, Some(receipt))?;
    if !installed.broken.is_empty() || verify::failures(&checks).is_some() {
        return Ok(false);
    }
    // Of a kernel that came since, nobody has looked into the initial file system yet.
    let depth = Depth::All { sealed: job.mode == Mode::Bake };
    for edit in plan.edits.iter().filter(|edit| !receipt.plan.edits.contains(edit)) {
        if !due(host, edit, &installed, depth)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares a root with its receipt, or says that there is none. On the running system also looks at what the kernel
/// has made of it and, where asked for, plays ping-pong over the device named, or over `all`.
pub fn verify_only(host: &Host, traffic: Option<&str>) -> Result<(Receipt, Vec<Check>)> {
    let receipt = Receipt::load(&host.root)?
        .ok_or_else(|| Reason::NeverRun.error(format!("`{}` has no receipt", host.root.path().display())))?;
    host.events.enter(Step::Verify);
    let manager = stage::manager_of(&receipt.plan)?;
    let mut checks = verify::prove(host, manager, &receipt.plan, &receipt.packages)?;
    if host.is_running_system() {
        checks.extend(verify::live::look(host, &receipt.plan)?);
    }
    if let Some(device) = traffic {
        checks.extend(verify::traffic::play(host, device)?);
    }
    Ok((receipt, checks))
}
