//! The one order of steps: detect, plan, stage, install, configure, verify, report.
//!
//! Doors hand in a [`Job`] and get an [`Outcome`] back. What differs between them is data in the job.

mod driver_removal;
mod generalize;
mod previous_run;
mod query;
mod reboot;
mod uninstall;

pub use generalize::generalize;
pub use query::{plan_only, verify_only};
pub use uninstall::uninstall;

use crate::cache::Bundle;
use crate::cache::remote::is_remote;
use crate::catalog::Catalog;
use crate::configure;
use crate::configure::{Loaded, labels};
use crate::drivers::{self, InstallOptions};
use crate::events::Step;
use crate::facts::{self, Facts};
use crate::host::Host;
use crate::install;
use crate::ledger::{self, Check, Journal, Receipt};
use crate::outcome::{Door, ExitCode, Outcome, Reason, Situation};
use crate::plan::{self, Described};
use crate::plan_document::Plan;
use crate::report::{Report, reported};
use crate::settings::Settings;
use crate::stage::{self, Against, Opened, first_use};
use crate::target::Mode;
use crate::trust::Trust;
use crate::verify;
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// One run on one root.
#[derive(Debug)]
pub struct Job<'a> {
    /// The root.
    pub host: &'a Host,
    /// What is wanted.
    pub settings: &'a Settings,
    /// What the user says of the target.
    pub described: &'a Described,
    /// When in the machine's life.
    pub mode: Mode,
    /// The door it came through, e.g. `shell`.
    pub door: &'static str,
    /// A file of the root that gets a copy of the status document while it is written.
    pub status_file: Option<&'a str>,
}

/// Makes a root right and reports it, whatever happens.
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

/// Reports a run on a VM that cannot begin, as when its settings are wrong: where nobody watches, the log and the status
/// are all there is.
pub fn refused(host: &Host, error: anyhow::Error) -> Outcome {
    with_run_lock(host, &Settings::default(), ("Install", None, Door::CloudInit), |_| Err(error))
}

/// A machine that has no InfiniBand ends well where none is required.
fn without_infiniband(settings: &Settings, error: anyhow::Error) -> Result<Outcome> {
    let reason = Reason::of(&error);
    let is_absent =
        matches!(reason.exit_code(), ExitCode::NoVmbus | ExitCode::NoDevice | ExitCode::SizeNotRdma);
    if is_absent && settings.required == Some(false) {
        return Ok(Outcome::new(Reason::NotNeeded, format!("{reason}: {error:#}")));
    }
    Err(error)
}

/// Runs `steps` as the only run on the root, with a log and a report in it, and a copy of that where one is wanted.
fn with_run_lock(
    host: &Host,
    settings: &Settings,
    (operation, copy, door): (&str, Option<&str>, Door),
    steps: impl FnOnce(&mut Report) -> Result<Outcome>,
) -> Outcome {
    // Before these hold there is nowhere to report to.
    let ready = host.require_superuser().and_then(|()| {
        host.require_distribution()?;
        let lock = host.lock_run(Duration::from_secs(settings.lock_timeout))?;
        host.open_log()?;
        Ok(lock)
    });
    let distro = facts::os::read(&host.root).distro;
    let situation = Situation { distro, settings: Some(settings.clone()), door };
    match ready {
        Err(error) => Outcome::from(&error).advised(&situation),
        Ok(_lock) => reported(host, operation, copy, &situation, steps),
    }
}

fn steps(job: &Job, report: &mut Report) -> Result<Outcome> {
    let host = job.host;
    let started = SystemTime::now();
    report.enter(Step::Detect);
    let unfinished = ledger::recover(host)?;
    let mut facts = query::facts(host, job.mode, job.settings)?;
    // A run that did not end well has no receipt; the half of a driver it left is still ours.
    let is_ours = unfinished.as_ref().is_some_and(|unfinished| unfinished.packages_before.is_some());
    if let Some(ofed) = facts.ofed.as_mut().filter(|_| is_ours) {
        ofed.by_ofedctl = true;
    }
    report.done(&facts.summary());

    report.enter(Step::Plan);
    let mut earlier = Receipt::load(&host.root)?;
    let (question, plan) = plan_or_reuse(job, &facts, earlier.as_ref())?;
    report.done(&said(&plan));
    if plan.present.is_some() {
        return Ok(Outcome::new(Reason::AlreadyInstalled, plan.why.join("; ")));
    }
    // An image must not carry the name of the machine it was made on.
    let vm_id = facts.compute.vm_id.clone().filter(|_| job.mode == Mode::Live);
    if unfinished.is_none() && query::is_already_right(job, &plan, earlier.as_ref())? {
        previous_run::note_question(host, earlier.as_mut(), question, vm_id, &plan);
        return in_place(job, &facts, &plan);
    }

    report.publish();
    // What a run that died left is ours, too.
    let others = if unfinished.is_none() { configure::leftovers(host) } else { Vec::new() };
    let mut journal = Journal::begin(host, unfinished)?;
    let (bundle, installed) = install_from_cache(job, report, &mut journal, &facts, &plan, earlier.as_ref())?;
    let loaded = configured(job, report, &mut journal, &plan, &installed)?;
    configure::tidy(host, &others)?;
    let checks = proven(host, report, &mut journal, &plan, &installed)?;
    let vendor_file = first_use::of(&plan, &bundle);
    let message = format!("{} from bundle {}", plan.driver_name(), bundle.tag);
    let message = match vendor_file.as_ref().filter(|file| file.trust < Trust::Digest) {
        Some(file) => format!("{message}, trust level {}", file.trust),
        None => message,
    };
    let mut receipt = Receipt {
        schema_version: 1,
        made_by: concat!("ofedctl ", env!("CARGO_PKG_VERSION")).to_owned(),
        door: job.door.to_owned(),
        vm_id,
        started: rfc3339(started),
        finished: rfc3339(SystemTime::now()),
        question,
        bundle: Some(bundle.digest.to_string()),
        vendor_file,
        packages: installed.packages,
        added: installed.added,
        replaced: previous_run::replaced(host, &journal, &plan)?,
        changes: Vec::new(),
        held: journal.held().clone(),
        checks,
        plan,
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
        receipt.save(&host.root)
    })?;
    labels::restore_own(host, job.mode == Mode::Bake);
    reboot::ended(job, loaded, Reason::Installed, message)
}

/// What there is to do on a root.
#[derive(Debug)]
pub enum Outlook {
    /// Nothing: this is how a run would end.
    Right(Outcome),
    /// This plan, in one line, is to be carried out, or to be finished.
    Work(String),
}

/// Finds out what a run would do, without a lock. Refuses what a run would refuse; for an adapter that may still come it
/// waits no longer than `patience`. Changes nothing; of a driver that is in place, it loads what the running kernel
/// lacks.
pub fn outlook(job: &Job, patience: Duration) -> Result<Outlook> {
    look(job, patience).or_else(|error| {
        let is_early = job.settings.wait_for_device > patience.as_secs();
        if is_early && Reason::of(&error) == Reason::NoIbDevice {
            return Ok(Outlook::Work(format!("waiting for the adapter: {error:#}")));
        }
        without_infiniband(job.settings, error).map(Outlook::Right)
    })
}

fn look(job: &Job, patience: Duration) -> Result<Outlook> {
    let host = job.host;
    let wait_for_device = job.settings.wait_for_device.min(patience.as_secs());
    let facts = query::facts(host, job.mode, &Settings { wait_for_device, ..job.settings.clone() })?;
    let earlier = Receipt::load(&host.root)?;
    let (_, plan) = plan_or_reuse(job, &facts, earlier.as_ref())?;
    if plan.present.is_some() {
        return Ok(Outlook::Right(Outcome::new(Reason::AlreadyInstalled, plan.why.join("; "))));
    }
    if host.root.exists(ledger::JOURNAL) || !query::is_already_right(job, &plan, earlier.as_ref())? {
        return Ok(Outlook::Work(said(&plan)));
    }
    in_place(job, &facts, &plan).map(Outlook::Right)
}

/// How a run ends that finds everything in place.
fn in_place(job: &Job, facts: &Facts, plan: &Plan) -> Result<Outcome> {
    let loaded = if reboot::were_seen(job, facts, plan)? { Loaded::All } else { reboot::load(job, plan)? };
    reboot::ended(job, loaded, Reason::AlreadyInstalled, format!("{} is in place", plan.driver_name()))
}

fn said(plan: &Plan) -> String {
    format!("{}: {}", plan.driver_name(), plan.why.join("; "))
}

/// The plan, and the question it answers: from the receipt when that was the question then too.
fn plan_or_reuse(job: &Job, facts: &Facts, earlier: Option<&Receipt>) -> Result<(String, Plan)> {
    let (source, text) = Catalog::text(job.settings)?;
    let question = plan::plan_fingerprint(job.described, facts, job.mode, &text, job.settings)?;
    if let Some(receipt) = earlier.filter(|receipt| receipt.question == question) {
        let mut plan = receipt.plan.clone();
        first_use::remember(&mut plan, job.settings, earlier)?;
        return Ok((question, plan));
    }
    let catalog = Catalog::parse(source, &text)?;
    let mut plan = plan::plan(job.described, Some(facts), job.mode, &catalog, job.settings)?;
    first_use::remember(&mut plan, job.settings, earlier)?;
    if plan.present.is_none() {
        stage::manager_of(&plan)?;
    }
    Ok((question, plan))
}

/// Makes the edits. Says how far the running kernel, when there is one, has the modules now.
fn configured(
    job: &Job,
    report: &mut Report,
    journal: &mut Journal,
    plan: &Plan,
    installed: &install::Installed,
) -> Result<Loaded> {
    report.enter(Step::Configure);
    journal.enter(Step::Configure)?;
    let sealed = job.mode == Mode::Bake;
    let made = configure::configure(job.host, journal, stage::manager_of(plan)?, &plan.edits, sealed)?;
    labelled(job, journal, plan, installed)?;
    let loaded = reboot::load(job, plan)?;
    report.done(&format!("{made} of {} edits had to be made", plan.edits.len()));
    report.publish();
    Ok(loaded)
}

/// Labels what came and what was edited, where files have labels.
fn labelled(job: &Job, journal: &mut Journal, plan: &Plan, installed: &install::Installed) -> Result<()> {
    if !labels::are_kept(job.host) {
        return Ok(());
    }
    let came: Vec<String> = installed.packages.keys().cloned().collect();
    let mut paths = stage::manager_of(plan)?.files(job.host, &came)?;
    paths.extend(plan.edits.iter().filter_map(|edit| edit.path().map(str::to_owned)));
    labels::restore(job.host, journal, &paths, job.mode == Mode::Bake)
}

/// Compares everything with the plan; what differs ends the run.
fn proven(
    host: &Host,
    report: &mut Report,
    journal: &mut Journal,
    plan: &Plan,
    installed: &install::Installed,
) -> Result<Vec<Check>> {
    report.enter(Step::Verify);
    journal.enter(Step::Verify)?;
    let checks = verify::prove(host, stage::manager_of(plan)?, plan, &installed.packages)?;
    if let Some(failed) = verify::failures(&checks) {
        return Err(Reason::VerifyFailed.error(failed));
    }
    report.done(&format!("{} checks passed", checks.len()));
    Ok(checks)
}

/// Stages and installs. The cache may hold several bundles for one target, resolved against different installed
/// sets; one that turns out incomplete for this root changes nothing, and the next is tried.
fn install_from_cache(
    job: &Job,
    report: &mut Report,
    journal: &mut Journal,
    facts: &Facts,
    plan: &Plan,
    earlier: Option<&Receipt>,
) -> Result<(Bundle, install::Installed)> {
    let (host, settings) = (job.host, job.settings);
    let manager = stage::manager_of(plan)?;
    let options = InstallOptions::of(settings, job.mode);
    report.enter(Step::Stage);
    if job.mode == Mode::Live {
        stage::wait_turn(host, settings, &machine_name(host, facts))?;
    }
    let (opened, candidates) = bundles(job, plan)?;
    let mut incomplete = None;
    let mut way_is_clear = false;
    for bundle in candidates {
        report.enter(Step::Stage);
        journal.enter(Step::Stage)?;
        let proven = match stage::prove(host, &opened, &bundle, settings) {
            // Anybody may put a newer one beside the one that is signed.
            Err(error) if Reason::of(&error) == Reason::Untrusted => {
                host.events.warn(format!("bundle {} is not used: {error:#}", bundle.tag));
                incomplete = Some(error);
                continue;
            }
            proven => proven?,
        };
        report.done(&format!(
            "bundle {}: {} files, {} bytes, verified",
            bundle.tag,
            bundle.files.len(),
            bundle.size_in_all
        ));
        if let Some(warning) = first_use::of(plan, &bundle).and_then(|file| first_use::warning(plan, &file)) {
            report.warn("trust", &warning);
        }
        report.publish();
        report.enter(Step::Install);
        journal.enter(Step::Install)?;
        if !way_is_clear {
            // Not before there is something to put in its place.
            previous_run::clear_the_way(job, journal, plan, earlier)?;
            way_is_clear = true;
        }
        for path in drivers::ops(plan.driver).spares() {
            journal.keep_as_it_is(path)?;
        }
        match install::install(host, journal, manager, (&proven.cache, &bundle), plan, options) {
            Ok(mut installed) => {
                report.done(&format!("{} packages installed or upgraded", installed.changed));
                report.publish();
                let bundle = stage::keep(host, &opened, bundle, std::mem::take(&mut installed.built));
                return Ok((bundle, installed));
            }
            Err(error) if Reason::of(&error) == Reason::CacheMissing => {
                host.events.warn(format!("bundle {} is incomplete for this root: {error:#}", bundle.tag));
                incomplete = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(incomplete.unwrap_or_else(|| Reason::CacheMissing.error("the cache holds no bundle for this target")))
}

/// What tells this machine from its neighbours: its VM id, or what it calls itself.
fn machine_name(host: &Host, facts: &Facts) -> String {
    let own = || host.root.attribute("/etc/machine-id").or_else(|| host.root.attribute("/etc/hostname"));
    facts.compute.vm_id.clone().or_else(own).unwrap_or_default()
}

/// The bundles to try. With a network, a cache that has none is filled first.
fn bundles(job: &Job, plan: &Plan) -> Result<(Opened, Vec<Bundle>)> {
    let (host, settings) = (job.host, job.settings);
    let find = || {
        let opened = stage::open(host, settings)?;
        let installed = stage::manager_of(plan)?.installed(host)?;
        let bundles = stage::candidates(&opened, plan, &installed)?;
        Ok((opened, bundles))
    };
    match find() {
        Err(error)
            if !settings.offline
                && !is_remote(&settings.cache)
                && Reason::of(&error) == Reason::CacheMissing =>
        {
            host.events.info("the cache does not serve this target yet; filling it");
            let against = Against { sources: &host.root, base: stage::base_of(plan, &host.root) };
            stage::fill(host, Path::new(&settings.cache), plan, &against, settings)?;
            find()
        }
        found => found,
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
