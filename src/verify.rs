//! The verification step: compares a root with its plan and gives one result for each thing that was checked.

pub mod ipoib;
pub mod live;
pub mod peer;
mod services;
pub mod traffic;

use crate::amounts::count;
use crate::drivers;
use crate::edits::{Action, Depth, Edit, due};
use crate::facts::modules::{self, Module};
use crate::host::Host;
use crate::ledger::{Check, Receipt, Subject};
use crate::outcome::Reason;
use crate::packages::{Installed, Manager};
use crate::plan_document::Plan;
use anyhow::Result;
use std::collections::BTreeMap;

/// The checks that only read files, which are fast enough for every boot.
pub fn check_files(
    host: &Host,
    plan: &Plan,
    installed: &Installed,
    recorded: Option<&Receipt>,
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let none = BTreeMap::new();
    let recorded = recorded.map_or(&none, |receipt| &receipt.packages);
    // A cache may have lacked a package that is not needed.
    let is_optional = |name: &&String| plan.optional.contains(name) && !recorded.contains_key(*name);
    let packages =
        plan.packages.iter().filter(|name| !is_optional(name) || installed.version_of(name).is_some());
    checks.extend(packages.map(|name| package(name, installed, recorded.get(name))));
    for kernel in &plan.target.kernels {
        let found = modules::find(&host.root, kernel, &plan.modules);
        checks.extend(plan.modules.iter().zip(found).map(|(name, found)| {
            let own = drivers::is_own(plan, &found);
            module(name, kernel, found, own)
        }));
    }
    let ops = drivers::ops(plan.driver);
    if plan.present.is_none() || plan.driver_version.is_some() {
        checks.extend(ops.release(host, plan));
    }
    for edit in plan.edits.iter().filter(|edit| !matches!(edit, Edit::RefreshInitramfs { .. })) {
        checks.push(edited(host, edit, installed, Depth::Files)?);
    }
    Ok(checks)
}

/// Whether an edit is made.
fn edited(host: &Host, edit: &Edit, installed: &Installed, depth: Depth) -> Result<Check> {
    let due = due(host, edit, installed, depth)?;
    let wrong: Vec<String> = due
        .iter()
        .map(|action| match action {
            Action::Write { .. } => "not as planned".to_owned(),
            Action::Link { path, .. } => format!("no link {path}"),
            Action::Hold(names) => format!("not on hold: {}", names.join(" ")),
            Action::Refresh { stale, .. } => format!("holds {}", stale.join(", ")),
        })
        .collect();
    let kind = match edit {
        Edit::WriteFile { .. } | Edit::SetKey { .. } | Edit::SetComponent { .. } => "file ",
        Edit::EnableUnit { .. } => "unit ",
        Edit::HoldPackages { .. } | Edit::HoldBack { .. } => "hold ",
        Edit::RefreshInitramfs { .. } => "",
    };
    let found = if wrong.is_empty() { "as planned".to_owned() } else { wrong.join("; ") };
    Ok(Check::new(format!("{kind}{}", edit.subject()), wrong.is_empty(), found))
}

/// All checks: also compares every installed file of the recorded packages with its digest.
pub fn check_all(
    host: &Host,
    manager: Manager,
    plan: &Plan,
    recorded: &BTreeMap<String, String>,
) -> Result<Vec<Check>> {
    let installed = manager.installed(host)?;
    let mut checks = check_files(host, plan, &installed, None)?;
    for edit in plan.edits.iter().filter(|edit| matches!(edit, Edit::RefreshInitramfs { .. })) {
        checks.push(edited(host, edit, &installed, Depth::All { sealed: !host.is_running_system() })?);
    }
    let drifted = recorded.iter().filter(|(name, version)| installed.versions.get(*name) != Some(*version));
    checks.extend(drifted.map(|(name, version)| package(name, &installed, Some(version))));
    let names: Vec<String> =
        recorded.keys().filter(|name| installed.versions.contains_key(*name)).cloned().collect();
    let mut damage = manager.verify(host, &names)?;
    let ops = drivers::ops(plan.driver);
    damage.retain(|line| !ops.is_expected(line) && !drivers::is_signed_module(plan, line));
    let found = if damage.is_empty() { "as packaged".to_owned() } else { damage.join("; ") };
    checks.push(Check::new(format!("files of {}", count(names.len(), "package")), damage.is_empty(), found));
    checks.extend(drivers::built(host, plan)?);
    Ok(checks)
}

/// The reason for failed checks. A failed service comes first, because it may be the cause of the other failures.
pub fn reason(checks: &[Check]) -> Reason {
    let of_a_service = checks.iter().any(|check| !check.ok && check.subject == Subject::Service);
    if of_a_service { Reason::ServiceFailed } else { Reason::VerifyFailed }
}

/// The checks that failed, as one line.
pub fn failures(checks: &[Check]) -> Option<String> {
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.found))
        .collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}

fn package(name: &str, installed: &Installed, recorded: Option<&String>) -> Check {
    let version = installed.version_of(name);
    let (ok, found) = match (version, recorded) {
        (None, _) => (false, "not installed".to_owned()),
        (Some(version), Some(wanted)) if version != wanted => {
            (false, format!("{version} instead of {wanted}"))
        }
        (Some(version), _) => (true, version.clone()),
    };
    Check::new(format!("package {name}"), ok, found)
}

fn module(name: &str, kernel: &str, found: Module, own: bool) -> Check {
    let (ok, found) = match found {
        Module::File(path) if !own => (false, format!("{path}, which is the kernel's own")),
        Module::File(path) => (true, path),
        Module::BuiltIn => (true, "built in".to_owned()),
        Module::Missing => (false, "missing".to_owned()),
    };
    Check::new(format!("module {name} for {kernel}"), ok, found)
}
