//! How each package manager is told to leave packages alone when it upgrades: in a file of its own, except that dpkg keeps
//! it as the state of a package.

use super::Manager;
use serde::{Deserialize, Serialize};

/// How a package manager's file lists what upgrades leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HoldList {
    /// `excludepkgs` in the `[main]` section (dnf.conf(5)).
    Excludepkgs,
    /// `exclude` in the `[main]` section (yum.conf(5)).
    Exclude,
    /// A paragraph for each (zypper(8), `addlock`).
    ZyppLocks,
}

/// Where a package manager is told what upgrades leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldPlace {
    /// In the state of each package.
    PackageState,
    /// In a file that lists other things, too.
    List {
        /// The file, inside the root.
        path: String,
        /// How it lists them.
        list: HoldList,
    },
    /// In a file with nothing but names, one on each line, whole; no comments (vmware/tdnf, client/config.c and goal.c).
    Names {
        /// The file, inside the root.
        path: String,
    },
}

/// What rdma-core is split into on rpm distributions and what goes with it, under the names that the vendor's packages
/// have, too (the packages of `MLNX_OFED` for RHEL and SLES; rdma-core's own spec files; Azure/azhpc-images also exclude
/// `opensm*`).
pub(super) const RDMA_RPMS: [&str; 30] = [
    "rdma",
    "rdma-core",
    "rdma-core-devel",
    "libibverbs",
    "libibverbs1",
    "libibverbs-devel",
    "libibverbs-utils",
    "librdmacm",
    "librdmacm1",
    "librdmacm-devel",
    "librdmacm-utils",
    "libibumad",
    "libibumad3",
    "libibumad-devel",
    "libibmad*",
    "libibnetdisc*",
    "infiniband-diags",
    "infiniband-diags-compat",
    "infiniband-diags-devel",
    "ibacm",
    "iwpmd",
    "srp_daemon",
    "python3-pyverbs",
    "opensm",
    "opensm-*",
    "mstflint",
    "perftest",
    "ucx",
    "ucx-*",
    "openmpi*",
];

impl Manager {
    /// Where upgrades are told to leave packages alone. `purpose` tells apart what is held back for different reasons.
    pub fn hold_place(self, purpose: &str) -> HoldPlace {
        let list = |path: &str, list| HoldPlace::List { path: path.to_owned(), list };
        match self {
            Self::Apt => HoldPlace::PackageState,
            // The plugin with commands for this, `versionlock`, is not installed everywhere.
            Self::Dnf => list("/etc/dnf/dnf.conf", HoldList::Excludepkgs),
            Self::Yum => list("/etc/yum.conf", HoldList::Exclude),
            Self::Zypper => list("/etc/zypp/locks", HoldList::ZyppLocks),
            Self::Tdnf => HoldPlace::Names { path: format!("/etc/tdnf/locks.d/ofedctl-{purpose}.conf") },
        }
    }

    /// The distribution's RDMA packages, which must not take the place of a vendor's; none for apt, whose pins tell
    /// origins apart.
    pub const fn rdma_packages(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &[],
            Self::Dnf | Self::Yum | Self::Tdnf | Self::Zypper => &RDMA_RPMS,
        }
    }

    /// Kernels, what modules are built with, and the packages that go with one kernel only: an upgrade of these alone
    /// could not be resolved. Not what any kernel will do for, such as `kernel-headers`, which compilers need.
    pub const fn kernel_packages(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &[
                "linux-image-*",
                "linux-headers-*",
                "linux-modules-*",
                "linux-azure*",
                "linux-generic*",
                "linux-virtual*",
            ],
            Self::Dnf | Self::Yum => &[
                "kernel",
                "kernel-core",
                "kernel-modules*",
                "kernel-devel*",
                "kernel-debug*",
                "kernel-rt*",
                "kernel-64k*",
                "kernel-uek*",
                "kmod-kvdo",
                "kmod-redhat-*",
            ],
            Self::Tdnf => &[
                "kernel",
                "kernel-devel",
                "kernel-docs",
                "kernel-tools",
                "kernel-drivers-accessibility",
                "kernel-drivers-gpu",
                "kernel-drivers-intree-amdgpu",
                "kernel-drivers-sound",
                "kernel-hwe",
                "kernel-hwe-devel",
                "kernel-hwe-docs",
                "kernel-hwe-tools",
                "kernel-hwe-drivers-accessibility",
                "kernel-hwe-drivers-gpu",
                "kernel-hwe-drivers-sound",
                "mlnx-ofa_kernel",
                "mlnx-ofa_kernel-modules",
                "mlnx-ofa_kernel-hwe-modules",
            ],
            Self::Zypper => &[
                "kernel-azure*",
                "kernel-default*",
                "kernel-64kb*",
                "kernel-devel*",
                "kernel-source*",
                "kernel-syms*",
                "*-kmp-azure",
                "*-kmp-default",
                "*-kmp-64kb",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manager_is_told_in_its_own_file() {
        let path = |manager: Manager| match manager.hold_place("x") {
            HoldPlace::PackageState => None,
            HoldPlace::List { path, .. } | HoldPlace::Names { path } => Some(path),
        };
        let managers = [Manager::Apt, Manager::Dnf, Manager::Yum, Manager::Zypper, Manager::Tdnf];
        let wanted = [
            None,
            Some("/etc/dnf/dnf.conf"),
            Some("/etc/yum.conf"),
            Some("/etc/zypp/locks"),
            Some("/etc/tdnf/locks.d/ofedctl-x.conf"),
        ];
        assert_eq!(managers.map(path), wanted.map(|path| path.map(str::to_owned)));
        // tdnf knows whole names only.
        assert!(!Manager::Tdnf.kernel_packages().iter().any(|name| name.contains('*')));
    }
}
