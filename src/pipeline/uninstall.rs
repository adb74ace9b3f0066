//! Taking out what a run has put in: the packages that came with it, and its edits.

use super::driver_removal::DriverRemoval;
use super::with_run_lock;
use crate::drivers::InstallOptions;
use crate::events::Step;
use crate::host::Host;
use crate::ledger::{self, Journal, RECEIPT, Receipt, SAVED_DIR};
use crate::outcome::{Door, Outcome, Reason};
use crate::report::Report;
use crate::settings::Settings;
use crate::stage;
use crate::target::Mode;
use anyhow::Result;
use std::collections::BTreeSet;

/// Brings a root back to where it was before the first run, as far as nobody has changed it since.
pub fn uninstall(host: &Host, settings: &Settings, mode: Mode) -> Outcome {
    with_run_lock(host, settings, ("Uninstall", None, Door::Shell), |report| {
        steps(host, settings, mode, report)
    })
}

fn steps(host: &Host, settings: &Settings, mode: Mode, report: &mut Report) -> Result<Outcome> {
    report.enter(Step::Detect);
    let unfinished = ledger::recover(host)?;
    let root = host.root.path().display();
    let Some(receipt) = Receipt::load(&host.root)? else {
        return match &unfinished {
            None => Ok(Outcome::new(Reason::NotInstalled, format!("`{root}` has no receipt"))),
            // Which packages came with it, only the run that finishes it will have written down.
            Some(_) => Err(Reason::VerifyFailed.error(format!(
                "a run on `{root}` did not end well: let `bake` or `install` finish it first"
            ))),
        };
    };
    let manager = stage::manager_of(&receipt.plan)?;
    let installed = manager.installed(host)?.versions;
    let packages: Vec<String> =
        receipt.added.iter().filter(|name| installed.contains_key(*name)).cloned().collect();
    report.done(&format!("{} packages and {} edits to take back", packages.len(), receipt.changes.len()));
    report.publish();

    // The packages first: when one is needed by something else, nothing has been changed yet.
    report.enter(Step::Install);
    let mut journal = Journal::begin(host, unfinished)?;
    let held: BTreeSet<String> = receipt.held.union(journal.held()).cloned().collect();
    ledger::let_go(host, manager, &held, mode == Mode::Bake)?;
    let options = InstallOptions::of(settings, mode);
    let kernels = &receipt.plan.target.kernels;
    DriverRemoval { host, manager, options, kernels }.ours(&mut journal, &receipt.plan, &packages)?;
    let now = manager.installed(host)?.versions;
    for (name, version) in receipt.replaced.iter().filter(|(name, _)| !now.contains_key(*name)) {
        host.events.warn(format!("{name} {version} was there before the driver took its place, and is gone"));
    }
    report.done(&format!("{} packages removed", packages.len()));

    report.enter(Step::Configure);
    let kept = ledger::take_back(host, &receipt.plan.edits, &receipt.changes)?;
    report.done(&format!("{} of {} edits taken back", receipt.changes.len() - kept, receipt.changes.len()));
    journal.commit(|_| {
        host.root.remove_file(RECEIPT)?;
        host.root.remove_all(SAVED_DIR)
    })?;
    Ok(Outcome::new(Reason::Uninstalled, receipt.plan.driver_name()))
}
