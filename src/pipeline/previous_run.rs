//! What an earlier run left in a root, and how this run continues from it.

use super::Job;
use super::driver_removal::DriverRemoval;
use crate::cache::Bundle;
use crate::drivers::{self, InstallOptions};
use crate::edits::Edit;
use crate::facts::rule_findings::RuleFindings;
use crate::host::Host;
use crate::ledger::{self, Change, Journal, LastBundle, Receipt};
use crate::outcome::Cause;
use crate::plan_document::Plan;
use crate::stage;
use crate::target::Mode;
use anyhow::Result;
use std::collections::BTreeMap;

/// Removes another driver first: one that the settings allow to replace, or the vendor's driver of an earlier plan of this
/// program.
pub(super) fn remove_other_driver(
    job: &Job,
    journal: &mut Journal,
    plan: &Plan,
    earlier: Option<&Receipt>,
) -> Result<()> {
    let options = InstallOptions::new(job.settings, job.mode);
    let kernels = &job.host.root.list("/lib/modules");
    let removal = DriverRemoval { host: job.host, manager: stage::manager_of(plan)?, options, kernels };
    if let Some(release) = &plan.replaces {
        return removal.remove_others(journal, release);
    }
    removal.finish_others()?;
    match earlier.filter(|earlier| drivers::is_replaced(&earlier.plan, plan)) {
        Some(earlier) => {
            job.host.events.info(format!("taking out {}", earlier.plan.driver_name()));
            let packages: Vec<String> = earlier.added.iter().cloned().collect();
            removal.require_ours_not_needed(earlier)?;
            removal.remove_ours(journal, &earlier.plan, &packages)
        }
        None => Ok(()),
    }
}

/// Refuses a signed bundle that was made before the one that is installed, or was until it was removed: whoever holds an
/// old one could bring its faults back without a key. Another driver or version is asked for by the plan, never by a
/// bundle.
pub(super) fn require_not_older(
    job: &Job,
    earlier: Option<&Receipt>,
    plan: &Plan,
    bundle: &Bundle,
) -> Result<()> {
    if job.settings.public_key.is_none() || job.settings.allow_older {
        return Ok(());
    }
    let removed = LastBundle::load(&job.host.root)?;
    let installed = earlier.filter(|earlier| earlier.plan.has_driver_of(plan));
    let installed = installed.and_then(|earlier| earlier.bundle_made.as_deref());
    let (made, was) = match (installed, &removed) {
        (Some(made), _) => (made, "that is installed"),
        (None, Some(removed)) => match removed.made_for(plan) {
            Some(made) => (made, "that was removed"),
            None => return Ok(()),
        },
        (None, None) => return Ok(()),
    };
    let time = |text: &str| humantime::parse_rfc3339_weak(text).ok();
    match (time(&bundle.created), time(made)) {
        (Some(this), Some(last)) if this >= last => Ok(()),
        _ => {
            let what = format!("it was made at {}, and the one {was} at {made}", bundle.created);
            Err(Cause::OlderBundle.error(what))
        }
    }
}

/// The packages whose version the run changed or that it removed.
pub(super) fn replaced(host: &Host, journal: &Journal, plan: &Plan) -> Result<BTreeMap<String, String>> {
    let now = stage::manager_of(plan)?.installed(host)?.versions;
    let before = journal.packages_before().into_iter().flatten();
    let changed = before.filter(|(name, version)| now.get(*name) != Some(*version));
    Ok(changed.map(|(name, version)| (name.clone(), version.clone())).collect())
}

/// Undoes edits and holds of an earlier run that this plan does not ask for any more. If the run dies before the
/// receipt is written, the next run does it again.
pub(super) fn retire(job: &Job, earlier: &mut Receipt, plan: &Plan) -> Result<()> {
    let root = &job.host.root;
    let is_patch = |change: &Change| drivers::patches::is_of_patches(root, plan, change).unwrap_or(true);
    ledger::retire(job.host, earlier, &plan.edits, is_patch)?;
    if !plan.edits.iter().any(|edit| matches!(edit, Edit::HoldPackages { .. })) {
        let held = std::mem::take(&mut earlier.held);
        ledger::release_holds(job.host, stage::manager_of(plan)?, &held, job.mode == Mode::Bake)?;
    }
    Ok(())
}

/// Notes in the receipt what the last plan was made from, so that the next run, at the next boot for example, can
/// recognise an unchanged machine without planning again. A clone is noted by its own VM id. Kernels that were added
/// or removed without any work for them are in the plan from then on.
pub(super) fn note_question(
    host: &Host,
    receipt: Option<&mut Receipt>,
    question: String,
    vm_id: Option<String>,
    plan: &Plan,
    rule_files: &RuleFindings,
) {
    let is_new = |receipt: &&mut Receipt| {
        receipt.question != question || receipt.rule_files.as_ref() != Some(rule_files)
    };
    if let Some(receipt) = receipt.filter(is_new) {
        receipt.question = question;
        receipt.rule_files = Some(rule_files.clone());
        receipt.vm_id = vm_id;
        if receipt.plan.target.kernels != plan.target.kernels {
            let before = std::mem::replace(&mut receipt.plan, plan.clone());
            receipt.plan.keep_rebuilds_of(&before);
        }
        if let Err(error) = receipt.save(&host.root) {
            host.events.warn(format!("the receipt was not renewed: {error:#}"));
        }
    }
}
