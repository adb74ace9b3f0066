//! Checks of a vendor's driver beyond its packages: its release, and that each kernel loads its modules.

use super::signing;
use crate::amounts::count;
use crate::facts::modules::{Module, Place};
use crate::facts::ofed;
use crate::host::Host;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::ledger::Check;
use crate::packages::dkms;
use crate::plan_document::Plan;
use anyhow::Result;

/// Whether a module belongs to the driver and not to the kernel's own package.
pub fn is_own(plan: &Plan, module: &Module) -> bool {
    !plan.brings_modules() || matches!(Place::from(module), Place::Added | Place::Linked)
}

/// Checks that the release that the driver states is the planned one.
pub(super) fn release(host: &Host, plan: &Plan) -> Check {
    let found = ofed::read(host).unwrap_or_default();
    let ok = found.release.is_some() && found.driver_version() == plan.driver_version.as_deref();
    let named = found.release.unwrap_or_else(|| "no ofed_info".to_owned());
    let found = match found.doca_host {
        Some(doca) => format!("DOCA-Host {doca}, {named}"),
        None => named,
    };
    Check::new("release by ofed_info", ok, found)
}

/// Checks the state of its modules in DKMS, and the kernel version inside the module files.
pub fn built(host: &Host, plan: &Plan) -> Result<Vec<Check>> {
    // A driver that somebody else installed need not have been built by DKMS.
    if !plan.brings_modules() {
        return Ok(Vec::new());
    }
    let sources = if plan.distribution_modules { Vec::new() } else { dkms::sources(&host.root) };
    let mut checks = Vec::new();
    let kernels = plan.rebuilds.as_ref().map_or(&plan.target.kernels, |rebuild| &rebuild.kernels);
    for kernel in kernels {
        let missing = dkms::missing(host, &sources, kernel)?;
        for source in &sources {
            let ok = !missing.contains(&source);
            let found = if ok { "installed" } else { "not installed" }.to_owned();
            checks.push(Check::new(format!("dkms {} for {kernel}", source.name), ok, found));
        }
        checks.push(version_magic(host, plan, kernel)?);
        checks.extend(signing::check(host, plan, kernel)?);
    }
    Ok(checks)
}

/// Checks the kernel version inside a module; `modprobe` refuses a module of another kernel.
fn version_magic(host: &Host, plan: &Plan, kernel: &str) -> Result<Check> {
    let modinfo =
        Cmd::new("modinfo").args(["-k", kernel, "-F", "vermagic"]).args(plan.modules.iter().cloned());
    let sandbox = Sandbox::offline(&host.root, false);
    let asked = host.run(&modinfo.captured().inside(sandbox))?;
    let magics: Vec<&str> = asked.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let ok =
        asked.code == 0 && magics.len() == plan.modules.len() && magics.iter().all(|magic| *magic == kernel);
    let found = match magics.iter().find(|magic| **magic != kernel) {
        Some(other) => format!("built for {other}"),
        None if ok => count(magics.len(), "module"),
        None => format!("{} of {}", magics.len(), count(plan.modules.len(), "module")),
    };
    Ok(Check::new(format!("built for {kernel}"), ok, found))
}
