//! The supported package managers, and the operations that each provides. Knowledge about one manager only lies in its
//! folder.

use super::apt::Apt;
use super::hold::{HoldPlace, VendorGuard};
use super::rpm::{self, Rpm};
use super::{Arrived, IndexFile, Installed, Resolution, ResolveRequest, Transaction, VendorRepo};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::http::NetworkOptions;
use crate::host::run::Cmd;
use crate::target::{Distro, Family, Target};
use crate::trust::Origin;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// apt and dpkg: Debian and Ubuntu.
    Apt,
    /// dnf and rpm: Enterprise Linux from 8 on.
    Dnf,
    /// yum 3 and rpm: Enterprise Linux 7.
    Yum,
    /// tdnf and rpm: Azure Linux.
    Tdnf,
    /// zypper and rpm: SUSE.
    Zypper,
}

impl Manager {
    /// The package manager of a distribution, if this program knows it.
    pub fn for_distro(distro: &Distro) -> Option<Self> {
        Self::in_family(distro.family(), distro)
    }

    /// The package manager of a target, whose distribution may be known only by its family.
    pub fn for_target(target: &Target) -> Option<Self> {
        Self::in_family(target.family(), &target.distro)
    }

    /// The package manager of a distribution of a family.
    pub fn in_family(family: Family, distro: &Distro) -> Option<Self> {
        let major = distro.version.split('.').next().unwrap_or_default();
        match family {
            Family::Debian => Some(Self::Apt),
            Family::Rhel if major == "7" && distro.id != "fedora" => Some(Self::Yum),
            Family::Rhel => Some(Self::Dnf),
            // From 4 on it is made of Fedora's packages, dnf among them.
            Family::Azure
                if distro.id == "azurelinux" && major.parse().is_ok_and(|major: u32| major >= 4) =>
            {
                Some(Self::Dnf)
            }
            Family::Azure => Some(Self::Tdnf),
            Family::Suse => Some(Self::Zypper),
            Family::Other => None,
        }
    }
}

/// The only place that distinguishes the managers; it leads to the operations in each manager's folder.
impl Deref for Manager {
    type Target = dyn PackageManager;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Apt => &Apt,
            Self::Dnf => &Rpm(&rpm::dnf::DIALECT),
            Self::Yum => &Rpm(&rpm::yum::DIALECT),
            Self::Tdnf => &Rpm(&rpm::tdnf::DIALECT),
            Self::Zypper => &Rpm(&rpm::zypper::DIALECT),
        }
    }
}

/// The form of a manager's packages and repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// dpkg's packages, and apt's flat repositories.
    Deb,
    /// rpm's packages and repositories.
    Rpm,
}

/// The operations of a package manager.
pub trait PackageManager {
    /// The program that installs.
    fn program(&self) -> &'static str;

    /// The form of its packages.
    fn format(&self) -> Format;

    /// The index files of its local repositories, the one that names the others first: their names, which are also
    /// their titles in a bundle, and their folders inside the repository.
    fn index_files(&self) -> &'static [(&'static str, &'static str)];

    /// The one of [`PackageManager::index_files`] that describes the packages.
    fn packages_index(&self) -> (&'static str, &'static str);

    /// The packages that it describes, and the room that each takes unpacked.
    fn unpacked_sizes(&self, bytes: &[u8]) -> Result<Vec<(String, u64)>>;

    /// What is installed in a root.
    fn installed(&self, host: &Host) -> Result<Installed>;

    /// What is installed in a root, where its database can be read without running anything.
    fn installed_by_its_files(&self, root: &Root) -> Result<Option<Installed>>;

    /// Asks the resolver what would have to be fetched; nothing of the target or of this machine is changed.
    fn resolve(&self, host: &Host, request: &ResolveRequest) -> Result<Resolution>;

    /// Checks required signatures, then builds the index of a flat repository of exactly these files, in the order of
    /// [`PackageManager::index_files`].
    fn index(
        &self,
        host: &Host,
        resolution: &Resolution,
        arrived: &[Arrived],
        way: NetworkOptions,
    ) -> Result<Vec<IndexFile>>;

    /// Where the files come from that the target's own manager named, now that they are there.
    fn origins(&self, host: &Host, resolution: &Resolution, arrived: &[Arrived]) -> Result<Vec<Origin>>;

    /// Fails where the manager's own records are damaged, so that it would refuse every change.
    fn require_sound_records(&self, _root: &Root) -> Result<()> {
        Ok(())
    }

    /// Completes [`super::REPOSITORY`], which holds the index and the packages, to one the manager can use.
    fn lay_out(&self, root: &Root) -> Result<()>;

    /// Waits until no other package manager works on the root.
    fn wait_for_locks(&self, host: &Host, patience: Duration) -> Result<()>;

    /// Finishes an interrupted transaction: `broken` are the packages that the manager itself reports, `came` those
    /// that were installed since the transaction began.
    fn repair(
        &self,
        host: &Host,
        transaction: &Transaction,
        broken: &[String],
        came: &[String],
    ) -> Result<()>;

    /// Finishes a killed transaction as far as possible without package files: configures packages and runs triggers.
    /// Returns whether nothing is left to do.
    fn finish(&self, host: &Host, sealed: bool) -> Result<bool>;

    /// Installs from the local repository. An incomplete repository is detected before anything is changed, and the
    /// reason is [`crate::outcome::Reason::CacheMissing`].
    fn install(&self, host: &Host, transaction: &Transaction) -> Result<()>;

    /// Marks packages as dependencies of others. A transaction does that at its end, so a killed one never did.
    fn mark_as_dependencies(&self, host: &Host, transaction: &Transaction, names: &[String]) -> Result<()>;

    /// The packages that depend on those to be removed, one line each; none if nothing depends on them. Changes
    /// nothing.
    fn needed_by_others(&self, host: &Host, packages: &[String]) -> Result<Vec<String>>;

    /// Removes packages with their settings, in one transaction that refuses to break what others need.
    fn remove(&self, host: &Host, packages: &[String], sealed: bool) -> Result<()>;

    /// The files of installed packages.
    fn files(&self, host: &Host, packages: &[String]) -> Result<Vec<String>>;

    /// Compares installed files with what the packages brought; one line for each that differs.
    /// Configuration files may differ.
    fn verify(&self, host: &Host, packages: &[String]) -> Result<Vec<String>>;

    /// Holds or releases installed packages, if a hold is a state of the package.
    fn hold(&self, host: &Host, packages: &[String], on: bool, sealed: bool) -> Result<()>;

    /// The place of the list of packages that upgrades skip. `purpose` distinguishes lists for different purposes.
    fn hold_place(&self, purpose: &str) -> HoldPlace;

    /// The distribution's package with the additional modules of a kernel, which not every image has, if there is one.
    fn more_modules(&self, distro: &Distro, kernel: &str) -> Option<String>;

    /// The packages of kernels, of their headers, and of modules for one kernel only, which must be held together
    /// because an upgrade of some of them could not be resolved. Packages that do not depend on one kernel, such as
    /// `kernel-headers`, are not included.
    fn kernel_packages(&self) -> &'static [&'static str];

    /// How it is kept from replacing a vendor's RDMA packages by the distribution's.
    fn vendor_guard(&self) -> VendorGuard;

    /// The package with `ifconfig`.
    fn ifconfig_package(&self) -> &'static str;

    /// The packages with the program that keeps the key-value pairs of Hyper-V's host, for these kernels.
    fn kvp_packages(&self, distro: &Distro, kernels: &[String]) -> Vec<String>;

    /// The packages with the headers of a kernel, which is named as `uname -r` prints it.
    fn headers(&self, kernel: &str) -> Vec<String>;

    /// Reads the repository inside a package. `folder` is an empty folder to work in.
    fn repository_in_package(&self, host: &Host, file: &Path, folder: &Path) -> Result<VendorRepo>;

    /// Indexes the packages below a folder into which an archive with an installer was unpacked.
    fn packages_in_folder(&self, host: &Host, folder: &Path) -> Result<VendorRepo>;

    /// Installs a package that contains a repository, and adds that repository to the next transaction. `title` is the
    /// package's name in the local repository.
    fn install_repository_package(&self, host: &Host, transaction: &Transaction, title: &str) -> Result<()>;

    /// The command for a program whose own calls of the package manager use only the local repository.
    fn with_repository(&self, host: &Host, transaction: &Transaction, program: &[String]) -> Cmd;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Manager; 5] = [Manager::Apt, Manager::Dnf, Manager::Yum, Manager::Tdnf, Manager::Zypper];

    #[test]
    fn each_manager_is_told_in_its_own_file() {
        let place = |manager: Manager| match manager.hold_place("x") {
            HoldPlace::PackageState => None,
            HoldPlace::List { path, .. } | HoldPlace::Names { path } => Some(path),
        };
        let wanted = [
            None,
            Some("/etc/dnf/dnf.conf"),
            Some("/etc/yum.conf"),
            Some("/etc/tdnf/locks.d/ofedctl-x.conf"),
            Some("/etc/zypp/locks"),
        ];
        assert_eq!(ALL.map(place), wanted.map(|path| path.map(str::to_owned)));
        // tdnf knows whole names only.
        assert!(!Manager::Tdnf.kernel_packages().iter().any(|name| name.contains('*')));
    }
}
