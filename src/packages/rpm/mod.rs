//! rpm and the package managers on top of it: dnf, yum, tdnf and zypper. What they have in common is here; what one of
//! them does its own way is its [`Dialect`].
//!
//! dnf and zypper of the target resolve in the target. Where a target's manager cannot, dnf of the machine that stages
//! stands in for it: all of them read the same repositories. Packages are installed by the target's own.

mod database;
mod database_copy;
pub(super) mod dnf;
mod hold;
mod index;
mod install;
mod keys;
mod own_index;
mod sources;
pub(super) mod tdnf;
pub mod vendor_folder;
mod vendor_repo;
mod xml;
pub(super) mod yum;
pub(super) mod zypper;

use super::diagnose::Speaker;
use super::{
    Arrived, Format, HoldPlace, InTarget, IndexFile, Installed, PackageManager, Resolution, ResolveRequest,
    Transaction, VendorGuard, VendorRepo,
};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::http::NetworkOptions;
use crate::host::run::Cmd;
use crate::target::{Distro, without_arch};
use crate::trust::Origin;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// The index files of an rpm repository, `repomd.xml` first, which names the others with their digests.
const INDEX: [(&str, &str); 4] = [
    ("repomd.xml", "repodata"),
    ("primary.xml.gz", "repodata"),
    ("filelists.xml.gz", "repodata"),
    ("other.xml.gz", "repodata"),
];

/// Where rpm keeps its database: the place since Fedora 36 and Enterprise Linux 10, and the one before.
const DATABASES: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// The files rpm and tdnf lock while they work (rpm's macro `_rpmlock_path`; vmware/tdnf, client/config.h).
const LOCKS: [&str; 3] =
    ["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock", "/run/.tdnf-instance-lockfile"];

/// The files in which yum, dnf and zypper leave their process number while they work.
const NUMBERS: [&str; 4] =
    ["/run/yum.pid", "/run/zypp.pid", "/var/cache/dnf/metadata_lock.pid", "/var/lib/dnf/rpmdb_lock.pid"];

/// How a manager is asked in its own root.
type InTargetFn = fn(&Dialect, &Host, &ResolveRequest, InTarget) -> Result<Option<Resolution>>;

/// What one of these managers does its own way.
pub(super) struct Dialect {
    /// Whose words its output holds.
    speaker: Speaker,
    /// The program.
    program: &'static str,
    /// Its command line for an action on the local repository, up to the names of packages.
    command: fn(program: &str, action: &str) -> String,
    /// The action that installs once more what is installed.
    reinstall: &'static str,
    /// The action that notes that a package came only because another needs it, where there is one.
    mark_as_dependency: Option<&'static str>,
    /// Exit codes that are hints, and no failures.
    hints: &'static [i32],
    /// Resolves with the target's own manager in the target; none when it cannot run there.
    in_target: InTargetFn,
    /// Where it finds its package sources.
    sources: sources::Places,
    /// Main settings that leave the image's own out.
    config: fn() -> String,
    /// Files beside them, by path.
    beside: &'static [(&'static str, &'static str)],
    /// Where it is told what upgrades leave alone, for a purpose.
    hold_place: fn(purpose: &str) -> HoldPlace,
    /// The package with those modules of a kernel that not every image has.
    more_modules: Option<&'static str>,
    /// What goes with one kernel only.
    kernel_packages: &'static [&'static str],
    /// What the modules of one kernel are built with.
    headers: fn(kernel: &str) -> Vec<String>,
    /// The package with `ifconfig`.
    ifconfig_package: &'static str,
    /// The package with the program that keeps the key-value pairs of Hyper-V's host.
    kvp_package: &'static str,
    /// What the vendor's installer asks for, as far as the archive has it.
    wanted_by_installer: &'static [&'static str],
}

/// One of the managers on top of rpm.
pub(super) struct Rpm(pub(super) &'static Dialect);

impl PackageManager for Rpm {
    fn program(&self) -> &'static str {
        self.0.program
    }

    fn format(&self) -> Format {
        Format::Rpm
    }

    fn index_files(&self) -> &'static [(&'static str, &'static str)] {
        &INDEX
    }

    fn packages_index(&self) -> (&'static str, &'static str) {
        ("primary.xml.gz", "repodata")
    }

    fn unpacked_sizes(&self, bytes: &[u8]) -> Result<Vec<(String, u64)>> {
        index::unpacked_sizes(bytes)
    }

    fn installed(&self, host: &Host) -> Result<Installed> {
        database::installed(host)
    }

    fn installed_by_its_files(&self, _: &Root) -> Result<Option<Installed>> {
        Ok(None)
    }

    fn resolve(&self, host: &Host, request: &ResolveRequest) -> Result<Resolution> {
        if let Some(how) = request.in_target
            && let Some(resolution) = (self.0.in_target)(self.0, host, request, how)?
        {
            return Ok(resolution);
        }
        dnf::stand_in::resolve(self.0, host, request)
    }

    fn index(
        &self,
        host: &Host,
        resolution: &Resolution,
        arrived: &[Arrived],
        way: NetworkOptions,
    ) -> Result<Vec<IndexFile>> {
        index::index(host, resolution, arrived, way)
    }

    fn origins(&self, host: &Host, resolution: &Resolution, arrived: &[Arrived]) -> Result<Vec<Origin>> {
        keys::origins(host, resolution, arrived)
    }

    fn lay_out(&self, root: &Root) -> Result<()> {
        install::lay_out(self.0, root)
    }

    fn wait_for_locks(&self, host: &Host, patience: Duration) -> Result<()> {
        host.wait_for_package_locks(&LOCKS, &NUMBERS, patience)
    }

    fn repair(&self, host: &Host, transaction: &Transaction, _: &[String], came: &[String]) -> Result<()> {
        install::repair(self.0, host, transaction, came)
    }

    fn finish(&self, host: &Host, sealed: bool) -> Result<bool> {
        install::finish(host, sealed)
    }

    fn install(&self, host: &Host, transaction: &Transaction) -> Result<()> {
        install::install(self.0, host, transaction)
    }

    fn mark_as_dependencies(&self, host: &Host, transaction: &Transaction, names: &[String]) -> Result<()> {
        install::mark_as_dependencies(self.0, host, transaction, names)
    }

    fn needed_by_others(&self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        database::needed_by_others(host, packages)
    }

    fn remove(&self, host: &Host, packages: &[String], sealed: bool) -> Result<()> {
        database::erase(host, packages, sealed)
    }

    fn files(&self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        database::files(host, packages)
    }

    fn verify(&self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        database::verify(host, packages)
    }

    /// Each holds by patterns in a file of its own, see [`PackageManager::hold_place`], and none by a package's state.
    fn hold(&self, _: &Host, _: &[String], _: bool, _: bool) -> Result<()> {
        Ok(())
    }

    fn hold_place(&self, purpose: &str) -> HoldPlace {
        (self.0.hold_place)(purpose)
    }

    fn more_modules(&self, _: &Distro, kernel: &str) -> Option<String> {
        self.0.more_modules.map(|package| format!("{package}-{}", without_arch(kernel)))
    }

    fn kernel_packages(&self) -> &'static [&'static str] {
        self.0.kernel_packages
    }

    /// There are no pins. A newer rdma-core of the distribution would take the vendor's place, or leave an upgrade
    /// without a solution.
    fn vendor_guard(&self) -> VendorGuard {
        VendorGuard::HoldBack(&hold::RDMA_PACKAGES)
    }

    fn ifconfig_package(&self) -> &'static str {
        self.0.ifconfig_package
    }

    fn kvp_packages(&self, _: &Distro, _: &[String]) -> Vec<String> {
        vec![self.0.kvp_package.to_owned()]
    }

    fn headers(&self, kernel: &str) -> Vec<String> {
        (self.0.headers)(kernel)
    }

    fn repository_in_package(&self, host: &Host, file: &Path, folder: &Path) -> Result<VendorRepo> {
        vendor_repo::of_host_package(host, file, folder)
    }

    fn packages_in_folder(&self, host: &Host, folder: &Path) -> Result<VendorRepo> {
        vendor_repo::of_folder(self.0, host, folder)
    }

    fn install_repository_package(&self, host: &Host, transaction: &Transaction, title: &str) -> Result<()> {
        vendor_repo::install_host_package(host, transaction, title)
    }

    fn with_repository(&self, host: &Host, transaction: &Transaction, program: &[String]) -> Cmd {
        vendor_repo::around(self.0, host, transaction, program)
    }
}

/// Reads the package sources of a root, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub fn copy_sources(root: &crate::host::fs::Root, scratch: &Path) -> Result<()> {
    sources::copy(&yum::DIALECT.sources, root, scratch).map(drop)
}
