//! Taking out what a run has put in: the packages that came with it, and its edits.

use super::alone;
use crate::configure;
use crate::events::Step;
use crate::host::Host;
use crate::host::journal::{self, Journal, SAVED_DIR};
use crate::install::{self, Manner};
use crate::outcome::{Outcome, Reason};
use crate::receipt::{RECEIPT, Receipt};
use crate::report::Report;
use crate::settings::Settings;
use crate::stage;
use crate::target::Moment;
use anyhow::Result;

/// Brings a root back to where it was before the first run, as far as nobody has changed it since.
pub fn uninstall(host: &Host, settings: &Settings, moment: Moment) -> Outcome {
    alone(host, settings, ("Uninstall", None), |report| steps(host, settings, moment, report))
}

fn steps(host: &Host, settings: &Settings, moment: Moment, report: &mut Report) -> Result<Outcome> {
    report.enter(Step::Detect);
    let unfinished = journal::recover(host)?;
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
    install::remove(host, &mut journal, manager, &packages, Manner::of(settings, moment))?;
    report.done(&format!("{} packages removed", packages.len()));

    report.enter(Step::Configure);
    let kept = configure::take_back(host, &receipt.plan.edits, &receipt.changes)?;
    report.done(&format!("{} of {} edits taken back", receipt.changes.len() - kept, receipt.changes.len()));
    journal.commit(|_| {
        host.root.remove_file(RECEIPT)?;
        host.root.remove_all(SAVED_DIR)
    })?;
    Ok(Outcome::new(Reason::Uninstalled, receipt.plan.driver_name()))
}
