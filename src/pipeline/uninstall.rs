//! Uninstalling: removes the packages that earlier runs installed, and undoes their edits.

use super::driver_removal::DriverRemoval;
use super::step::{Declared, Steps};
use super::with_run_lock;
use crate::amounts::count;
use crate::drivers::{self, InstallOptions};
use crate::events::Step;
use crate::host::Host;
use crate::host::fault::{self, Point};
use crate::install;
use crate::ledger::{self, JOURNAL, Journal, LastBundle, RECEIPT, Receipt, SAVED_DIR, Unfinished};
use crate::outcome::{Outcome, Reason};
use crate::plan_document::Plan;
use crate::remedies::Door;
use crate::report::Report;
use crate::settings::Settings;
use crate::stage;
use crate::target::Mode;
use anyhow::Result;
use std::collections::BTreeSet;

/// Restores a root to its state before the first run, except for files that somebody has changed since.
pub fn uninstall(host: &Host, settings: &Settings, mode: Mode) -> Outcome {
    with_run_lock(host, settings, ("Uninstall", None, Door::Shell), |report| {
        steps(host, settings, mode, report)
    })
}

/// Renames receipt and journal at the user's request, even if they cannot be read.
pub fn forget(host: &Host, settings: &Settings) -> Outcome {
    with_run_lock(host, settings, ("Uninstall", None, Door::Shell), |_| {
        let root = host.root.path().display();
        let put_aside = ledger::forget(&host.root)?;
        if put_aside.is_empty() {
            return Ok(Outcome::new(Reason::NotInstalled, format!("`{root}` has no receipt")));
        }
        let what = format!("put aside as {}; packages, edits and holds stay", put_aside.join(" and "));
        Ok(Outcome::new(Reason::ReceiptForgotten, what))
    })
}

fn steps<'h>(host: &'h Host, settings: &Settings, mode: Mode, report: &mut Report<'h>) -> Result<Outcome> {
    let mut steps = Steps::new(host, report);
    let found = steps.observe(Declared {
        name: Step::Detect,
        act: || find_installed(host),
        say: |found: &Found| match found {
            Found::Nothing => "nothing to take back".to_owned(),
            Found::Receipt { receipt, packages, .. } => {
                format!(
                    "{} and {} to take back",
                    count(packages.len(), "package"),
                    count(receipt.changes.len(), "edit")
                )
            }
        },
    })?;
    let Found::Receipt { receipt, packages, unfinished } = found else {
        let what = format!("`{}` has no receipt", host.root.path().display());
        return Ok(Outcome::new(Reason::NotInstalled, what));
    };
    let was_killed = unfinished.is_some();
    steps.take_over(unfinished);
    steps.change(Declared {
        name: Step::Install,
        act: |journal: &mut Journal| {
            let removal =
                Removal { host, settings, mode, receipt: &receipt, packages: &packages, was_killed };
            removal.run(journal)
        },
        say: |(): &()| format!("{} removed", count(packages.len(), "package")),
    })?;
    steps.change(Declared {
        name: Step::Configure,
        act: |journal: &mut Journal| take_edits_back(host, mode, journal, &receipt),
        say: |kept: &usize| {
            let all = receipt.changes.len();
            format!("{} of {} taken back", all - kept, count(all, "edit"))
        },
    })?;
    fault::reached(Point::EditsTakenBack);
    steps.into_journal()?.commit(|_| {
        LastBundle::record(&host.root, &receipt)?;
        host.root.remove_file_synced(RECEIPT)?;
        fault::reached(Point::ReceiptRemoved);
        host.root.remove_all(SAVED_DIR)
    })?;
    Ok(Outcome::new(Reason::Uninstalled, receipt.plan.driver_name()))
}

/// What is installed in a root.
enum Found {
    Nothing,
    Receipt {
        receipt: Box<Receipt>,
        /// The packages that were installed with the driver and are still installed.
        packages: Vec<String>,
        unfinished: Option<Unfinished>,
    },
}

fn find_installed(host: &Host) -> Result<Found> {
    // An unreadable receipt ends the run before anything is changed.
    let receipt = Receipt::load(&host.root)?;
    let unfinished = ledger::recover(host)?;
    let Some(receipt) = receipt else {
        return match &unfinished {
            None => Ok(Found::Nothing),
            // The earlier run ended before it touched a package, or after it had removed them all, and its edits are
            // undone by now.
            Some(before) if before.packages_before.is_none() && before.held.is_empty() => {
                host.root.remove_all(SAVED_DIR)?;
                host.root.remove_file_synced(JOURNAL)?;
                Ok(Found::Nothing)
            }
            // The packages that a failed run installed are known only after another run has finished its work and
            // written a receipt.
            Some(_) => Err(Reason::VerifyFailed.error(format!(
                "a run on `{}` did not end well: let `bake` or `install` finish it first",
                host.root.path().display()
            ))),
        };
    };
    let installed = stage::manager_of(&receipt.plan)?.installed(host)?;
    let packages = receipt.added.iter().filter(|name| installed.has_any_of(name)).cloned().collect();
    Ok(Found::Receipt { receipt: Box::new(receipt), packages, unfinished })
}

/// The packages to remove.
struct Removal<'a> {
    host: &'a Host,
    settings: &'a Settings,
    mode: Mode,
    receipt: &'a Receipt,
    packages: &'a [String],
    /// An earlier run on the root did not end well.
    was_killed: bool,
}

impl Removal<'_> {
    fn run(&self, journal: &mut Journal) -> Result<()> {
        let Self { host, receipt, .. } = *self;
        let manager = stage::manager_of(&receipt.plan)?;
        let options = InstallOptions::new(self.settings, self.mode);
        let is_torn =
            || Ok::<_, anyhow::Error>(self.was_killed || !manager.installed(host)?.broken.is_empty());
        if is_torn()? {
            // A package manager cannot tell who needs a half-installed package, so unfinished work comes first.
            install::finish(host, journal, manager, options, false)?;
        }
        let Plan { rebuilds, target, .. } = &receipt.plan;
        let kernels = rebuilds.as_ref().map_or(&target.kernels, |rebuild| &rebuild.kernels);
        let removal = DriverRemoval { host, manager, options, kernels };
        removal.require_ours_not_needed(receipt)?;
        removal.remove_ours(journal, &receipt.plan, self.packages)?;
        // A bake that failed where it took another driver out leaves this to whoever comes next.
        removal.finish_others()?;
        fault::reached(Point::PackagesRemoved);
        if is_torn()? {
            // This also runs triggers that an earlier removal left pending.
            install::finish(host, journal, manager, options, true)?;
        }
        let now = manager.installed(host)?.versions;
        for (name, version) in receipt.replaced.iter().filter(|(name, _)| !now.contains_key(*name)) {
            host.events
                .warn(format!("{name} {version} was there before the driver took its place, and is gone"));
        }
        Ok(())
    }
}

/// Returns how many edits had to stay. Holds are released last, so that a failed removal leaves them in place.
fn take_edits_back(host: &Host, mode: Mode, journal: &Journal, receipt: &Receipt) -> Result<usize> {
    let kept = ledger::undo_receipt(host, receipt)?;
    drivers::patches::remove_empty_sources(&host.root, &receipt.changes);
    let held: BTreeSet<String> = receipt.held.union(journal.held()).cloned().collect();
    ledger::release_holds(host, stage::manager_of(&receipt.plan)?, &held, mode == Mode::Bake)?;
    Ok(kept)
}
