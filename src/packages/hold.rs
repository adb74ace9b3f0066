//! How each package manager is told to leave packages alone when it upgrades: by an edit of a file of its own, except
//! that dpkg keeps it as the state of a package.

use super::Manager;
use crate::edit::{Edit, HoldList};

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
    /// The edit after which upgrades leave packages of these names alone; `*` stands for any characters. `purpose`
    /// tells apart what is held back for different reasons.
    pub fn hold_back(self, purpose: &str, names: &[&str], why: &str) -> Edit {
        let why = why.to_owned();
        let list = |path: &str, list| Edit::HoldBack {
            path: path.to_owned(),
            list,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            why: why.clone(),
        };
        match self {
            Self::Apt => {
                Edit::HoldPackages { names: names.iter().map(|name| (*name).to_owned()).collect(), why }
            }
            // The plugin with commands for this, `versionlock`, is not installed everywhere.
            Self::Dnf => list("/etc/dnf/dnf.conf", HoldList::Excludepkgs),
            Self::Yum => list("/etc/yum.conf", HoldList::Exclude),
            Self::Zypper => list("/etc/zypp/locks", HoldList::ZyppLocks),
            // A name on each line, whole; no comments (vmware/tdnf, client/config.c and goal.c).
            Self::Tdnf => Edit::WriteFile {
                path: format!("/etc/tdnf/locks.d/ofedctl-{purpose}.conf"),
                content: whole_lines(names),
                why,
            },
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

/// A line for each name that is whole.
fn whole_lines(names: &[&str]) -> String {
    let whole: Vec<&str> = names.iter().copied().filter(|name| !name.contains('*')).collect();
    whole.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manager_is_told_in_its_own_file() {
        let names = ["a", "b*"];
        let path = |manager: Manager| manager.hold_back("x", &names, "").path().map(str::to_owned);
        let paths = [Manager::Apt, Manager::Dnf, Manager::Yum, Manager::Zypper].map(path);
        let wanted = [None, Some("/etc/dnf/dnf.conf"), Some("/etc/yum.conf"), Some("/etc/zypp/locks")];
        assert_eq!(paths, wanted.map(|path| path.map(str::to_owned)));
        let Edit::WriteFile { path, content, .. } = Manager::Tdnf.hold_back("x", &names, "") else {
            panic!()
        };
        assert_eq!((path.as_str(), content.as_str()), ("/etc/tdnf/locks.d/ofedctl-x.conf", "a\n"));
        // tdnf knows whole names only.
        assert!(!Manager::Tdnf.kernel_packages().iter().any(|name| name.contains('*')));
    }
}
