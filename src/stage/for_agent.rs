//! Packages for the VM agent, without which the driver works: the sources and the cache may lack them.

use super::{brings, candidates, manager_of, open};
use crate::cache::Bundle;
use crate::cache::remote::is_remote;
use crate::host::Host;
use crate::outcome::Reason;
use crate::packages::{Installed, Resolution};
use crate::plan_document::Plan;
use crate::settings::Settings;
use anyhow::Result;
use std::path::Path;

/// Those that are not installed.
pub fn lacking<'a>(plan: &'a Plan, installed: &'a Installed) -> impl Iterator<Item = &'a String> {
    plan.optional.iter().filter(|name| installed.version_of(name).is_none())
}

/// A message, and behind it what has to be said where the root still lacks one.
pub fn with_lack(message: String, host: &Host, plan: &Plan) -> Result<String> {
    Ok(match lack(host, plan)? {
        Some(lack) => format!("{message}; {lack}"),
        None => message,
    })
}

/// What has to be said where the root still lacks one.
pub fn lack(host: &Host, plan: &Plan) -> Result<Option<String>> {
    if plan.optional.is_empty() {
        return Ok(None);
    }
    let installed = manager_of(plan)?.installed(host)?;
    let missing: Vec<&str> = lacking(plan, &installed).map(String::as_str).collect();
    let missing = missing.join(", ");
    Ok((!missing.is_empty()).then(|| {
        format!("the VM agent lacks {missing}, which the cache does not have: stage for this image, or install {missing}")
    }))
}

/// Whether the cache has one that the root lacks, since an earlier run did not find it there. A run at every boot must cost
/// little: only a folder is looked into.
pub fn is_to_be_had(host: &Host, settings: &Settings, plan: &Plan, installed: &Installed) -> bool {
    if lacking(plan, installed).next().is_none() || is_remote(&settings.cache) {
        return false;
    }
    let bundles = || {
        let opened = open(host, settings)?;
        candidates(&opened, plan, installed, Some(&host.root))
    };
    let brings_one = |bundle: &Bundle| lacking(plan, installed).any(|name| brings(bundle, name));
    Path::new(&settings.cache).is_dir() && bundles().is_ok_and(|bundles| bundles.iter().any(brings_one))
}

/// Sorts bundles so that those that lack the fewest come first. Where a driver is there already, nothing else is wanted of
/// a bundle, so one that has none of them serves nobody.
pub(super) fn sort(bundles: &mut Vec<Bundle>, plan: &Plan, installed: &Installed) {
    let lacked = |bundle: &Bundle| lacking(plan, installed).filter(|name| !brings(bundle, name)).count();
    if plan.present.is_some() {
        let wanted = lacking(plan, installed).count();
        bundles.retain(|bundle| lacked(bundle) < wanted);
    }
    bundles.sort_by_key(lacked);
}

/// Resolves a plan's packages, without those for the VM agent that the sources do not have. Returns what was resolved.
pub(super) fn resolve(
    host: &Host,
    plan: &Plan,
    resolve: impl Fn(&[String]) -> Result<Resolution>,
) -> Result<(Vec<String>, Resolution)> {
    let not_there = match resolve(&plan.packages) {
        Ok(resolution) => return Ok((plan.packages.clone(), resolution)),
        Err(error) if plan.optional.is_empty() || !is_of_a_package(&error) => return Err(error),
        Err(error) => error,
    };
    let mut packages: Vec<String> = plan.needed_packages().cloned().collect();
    let mut resolved = if packages.is_empty() { None } else { Some(resolve(&packages)?) };
    for name in &plan.optional {
        let more = [packages.as_slice(), std::slice::from_ref(name)].concat();
        match resolve(&more) {
            Ok(resolution) => (packages, resolved) = (more, Some(resolution)),
            Err(error) if !is_of_a_package(&error) => return Err(error),
            Err(error) => {
                host.events
                    .warn(format!("{name}, which the VM agent needs for addresses, is left out: {error:#}"));
            }
        }
    }
    resolved.map(|resolution| (packages, resolution)).ok_or(not_there)
}

/// Whether a package cannot be had, rather than its server.
pub fn is_of_a_package(error: &anyhow::Error) -> bool {
    matches!(Reason::from_error(error), Reason::ResolveFailed | Reason::PackageConflict)
}
