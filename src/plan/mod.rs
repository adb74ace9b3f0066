//! The planning step: a pure function of the described target, the facts, the catalogue and the settings. It refuses in
//! this order: wrong settings first, then an unsuitable machine (`preconditions`), then an unsuitable image (`choose`).

mod adapter;
mod agent;
mod around;
mod choose;
mod context;
mod existing_driver;
mod own_file;
mod preconditions;
mod vendor;

use crate::cache::Hasher;
use crate::catalog::package_names::{FileName, file_name};
use crate::catalog::{self, Catalog, Row};
use crate::drivers::{self, Requirements};
use crate::edits::wanted::{self, Subject};
use crate::facts::Facts;
use crate::outcome::{Cause, Reason};
use crate::packages::{Format, Manager};
use crate::plan_document::{Artifact, ModuleSigning, Plan, SourcePatch};
use crate::settings::{DriverChoice, NewKernels, Settings};
use crate::target::{Arch, Distro, Family, Mode, Nic, Target};
use crate::trust::{Trust, protected};
use anyhow::{Context, Result};
use choose::{Choice, Chosen};
use context::PlanContext;
use existing_driver::ExistingDriver;
use serde::Serialize;
use std::path::Path;

/// The target as the user describes it on the command line; it overrides what detection finds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Described {
    /// Distribution and version.
    pub distro: Option<Distro>,
    /// Architecture.
    pub arch: Option<Arch>,
    /// By whom modules that are built are signed, from the certificate that the settings name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_signing: Option<ModuleSigning>,
}

/// A digest of the whole input of a plan. A plan is a pure function of its input, so a plan with the same fingerprint
/// can be reused at the next boot, without the cost of parsing the catalogue.
pub fn plan_fingerprint(
    described: &Described,
    facts: &Facts,
    mode: Mode,
    catalog: &str,
    settings: &Settings,
) -> Result<String> {
    let Facts { os, modules, vmbus, compute, functions, secure_boot, hpc_image, ofed, .. } = facts;
    let around = (&facts.served_kernels, &facts.naming, &facts.enrolled_certificates, agent::judged(facts));
    let around = (around, around::judged(&facts.surroundings));
    let seen = (os, modules, vmbus, compute, functions, secure_boot, hpc_image, ofed, around);
    let asked = (env!("CARGO_PKG_VERSION"), described, mode, settings, seen);
    let asked = serde_json::to_vec(&asked).context("cannot write down what is asked")?;
    let mut hasher = Hasher::default();
    hasher.update(catalog.as_bytes());
    hasher.update(&asked);
    Ok(hasher.finish().0.hex())
}

/// Decides what to install, or fails with the reason. `facts` are those of the root, if there is one.
pub fn plan(
    described: &Described,
    facts: Option<&Facts>,
    mode: Mode,
    catalog: &Catalog,
    settings: &Settings,
) -> Result<Plan> {
    let told = told_by_file_name(settings);
    let settings = &told;
    refuse_contradictions(settings)?;
    let context = PlanContext::new(facts, mode, settings, described.module_signing.as_ref());
    preconditions::machine(&context)?;
    let adapter = adapter::planned(&context);
    let target = target(described, &context, adapter.nic)?;
    let modules = wanted::modules(adapter.nic, settings);
    let naming = facts.map_or(&[][..], |facts| &facts.naming);
    let agent = agent::needs(&context, &target);
    let of_names = wanted::said_of_names(settings, naming);
    let notes = of_names.into_iter().chain(agent.notes.clone()).collect::<Vec<_>>();
    let replaces = match existing_driver::find(&context, &target)? {
        ExistingDriver::Right(found) => {
            let plan = existing_driver::plan(found, target, modules, &context).because(notes);
            let ofed = facts.and_then(|facts| facts.ofed.as_ref());
            let by_dkms = ofed.is_some_and(|ofed| ofed.dkms_sources.is_some());
            return around::judge(agent.added_to(plan), &context, true, by_dkms);
        }
        ExistingDriver::LacksKernels { found, lacking, why } => {
            let plan = existing_driver::rebuild(found, lacking, why, target, modules, &context);
            return around::judge(agent.added_to(plan.because(notes)), &context, true, true);
        }
        ExistingDriver::InTheWay { release, why, cause } => {
            Some(existing_driver::replaced(settings, release, &why, cause)?)
        }
        ExistingDriver::Nothing => None,
    };
    let catalog = &*own_file::known(catalog, settings, &target);
    let requirements = Requirements {
        target: &target,
        nics: &adapter.nics(),
        modules: &modules,
        facts,
        unsigned: context.unsigned(),
        signs: described.module_signing.is_some(),
        catalog,
        settings,
    };
    let Choice { chosen, why, rejected, more } = choose::choose(&requirements)?;
    let distribution_modules = matches!(chosen, Chosen::Inbox(inbox) if inbox.brings_modules);
    let mut patches = Vec::new();
    let (driver, driver_version, artifact, packages) = match chosen {
        Chosen::Inbox(inbox) => {
            (drivers::DISTRIBUTIONS_OWN, None, None, [inbox.packages.clone(), more].concat())
        }
        Chosen::Vendor(row, sha256, trust) => {
            let artifact = artifact(row, sha256, trust, settings)?;
            let manager = Manager::for_target(&target);
            let ops = drivers::ops(row.driver);
            let packages = manager.map(|manager| {
                further(ops.packages(manager, &target, settings), catalog, row, manager.format())
            });
            patches = needed_patches(catalog, row, &target.kernels);
            (row.driver, Some(row.version.to_string()), Some(artifact), packages.unwrap_or_default())
        }
    };
    let subject = Subject {
        settings,
        target: &target,
        version: driver_version.as_deref(),
        naming,
        agent: agent::addressing(&context),
        surroundings: facts.map(|facts| &facts.surroundings),
    };
    let ops = drivers::ops(driver);
    let edits = wanted::edits(&subject, ops.builds_by_dkms(&target), ops.edits(&subject));
    let module_signing = described.module_signing.clone().filter(|_| ops.is_vendors());
    let signed = module_signing.as_ref().and_then(|it| context.signed(it));
    let plan = Plan {
        schema_version: 1,
        driver,
        driver_version,
        present: None,
        replaces,
        rebuilds: None,
        why: [why, vec![adapter.why]].concat(),
        rejected,
        artifact,
        packages,
        optional: Vec::new(),
        edits,
        modules,
        distribution_modules,
        module_signing,
        patches,
        target,
    };
    let plan = agent.added_to(plan.because(signed).because(notes));
    let by_dkms = ops.builds_by_dkms(&plan.target);
    around::judge(plan, &context, ops.is_vendors(), by_dkms)
}

/// The packages of a driver, with those that only the catalogue knows it needs. One that is named with a version takes the
/// place of the same without.
fn further(packages: Vec<String>, catalog: &Catalog, row: &Row, format: Format) -> Vec<String> {
    let more = catalog.line(row).map(|line| match format {
        Format::Deb => &line.packages.deb,
        Format::Rpm => &line.packages.rpm,
    });
    let more = more.into_iter().flatten();
    let is_named =
        |package: &String| more.clone().any(|it| it.split_once(' ').is_some_and(|(name, _)| name == package));
    let packages: Vec<String> = packages.into_iter().filter(|package| !is_named(package)).collect();
    packages.into_iter().chain(more.cloned()).collect()
}

/// The patches that a release needs to build for these kernels.
fn needed_patches(catalog: &Catalog, row: &Row, kernels: &[String]) -> Vec<SourcePatch> {
    let mut patches: Vec<SourcePatch> = Vec::new();
    for (bad, patch) in kernels.iter().flat_map(|kernel| catalog.mended(row, kernel)) {
        let why = format!("{}; {}", bad.why, bad.source);
        let catalog::Patch { package, kernels, text } = patch.clone();
        let patch = SourcePatch { package, kernels, text, why };
        if !patches.contains(&patch) {
            patches.push(patch);
        }
    }
    patches
}

/// The settings, completed by the version in the file name of the given package if they have none.
fn told_by_file_name(settings: &Settings) -> Settings {
    let mut told = settings.clone();
    let name =
        settings.artifact.as_deref().map(|place| file_name(place.split(['?', '#']).next().unwrap_or(place)));
    let Some(file) = name.and_then(FileName::parse).filter(|_| settings.driver != DriverChoice::Inbox) else {
        return told;
    };
    told.driver_version.get_or_insert_with(|| file.version.to_string());
    told
}

fn refuse_contradictions(settings: &Settings) -> Result<()> {
    let Settings { driver, driver_version, sha256, .. } = settings;
    let wrong = |what: &str| Err(Reason::BadSettings.error(what));
    if *driver == DriverChoice::Inbox && driver_version.is_some() {
        return wrong("`driver_version` goes with mlnx_ofed or doca: the distribution chooses its own");
    }
    if settings.kernel_hold && settings.new_kernels == NewKernels::Rebuild {
        return wrong(
            "`kernel_hold` lets no new kernel come, and `new_kernels` asks to build for it: set one of them",
        );
    }
    let is_disk_image =
        |place: &&str| Path::new(place).extension().is_some_and(|it| it.eq_ignore_ascii_case("iso"));
    if let Some(place) = settings.artifact.as_deref().map(file_name).filter(is_disk_image) {
        let what =
            format!("`{place}` is a disk image: name the `.tgz` of the same release, which holds the same");
        return wrong(&what);
    }
    let Some(sha256) = sha256 else { return Ok(()) };
    if driver_version.is_none() {
        return wrong("`sha256` needs `driver_version`, which says whose digest it is");
    }
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return wrong("`sha256` is not 64 hexadecimal digits");
    }
    Ok(())
}

fn artifact(row: &Row, sha256: Option<&str>, trust: Trust, settings: &Settings) -> Result<Artifact> {
    let given = settings.artifact.as_deref().map(address).transpose()?;
    let mirrors = if given.is_some() { Vec::new() } else { row.mirrors.clone() };
    let url = given.unwrap_or_else(|| row.url.clone());
    Ok(Artifact {
        file_name: row.file_name().to_owned(),
        url: protected(&url).into_owned(),
        mirrors,
        sha256: sha256.map(str::to_ascii_lowercase),
        first_seen: None,
        trust,
        raise: raise(trust),
        repository: row.repository.clone(),
        kernel_devel: row.kernel_devel.clone(),
    })
}

/// How the user can reach a higher trust level for a file.
fn raise(trust: Trust) -> Option<String> {
    let how = match trust {
        Trust::Digest => return None,
        Trust::Signed => "give its digest as `sha256`, with `driver_version`",
        Trust::FirstUse => "give its digest as `sha256`, with `driver_version`, or set `trust: signed`",
    };
    Some(how.to_owned())
}

/// The user's `artifact` as an address.
fn address(place: &str) -> Result<String> {
    match place {
        path if path.starts_with('/') => Ok(format!("file://{path}")),
        url if url.contains("://") => Ok(url.to_owned()),
        other => Err(Reason::BadSettings
            .error(format!("`artifact` is neither an absolute path nor an address: `{other}`"))),
    }
}

/// Determines the target of the plan.
fn target(described: &Described, context: &PlanContext, nic: Option<Nic>) -> Result<Target> {
    let os = context.facts.map(|facts| &facts.os);
    let distro = described.distro.clone().or_else(|| os?.distro.clone()).ok_or_else(|| match os {
        Some(_) => Reason::ImageUnsupported.error(
            "this root does not say which distribution it is (no os-release, or one without a name in ID)",
        ),
        None => Reason::Usage.error("the target's distribution is not given: use --distro or --root"),
    })?;
    let of_size = context.rdma_size().and_then(|size| size.arch);
    let known = described.arch.or_else(|| os?.arch);
    let arch = known.or(of_size).unwrap_or(Arch::of_this_program());
    if let (None, Some(size), Some(of_size)) = (context.live, &context.vm_size, of_size)
        && of_size != arch
    {
        let what = format!("{size} is {of_size}, but this image, {distro}, is {arch}");
        return Err(Reason::ImageUnsupported.error(what));
    }
    let kernels = kernels(context)?;
    let by_name = distro.family();
    let family = os.filter(|os| os.distro.as_ref() == Some(&distro)).and_then(|os| os.family);
    let family = family.filter(|family| *family != by_name && by_name == Family::Other);
    if by_name == Family::Other
        && family.is_none()
        && let Some(meant) = distro.meant()
    {
        let what = format!("`{distro}` is no distribution that is known: did you mean {meant}?");
        return Err(Reason::ImageUnsupported.error(what));
    }
    // A root tells what it has, whatever it calls itself.
    if let (None, Some(doubt)) = (os, distro.doubt()) {
        return Err(Reason::ImageUnsupported.error(doubt));
    }
    Ok(Target { distro, arch, kernels, vm_size: context.vm_size.clone(), nic, family })
}

fn kernels(context: &PlanContext) -> Result<Vec<String>> {
    let wanted = &context.settings.kernels;
    let Some(facts) = context.facts else { return Ok(wanted.clone()) };
    let there = &facts.os.kernels;
    if there.is_empty() {
        let what = "no kernel is installed in this root, so there is nothing to have modules for";
        return Err(Cause::NoKernel.error(what));
    }
    if let Some(missing) = wanted.iter().find(|kernel| !there.contains(kernel)) {
        let there = there.join(", ");
        let what = format!("the kernel {missing} is not installed in this root; it has {there}");
        return Err(Cause::KernelNotThere.error(what));
    }
    Ok(if wanted.is_empty() { by_themselves(context, facts) } else { wanted.clone() })
}

/// The kernels when the user names none: all kernels of an image, because it may boot any of them. For a VM, the
/// running kernel and those for which earlier runs installed modules; building for others would only make its boot
/// slow.
fn by_themselves(context: &PlanContext, facts: &Facts) -> Vec<String> {
    let there = &facts.os.kernels;
    let running = facts.os.running_kernel.as_ref().filter(|it| context.live.is_some() && there.contains(it));
    let Some(running) = running else { return there.clone() };
    let counts = |kernel: &&String| *kernel == running || facts.served_kernels.contains(kernel);
    there.iter().filter(counts).cloned().collect()
}
