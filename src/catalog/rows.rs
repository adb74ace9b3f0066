//! The parts of a catalogue: release lines, the vendor's packages, what does not build, and distributions whose own stack
//! can be used. Each says what it holds; [`super::Catalog`] answers questions about several of them.

use super::package_names;
use super::versions::Version;
use crate::target::{Arch, Distro, Driver, Family, KernelDevel, Nic};
use crate::trust::{Trust, is_vendors, protected};
use serde::{Deserialize, Serialize};

/// A key that the vendor signs packages for Debian and Ubuntu with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorKey {
    /// Its fingerprint: 40 or 64 upper-case hexadecimal digits, for a key of version 4 or 6.
    pub fingerprint: String,
    /// The first of the releases that it signs; it signs all later ones as well.
    pub from: Version,
    /// Who says so.
    pub source: String,
}

/// The properties that all packages of one release line share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The driver.
    pub driver: Driver,
    /// The prefix of the line's versions: `5.8`.
    pub release: String,
    /// For DOCA, the OFED release inside: `25.10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ofed: Option<String>,
    /// The adapter generations it drives.
    pub nics: Vec<Nic>,
    /// Whether the vendor maintains it as a long-term line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lts: bool,
    /// The first of its releases that the vendor calls long-term, where those before it are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lts_from: Option<Version>,
    /// Why it is preferred to newer lines, because of reported failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<String>,
    /// The month its support ends, `2027-10`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_life: Option<String>,
    /// Whether its rpms contain modules for the first kernel of a release, and no sources that DKMS could build.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prebuilt_rpms: bool,
    /// The first kernel it does not build for, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_below: Option<Version>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_source: Option<String>,
    /// Further packages that its modules need and none of its own packages asks for.
    #[serde(default, skip_serializing_if = "MorePackages::is_empty")]
    pub packages: MorePackages,
}

/// Further packages, by the form of the distribution's packages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MorePackages {
    /// On Debian and Ubuntu.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deb: Vec<String>,
    /// On distributions with rpm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rpm: Vec<String>,
}

impl MorePackages {
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.deb.is_empty() && self.rpm.is_empty()
    }
}

/// One vendor package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The driver it contains.
    pub driver: Driver,
    /// Its version.
    pub version: Version,
    /// The name of its release line.
    pub line: String,
    /// The distribution it was built for. Ask [`super::Catalog::serves`] where it installs.
    pub distro: Distro,
    /// The architecture.
    pub arch: Arch,
    /// Its address; a bare file name where it is not public.
    pub url: String,
    /// Its SHA-256 in hexadecimal, where published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Other addresses of a file with the same name. Only the digest proves that it is the same file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// The vendor's online package repository of the same release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The kernel headers it is to be built with, where mirrors no longer have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_devel: Option<KernelDevel>,
    /// A remark for users before they choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Distributions whose own RDMA stack can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbox {
    /// The distributions.
    pub distros: Vec<Distro>,
    /// The architectures.
    pub arch: Vec<Arch>,
    /// The adapter generations their kernels drive.
    pub nics: Vec<Nic>,
    /// The packages to request from the package manager.
    pub packages: Vec<String>,
    /// Whether these packages contain the vendor's modules, which the distribution builds for each of its kernels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brings_modules: bool,
}

impl Line {
    /// The OFED release of the line, which orders lines of both drivers.
    pub fn ofed_release(&self) -> &str {
        self.ofed.as_deref().unwrap_or(&self.release)
    }

    /// Whether it builds for a kernel (as `uname -r` prints it), as far as is known.
    pub fn builds_for(&self, kernel: &str) -> bool {
        self.kernel_below.as_ref().is_none_or(|limit| Version::new(kernel) < *limit)
    }
}

impl Row {
    /// The name of the file.
    pub fn file_name(&self) -> &str {
        package_names::file_name(&self.url)
    }

    /// How its file can be verified, as far as the catalogue tells; none if it cannot.
    pub fn trust(&self) -> Option<Trust> {
        let by_tls = || is_vendors(&protected(&self.url)).then_some(Trust::FirstUse);
        self.sha256.as_ref().map(|_| Trust::Digest).or_else(by_tls)
    }

    /// Whether it can be downloaded; if not, the user must provide the file.
    pub fn is_public(&self) -> bool {
        self.url.contains("://")
    }

    /// Whether it holds sources alone, which nothing here builds.
    pub fn is_source(&self) -> bool {
        self.file_name().starts_with("MLNX_OFED_SRC-")
    }

    /// Whether it is a package of rpms.
    pub fn is_rpm(&self) -> bool {
        self.distro.family() != Family::Debian
    }

    /// The addresses for a download, best first. The file must match the digest, whichever address it comes from.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url).filter(|_| self.is_public()).chain(&self.mirrors).map(String::as_str)
    }
}
