//! Images that hold a vendor's driver already, as Azure's HPC images do: nothing is to be done, and nothing refused.

use super::scene::Scene;
use crate::facts::modules::Place;
use crate::outcome::Reason;
use crate::plan_document::{Plan, Present, Target};
use crate::settings::DriverChoice;
use crate::target::{Driver, Nic};
use anyhow::Result;

/// A driver that is there.
pub(super) struct Found {
    present: Present,
    driver: Driver,
    version: Option<String>,
}

/// Looks for a driver that somebody else installed, for every kernel of the target. One that this program installed is
/// planned for like any other, so that what is missing of it is repaired.
pub(super) fn look(scene: &Scene, target: &Target) -> Result<Option<Found>> {
    let Some((facts, ofed)) = scene.facts.and_then(|facts| Some((facts, facts.ofed.as_ref()?))) else {
        return Ok(None);
    };
    let core = format!("{}_core", target.nic.unwrap_or(Nic::Cx6).kernel_driver());
    let built_for = |kernel: &String| {
        facts.modules.get(kernel).is_some_and(|modules| modules.get(&core) == Some(&Place::Added))
    };
    if ofed.by_ofedctl || !target.kernels.iter().all(built_for) {
        return Ok(None);
    }
    let version = ofed.driver_version().map(str::to_owned);
    let named = || format!("{} {}", ofed.driver(), version.as_deref().unwrap_or("of unknown version"));
    let release = ofed.release.clone().unwrap_or_else(named);
    refuse_another(scene, ofed.driver(), version.as_deref(), &release)?;
    if scene.secure_boot() && !scene.live.is_some_and(|live| live.loaded.iter().any(|it| it.name == core)) {
        let what = format!("{release} is installed, but {core} is not loaded, and Secure Boot is on");
        return Err(Reason::SecureBoot.error(what));
    }
    let present = Present { release, hpc_image: facts.hpc_image.is_some() };
    Ok(Some(Found { present, driver: ofed.driver(), version }))
}

/// Replacing another's driver is not what a plan may do unasked, and not what this program can undo.
fn refuse_another(scene: &Scene, driver: Driver, version: Option<&str>, release: &str) -> Result<()> {
    let wanted = &scene.settings.driver_version;
    let same_version = wanted.as_deref().is_none_or(|wanted| {
        version.is_some_and(|version| crate::catalog::versions::Version::new(version).is_of(wanted))
    });
    let same_driver = match scene.settings.driver {
        DriverChoice::Auto => true,
        DriverChoice::MlnxOfed => driver == Driver::MlnxOfed,
        DriverChoice::Doca => driver == Driver::Doca,
        DriverChoice::Inbox => false,
    };
    if same_driver && same_version {
        return Ok(());
    }
    let wanted = wanted.as_deref().map(|wanted| format!(" {wanted}")).unwrap_or_default();
    Err(Reason::ImageUnsupported.error(format!(
        "{}{wanted} is asked for, but {release} is installed: remove it first, or leave the choice to `auto`",
        scene.settings.driver.name()
    )))
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
        rejected: Vec::new(),
        artifact: None,
        packages: Vec::new(),
        edits: Vec::new(),
        modules,
        target,
    }
}
