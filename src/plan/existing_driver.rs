//! Finds a vendor's driver that an image holds already, as Azure's HPC images do. Mostly such a driver is kept as it
//! is.

use super::agent;
use super::context::PlanContext;
use crate::drivers;
use crate::edits::Edit;
use crate::edits::wanted::{self, Subject};
use crate::facts::modules::Place;
use crate::outcome::Cause;
use crate::packages::Manager;
use crate::plan_document::{self as document, Plan, Rebuild};
use crate::settings::{ReplaceDriver, Settings};
use crate::target::{Driver, Nic, Target};
use anyhow::Result;

/// An installed driver.
pub(super) struct Found {
    present: document::Present,
    driver: Driver,
    version: Option<String>,
    /// What the plan document says of it.
    note: Option<String>,
}

/// The driver that somebody else installed.
pub(super) enum ExistingDriver {
    /// No vendor's driver.
    Nothing,
    /// A driver that fits, with modules for every kernel of the target.
    Right(Found),
    /// A driver that fits, whose sources are installed but not yet built for some kernels.
    LacksKernels {
        /// The driver.
        found: Found,
        /// The kernels without its modules.
        lacking: Vec<String>,
        /// What is wrong for the first of these kernels.
        why: String,
    },
    /// A driver that does not fit and has to be removed first.
    InTheWay {
        /// Its release, as it states it.
        release: String,
        /// Why it cannot be used.
        why: String,
        /// Under which cause a run ends where it must not be replaced.
        cause: Cause,
    },
}

/// Finds a driver that somebody else installed. A driver that this program installed is planned like any other, so that
/// missing parts are repaired.
pub(super) fn find(context: &PlanContext, target: &Target) -> Result<ExistingDriver> {
    let Some((facts, ofed)) = context.facts.and_then(|facts| Some((facts, facts.ofed.as_ref()?))) else {
        return Ok(ExistingDriver::Nothing);
    };
    let core = format!("{}_core", target.nic.unwrap_or(Nic::Cx6).kernel_driver());
    let place = |kernel: &String| facts.modules.get(kernel).and_then(|modules| modules.get(&core));
    let built_for = |kernel: &&String| place(kernel) == Some(&Place::Added);
    // DOCA-Host's repository alone installs nothing.
    let is_driver = ofed.release.is_some()
        || ofed.openibd
        || ofed.dkms_sources.is_some()
        || target.kernels.iter().any(|kernel| built_for(&kernel));
    if ofed.by_ofedctl || !is_driver {
        return Ok(ExistingDriver::Nothing);
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
        return Ok(ExistingDriver::InTheWay { release, why, cause: Cause::OtherDriver });
    }
    let present = document::Present { release: release.clone(), hpc_image: facts.hpc_image.is_some() };
    let mut found = Found { present, driver, version, note: None };
    let lacking: Vec<String> = target.kernels.iter().filter(|kernel| !built_for(kernel)).cloned().collect();
    if let Some(kernel) = lacking.first() {
        let lacks = match place(kernel) {
            // Its service says that the module belongs to a kernel which is not a part of it, and skips it
            // (Azure/azhpc-images issues 119 and 182).
            Some(Place::Linked) => format!(
                "its {core} for the kernel {kernel} was built for another kernel and is only linked there \
                 (weak-updates); its service openibd skips such modules unless told FORCE=1"
            ),
            _ => format!("it has no {core} for the kernel {kernel}"),
        };
        let why = format!("{release} is installed, but {lacks}");
        let can_build = ofed.dkms_sources.is_some()
            && Manager::for_distro(&target.distro).is_some()
            && !lacking.iter().any(|kernel| place(kernel) == Some(&Place::BuiltIn))
            && context.settings.replace_driver == ReplaceDriver::Refuse;
        if !can_build && lacking.iter().all(|kernel| place(kernel) == Some(&Place::Linked)) {
            // The vendor intends such links for kernels with the same ABI (`MLNX_OFED` and `MLNX_EN` guides,
            // weak-modules).
            found.note = Some(why);
            return Ok(ExistingDriver::Right(found));
        }
        if !can_build {
            return Ok(ExistingDriver::InTheWay { release, why, cause: Cause::DriverLacksKernel });
        }
        if let Some(objection) = context.unsigned() {
            let cause = objection.cause.unwrap_or(Cause::ModulesRefused);
            let what = match context.signing {
                None => {
                    format!(
                        "{why}; its sources are here, but Secure Boot is on and nobody signs what is built"
                    )
                }
                Some(_) => format!("{why}; its sources are here, but {}", objection.why),
            };
            return Err(cause.error(what));
        }
        return Ok(ExistingDriver::LacksKernels { found, lacking, why });
    }
    if context.secure_boot() && !context.live.is_some_and(|live| live.loaded.iter().any(|it| it.name == core))
    {
        let what = format!("{release} is installed, but {core} is not loaded, and Secure Boot is on");
        return Err(Cause::ModulesRefused.error(what));
    }
    Ok(ExistingDriver::Right(found))
}

/// Which driver has to be removed first. Only a setting allows that, because this program cannot restore what
/// somebody else installed.
pub(super) fn replaced(settings: &Settings, release: String, why: &str, cause: Cause) -> Result<String> {
    match settings.replace_driver {
        ReplaceDriver::Replace => Ok(release),
        ReplaceDriver::Refuse => Err(cause.error(why)),
    }
}

/// Whether the settings name this driver, or none.
fn is_wanted(context: &PlanContext, driver: Driver, version: Option<&str>) -> bool {
    let wanted = &context.settings.driver_version;
    let same_version = wanted.as_deref().is_none_or(|wanted| {
        version.is_some_and(|version| crate::catalog::versions::Version::new(version).is_of(wanted))
    });
    context.settings.driver.allows(driver) && same_version
}

/// The plan to build the installed driver for the kernels that lack it. Nothing of it is replaced.
pub(super) fn rebuild(
    found: Found,
    lacking: Vec<String>,
    why: String,
    target: Target,
    modules: Vec<String>,
    context: &PlanContext,
) -> Plan {
    let manager = Manager::for_distro(&target.distro);
    let packages = manager.map(|manager| drivers::needed_to_build(manager, &lacking)).unwrap_or_default();
    let rebuild = Rebuild { release: found.present.release.clone(), kernels: lacking };
    let why = vec![why, "its sources are here, so DKMS builds the same release for it".to_owned()];
    let module_signing = context.signing.cloned();
    let signed = module_signing.as_ref().and_then(|it| context.signed(it));
    let plan = Plan {
        present: None,
        rebuilds: Some(rebuild),
        why,
        packages,
        module_signing,
        ..plan(found, target, modules, context)
    };
    plan.because(signed)
}

/// The edits around the driver, which do not depend on who installed it. There are none where the package manager is
/// unknown, because its files could not be edited.
fn edits(found: &Found, target: &Target, context: &PlanContext) -> Vec<Edit> {
    if Manager::for_target(target).is_none() {
        return Vec::new();
    }
    let naming = context.facts.map_or(&[][..], |facts| &facts.naming);
    let subject = Subject {
        settings: context.settings,
        target,
        version: found.version.as_deref(),
        naming,
        agent: agent::addressing(context),
        surroundings: context.facts.map(|facts| &facts.surroundings),
    };
    let by_dkms =
        context.facts.and_then(|facts| facts.ofed.as_ref()).is_some_and(|ofed| ofed.dkms_sources.is_some());
    wanted::edits_around(&subject, by_dkms, drivers::ops(found.driver).edits(&subject))
}

/// A plan that keeps the driver and says why.
pub(super) fn plan(found: Found, target: Target, modules: Vec<String>, context: &PlanContext) -> Plan {
    let edits = edits(&found, &target, context);
    let Found { present, driver, version, note } = found;
    let image = if present.hpc_image { "this HPC image" } else { "this image" };
    let held = format!("{image} holds {} already", present.release);
    let why = match note {
        None => vec![format!("{held}, built for its kernels")],
        Some(note) => vec![held, note],
    };
    Plan {
        schema_version: 1,
        driver,
        driver_version: version,
        why,
        present: Some(present),
        replaces: None,
        rebuilds: None,
        rejected: Vec::new(),
        artifact: None,
        packages: Vec::new(),
        optional: Vec::new(),
        edits,
        modules,
        distribution_modules: false,
        module_signing: None,
        patches: Vec::new(),
        target,
    }
}
