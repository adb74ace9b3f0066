//! The vendor's DOCA-Host: a package that contains a local repository, and a profile package from it, whose modules
//! DKMS builds.
//!
//! What is assumed of it, and from where:
//! - Its package installs a folder that is a repository, and the file that names it to the package manager, and nothing else
//!   (NVIDIA's DOCA installation guide for Linux, "Host").
//! - From 3.2 on the modules of its rpms come as sources for DKMS, as those of its debs always did. Earlier rpms have modules
//!   that are built for the first kernel of one minor release, so the catalogue calls their lines `prebuilt_rpms` and no plan
//!   takes them (Mellanox/doca-driver-build, pull request 161; Azure/azhpc-images, `install_doca.sh` until June 2026).
//! - Such modules need their kernel's own package, which must not come into an image with them: see
//!   [`crate::packages::kernels`].
//! - None of its packages needs `make`, so it is asked for beside `dkms` and `gcc`, like the headers of each kernel.
//! - Its configure scripts ask `uname -r`, which is answered with the kernel that is built for
//!   ([`crate::host::sandbox::Sandbox::for_kernel`]).
//! - Its rpms need a DKMS that Enterprise Linux has from 3.2 on in EPEL, so the catalogue asks for `dkms >= 3.2`.
//!
//! What is known to fail, and where it is dealt with:
//! - Sources that do not compile for a kernel (Enterprise Linux 9.8; 6.17, 6.12.60 and 6.18.45; whatever came after a line): `known_bad`,
//!   `patch` and `kernel_below` of the catalogue. A kernel with `CONFIG_MLXFW=y`, which is told by a symbol that is exported
//!   twice, and no compiler or `make`: phrases of [`crate::packages::diagnose`].
//! - Packages of built modules that need `linux-modules-extra` (Mellanox/network-operator 1450 and 1453) or go back to the
//!   first kernel: none are installed, here or from the lines of `prebuilt_rpms`, whose `doca-kernel-support` is not run either.
//! - An update to the distribution's newer `libibverbs`: the edit that holds such packages back
//!   ([`crate::edits::wanted::vendors`]).
//! - `/tmp` mounted `noexec`: DKMS builds below `/var/lib/dkms`, and scripts see a `/tmp` of their own.
//! - `knem`, which is gone on Azure Linux: it is not asked for by name.

use super::{Brought, DriverOps, InstallOptions, Work, checks, needed_to_build};
use crate::edits::Edit;
use crate::edits::wanted::{self, Subject};
use crate::host::Host;
use crate::ledger::Check;
use crate::outcome::Reason;
use crate::packages::{Installed, Manager, VendorRepo};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::target::Target;
use anyhow::Result;
use std::path::Path;

/// Packages that its guide removes before its uninstaller is run.
pub const PACKAGES_THAT_GO_FIRST: [&str; 6] =
    ["doca*", "flexio*", "dpa-gdbserver*", "dpa-stats*", "dpa-resource-mgmt*", "dpaeumgmt*"];

/// The driver's implementation of [`DriverOps`].
pub(super) struct Doca;

impl DriverOps for Doca {
    fn packages(&self, manager: Manager, target: &Target, settings: &Settings) -> Vec<String> {
        let mut packages = needed_to_build(manager, &target.kernels);
        packages.push(settings.doca_profile.package().to_owned());
        packages
    }

    fn edits(&self, subject: &Subject) -> Vec<Edit> {
        let components = vec![wanted::component("OFED", None), wanted::component("DOCA", subject.version)];
        wanted::vendors(subject, &["dkms"], components)
    }

    fn builds_by_dkms(&self, _: &Target) -> bool {
        true
    }

    fn vendor_repo(
        &self,
        host: &Host,
        _: (&Plan, &Settings),
        manager: Manager,
        file: &Path,
        folder: &Path,
    ) -> Result<VendorRepo> {
        manager.repository_in_package(host, file, folder)
    }

    fn unpacks_into(&self) -> &'static str {
        "/usr/share"
    }

    fn adds_lines(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }

    fn install(&self, work: &Work, transact: &mut dyn FnMut() -> Result<()>) -> Result<Brought> {
        let Work { host, manager, transaction, options, .. } = *work;
        let vendors = work.vendor_file()?;
        let before = manager.installed(host)?;
        manager.install_repository_package(host, transaction, &vendors.title)?;
        let transacted = transact();
        if let Err(error) = &transacted
            && Reason::from_error(error) == Reason::CacheMissing
        {
            remove_added_packages(host, manager, &before, options)?;
        }
        transacted?;
        work.build_by_dkms().map(Brought::from)
    }

    fn release(&self, host: &Host, plan: &Plan) -> Option<Check> {
        Some(checks::release(host, plan))
    }

    fn is_expected(&self, _: &str) -> bool {
        false
    }

    /// There is no uninstaller: removing its packages removes everything.
    fn uninstaller(&self) -> Option<&'static str> {
        None
    }
}

/// Removes the packages that were installed since `before`. A manager that lacks a package has changed nothing itself,
/// so these are the package with the repository and the empty packages that were built for it.
fn remove_added_packages(
    host: &Host,
    manager: Manager,
    before: &Installed,
    options: InstallOptions,
) -> Result<()> {
    let now = manager.installed(host)?.versions;
    let came: Vec<String> = now.into_keys().filter(|name| !before.versions.contains_key(name)).collect();
    if came.is_empty() {
        return Ok(());
    }
    host.events.info(format!("the bundle lacks something, so {} is taken out again", came.join(", ")));
    manager.remove(host, &came, options.sealed)
}
