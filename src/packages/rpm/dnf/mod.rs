//! dnf, of Enterprise Linux from 8 on. Its library also resolves for targets of the other managers.

pub(super) mod in_target;
pub(super) mod script;
pub(super) mod stand_in;

use super::super::HoldList;
use super::sources::Places;
use super::{Dialect, hold, install, vendor_repo};
use crate::packages::diagnose::Speaker;

/// What dnf does its own way.
pub(in super::super) const DIALECT: Dialect = Dialect {
    speaker: Speaker::Dnf,
    program: "dnf",
    command: install::command_by_config,
    reinstall: "reinstall",
    mark_as_dependency: Some("mark remove"),
    hints: &[],
    in_target: in_target::resolve,
    sources: Places {
        repositories: &["/etc/yum.repos.d", "/etc/distro.repos.d", "/etc/yum/repos.d"],
        variables: &["/etc/yum/vars", "/etc/dnf/vars"],
        main: &["/etc/dnf/dnf.conf", "/etc/yum.conf"],
        checks_signatures: false,
        includes: false,
    },
    config: install::config,
    beside: &[],
    // The plugin with commands for this, `versionlock`, is not installed everywhere.
    hold_place: |_| hold::in_list("/etc/dnf/dnf.conf", HoldList::Excludepkgs),
    more_modules: Some("kernel-modules-extra"),
    kernel_packages: &KERNEL_PACKAGES,
    ifconfig_package: "net-tools",
    kvp_package: "hypervkvpd",
    headers: |kernel| vec![vendor_repo::headers(kernel)],
    wanted_by_installer: vendor_repo::WANTED_BY_INSTALLER,
};

/// The packages of Enterprise Linux's kernels and of what goes with one kernel only.
pub(super) const KERNEL_PACKAGES: [&str; 10] = [
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
];
