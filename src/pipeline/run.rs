//! A whole run, from the facts of a root to its receipt.

use super::install::install_from_cache;
use super::query::{self, plan_or_reuse, plan_summary};
use super::step::{Declared, Steps};
use super::{Job, beside_driver, previous_run, reboot, with_run_lock, without_infiniband};
use crate::amounts::count;
use crate::cache::Bundle;
use crate::configure::{self, Loaded, labels};
use crate::drivers;
use crate::edits;
use crate::events::Step;
use crate::facts::{Facts, rule_findings};
use crate::host::fault::{self, Point};
use crate::install::Installed;
use crate::ledger::StepTime;
use crate::ledger::{self, Check, Journal, Receipt, Unfinished};
use crate::outcome::{Outcome, Reason};
use crate::packages::Manager;
use crate::plan_document::Plan;
use crate::remedies::Door;
use crate::report::Report;
use crate::stage::{self, first_use, for_agent};
use crate::target::Mode;
use crate::trust::{Trust, VendorFile};
use crate::verify;
use anyhow::Result;
use std::time::SystemTime;

/// Installs the driver into a root, and always reports the outcome.
pub fn run(job: &Job) -> Outcome {
    let operation = match job.mode {
        Mode::Bake => "Bake",
        Mode::Live => "Install",
    };
    with_run_lock(job.host, job.settings, (operation, job.status_file, Door::named(job.door)), |report| {
        steps(job, report).or_else(|error| {
            let outcome = without_infiniband(job.settings, error)?;
            report.done("nothing is needed");
            Ok(outcome)
        })
    })
}

fn steps<'h>(job: &Job<'h>, report: &mut Report<'h>) -> Result<Outcome> {
    let host = job.host;
    let started = SystemTime::now();
    let mut steps = Steps::new(host, report);
    // An unreadable receipt ends the run before anything is changed.
    let mut earlier = Receipt::load(&host.root)?;
    let (facts, unfinished) = steps.observe(Declared {
        name: Step::Detect,
        act: || detect(job),
        say: |(facts, _): &(Facts, _)| facts.summary(job.settings.vm_size.as_deref()),
    })?;
    let (question, plan) = steps.observe(Declared {
        name: Step::Plan,
        act: || plan_or_reuse(job, &facts, earlier.as_ref()),
        say: |(_, plan): &(_, Plan)| plan_summary(plan),
    })?;
    steps.learn(&facts.compute);
    // An image must not contain the VM id of the machine that baked it.
    let vm_id = facts.compute.vm_id.clone().filter(|_| job.mode == Mode::Live);
    if unfinished.is_none() && query::is_already_right(job, &plan, earlier.as_ref())? {
        previous_run::note_question(host, earlier.as_mut(), question, vm_id, &plan, &facts.rule_files);
        return query::in_place(job, &facts, &plan);
    }

    edits::require_places(&host.root, &plan.edits)?;
    steps.take_over(unfinished);
    let (bundle, installed) = if plan.present.is_some() {
        beside_driver::install(job, &mut steps, &facts, &plan, earlier.as_ref())?
    } else {
        let (bundle, installed) = install_from_cache(job, &mut steps, &facts, &plan, earlier.as_ref())?;
        (Some(bundle), installed)
    };
    let (loaded, made) = steps.change(Declared {
        name: Step::Configure,
        act: |journal: &mut Journal| configure(job, journal, &plan, &installed),
        say: |(_, made): &(_, usize)| format!("{made} of {} had to be made", count(plan.edits.len(), "edit")),
    })?;
    let checks = steps.change(Declared {
        name: Step::Verify,
        act: |_: &mut Journal| compare_with_plan(job, &plan, &installed),
        say: |checks: &Vec<Check>| format!("{} passed", count(checks.len(), "check")),
    })?;

    let vendor_file =
        bundle.as_ref().and_then(|bundle| first_use::vendor_file(&plan, bundle, installed.trust));
    let (reason, message) = ending(&plan, bundle.as_ref(), vendor_file.as_ref(), made);
    let message = for_agent::with_lack(message, host, &plan)?;
    let carried_out = plan.clone();
    let timeline = steps.timeline();
    let outcome_of =
        Ended { job, question, vm_id, started, bundle, vendor_file, installed, checks, plan, timeline };
    outcome_of.commit(steps.into_journal()?, earlier)?;
    reboot::outcome(job, &carried_out, loaded, (reason, message))
}

/// Reason and message of a run that succeeded. A driver that was already there and was only configured is not called
/// installed.
fn ending(
    plan: &Plan,
    bundle: Option<&Bundle>,
    vendor_file: Option<&VendorFile>,
    made: usize,
) -> (Reason, String) {
    let Some(bundle) = bundle.filter(|_| plan.present.is_none()) else {
        return (
            Reason::AlreadyInstalled,
            format!("{}; {} made around it", plan.why.join("; "), count(made, "edit")),
        );
    };
    let message = format!("{} from bundle {}", plan.driver_name(), bundle.tag);
    let message = match vendor_file.filter(|file| file.trust < Trust::Digest) {
        Some(file) => format!("{message}, trust level {}", file.trust),
        None => message,
    };
    (Reason::Installed, message)
}

/// Undoes the edits of an earlier failed run. Returns the facts, and what that run left.
fn detect(job: &Job) -> Result<(Facts, Option<Unfinished>)> {
    let unfinished = ledger::recover(job.host)?;
    let mut facts = query::facts(job.host, job.mode, job.settings)?;
    // A run that failed wrote no receipt. A half-installed driver that it left belongs to this program all the same,
    // unless somebody else's driver was only built for more kernels.
    let before = unfinished.as_ref().and_then(|unfinished| unfinished.packages_before.as_ref());
    let others_driver = unfinished.as_ref().is_some_and(|unfinished| unfinished.others_driver);
    let is_ours = !others_driver
        && match (before, facts.os.distro.as_ref().and_then(Manager::for_distro)) {
            (Some(before), Some(manager)) => {
                !drivers::was_there(before, &manager.installed(job.host)?.versions)
            }
            _ => false,
        };
    if let Some(ofed) = facts.ofed.as_mut().filter(|_| is_ours) {
        ofed.by_ofedctl = true;
    }
    Ok((facts, unfinished))
}

/// Makes the edits. Returns whether the running kernel has the modules now, and the number of edits made.
fn configure(
    job: &Job,
    journal: &mut Journal,
    plan: &Plan,
    installed: &Installed,
) -> Result<(Loaded, usize)> {
    let sealed = job.mode == Mode::Bake;
    let made = configure::configure(job.host, journal, stage::manager_of(plan)?, &plan.edits, sealed)?;
    label(job, journal, plan, installed)?;
    let loaded = reboot::load_modules(job, plan)?;
    configure::tidy(job.host, &journal.note_leftovers(Vec::new())?)?;
    Ok((loaded, made))
}

/// Sets the `SELinux` labels of installed and edited files, if the root uses labels.
fn label(job: &Job, journal: &mut Journal, plan: &Plan, installed: &Installed) -> Result<()> {
    if !labels::are_kept(job.host) {
        return Ok(());
    }
    let came: Vec<String> = installed.packages.keys().cloned().collect();
    let mut paths = stage::manager_of(plan)?.files(job.host, &came)?;
    paths.extend(plan.edits.iter().filter_map(|edit| edit.path().map(str::to_owned)));
    labels::restore(job.host, journal, &paths, job.mode == Mode::Bake)
}

/// Compares the whole result with the plan; a difference ends the run.
fn compare_with_plan(job: &Job, plan: &Plan, installed: &Installed) -> Result<Vec<Check>> {
    let checks = verify::check_all(job.host, stage::manager_of(plan)?, plan, &installed.packages)?;
    match verify::failures(&checks) {
        Some(failed) => Err(Reason::VerifyFailed.error(failed)),
        None => Ok(checks),
    }
}

/// All that the receipt of a successful run is made from.
struct Ended<'a> {
    job: &'a Job<'a>,
    question: String,
    vm_id: Option<String>,
    started: SystemTime,
    bundle: Option<Bundle>,
    vendor_file: Option<VendorFile>,
    installed: Installed,
    checks: Vec<Check>,
    plan: Plan,
    timeline: (String, Vec<StepTime>),
}

impl Ended<'_> {
    /// Writes the receipt, and undoes edits of an earlier run that this one did not make.
    fn commit(self, journal: Journal, mut earlier: Option<Receipt>) -> Result<()> {
        let Self { job, plan, .. } = self;
        let host = job.host;
        let mut receipt = Receipt {
            schema_version: 1,
            made_by: concat!("ofedctl ", env!("CARGO_PKG_VERSION")).to_owned(),
            door: job.door.to_owned(),
            vm_id: self.vm_id,
            started: rfc3339(self.started),
            finished: rfc3339(SystemTime::now()),
            question: self.question,
            bundle: self.bundle.as_ref().map(|bundle| bundle.digest.to_string()),
            bundle_made: self.bundle.map(|bundle| bundle.created),
            vendor_file: self.vendor_file,
            packages: self.installed.packages,
            added: self.installed.added,
            replaced: previous_run::replaced(host, &journal, &plan)?,
            changes: Vec::new(),
            held: journal.held().clone(),
            checks: self.checks,
            run_id: Some(self.timeline.0),
            steps: self.timeline.1,
            plan,
            // After the edits, which write rules themselves.
            rule_files: Some(rule_findings::read(host, None)),
        };
        if let Some(earlier) = &mut earlier {
            previous_run::retire(job, earlier, &receipt.plan)?;
        }
        journal.commit(|changes| {
            receipt.changes = changes.to_vec();
            if let Some(earlier) = &earlier {
                let installed = stage::manager_of(&receipt.plan)?.installed(host)?.versions;
                receipt.continue_from(earlier, &installed);
            }
            receipt.save(&host.root)?;
            fault::reached(Point::ReceiptWritten);
            receipt.sweep_saved(&host.root)
        })?;
        labels::restore_own(host, job.mode == Mode::Bake);
        Ok(())
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
