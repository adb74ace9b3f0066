//! Judges the vendor's packages: which are usable here, in order of preference, and the objections to the others.

use crate::catalog::Row;
use crate::catalog::versions::Version;
use crate::drivers::{self, Objection, Requirements, names};
use crate::facts::modules::Place;
use crate::host::http::without_secrets;
use crate::outcome::{Cause, Reason};
use crate::plan_document::Rejected;
use crate::settings::{DriverChoice, Settings, UnsupportedKernel};
use crate::target::Nic;
use crate::trust::{Trust, host_of, is_vendors, protected};

/// The first kernel that takes PKCS #7 signatures of modules (Linux 4.3, commit 3f1e1bea34740069f70c6bc92d0f712345d5c28e).
const SIGNED_FROM: &str = "4.3";

/// A package and the objection to it, if any.
pub(super) struct Judged<'a> {
    pub(super) row: &'a Row,
    /// The number of newer packages.
    age: usize,
    pub(super) objection: Option<Objection>,
}

/// The packages that the settings allow, the preferred first.
pub(super) fn judge<'a>(requirements: &Requirements<'a>, nics: &[Nic]) -> Vec<Judged<'a>> {
    let (target, settings) = (requirements.target, requirements.settings);
    let mut rows = requirements.catalog.candidates_for_all(&target.distro, target.arch, nics);
    rows.retain(|row| is_wanted(row, settings));
    let by_age = rows.clone();
    if settings.driver_version.is_none() {
        requirements.catalog.prefer(&mut rows);
    }
    let age = |row: &Row| by_age.iter().position(|other| std::ptr::eq(*other, row)).unwrap_or_default();
    rows.into_iter()
        .map(|row| Judged { row, age: age(row), objection: objection(requirements, row) })
        .collect()
}

fn is_wanted(row: &Row, settings: &Settings) -> bool {
    settings.driver.allows(row.driver)
        && settings.driver_version.as_deref().is_none_or(|version| row.version.is_of(version))
}

/// The best of the packages without an objection.
pub(super) fn best<'a>(requirements: &Requirements<'a>, judged: &[Judged<'a>]) -> Option<&'a Row> {
    let usable = judged.iter().filter(|judged| judged.objection.is_none());
    let usable: Vec<&Row> = usable.map(|judged| judged.row).collect();
    requirements.catalog.pick(&usable, |row| covered(row, requirements) == Some(Trust::Digest))
}

/// How a package's file can be verified, by catalogue and settings; none if it cannot.
pub(super) fn covered(row: &Row, requirements: &Requirements) -> Option<Trust> {
    let settings = requirements.settings;
    if row.sha256.is_some() || settings.sha256.is_some() {
        return Some(Trust::Digest);
    }
    let by_address = match &settings.artifact {
        Some(place) => is_vendors(&protected(place)).then_some(Trust::FirstUse),
        None => row.trust(),
    };
    // Where a signature is required, the plan assumes that there is one, and it is checked once the file is there.
    // The same holds for a file that the user names, which may come from anywhere.
    let is_asked = settings.trust == Trust::Signed || (by_address.is_none() && settings.artifact.is_some());
    let keys = &requirements.catalog.vendor_keys;
    let is_signed =
        || drivers::ops(row.driver).is_signed(requirements.target, &row.version.to_string(), settings, keys);
    if is_asked && is_signed() { Some(Trust::Signed) } else { by_address }
}

/// The objection to a package. Secure Boot comes last, so that it is named only if there is no other.
fn objection(requirements: &Requirements, row: &Row) -> Option<Objection> {
    requirements.catalog.line(row)?;
    if !row.is_public() && requirements.settings.artifact.is_none() {
        return Some(Objection::new(Reason::ImageUnsupported, "its file is not public"));
    }
    if let Some(why) = requirements.catalog.unbuildable(row) {
        return Some(Objection::new(Reason::ImageUnsupported, why));
    }
    digest(row, requirements).or_else(|| kernels(requirements, row)).or_else(|| requirements.unsigned.clone())
}

fn digest(row: &Row, requirements: &Requirements) -> Option<Objection> {
    let settings = requirements.settings;
    match (&row.sha256, &settings.sha256) {
        (Some(known), Some(given)) if !known.eq_ignore_ascii_case(given) => {
            let why = format!("its digest is {known}, and not the given {given}");
            Some(Objection::new(Reason::BadSettings, why))
        }
        _ => uncovered(row, requirements),
    }
}

/// The objection if the file cannot be verified at the level that the settings demand.
fn uncovered(row: &Row, requirements: &Requirements) -> Option<Objection> {
    let settings = requirements.settings;
    let ask = "give it as `sha256`, with `driver_version`";
    let why = match (covered(row, requirements), &settings.artifact) {
        (Some(level), _) if level >= settings.trust => return None,
        (Some(_), _) => format!("nobody published its digest, and `trust: {}` is set: {ask}", settings.trust),
        (None, Some(place)) => {
            let place = without_secrets(place);
            let why =
                format!("nobody published its digest, and `{place}` is not the vendor's own place: {ask}");
            return Some(Objection::new(Reason::BadSettings, why));
        }
        (None, None) => {
            let host = host_of(&row.url);
            format!("nobody published its digest, and {host} is not the vendor's own: {ask}")
        }
    };
    Some(Objection::with_cause(Cause::NoDigest, why))
}

fn kernels(requirements: &Requirements, row: &Row) -> Option<Objection> {
    let settings = requirements.settings;
    for kernel in &requirements.target.kernels {
        // First, because no release and no setting helps where it is so.
        let modules = requirements.facts.and_then(|facts| facts.modules.get(kernel));
        let built_in = |module: &&String| modules.is_some_and(|m| m.get(*module) == Some(&Place::BuiltIn));
        if let Some(module) = requirements.modules.iter().find(built_in) {
            let why = format!("{module} is built into the kernel {kernel}, so that no other can be loaded");
            return Some(Objection::with_cause(Cause::ModuleBuiltIn, why));
        }
        if let Some(why) = requirements.catalog.objection_to(row, kernel).filter(|_| !tries_anyway(settings))
        {
            let hint = if is_named(settings) { "; `unsupported_kernel: try` lets it try" } else { "" };
            return Some(Objection::with_cause(Cause::KernelOutOfRange, format!("{why}{hint}")));
        }
        if requirements.signs && Version::new(kernel) < Version::new(SIGNED_FROM) {
            let why =
                format!("{kernel} is older than {SIGNED_FROM}: it takes signatures of another form alone");
            return Some(Objection::new(Reason::KernelUnsupported, why));
        }
    }
    None
}

/// Whether the user named the driver and wants it tried on a kernel for which it is not known to build.
fn tries_anyway(settings: &Settings) -> bool {
    settings.unsupported_kernel == UnsupportedKernel::Try && is_named(settings)
}

fn is_named(settings: &Settings) -> bool {
    settings.driver != DriverChoice::Auto || settings.driver_version.is_some()
}

/// The packages that something stands against, one entry for each driver and reason.
pub(super) fn objections(judged: &[Judged]) -> Vec<Rejected> {
    let said = judged.iter().filter_map(|judged| Some((judged.row, judged.objection.as_ref()?.why.clone())));
    grouped(said)
}

/// The packages that were not chosen, one entry for each driver and reason.
pub(super) fn rejected(requirements: &Requirements, judged: &[Judged], chosen: &Row) -> Vec<Rejected> {
    let age = judged.iter().find(|judged| std::ptr::eq(judged.row, chosen)).map(|judged| judged.age);
    let is_other =
        |judged: &&Judged| (judged.row.driver, &judged.row.version) != (chosen.driver, &chosen.version);
    let is_early = |row: &Row| {
        let catalog = requirements.catalog;
        let covered = |row| covered(row, requirements);
        covered(row) > covered(chosen) && !catalog.is_long_term(row)
    };
    let mut others: Vec<&Judged> = judged.iter().filter(is_other).collect();
    others.sort_by_key(|judged| judged.age);
    grouped(others.into_iter().map(|judged| {
        let why = match &judged.objection {
            Some(objection) => objection.why.clone(),
            None if Some(judged.age) < age => newer(requirements, judged.row, chosen),
            None if is_early(judged.row) => "older, and not a long-term release".to_owned(),
            None => "older".to_owned(),
        };
        (judged.row, why)
    }))
}

/// Why a newer package was not chosen.
fn newer(requirements: &Requirements, row: &Row, chosen: &Row) -> String {
    let is_preferred = |row| requirements.catalog.line(row).is_some_and(|line| line.preferred.is_some());
    if covered(row, requirements) < covered(chosen, requirements) && is_preferred(row) == is_preferred(chosen)
    {
        return "newer, but nobody published its digest".to_owned();
    }
    "newer, but its line is not the preferred one".to_owned()
}

fn grouped<'a>(said: impl Iterator<Item = (&'a Row, String)>) -> Vec<Rejected> {
    let mut groups: Vec<Rejected> = Vec::new();
    for (row, why) in said {
        let version = row.version.to_string();
        match groups.iter_mut().find(|group| group.driver == row.driver && group.why == why) {
            Some(group) if group.versions.contains(&version) => {}
            Some(group) => group.versions.push(version),
            None => groups.push(Rejected { driver: row.driver, versions: vec![version], why }),
        }
    }
    for group in &mut groups {
        group.versions.sort_by(|a, b| Version::new(&**b).cmp(&Version::new(&**a)));
    }
    groups
}

/// That there is no such package at all.
pub(super) fn none_there(requirements: &Requirements, nics: &[Nic]) -> String {
    let Settings { driver, driver_version, .. } = requirements.settings;
    let name = match driver {
        DriverChoice::Auto => "vendor driver",
        named => named.name(),
    };
    let version = driver_version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    let there =
        requirements.catalog.candidates_for_all(&requirements.target.distro, requirements.target.arch, nics);
    let mut there: Vec<String> = there.iter().map(|row| format!("{} {}", row.driver, row.version)).collect();
    there.dedup();
    let there = match there.len() {
        0 => String::new(),
        1..=4 => format!("; it has {}", there.join(", ")),
        many => format!("; it has {} and {} more", there[..4].join(", "), many - 4),
    };
    format!("the catalogue has no {name}{version} that drives {}{there}", names(nics))
}
