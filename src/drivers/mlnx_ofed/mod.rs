//! The vendor's `MLNX_OFED`: an archive of packages with its own installer. Its packages are installed where it has modules
//! for the kernel, or sources that DKMS builds; else its installer builds packages of modules for one kernel. Links that
//! `weak-modules` makes for later kernels of a release count for nothing: `openibd` refuses them (Azure/azhpc-images 119).

mod first_kernels;
mod folder;
mod installer;
mod keys;
mod options;
mod packages;
mod prerequisites;

use super::{Brought, DriverOps, UNINSTALLER, Work, built_with, checks, signing};
use crate::catalog::VendorKey;
use crate::edits::Edit;
use crate::edits::wanted::{self, Subject};
use crate::facts::ofed::Ofed;
use crate::host::Host;
use crate::host::unpack::unpack;
use crate::ledger::Check;
use crate::packages::{Format, Manager, VendorRepo};
use crate::plan_document::Plan;
use crate::settings::{OfedProfile, Settings};
use crate::target::{Family, Target};
use anyhow::Result;
use std::path::Path;

/// The name prefix of the metapackages that depend on the other packages of an archive.
const METAPACKAGE: &str = "mlnx-ofed-";
/// The rpm package with the sources of the main modules, for DKMS (`install.pl` of `MLNX_OFED_SRC`, `--build-dkms`).
const SOURCES: &str = "mlnx-ofa_kernel-dkms";
const KERNEL_ONLY: &str = OfedProfile::KernelOnly.package();
/// A file of a package that `mlnxofedinstall` writes its release into.
const OFED_INFO: &str = "/usr/bin/ofed_info";
/// The file to which `mlnxofedinstall` always appends limits on locked memory. This program undoes that, because the
/// setting `memlock` decides about them.
const LIMITS: &str = "/etc/security/limits.conf";
/// The lines that it appends.
const LIMITS_LINES: [&str; 2] = ["* soft memlock unlimited", "* hard memlock unlimited"];

/// The driver's implementation of [`DriverOps`].
pub(super) struct MlnxOfed;

impl DriverOps for MlnxOfed {
    fn packages(&self, manager: Manager, target: &Target, settings: &Settings) -> Vec<String> {
        let format = manager.format();
        let own = settings.mlnx_ofed_profile.package();
        let built = built_with(manager, &target.kernels, tools(format, &target.kernels));
        match way(format, target, settings) {
            Way::Installer => built,
            // They name what they need.
            Way::Modules => vec![own.to_owned()],
            Way::Sources if format == Format::Deb => [built, vec![own.to_owned()]].concat(),
            Way::Sources => {
                // The metapackages themselves need the packages of built modules.
                let libraries = (own != KERNEL_ONLY).then(|| format!("{own}-user-only"));
                [built, libraries.into_iter().collect(), vec![SOURCES.to_owned()]].concat()
            }
        }
    }

    fn is_signed(&self, target: &Target, version: &str, settings: &Settings, keys: &[VendorKey]) -> bool {
        let Some(format) = Manager::for_target(target).map(|manager| manager.format()) else { return false };
        let is_key = settings.vendor_key.is_some() || keys::signs(format, version, keys);
        match way(format, target, settings) {
            Way::Installer => false,
            Way::Modules => is_key,
            // Whether a bundle for rpm has sources, only a look into it tells: so `auto` does not count on that.
            Way::Sources => is_key && (format == Format::Deb || settings.vendor_key.is_some()),
        }
    }

    fn edits(&self, subject: &Subject) -> Vec<Edit> {
        wanted::vendors(subject, &[], vec![wanted::component("OFED", subject.version)])
    }

    /// Whether DKMS builds the modules: for one kernel the installer builds packages of modules, else the packages
    /// contain sources.
    fn builds_by_dkms(&self, target: &Target) -> bool {
        target.kernels.len() > 1 || target.distro.family() == Family::Debian
    }

    fn vendor_repo(
        &self,
        host: &Host,
        (plan, settings): (&Plan, &Settings),
        manager: Manager,
        file: &Path,
        into: &Path,
    ) -> Result<VendorRepo> {
        if folder::is_installed_from(plan) {
            return packages::vendor_repo(host, (plan, settings), file, into);
        }
        unpack(&host.cancel, file, into)?;
        folder::leave_one_set(
            into,
            plan.driver_version.as_deref().unwrap_or_default(),
            settings.library_set,
        )?;
        manager.packages_in_folder(host, into)
    }

    fn adds_lines(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[(LIMITS, &LIMITS_LINES)]
    }

    fn install(&self, work: &Work, transact: &mut dyn FnMut() -> Result<()>) -> Result<Brought> {
        if folder::is_installed_from(work.plan) {
            return packages::install(work, transact);
        }
        let before = work.manager.installed(work.host)?;
        transact()?;
        let built = installer::Installer { work }.install()?;
        signing::sign_installed(work, &before)?;
        Ok(Brought::from(built))
    }

    fn release(&self, host: &Host, plan: &Plan) -> Option<Check> {
        Some(checks::release(host, plan))
    }

    fn is_expected(&self, difference: &str) -> bool {
        difference.ends_with(OFED_INFO)
    }

    fn uninstaller(&self) -> Option<&'static str> {
        Some(UNINSTALLER)
    }
}

/// How its modules come into a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Its installer builds packages of them, or runs DKMS.
    Installer,
    /// Its packages have them.
    Modules,
    /// Its packages have their sources, which DKMS builds.
    Sources,
}

/// Packages of built modules have the same names for every kernel, so only those for one kernel can be installed. For
/// several the sources are needed anyhow, which the installer would hand to DKMS too. For one kernel that the bundle was not
/// made for, the installer builds packages, and needs no package of sources for that.
fn way(format: Format, target: &Target, settings: &Settings) -> Way {
    match format {
        _ if settings.mlnx_ofed_installer => Way::Installer,
        Format::Deb => Way::Sources,
        Format::Rpm if target.kernels.len() > 1 => Way::Sources,
        Format::Rpm if first_kernels::has_modules_for(target) => Way::Modules,
        Format::Rpm => Way::Installer,
    }
}

/// The distribution's packages that its packages and its installer need to build modules (`dist_req_inst` of its kernel
/// packages).
const fn tools(format: Format, kernels: &[String]) -> &'static [&'static str] {
    match format {
        Format::Deb => &["dkms", "gcc", "make", "perl", "procps", "kmod", "lsof", "pciutils", "libc6-dev"],
        Format::Rpm if kernels.len() > 1 => {
            &["dkms", "gcc", "lsof", "make", "patch", "pciutils", "perl", "rpm-build"]
        }
        Format::Rpm => &["gcc", "lsof", "make", "patch", "pciutils", "perl", "rpm-build"],
    }
}

/// Whether the installed driver is this one.
pub(super) fn is_it(found: &Ofed) -> bool {
    let release = found.release.as_deref();
    found.doca_host.is_none() && release.is_some_and(|release| release.starts_with("MLNX_OFED_LINUX-"))
}
