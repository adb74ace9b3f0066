//! Images that hold a vendor's driver already, as Azure's HPC images do: mostly nothing is to be done, and nothing refused.

use super::context::PlanContext;
use crate::drivers;
use crate::facts::modules::Place;
use crate::outcome::{Cause, Reason};
use crate::plan_document::{self as document, Plan};
use crate::settings::{ReplaceDriver, Settings};
use crate::target::{Driver, Nic, Target};
use anyhow::Result;

/// A driver that is there.
pub(super) struct Found {
    present: document::Present,
    driver: Driver,
    version: Option<String>,
}

/// What somebody else installed.
pub(super) enum Present {
    /// No vendor's driver.
    Nothing,
    /// The one that is wanted, for every kernel of the target.
    Right(Found),
    /// One that has to go first.
    InTheWay {
        /// What it calls itself.
        release: String,
        /// Why it will not do.
        why: String,
    },
}

/// Looks for a driver that somebody else installed. One that this program installed is planned for like any other, so
/// that what is missing of it is repaired.
pub(super) fn look(context: &PlanContext, target: &Target) -> Result<Present> {
    let Some((facts, ofed)) = context.facts.and_then(|facts| Some((facts, facts.ofed.as_ref()?))) else {
        return Ok(Present::Nothing);
    };
    let core = format!("{}_core", target.nic.unwrap_or(Nic::Cx6).kernel_driver());
    let built_for = |kernel: &&String| {
        facts.modules.get(*kernel).is_some_and(|modules| modules.get(&core) == Some(&Place::Added))
    };
    // DOCA-Host's repository alone installs nothing.
    let is_driver = ofed.release.is_some()
        || ofed.openibd
        || ofed.dkms_sources.is_some()
        || target.kernels.iter().any(|kernel| built_for(&kernel));
    if ofed.by_ofedctl || !is_driver {
        return Ok(Present::Nothing);
    }
    let version = ofed.driver_version().map(str::to_owned);
    let driver = drivers::installed(ofed);
    let named = || format!("{driver} {}", version.as_deref().unwrap_or("of unknown version"));
    let release = ofed.release.clone().unwrap_or_else(named);
    if !is_wanted(context, driver, version.as_deref()) {
        let wanted = context.settings.driver_version.as_deref();
        let wanted = wanted.map(|wanted| format!(" {wanted}")).unwrap_or_default();
        let why =
            format!("{}{wanted} is asked for, but {release} is installed", context.settings.driver.name());
        return Ok(Present::InTheWay { release, why });
    }
    if let Some(kernel) = target.kernels.iter().find(|kernel| !built_for(kernel)) {
        let why = format!("{release} is installed, but it has no {core} for the kernel {kernel}");
        return Ok(Present::InTheWay { release, why });
    }
    if context.secure_boot() && !context.live.is_some_and(|live| live.loaded.iter().any(|it| it.name == core))
    {
        let what = format!("{release} is installed, but {core} is not loaded, and Secure Boot is on");
        return Err(Reason::SecureBoot.error(what));
    }
    let present = document::Present { release, hpc_image: facts.hpc_image.is_some() };
    Ok(Present::Right(Found { present, driver, version }))
}

/// What has to go first, where the settings let it: what another installed, this program cannot put back.
pub(super) fn replaced(settings: &Settings, release: String, why: &str) -> Result<String> {
    match settings.replace_driver {
        ReplaceDriver::Replace => Ok(release),
        ReplaceDriver::Refuse => Err(Cause::OtherDriver.error(why)),
    }
}

/// Whether the settings leave the choice, or chose this one.
fn is_wanted(context: &PlanContext, driver: Driver, version: Option<&str>) -> bool {
    let wanted = &context.settings.driver_version;
    let same_version = wanted.as_deref().is_none_or(|wanted| {
        version.is_some_and(|version| crate::catalog::versions::Version::new(version).is_of(wanted))
    });
    context.settings.driver.allows(driver) && same_version
}

/// The plan that says so.
pub(super) fn plan(found: Found, target: Target, modules: Vec<String>) -> Plan {
    let Found { present, driver, version } = found;
    let image = if present.hpc_image { "this HPC image" } else { "this image" };
    Plan {
        schema_version: 1,
        driver,
        driver_version: version,
        why: vec![format!("{image} holds {} already, built for its kernels", present.release)],
        present: Some(present),
        replaces: None,
        rejected: Vec::new(),
        artifact: None,
        packages: Vec::new(),
        edits: Vec::new(),
        modules,
        distribution_modules: false,
        target,
    }
}
