//! What a package manager has to do with a vendor's driver: the packages it needs of the distribution, and the packages
//! the vendor's own file brings, which are resolved against and installed from where they are.

use super::{Manager, Transaction, VendorRepo, apt, rpm};
use crate::host::Host;
use crate::host::run::Cmd;
use crate::target::Driver;
use anyhow::Result;
use std::path::Path;

impl Manager {
    /// The packages a vendor's driver needs whatever it says of itself: the headers of each kernel, named as `uname -r`
    /// prints it, and what builds modules. Of `DOCA` the profile comes on top.
    pub fn needed_by(self, driver: Driver, kernels: &[String]) -> Vec<String> {
        match self {
            Self::Apt => apt::vendor_repo::needed_by(driver, kernels),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::vendor_repo::needed_by(self, driver, kernels)
            }
        }
    }

    /// Reads which packages a vendor's file brings. `folder` is an empty one to work in.
    pub fn vendor_repo(self, host: &Host, driver: Driver, file: &Path, folder: &Path) -> Result<VendorRepo> {
        match self {
            Self::Apt => apt::vendor_repo::read(host, driver, file, folder),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::vendor_repo::read(self, host, driver, file, folder)
            }
        }
    }

    /// Installs the package that brings a repository, and lets the following transaction install from that, too.
    /// `title` is its name in the local repository.
    pub fn bring_repository(self, host: &Host, transaction: &Transaction, title: &str) -> Result<()> {
        match self {
            Self::Apt => apt::vendor_repo::bring(host, transaction, title),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::vendor_repo::bring(host, transaction, title)
            }
        }
    }

    /// A command that runs a program whose own calls of the package manager find the local repository and nothing
    /// else.
    pub fn with_repository(self, host: &Host, transaction: &Transaction, program: &[String]) -> Cmd {
        match self {
            Self::Apt => apt::install::around(host, transaction, program),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::vendor_repo::around(self, host, transaction, program)
            }
        }
    }
}
