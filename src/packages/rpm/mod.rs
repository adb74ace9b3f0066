//! rpm and the package managers on top of it: dnf, yum, tdnf and zypper.
//!
//! Packages are resolved by dnf of the machine that stages, whatever manager the target has: all of them read the
//! same repositories. They are installed by the target's own.

pub(super) mod database;
pub(super) mod dnf;
pub(super) mod index;
pub(super) mod install;
mod keys;
mod sources;
pub(super) mod vendor_repo;

/// The index files of an rpm repository, `repomd.xml` first, which names the others with their digests.
pub const INDEX: [(&str, &str); 4] = [
    ("repomd.xml", "repodata"),
    ("primary.xml.gz", "repodata"),
    ("filelists.xml.gz", "repodata"),
    ("other.xml.gz", "repodata"),
];

/// Where rpm keeps its database: the place since Fedora 36 and Enterprise Linux 10, and the one before.
const DATABASES: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// The files rpm and tdnf lock while they work (rpm's macro `_rpmlock_path`; vmware/tdnf, client/config.h).
pub(super) const LOCKS: [&str; 3] =
    ["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock", "/run/.tdnf-instance-lockfile"];

/// The files in which yum, dnf and zypper leave their process number while they work.
pub(super) const NUMBERS: [&str; 4] =
    ["/run/yum.pid", "/run/zypp.pid", "/var/cache/dnf/metadata_lock.pid", "/var/lib/dnf/rpmdb_lock.pid"];
