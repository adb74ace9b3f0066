//! tdnf, of Azure Linux.

mod answer;
mod in_target;
mod index;
mod settings;

use super::super::HoldPlace;
use super::install::{self, CONFIG};
use super::sources::Places;
use super::{Dialect, vendor_repo};
use crate::packages::diagnose::Speaker;

/// What tdnf does its own way.
pub(in super::super) const DIALECT: Dialect = Dialect {
    speaker: Speaker::Tdnf,
    program: "tdnf",
    command,
    reinstall: "reinstall",
    // It removes nothing unasked.
    mark_as_dependency: None,
    hints: &[],
    in_target: in_target::resolve,
    sources: Places {
        repositories: &["/etc/yum.repos.d"],
        variables: &["/etc/yum/vars", "/etc/dnf/vars", "/etc/tdnf/vars"],
        main: &["/etc/tdnf/tdnf.conf"],
        checks_signatures: true,
        includes: false,
    },
    config: install::config,
    beside: &[],
    hold_place: |purpose| HoldPlace::Names { path: format!("/etc/tdnf/locks.d/ofedctl-{purpose}.conf") },
    more_modules: None,
    kernel_packages: &[
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
    ifconfig_package: "net-tools",
    kvp_package: "hypervkvpd",
    headers: |kernel| vec![vendor_repo::headers(kernel)],
    wanted_by_installer: vendor_repo::WANTED_BY_INSTALLER,
};

/// The local repository's address has no variables. Up to 3.5.9 tdnf looks all the same for the release in the package that its
/// settings name, or else in one of its own distribution's, and ends where that is not installed (`Error(1022)`).
fn command(program: &str, action: &str) -> String {
    format!("{program} -y --releasever=0 -c {CONFIG} {action}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_asked_for_by_the_version_of_the_kernel() {
        assert_eq!((DIALECT.headers)("6.6.57.1-7.azl3"), ["kernel-devel-6.6.57.1-7.azl3"]);
    }
}
