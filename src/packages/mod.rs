//! Package managers: the one place that knows how each resolves, installs from a local repository, lists and
//! verifies. They resolve packages; this program never does.

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

pub use apt::bring_folder;
pub use hold::{HoldList, HoldPlace, VendorGuard};
pub use in_target::InTarget;
pub use installed::{Installed, answers};
pub use manager::{Format, Manager, PackageManager};

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::sandbox::Sandbox;
use crate::target::{Arch, Distro, KernelDevel};
use crate::trust::Trust;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

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
    /// Whether its packages go before those of the same name elsewhere, whatever their versions.
    pub goes_first: bool,
    /// The file of keys that its index must be signed with; none where something else vouches for it.
    pub key: Option<PathBuf>,
    /// What vouches for it, where that shows only in the file itself.
    pub trust: Option<Trust>,
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
    /// What the manager's own metadata say of the files, for [`PackageManager::index`].
    pub described: String,
    /// The proxy that the machine's package manager is configured with.
    pub proxy: Option<String>,
    /// Files that are at hand already, by their file names.
    pub local: HashMap<String, LocalFile>,
    /// Repositories of these downloads that no key vouches for.
    pub unsigned: Vec<String>,
    /// A folder with files the manager had to bring itself; gone with this value.
    pub scratch: Option<TempDir>,
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
    /// The kernel that package scripts are to build for, whichever one runs.
    pub kernel: Option<&'a str>,
    /// The scripts of packages build no modules by DKMS: this program does, for the kernels that count.
    pub holds_dkms: bool,
}

impl Transaction<'_> {
    fn sandbox(&self, host: &Host) -> Sandbox {
        let sandbox = Sandbox::offline(&host.root, self.sealed);
        let sandbox = sandbox.with_network(!self.offline).with_view(self.blobs, BLOBS);
        // What is mounted over a file cannot be replaced, as the package that brings `uname` would.
        let brings_uname = || host.root.list(REPOSITORY).iter().any(|file| file.starts_with("coreutils"));
        match self.kernel {
            None => sandbox,
            Some(kernel) if brings_uname() => sandbox.for_kernel_in_search_path(kernel),
            Some(kernel) => sandbox.for_kernel(kernel),
        }
    }
}
