//! yum 3, of Enterprise Linux 7.

use super::super::HoldList;
use super::dnf::{self, KERNEL_PACKAGES};
use super::sources::Places;
use super::{Dialect, hold, install, vendor_repo};
use crate::packages::diagnose::Speaker;

/// What yum does its own way.
pub(in super::super) const DIALECT: Dialect = Dialect {
    speaker: Speaker::Yum,
    program: "yum",
    command: install::command_by_config,
    reinstall: "reinstall",
    // It keeps the mark where no command of its own reaches.
    mark_as_dependency: None,
    hints: &[],
    in_target: dnf::in_target::resolve,
    sources: Places {
        repositories: &["/etc/yum.repos.d", "/etc/yum/repos.d"],
        variables: &["/etc/yum/vars"],
        main: &["/etc/yum.conf"],
        checks_signatures: false,
        includes: true,
    },
    config: install::config,
    beside: &[],
    hold_place: |_| hold::in_list("/etc/yum.conf", HoldList::Exclude),
    more_modules: None,
    kernel_packages: &KERNEL_PACKAGES,
    ifconfig_package: "net-tools",
    kvp_package: "hypervkvpd",
    headers: |kernel| vec![vendor_repo::headers(kernel)],
    wanted_by_installer: vendor_repo::WANTED_BY_INSTALLER,
};
