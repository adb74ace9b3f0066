//! dnf, of Enterprise Linux from 8 on. Its library also resolves for targets of the other managers.

mod in_target;
pub(super) mod script;
mod stand_in;

use super::super::{HoldList, Resolution, ResolveRequest};
use super::sources::Places;
use super::{Dialect, hold, install, vendor_repo};
use crate::host::Host;
use crate::packages::diagnose::Speaker;
use anyhow::Result;

/// What dnf does its own way.
pub(in super::super) const DIALECT: Dialect = Dialect {
    speaker: Speaker::Dnf,
    program: "dnf",
    command: install::command_by_config,
    reinstall: "reinstall",
    mark_as_dependency: Some("mark remove"),
    hints: &[],
    never_in_target: None,
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

/// Resolves `request` with the target's own dnf where it can run there, else with this machine's.
pub(super) fn resolve(dialect: &Dialect, host: &Host, request: &ResolveRequest) -> Result<Resolution> {
    if let Some(how) = request.in_target {
        if let Some(why) = dialect.never_in_target {
            host.events.warn(why);
        } else if let Some(resolution) = in_target::resolve(dialect, host, request, how)? {
            return Ok(resolution);
        }
    }
    stand_in::resolve(dialect, host, request)
}

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
