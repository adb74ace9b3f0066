//! The commands that work on a root: each opens the root, loads its settings, calls the pipeline and builds the answer.

use super::answer::{Answer, Call, outcome_alone, outcome_json, to_json};
use super::args::{
    BakeArgs, CacheArg, GeneralizeArgs, PlanArgs, RunArgs, StageArgs, TargetArgs, UninstallArgs, VerifyArgs,
    layer, pairs,
};
use crate::amounts::{count, size};
use crate::config;
use crate::detect::bug_report;
use crate::events::Step;
use crate::host::Host;
use crate::host::fs::Root;
use crate::ledger::{Check, Receipt};
use crate::outcome::{Outcome, Reason};
use crate::packages::Base;
use crate::pipeline::{self, Job};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::stage::{self, Against, first_use, for_agent};
use crate::status::verdict;
use crate::target::Mode;
use crate::verify::traffic::{Traffic, With};
use crate::verify::{self, failures};
use anyhow::Result;
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

pub(super) fn plan(call: &Call, args: &PlanArgs) -> Result<Answer> {
    let (host, mode) = match &args.root {
        Some(root) => {
            let host = call.host(root)?;
            // A machine that was copied for a bug report is planned for as the machine itself.
            let mode = if bug_report::is_copy(&host.root) { Mode::Live } else { Mode::Bake };
            (Some(host), mode)
        }
        // What is described is not looked up on the machine that happens to run this.
        None if args.target.is_given() => (None, Mode::Bake),
        None => (Some(call.host(Path::new("/"))?), Mode::Live),
    };
    let settings = config::load(host.as_ref().map(|host| &host.root), layer(&args.target, None, false)?)?;
    let seen = host.as_ref().and_then(|host| crate::facts::os::read_distro(&host.root));
    call.note(args.target.distro.clone().or(seen), &settings);
    let (_, plan) = pipeline::plan_only(host.as_ref(), &args.target.described(), mode, &settings)?;
    let outcome = match &plan.present {
        Some(present) => Outcome::new(Reason::AlreadyInstalled, present.release.clone()),
        None => Outcome::new(Reason::Planned, plan.driver_name()),
    };
    Ok(Answer { outcome, text: plan.to_text(), json: to_json(&plan)? })
}

pub(super) fn stage(call: &Call, args: &StageArgs) -> Result<Answer> {
    let host = call.host(args.root.as_deref().unwrap_or(Path::new("/")))?;
    let settings = given(&host, &args.target, &args.cache, false)?;
    let seen = args.root.as_ref().and_then(|_| crate::facts::os::read_distro(&host.root));
    call.note(args.target.distro.clone().or(seen), &settings);
    let host = host.within(Duration::from_secs(settings.deadline));
    // Without --root this machine's package sources are used, but it is not the target.
    let target = args.root.as_ref().map(|_| &host);
    host.events.begin(Step::Plan);
    let (_, plan) = pipeline::plan_only(target, &args.target.described(), Mode::Bake, &settings)?;
    host.events.info(format!("{} for {}", plan.driver_name(), plan.target.distro));
    if !plan.installs() {
        return Ok(outcome_alone(Outcome::new(Reason::AlreadyInstalled, plan.why.join("; "))));
    }
    host.events.begin(Step::Stage);
    let elsewhere = args.sources.as_deref().map(Root::open).transpose()?;
    let base = match (&args.status_file, target) {
        (Some(file), _) => Base::StatusFile(file.clone()),
        (None, Some(target)) => stage::base_of(&plan, &target.root),
        (None, None) => Base::Empty,
    };
    if let (Base::Root(root), Some(target)) = (&base, target)
        && stage::has_all_of(target, root, &plan)?
    {
        return Ok(nothing_to_stage(&plan));
    }
    let sources = elsewhere.as_ref().unwrap_or(&host.root);
    refuse_foreign_sources(sources, &plan.target.distro, args)?;
    let is_root = target.is_some() && elsewhere.is_none();
    let against = Against { sources, base, is_root };
    let staged = match stage::fill_for_others(&host, Path::new(&settings.cache), &plan, &against, &settings) {
        Ok(Some(staged)) => staged,
        Ok(None) => return Ok(nothing_to_stage(&plan)),
        // The driver is there and works without what the sources lack.
        Err(error) if plan.present.is_some() && for_agent::is_of_a_package(&error) => {
            let why =
                format!("{}; {} cannot be staged: {error:#}", plan.why.join("; "), plan.packages.join(", "));
            return Ok(outcome_alone(Outcome::new(Reason::AlreadyInstalled, why)));
        }
        Err(error) => return Err(error),
    };
    let bundle = &staged.bundle;
    let message = format!(
        "bundle {}: {}, {}; {}, {} downloaded",
        bundle.tag,
        count(bundle.files.len(), "file"),
        size(bundle.size_in_all),
        count(staged.downloaded, "file"),
        size(staged.downloaded_bytes)
    );
    let outcome = Outcome::new(Reason::Staged, message);
    let mut json = outcome_json(&outcome);
    let mut text = format!("{}\n", verdict(&outcome));
    if let Some(file) = &bundle.config.vendor_file {
        if let Some(warning) = first_use::warning(&plan, file) {
            host.events.warn(warning);
            let _ =
                writeln!(text, "trust {}; pin it everywhere: {}", file.trust, first_use::pin(&plan, file));
        }
        json["vendor_file"] = to_json(file)?;
    }
    json["bundle"] = to_json(bundle)?;
    json["downloaded"] = json!({"files": staged.downloaded, "bytes": staged.downloaded_bytes});
    Ok(Answer { outcome, text, json })
}

/// The answer for an image that has everything: a bundle for it would serve no other image.
fn nothing_to_stage(plan: &Plan) -> Answer {
    let all = match &plan.artifact {
        Some(_) => format!("{} is", plan.driver_name()),
        None => format!("all of {} is", plan.packages.join(", ")),
    };
    let what = format!(
        "there is nothing to stage: {all} installed; stage for an image without it, or with --distro and --sources"
    );
    outcome_alone(Outcome::new(Reason::AlreadyInstalled, what))
}

/// Without a root the sources of this machine are used, which serve only its own distribution.
fn refuse_foreign_sources(sources: &Root, distro: &crate::target::Distro, args: &StageArgs) -> Result<()> {
    let theirs = crate::facts::os::read_distro(sources);
    if args.sources.is_some() || theirs.as_ref() == Some(distro) {
        return Ok(());
    }
    let theirs = theirs.map_or_else(|| "an unknown distribution".to_owned(), |distro| distro.to_string());
    Err(Reason::Usage.error(format!(
        "the package sources of `{}` are for {theirs}, not {distro}: give --root or --sources",
        sources.path().display()
    )))
}

pub(super) fn bake(call: &Call, args: &BakeArgs) -> Result<Answer> {
    let door = if args.door == "packer" { "packer" } else { "shell" };
    run(call.host(&args.root)?, &args.run, Mode::Bake, door)
}

pub(super) fn install(call: &Call, args: &RunArgs) -> Result<Answer> {
    run(call.host(Path::new("/"))?, args, Mode::Live, "shell")
}

fn run(host: Host, args: &RunArgs, mode: Mode, door: &'static str) -> Result<Answer> {
    let settings = config::load(Some(&host.root), args.layer()?)?;
    let host = host.within(Duration::from_secs(settings.deadline));
    let described = args.target.described();
    let job = Job { host: &host, settings: &settings, described: &described, mode, door, status_file: None };
    let outcome = pipeline::run(&job);
    let mut json = outcome_json(&outcome);
    let mut text = String::new();
    if outcome.is_success() {
        text = format!("{}\n", verdict(&outcome));
        json["receipt"] = to_json(&Receipt::load(&host.root)?)?;
    }
    Ok(Answer { outcome, text, json })
}

pub(super) fn uninstall(call: &Call, args: &UninstallArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    let settings = config::load(Some(&host.root), pairs(&args.set)?)?;
    let host = host.within(Duration::from_secs(settings.deadline));
    // If the root is not this machine's, no service of this machine may be stopped.
    let mode = if host.is_running_system() { Mode::Live } else { Mode::Bake };
    Ok(outcome_alone(if args.forget_receipt {
        pipeline::forget(&host, &settings)
    } else {
        pipeline::uninstall(&host, &settings, mode)
    }))
}

pub(super) fn generalize(call: &Call, args: &GeneralizeArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    let settings = config::load(Some(&host.root), pairs(&args.set)?)?;
    pipeline::generalize(&host, &settings).map(outcome_alone)
}

pub(super) fn verify(call: &Call, args: &VerifyArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    if !host.is_running_system() {
        host.require_superuser()?;
        if args.traffic.is_some() {
            return Err(Reason::Usage.error("`--traffic` is for the VM that runs, not for an image's root"));
        }
    }
    let (receipt, checks) = pipeline::verify_only(&host, traffic(args).as_ref())?;
    let outcome = match failures(&checks) {
        None => Outcome::new(
            Reason::Verified,
            format!("{}: {} passed", receipt.plan.driver_name(), count(checks.len(), "check")),
        ),
        Some(failed) => Outcome::new(verify::reason(&checks), failed),
    };
    let mut json = outcome_json(&outcome);
    json["checks"] = to_json(&checks)?;
    let mut text = checks.iter().map(line).collect::<String>();
    if outcome.is_success() {
        let _ = writeln!(text, "{}", verdict(&outcome));
    }
    Ok(Answer { outcome, text, json })
}

/// The traffic that is asked for, and with whom.
fn traffic(args: &VerifyArgs) -> Option<Traffic> {
    let device = args.traffic.clone()?;
    let with = match (&args.peer, args.serve) {
        (Some(peer), _) => With::Peer(peer.clone()),
        (None, Some(port)) => With::Visitor(port),
        (None, None) => With::Itself,
    };
    Some(Traffic { device, with })
}

fn line(check: &Check) -> String {
    let mark = if check.ok { "ok  " } else { "FAIL" };
    format!("{mark} {:<44} {}\n", check.name, check.found)
}

/// The settings of a root, with the command line over them.
fn given(host: &Host, target: &TargetArgs, cache: &CacheArg, offline: bool) -> Result<Settings> {
    config::load(Some(&host.root), layer(target, Some(cache), offline)?)
}
