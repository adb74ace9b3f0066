//! apt: resolves for another root without changing it, and installs from a local repository only.

mod contents;
mod dpkg;
mod hold;
mod in_target;
mod install;
mod local_files;
mod mirrors;
mod records;
mod resolve;
mod run;
mod signed;
mod sources;
mod stand_in;
mod states;
mod target_config;
mod vendor_repo;

pub use vendor_repo::bring_folder;

use super::{
    Arrived, Format, HoldPlace, IndexFile, Installed, PackageManager, Resolution, ResolveRequest,
    Transaction, VendorGuard, VendorRepo,
};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::http::NetworkOptions;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::target::Distro;
use crate::trust::Origin;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// The index of a flat apt repository.
const INDEX: &str = "Packages";

/// The files apt and dpkg lock while they work.
const LOCKS: [&str; 3] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"];

/// apt, and dpkg below it.
pub(super) struct Apt;

impl PackageManager for Apt {
    fn program(&self) -> &'static str {
        "apt-get"
    }

    fn format(&self) -> Format {
        Format::Deb
    }

    fn index_files(&self) -> &'static [(&'static str, &'static str)] {
        &[(INDEX, "")]
    }

    fn packages_index(&self) -> (&'static str, &'static str) {
        (INDEX, "")
    }

    fn unpacked_sizes(&self, bytes: &[u8]) -> Result<Vec<(String, u64)>> {
        Ok(install::unpacked_sizes(&String::from_utf8_lossy(bytes)))
    }

    fn installed(&self, host: &Host) -> Result<Installed> {
        states::installed(&host.root)
    }

    fn installed_by_its_files(&self, root: &Root) -> Result<Option<Installed>> {
        states::installed(root).map(Some)
    }

    fn resolve(&self, host: &Host, request: &ResolveRequest) -> Result<Resolution> {
        if let Some(how) = request.in_target
            && let Some(resolution) = in_target::resolve(host, request, how)?
        {
            return Ok(resolution);
        }
        stand_in::resolve(host, request)
    }

    fn index(
        &self,
        _: &Host,
        resolution: &Resolution,
        _: &[Arrived],
        _: NetworkOptions,
    ) -> Result<Vec<IndexFile>> {
        Ok(vec![IndexFile { name: INDEX, bytes: resolution.described.clone().into_bytes() }])
    }

    fn origins(&self, _: &Host, resolution: &Resolution, _: &[Arrived]) -> Result<Vec<Origin>> {
        Ok(resolution.origins.clone())
    }

    fn require_sound_records(&self, root: &Root) -> Result<()> {
        records::require_sound(root)
    }

    fn lay_out(&self, root: &Root) -> Result<()> {
        install::lay_out(root)
    }

    fn wait_for_locks(&self, host: &Host, patience: Duration) -> Result<()> {
        host.wait_for_package_locks(&LOCKS, &[], patience)
    }

    fn repair(&self, host: &Host, transaction: &Transaction, broken: &[String], _: &[String]) -> Result<()> {
        records::remove_unfinished(&host.root)?;
        if broken.is_empty() { Ok(()) } else { install::repair(host, transaction) }
    }

    fn finish(&self, host: &Host, sealed: bool) -> Result<bool> {
        records::remove_unfinished(&host.root)?;
        dpkg::finish(host, Sandbox::offline(&host.root, sealed))
    }

    fn install(&self, host: &Host, transaction: &Transaction) -> Result<()> {
        install::install(host, transaction)
    }

    fn mark_as_dependencies(&self, host: &Host, transaction: &Transaction, names: &[String]) -> Result<()> {
        install::mark_as_dependencies(host, transaction, names)
    }

    fn needed_by_others(&self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        dpkg::needed_by_others(host, packages)
    }

    fn remove(&self, host: &Host, packages: &[String], sealed: bool) -> Result<()> {
        dpkg::purge(host, packages, sealed)
    }

    fn files(&self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        dpkg::files(host, packages)
    }

    fn verify(&self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        dpkg::verify(host, packages)
    }

    fn hold(&self, host: &Host, packages: &[String], on: bool, sealed: bool) -> Result<()> {
        dpkg::hold(host, packages, on, sealed)
    }

    fn hold_place(&self, _: &str) -> HoldPlace {
        HoldPlace::PackageState
    }

    /// Ubuntu's images for clouds have its kernels without this package (actions/runner-images 7587).
    fn more_modules(&self, distro: &Distro, kernel: &str) -> Option<String> {
        (distro.id != "debian").then(|| format!("linux-modules-extra-{kernel}"))
    }

    fn kernel_packages(&self) -> &'static [&'static str] {
        &hold::KERNEL_PACKAGES
    }

    fn vendor_guard(&self) -> VendorGuard {
        hold::pins()
    }

    fn ifconfig_package(&self) -> &'static str {
        "net-tools"
    }

    /// Canonical has one for each kernel; the program in `/usr/sbin` starts that of the running one.
    fn kvp_packages(&self, distro: &Distro, kernels: &[String]) -> Vec<String> {
        match distro.id.as_str() {
            "ubuntu" => kernels.iter().map(|kernel| format!("linux-cloud-tools-{kernel}")).collect(),
            _ => vec!["hyperv-daemons".to_owned()],
        }
    }

    fn headers(&self, kernel: &str) -> Vec<String> {
        vec![format!("linux-headers-{kernel}")]
    }

    fn repository_in_package(&self, host: &Host, file: &Path, folder: &Path) -> Result<VendorRepo> {
        vendor_repo::of_host_package(host, file, folder)
    }

    fn packages_in_folder(&self, host: &Host, folder: &Path) -> Result<VendorRepo> {
        vendor_repo::of_folder(host, folder)
    }

    fn install_repository_package(&self, host: &Host, transaction: &Transaction, title: &str) -> Result<()> {
        vendor_repo::install_host_package(host, transaction, title)
    }

    fn with_repository(&self, host: &Host, transaction: &Transaction, program: &[String]) -> Cmd {
        install::around(host, transaction, program)
    }
}

/// Reads the package sources of a root, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub fn copy_sources(root: &Root, scratch: &Path) -> Result<()> {
    sources::copy(root, &scratch.join("etc"), &scratch.join("named"), 0).map(drop)
}
