//! Package managers: the one place that knows how each resolves, installs from a local repository, lists and
//! verifies. They resolve packages; this program never does.

pub mod accounts;
mod apt;
pub mod diagnose;
pub mod dkms;
mod hold;
mod in_target;
mod installed;
pub mod kernels;
mod manager;
pub mod openpgp;
mod removal;
mod rpm;
pub mod signed_folder;
pub mod sources_and_keys;

pub use apt::bring_folder;
pub use hold::{HoldList, HoldPlace, VendorGuard};
pub use in_target::InTarget;
pub use installed::{Installed, answers};
pub use manager::{Format, Manager, PackageManager};
pub use rpm::vendor_folder as rpm_folder;
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub use {apt::copy_sources as copy_apt_sources, rpm::copy_sources as copy_yum_sources};

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::sandbox::Sandbox;
use crate::host::temp::Folder;
use crate::target::{Arch, Distro, KernelDevel};
use crate::trust::{Origin, Trust};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The folder of the local repository inside a root during an installation.
pub const REPOSITORY: &str = "/var/lib/ofedctl/repo";
/// The folder inside the root where the cache's blobs appear during an installation; the repository's files are links
/// to them.
pub const BLOBS: &str = "/run/ofedctl/blobs";

/// The state of the target against which packages are resolved.
#[derive(Debug, Clone)]
pub enum Base<'a> {
    /// The installed packages of a root.
    Root(&'a Root),
    /// What a package database file of another machine says (for apt: its `/var/lib/dpkg/status`; for rpm: the file
    /// `rpmdb.sqlite` or `Packages`, under that name).
    StatusFile(PathBuf),
    /// Nothing is installed: resolves the packages with all dependencies.
    Empty,
}

/// The packages inside a vendor's file, as a repository that only has its index.
#[derive(Debug)]
pub struct VendorRepo {
    /// The folder of the index. Packages that the resolver finds there need no download, because the vendor's file
    /// contains them.
    pub folder: PathBuf,
    /// Packages to resolve beside those of the plan, because the vendor's installer will install them.
    pub packages: Vec<String>,
    /// Further such packages, which are left out if the target's archive lacks them.
    pub wanted: Vec<&'static str>,
    /// Whether its packages go before those of the same name elsewhere, whatever their versions.
    pub goes_first: bool,
    /// The file of keys with which its index must be signed; none if it is verified in another way.
    pub key: Option<PathBuf>,
    /// How the file was verified, if only its content tells that.
    pub trust: Option<Trust>,
}

impl VendorRepo {
    /// A repository of which nothing is requested unless the plan does, and that its index alone describes.
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder, packages: Vec::new(), wanted: Vec::new(), goes_first: false, key: None, trust: None }
    }
}

/// A request for a resolver.
#[derive(Debug)]
pub struct ResolveRequest<'a> {
    /// Whose package sources, keys and preferences are used.
    pub sources: &'a Root,
    /// What is installed already.
    pub base: &'a Base<'a>,
    /// The target's distribution.
    pub distro: &'a Distro,
    /// The target's architecture.
    pub arch: Arch,
    /// The packages that are wanted.
    pub packages: &'a [String],
    /// The kernels that wanted packages of modules must be for.
    pub kernels: &'a [String],
    /// The packages inside the vendor's own file.
    pub vendor_repo: Option<&'a VendorRepo>,
    /// The address of one kernel's headers, for the case that the package sources no longer have them.
    pub kernel_devel: Option<&'a KernelDevel>,
    /// Whether the target's own manager is asked, in the root that the sources are of.
    pub in_target: Option<InTarget>,
    /// The proxy of the settings, in place of the machine's own; it may hold a password.
    pub proxy: Option<&'a str>,
}

/// One package file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// Where else it is, should that place fail: other mirrors of its repository.
    pub others: Vec<String>,
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
    /// The packages to install, dependencies included, without those that are installed.
    pub downloads: Vec<Download>,
    /// The names of further packages to install, which the vendor's own file holds.
    pub at_hand: Vec<String>,
    /// The manager's metadata of the files, for [`PackageManager::index`].
    pub described: String,
    /// The proxy that the machine's package manager is configured with.
    pub proxy: Option<String>,
    /// Files that exist locally already, by their file names.
    pub local: HashMap<String, LocalFile>,
    /// Repositories of these downloads that are not signed.
    pub unsigned: Vec<String>,
    /// Where they come from, where the target's own manager named them.
    pub origins: Vec<Origin>,
    /// A folder with files that the manager had to download itself; removed when this value is dropped.
    pub scratch: Option<Folder>,
    /// The same of the target's own manager.
    pub(crate) lent: Option<in_target::Lent>,
}

/// A file in a root, or in a folder that a root's programs wrote to.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// The root.
    pub root: Arc<Root>,
    /// Its path there. Links lead nowhere else, and only a regular file counts.
    pub path: String,
    /// Whether the root is the target.
    pub is_of_target: bool,
}

/// A package file that was downloaded.
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
    /// The folder of blobs to which the files in [`REPOSITORY`] link.
    pub blobs: &'a Path,
    /// The packages that are wanted.
    pub packages: &'a [String],
    /// Without any network interface.
    pub offline: bool,
    /// Whether an image is baked: no service may start, and no program may reach the running system.
    pub sealed: bool,
    /// How long to wait for another package manager's lock.
    pub patience: Duration,
    /// The kernel for which package scripts build, whichever kernel runs.
    pub kernel: Option<&'a str>,
    /// Whether package scripts must not build modules by DKMS, because this program builds them for the planned
    /// kernels.
    pub holds_dkms: bool,
}

impl Transaction<'_> {
    fn sandbox(&self, host: &Host) -> Sandbox {
        let sandbox = Sandbox::offline(&host.root, self.sealed);
        let sandbox = sandbox.with_network(!self.offline).with_view(self.blobs, BLOBS);
        // A package cannot replace a file over which another is mounted, and `coreutils` contains `uname`.
        let brings_uname = || host.root.list(REPOSITORY).iter().any(|file| file.starts_with("coreutils"));
        match self.kernel {
            None => sandbox,
            Some(kernel) if brings_uname() => sandbox.for_kernel_in_search_path(kernel),
            Some(kernel) => sandbox.for_kernel(kernel),
        }
    }
}
