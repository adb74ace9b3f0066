//! Chooses the driver: the vendor's best usable one, or the distribution's own.

use super::vendor::{self, Judged};
use crate::catalog::{Inbox, Line, Row};
use crate::drivers::{Objection, Requirements, names};
use crate::facts::modules::Place;
use crate::outcome::{Cause, Reason};
use crate::packages::Manager;
use crate::plan_document::Rejected;
use crate::settings::{DriverChoice, Settings};
use crate::target::{Nic, Target};
use crate::trust::Trust;
use anyhow::Result;

/// What was chosen.
pub(super) struct Choice<'a> {
    pub(super) chosen: Chosen<'a>,
    pub(super) why: Vec<String>,
    pub(super) rejected: Vec<Rejected>,
    /// Packages beside those in the catalogue, with modules that this image's kernels lack.
    pub(super) more: Vec<String>,
}

/// A driver.
pub(super) enum Chosen<'a> {
    /// The distribution's own.
    Inbox(&'a Inbox),
    /// A vendor's package, with its digest if known, and how it is verified.
    Vendor(&'a Row, Option<&'a str>, Trust),
}

/// Chooses a driver, or fails with the objections to each one.
pub(super) fn choose<'a>(requirements: &Requirements<'a>) -> Result<Choice<'a>> {
    let mut refusal = None;
    // A distribution that the catalogue does not list is judged by its family only where no listed driver fits.
    for by_likeness in [false, true] {
        for nics in requirements.nics {
            match for_nics(requirements, nics, by_likeness) {
                Ok(choice) => return Ok(choice),
                // The last set asks for the least, so its objections are the ones to report.
                Err(error) => refusal = Some(error),
            }
        }
    }
    Err(refusal.unwrap_or_else(|| Reason::Internal.error("no adapter to choose a driver for")))
}

fn for_nics<'a>(requirements: &Requirements<'a>, nics: &[Nic], by_likeness: bool) -> Result<Choice<'a>> {
    let settings = requirements.settings;
    let inbox = inbox(requirements, nics, by_likeness);
    if settings.driver == DriverChoice::Inbox {
        let chosen = inbox.map_err(|objection| refusal(requirements, nics, &[], Some(&objection)))?;
        let why = "the settings ask for the distribution's own driver".to_owned();
        return Ok(distributions_own(requirements, chosen, why, Vec::new()));
    }
    let judged = vendor::judge(requirements, nics);
    if let Some(row) = vendor::best(requirements, &judged) {
        return Ok(vendors(requirements, nics, &judged, row, &inbox));
    }
    let named = is_named(settings);
    match inbox {
        Ok(inbox) if !named => Ok(distributions(requirements, nics, inbox, &judged)),
        Ok(_) => Err(refusal(requirements, nics, &judged, None)),
        Err(objection) => Err(refusal(requirements, nics, &judged, Some(&objection).filter(|_| !named))),
    }
}

/// Whether the settings leave no choice to the distribution's own driver.
fn is_named(settings: &Settings) -> bool {
    settings.driver != DriverChoice::Auto || settings.driver_version.is_some()
}

/// The vendor's driver, with the reasons for the choice.
fn vendors<'a>(
    requirements: &Requirements<'a>,
    nics: &[Nic],
    judged: &[Judged<'a>],
    row: &'a Row,
    inbox: &Result<&'a Inbox, Objection>,
) -> Choice<'a> {
    let Target { distro, arch, .. } = requirements.target;
    let line = requirements.catalog.line(row);
    let why_it = if requirements.settings.driver_version.is_some() {
        "the settings name it".to_owned()
    } else {
        let kind = match line.and_then(|line| line.preferred.as_ref()) {
            Some(why) => format!("the newest usable release of a preferred line ({why})"),
            None => "the newest usable release".to_owned(),
        };
        format!("{kind} that drives {} on {distro} {arch}", names(nics))
    };
    let mut why = vec![why_it];
    why.extend(line.map(|line| support(requirements, row, line)));
    let trust = vendor::covered(row, requirements).unwrap_or_default();
    match trust {
        Trust::Digest if row.sha256.is_none() => {
            why.push("its digest is the settings' word: nobody published one".to_owned());
        }
        Trust::Digest => {}
        level => why.push(format!("nobody published its digest: its trust level is {level}")),
    }
    why.extend(row.note.as_ref().map(|note| format!("to know: {note}")));
    let mut rejected = vendor::rejected(requirements, judged, row);
    let against_inbox = match inbox {
        _ if is_named(requirements.settings) => None,
        Ok(_) => Some("taken where no vendor driver fits".to_owned()),
        Err(objection) if objection.reason == Reason::KernelUnsupported => Some(objection.why.clone()),
        Err(_) => None,
    };
    rejected.extend(against_inbox.map(Rejected::distributions_own));
    let sha256 = row.sha256.as_deref().or(requirements.settings.sha256.as_deref());
    Choice { chosen: Chosen::Vendor(row, sha256, trust), why, rejected, more: Vec::new() }
}

/// The distribution's own driver, taken because no vendor's fits.
fn distributions<'a>(
    requirements: &Requirements<'a>,
    nics: &[Nic],
    inbox: &'a Inbox,
    judged: &[Judged<'a>],
) -> Choice<'a> {
    let Target { distro, arch, .. } = requirements.target;
    let none =
        if judged.is_empty() { "the catalogue has no vendor driver" } else { "no vendor driver can be used" };
    let why = format!("{none} that drives {} on {distro} {arch}; the distribution's own does", names(nics));
    distributions_own(requirements, inbox, why, vendor::objections(judged))
}

fn distributions_own<'a>(
    requirements: &Requirements<'a>,
    inbox: &'a Inbox,
    why: String,
    rejected: Vec<Rejected>,
) -> Choice<'a> {
    let more: Vec<(String, String)> = lacking(requirements)
        .into_iter()
        .filter_map(|(kernel, missing)| Some((more_modules(requirements, kernel)?, missing.join(", "))))
        .collect();
    let brought = more.iter().map(|(package, missing)| format!("{package} is to bring {missing}"));
    let has = if more.is_empty() { has_modules(requirements) } else { Vec::new() };
    let why = [vec![why], unlisted(requirements, inbox), brought.collect(), has].concat();
    let more = more.into_iter().map(|(package, _)| package).collect();
    Choice { chosen: Chosen::Inbox(inbox), why, rejected, more }
}

/// That a release is in no list, where there is no root to look at instead.
fn unlisted(requirements: &Requirements, inbox: &Inbox) -> Vec<String> {
    let distro = &requirements.target.distro;
    if requirements.facts.is_some() || inbox.distros.iter().any(|listed| listed.covers(distro)) {
        return Vec::new();
    }
    vec![format!(
        "no list names {distro}: its packages are taken to be those of its family, and whether its kernel has the modules \
         was not looked at; `--root` looks"
    )]
}

/// The kernels of the target that lack modules, each with the names of the modules.
fn lacking<'a>(requirements: &Requirements<'a>) -> Vec<(&'a str, Vec<&'a str>)> {
    let counted = requirements.facts.iter().flat_map(|facts| &facts.modules);
    let counted = counted.filter(|(kernel, _)| requirements.target.kernels.contains(kernel));
    let lacks = |(kernel, places): (&'a String, &'a std::collections::BTreeMap<String, Place>)| {
        let is_missing = |module: &&String| places.get(*module).is_none_or(|place| *place == Place::Missing);
        let missing: Vec<&str> = requirements.modules.iter().filter(is_missing).map(String::as_str).collect();
        (!missing.is_empty()).then_some((kernel.as_str(), missing))
    };
    counted.filter_map(lacks).collect()
}

/// The package that may bring what a kernel lacks. It is asked for only where the kernel has the adapter's own
/// module; a kernel without that, such as Debian's cloud kernel, is built without InfiniBand.
fn more_modules(requirements: &Requirements, kernel: &str) -> Option<String> {
    let target = requirements.target;
    let places = requirements.facts?.modules.get(kernel)?;
    let core = places.get(requirements.modules.first()?)?;
    if *core == Place::Missing {
        return None;
    }
    Manager::for_target(target)?.more_modules(&target.distro, kernel)
}

fn support(requirements: &Requirements, row: &Row, line: &Line) -> String {
    let kind = match (line.lts, requirements.catalog.is_long_term(row)) {
        (true, true) => "a long-term line",
        (true, false) => "a long-term line, of which this release came too early",
        _ => "a feature line",
    };
    let until = line.end_of_life.as_ref().map(|month| format!("; it is supported until {month}"));
    let kernels = line.kernel_below.as_ref().map(|limit| format!("; it builds for kernels below {limit}"));
    format!("its line, {}, is {kind}{}{}", row.line, until.unwrap_or_default(), kernels.unwrap_or_default())
}

fn has_modules(requirements: &Requirements) -> Vec<String> {
    if requirements.facts.is_none() {
        return Vec::new();
    }
    let have = if requirements.target.kernels.len() == 1 { "the kernel has" } else { "all kernels have" };
    vec![format!("{have} the {} modules it needs", requirements.modules.len())]
}

/// The distribution's own stack, if its kernels have the modules.
fn inbox<'a>(
    requirements: &Requirements<'a>,
    nics: &[Nic],
    by_likeness: bool,
) -> Result<&'a Inbox, Objection> {
    let Target { distro, arch, .. } = requirements.target;
    let found = nics.first().and_then(|nic| requirements.catalog.inbox(distro, *arch, *nic));
    let found = found.filter(|inbox| nics.iter().all(|nic| inbox.nics.contains(nic)));
    let alike = || requirements.catalog.inbox_of_family(distro, requirements.target.family());
    let found = found.or_else(|| alike().filter(|_| by_likeness)).ok_or_else(|| {
        let why = format!("the catalogue knows of no driver of {distro}'s own for {}", names(nics));
        Objection::new(Reason::ImageUnsupported, why)
    })?;
    if let Some((kernel, missing)) =
        lacking(requirements).into_iter().find(|(kernel, _)| more_modules(requirements, kernel).is_none())
    {
        let why = format!("the kernel {kernel} of this image has no {}", missing.join(", "));
        return Err(Objection::with_cause(Cause::KernelWithoutModules, why));
    }
    // Debian builds its cloud kernels without InfiniBand.
    let is_cloud = |kernel: &&String| distro.id == "debian" && kernel.contains("-cloud-");
    if let (None, Some(kernel)) = (requirements.facts, requirements.target.kernels.iter().find(is_cloud)) {
        let package = format!("linux-image-{}", arch.debian());
        let why =
            format!("the kernel {kernel} is of the cloud flavour, which has no InfiniBand: take {package}");
        return Err(Objection::with_cause(Cause::KernelWithoutModules, why));
    }
    Ok(found)
}

/// Why nothing was chosen: of all reasons the one that a user can do most about, with the objections to each driver.
fn refusal(
    requirements: &Requirements,
    nics: &[Nic],
    judged: &[Judged],
    inbox: Option<&Objection>,
) -> anyhow::Error {
    let Target { distro, arch, kernels, .. } = requirements.target;
    let objections = judged.iter().filter_map(|judged| judged.objection.as_ref()).chain(inbox);
    let objections: Vec<&Objection> = objections.collect();
    let by_weight = [Reason::BadSettings, Reason::SecureBoot, Reason::KernelUnsupported];
    let reason =
        by_weight.into_iter().find(|reason| objections.iter().any(|objection| objection.reason == *reason));
    let reason = reason.unwrap_or(Reason::ImageUnsupported);
    // The distribution's own driver asks for the least, and comes last.
    let cause = objections.iter().rev().filter(|it| it.reason == reason).find_map(|it| it.cause);
    let mut against: Vec<String> = vendor::objections(judged).iter().map(ToString::to_string).collect();
    if against.is_empty() && requirements.settings.driver != DriverChoice::Inbox {
        against.push(vendor::none_there(requirements, nics));
    }
    against.extend(inbox.map(|objection| format!("inbox: {}", objection.why)));
    let on = if kernels.is_empty() { String::new() } else { format!(" with {}", kernels.join(", ")) };
    let wanted = match requirements.settings.driver {
        DriverChoice::Auto => "driver".to_owned(),
        driver => format!("{} driver", driver.name()),
    };
    let nics = names(nics);
    let what = format!("no {wanted} for {nics} on {distro} {arch}{on}: {}", against.join("; "));
    cause.map_or_else(|| reason.error(&what), |cause| cause.error(&what))
}
