//! The fourth step: installs the plan's driver from one bundle of the cache, or removes packages. The package manager
//! installs the packages; what a vendor's driver needs beyond that is in the files below.

mod module_check;
mod room;

pub use room::require as require_room;

use crate::cache::{Built, Bundle, Cache};
use crate::drivers::{self, Brought, InstallOptions, Work};
use crate::host::Host;
use crate::host::fault::{self, Point};
use crate::host::fs::Content;
use crate::ledger::{Journal, PackagesBefore};
use crate::outcome::Reason;
use crate::packages::{self, BLOBS, Manager, REPOSITORY, Transaction};
use crate::plan_document::Plan;
use crate::trust::Trust;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// The program that package scripts call before they start a service (invoke-rc.d(8)); exit code 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &[u8] = b"#!/bin/sh\nexit 101\n";

/// What an installation changed.
#[derive(Debug, Default)]
pub struct Installed {
    /// Versions of the planned packages and of all that were added or changed.
    pub packages: BTreeMap<String, String>,
    /// How many were added or changed.
    pub changed: usize,
    /// Those that were not there before at all.
    pub added: BTreeSet<String>,
    /// Modules that were compiled and may be stored in the cache.
    pub built: Vec<Built>,
    /// How the vendor's file was verified, if only its content tells that.
    pub trust: Option<Trust>,
}

/// Installs the plan's packages from `bundle`.
///
/// A bundle that lacks something ends in [`Reason::CacheMissing`] with nothing changed.
pub fn install(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    (cache, bundle): (&Cache, &Bundle),
    plan: &Plan,
    options: InstallOptions,
) -> Result<Installed> {
    let blobs = cache.blobs_dir();
    let is_vendors = drivers::installs_vendors(plan);
    let builds_by_dkms = is_vendors && drivers::ops(plan.driver).builds_by_dkms(&plan.target);
    let packages = at_hand(host, bundle, plan);
    let transaction = Transaction {
        blobs: &blobs,
        packages: &packages,
        offline: options.offline,
        sealed: options.sealed,
        patience: options.patience,
        // If DKMS builds the modules, this program runs it for each kernel. A package script that sees one kernel would
        // compile modules that the cache may already have.
        kernel: plan.target.kernels.first().map(String::as_str).filter(|_| !builds_by_dkms),
        holds_dkms: is_vendors,
    };
    begin(host, journal, manager, options)?;
    let now = manager.installed(host)?;
    let others_driver = plan.present.is_some() || plan.rebuilds.is_some();
    let before = journal.note_packages(&now.versions, others_driver)?;
    lay_out(host, manager, cache, bundle)?;
    fault::reached(Point::RepositoryLaidOut);
    if is_vendors {
        drivers::hold_back(journal)?;
    }
    let work = Work { host, manager, transaction: &transaction, cache, bundle, plan, options };
    let transacted = drivers::install(&work, &mut || {
        transact(host, manager, &transaction, &before, &now)?;
        drivers::patches::lay_out(host, journal, plan)
    });
    fault::reached(Point::PackagesInstalled);
    host.root.remove_all(REPOSITORY)?;
    let Brought { built, trust } = transacted?;
    if plan.brings_modules() {
        module_check::check(host, plan)?;
    }
    let installed = compared(host, manager, &before.versions, plan)?;
    host.root.sync()?;
    Ok(Installed { built, trust, ..installed })
}

/// What is installed now, compared with what was before.
fn compared(
    host: &Host,
    manager: Manager,
    before: &BTreeMap<String, String>,
    plan: &Plan,
) -> Result<Installed> {
    let mut packages = manager.installed(host)?.versions;
    let is_new = |name: &String, version: &String| before.get(name) != Some(version);
    let changed = packages.iter().filter(|(name, version)| is_new(name, version)).count();
    let is_planned = |name: &String| plan.packages.iter().any(|wanted| packages::answers(name, wanted));
    packages.retain(|name, version| is_new(name, version) || is_planned(name));
    let added = packages.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    Ok(Installed { packages, changed, added, ..Installed::default() })
}

/// Takes over the packages that an earlier run began to install before it was killed, where this one installs none itself.
pub fn take_over(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    plan: &Plan,
    options: InstallOptions,
) -> Result<Installed> {
    let Some(before) = journal.packages_before().cloned() else { return Ok(Installed::default()) };
    finish(host, journal, manager, options, true)?;
    compared(host, manager, &before, plan)
}

/// The packages of the plan, without those for the VM agent that the bundle lacks: the driver works without them.
fn at_hand(host: &Host, bundle: &Bundle, plan: &Plan) -> Vec<String> {
    let is_there = |name: &String| bundle.config.packages.contains(name);
    let (lacking, _): (Vec<&String>, Vec<&String>) = plan.optional.iter().partition(|name| !is_there(name));
    for name in &lacking {
        host.events.warn(format!(
            "the bundle {} has no {name}, which the VM agent needs for addresses: stage again for this image",
            bundle.tag
        ));
    }
    plan.packages.iter().filter(|name| !lacking.contains(name)).cloned().collect()
}

/// Removes packages with their settings; one that something else needs is refused, and then all stay.
pub fn remove(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    packages: &[String],
    options: InstallOptions,
) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    begin(host, journal, manager, options)?;
    manager.remove(host, packages, options.sealed)?;
    host.root.sync()
}

/// Finishes a killed run's package transaction; with `must`, fails if something is still unfinished afterwards.
pub fn finish(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    options: InstallOptions,
    must: bool,
) -> Result<()> {
    begin(host, journal, manager, options)?;
    if !manager.finish(host, options.sealed)? && must {
        let what = "packages that an interrupted run left half-done cannot be finished";
        return Err(Reason::PackageManager.error(what));
    }
    host.root.sync()
}

/// Waits until no other package manager works, notes users and groups, and makes sure that no service starts in an image.
pub fn begin(host: &Host, journal: &mut Journal, manager: Manager, options: InstallOptions) -> Result<()> {
    manager.wait_for_locks(host, options.patience)?;
    journal.note_accounts(options.patience, options.sealed)?;
    if options.sealed {
        journal.write_temporary(POLICY, POLICY_TEXT)?;
    }
    Ok(())
}

/// Runs the package manager, and lets it finish an interrupted transaction first.
fn transact(
    host: &Host,
    manager: Manager,
    transaction: &Transaction,
    before: &PackagesBefore,
    now: &packages::Installed,
) -> Result<()> {
    if before.noted_earlier || !now.broken.is_empty() {
        let is_new = |(name, version): &(&String, &String)| before.versions.get(*name) != Some(*version);
        let came: Vec<String> = now.versions.iter().filter(is_new).map(|(name, _)| name.clone()).collect();
        manager.repair(host, transaction, &now.broken, &came)?;
    }
    manager.install(host, transaction)?;
    if before.noted_earlier {
        let after = manager.installed(host)?.versions;
        let came_along =
            |name: &&String| !before.versions.contains_key(*name) && !transaction.packages.contains(name);
        let came_along: Vec<String> = after.keys().filter(came_along).cloned().collect();
        manager.mark_as_dependencies(host, transaction, &came_along)?;
    }
    Ok(())
}

/// Lays the bundle out as a repository: its index, and for each package a link to the blob as it appears inside
/// the root. Not one byte of a package is copied.
fn lay_out(host: &Host, manager: Manager, cache: &Cache, bundle: &Bundle) -> Result<()> {
    let root = &host.root;
    // A run that was killed may have left this folder.
    root.remove_all(REPOSITORY)?;
    root.make_dirs(REPOSITORY, 0o755)?;
    let index = manager.index_files();
    for (name, folder) in index {
        let indexed = bundle.file(name).ok_or_else(|| {
            Reason::CacheUnreadable.error(format!("the bundle `{}` has no `{name}`", bundle.tag))
        })?;
        let mut bytes = Vec::new();
        let mut blob = cache.blob(&indexed.digest)?;
        blob.read_to_end(&mut bytes).context("cannot read the index of the bundle")?;
        blob.finish()?;
        let content = Content { bytes, mode: 0o644, uid: 0, gid: 0 };
        root.write(&Path::new(REPOSITORY).join(folder).join(name).display().to_string(), &content)?;
    }
    for file in bundle.files.iter().filter(|file| !index.iter().any(|(name, _)| file.title == *name)) {
        let to = Path::new(BLOBS).join(file.digest.hex());
        root.make_link(&format!("{REPOSITORY}/{}", file.title), &to)?;
    }
    manager.lay_out(root)
}
