//! Package managers: the one place that knows how each resolves, installs from a local repository, lists and
//! verifies. They resolve packages; this program never does.

pub mod apt;
pub mod dkms;
mod hold;
mod installed;
pub mod rpm;
mod vendor;

pub use hold::{HoldList, HoldPlace};
pub use installed::{Installed, answers};

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::http::NetworkOptions;
use crate::host::sandbox::Sandbox;
use crate::target::{Arch, Distro, Family, KernelDevel};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// Where a local repository lies inside a root while packages are installed from it.
pub const REPOSITORY: &str = "/var/lib/ofedctl/repo";
/// Where the cache's blobs, to which the repository's files link, appear inside the root meanwhile.
pub const BLOBS: &str = "/run/ofedctl/blobs";

/// The state of the target that packages are resolved against.
#[derive(Debug, Clone)]
pub enum Base<'a> {
    /// What a root has installed.
    Root(&'a Root),
    /// What a package database file of another machine says (for apt: its `/var/lib/dpkg/status`; for rpm: the file
    /// `rpmdb.sqlite` or `Packages`, under that name).
    StatusFile(PathBuf),
    /// Nothing: resolves to the complete closure.
    Empty,
}

/// The packages inside a vendor's file, as a repository that only has its index.
#[derive(Debug)]
pub struct VendorRepo {
    /// The folder of the index. Whatever the resolver would fetch from there is at hand with the vendor's file.
    pub folder: PathBuf,
    /// Packages to resolve beside those of the plan: what the vendor's installer will install by itself.
    pub packages: Vec<String>,
    /// The same, as far as the target's archive has them.
    pub wanted: Vec<&'static str>,
}

/// A request for a resolver.
#[derive(Debug)]
pub struct ResolveRequest<'a> {
    /// Whose package sources, keys and preferences are used.
    pub sources: &'a Root,
    /// What is already there.
    pub base: &'a Base<'a>,
    /// The target's distribution.
    pub distro: &'a Distro,
    /// The target's architecture.
    pub arch: Arch,
    /// The packages that are wanted.
    pub packages: &'a [String],
    /// The kernels that wanted packages of modules must be for.
    pub kernels: &'a [String],
    /// The packages that are at hand with the vendor's own file.
    pub vendor_repo: Option<&'a VendorRepo>,
    /// Where the headers of one kernel are, should the package sources have dropped them.
    pub kernel_devel: Option<&'a KernelDevel>,
    /// The proxy of the settings, in place of the machine's own; it may hold a password.
    pub proxy: Option<&'a str>,
}

/// One package file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// The package and its exact version, as the manager takes it.
    pub name: String,
    /// Its plain file name.
    pub file: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hex, from the repository's metadata.
    pub sha256: String,
}

/// A resolver's answer.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Everything that has to be installed, dependencies included, minus what is there.
    pub downloads: Vec<Download>,
    /// What the manager's own metadata say of the files, for [`Manager::index`].
    pub described: String,
    /// The proxy that the machine's package manager is configured with.
    pub proxy: Option<String>,
    /// A folder with files the manager had to bring itself; gone with this value.
    pub scratch: Option<TempDir>,
}

/// A package file that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Its plain file name.
    pub file: String,
    /// Where it lies on this machine.
    pub path: PathBuf,
}

/// One file of a repository's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Its name, which is also its title in a bundle.
    pub name: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// How packages are to be installed.
#[derive(Debug)]
pub struct Transaction<'a> {
    /// The folder of blobs that the files in [`REPOSITORY`] link to. They come from there and nowhere else.
    pub blobs: &'a Path,
    /// The packages that are wanted.
    pub packages: &'a [String],
    /// Without any network interface.
    pub offline: bool,
    /// Nothing may be started or reach the running system: an image is being made.
    pub sealed: bool,
    /// How long to wait for another package manager's lock.
    pub patience: Duration,
}

impl Manager {
    /// The package manager of a distribution, if this program knows it.
    pub fn of(distro: &Distro) -> Option<Self> {
        match distro.family() {
            Family::Debian => Some(Self::Apt),
            Family::Rhel if distro.version.split('.').next() == Some("7") => Some(Self::Yum),
            Family::Rhel => Some(Self::Dnf),
            Family::Azure => Some(Self::Tdnf),
            Family::Suse => Some(Self::Zypper),
            Family::Other => None,
        }
    }

    /// The program that installs.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Yum => "yum",
            Self::Tdnf => "tdnf",
            Self::Zypper => "zypper",
        }
    }

    /// The index files of its local repositories, the one that names the others first: their names, which are also
    /// their titles in a bundle, and their folders inside the repository.
    pub const fn index_files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Apt => &[(apt::INDEX, "")],
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => &rpm::INDEX,
        }
    }

    /// What is installed in a root.
    pub fn installed(self, host: &Host) -> Result<Installed> {
        match self {
            Self::Apt => apt::dpkg::installed(&host.root),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => rpm::database::installed(host),
        }
    }

    /// What is installed in a root, where its database can be read without running anything.
    pub fn installed_by_its_files(self, root: &Root) -> Result<Option<Installed>> {
        match self {
            Self::Apt => apt::dpkg::installed(root).map(Some),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => Ok(None),
        }
    }

    /// Asks the resolver what would have to be fetched; nothing of the target or of this machine is changed.
    pub fn resolve(self, host: &Host, request: &ResolveRequest) -> Result<Resolution> {
        match self {
            Self::Apt => apt::resolve::resolve(host, request),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => rpm::dnf::resolve::resolve(host, request),
        }
    }

    /// Makes the index of a flat repository of exactly the files that came, in the order of [`Manager::index_files`],
    /// once what has to be signed is found signed.
    pub fn index(
        self,
        host: &Host,
        resolution: &Resolution,
        arrived: &[Arrived],
        way: NetworkOptions,
    ) -> Result<Vec<IndexFile>> {
        match self {
            Self::Apt => {
                Ok(vec![IndexFile { name: apt::INDEX, bytes: resolution.described.clone().into_bytes() }])
            }
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::index::index(host, resolution, arrived, way)
            }
        }
    }

    /// Completes [`REPOSITORY`], which holds the index and the packages, to one the manager can use.
    pub fn lay_out(self, root: &Root) -> Result<()> {
        match self {
            Self::Apt => apt::install::lay_out(root),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => rpm::install::lay_out(self, root),
        }
    }

    /// Waits until no other package manager works on the root.
    pub fn wait_for_locks(self, host: &Host, patience: Duration) -> Result<()> {
        match self {
            Self::Apt => host.wait_for_package_locks(&apt::LOCKS, &[], patience),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                host.wait_for_package_locks(&rpm::LOCKS, &rpm::NUMBERS, patience)
            }
        }
    }

    /// Finishes what an interrupted transaction left: `broken` is what the manager itself knows of, `came` the
    /// packages that have come since the transaction began.
    pub fn repair(
        self,
        host: &Host,
        transaction: &Transaction,
        broken: &[String],
        came: &[String],
    ) -> Result<()> {
        match self {
            Self::Apt if broken.is_empty() => Ok(()),
            Self::Apt => apt::install::repair(host, transaction),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::install::repair(self, host, transaction, came)
            }
        }
    }

    /// Installs from the local repository. An incomplete repository is found out before anything is changed
    /// and ends in [`crate::outcome::Reason::CacheMissing`].
    pub fn install(self, host: &Host, transaction: &Transaction) -> Result<()> {
        match self {
            Self::Apt => apt::install::install(host, transaction),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => {
                rpm::install::install(self, host, transaction)
            }
        }
    }

    /// Notes that packages came only because others need them. A transaction notes that at its end, so one that
    /// was killed never did.
    pub fn mark_as_dependencies(
        self,
        host: &Host,
        transaction: &Transaction,
        names: &[String],
    ) -> Result<()> {
        match self {
            Self::Apt => apt::install::mark_as_dependencies(host, transaction, names),
            Self::Dnf => rpm::install::mark_as_dependencies(host, transaction, names),
            // yum keeps the mark where no command of its own reaches; tdnf and zypper remove nothing unasked.
            Self::Yum | Self::Tdnf | Self::Zypper => Ok(()),
        }
    }

    /// Removes packages with their settings, in one transaction that refuses to break what others need.
    pub fn remove(self, host: &Host, packages: &[String], sealed: bool) -> Result<()> {
        match self {
            Self::Apt => apt::dpkg::purge(host, packages, sealed),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => rpm::database::erase(host, packages, sealed),
        }
    }

    /// The files of installed packages.
    pub fn files(self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        match self {
            Self::Apt => apt::dpkg::files(host, packages),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => rpm::database::files(host, packages),
        }
    }

    /// Puts installed packages on hold, or lets go of them, where that is a state of the package.
    pub fn hold(self, host: &Host, packages: &[String], on: bool, sealed: bool) -> Result<()> {
        match self {
            Self::Apt => apt::dpkg::hold(host, packages, on, sealed),
            // Each holds by patterns in a file of its own, see [`Manager::hold_back`], and none by a package's state.
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => Ok(()),
        }
    }

    /// Compares installed files with what the packages brought; one line for each that differs.
    /// Configuration files may differ.
    pub fn verify(self, host: &Host, packages: &[String]) -> Result<Vec<String>> {
        match self {
            Self::Apt => apt::dpkg::verify(host, packages),
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => rpm::database::verify(host, packages),
        }
    }
}

impl Transaction<'_> {
    fn sandbox(&self, host: &Host) -> Sandbox {
        Sandbox::offline(&host.root, self.sealed).with_network(!self.offline).with_view(self.blobs, BLOBS)
    }
}
