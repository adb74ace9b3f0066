//! zypper, of SUSE.

mod answer;
mod in_target;

use super::super::HoldList;
use super::install::{REPOSITORIES, SCRATCH};
use super::sources::Places;
use super::{Dialect, hold};
use crate::packages::diagnose::Speaker;

/// What it is not to install, in place of what the image locks.
const LOCKS: &str = "/var/lib/ofedctl/repo/locks";
/// The vendor's DKMS, where its repository is shown: zypper knows no packages that a repository leaves out.
const VENDORS_DKMS: &str =
    "type: package\nmatch_type: exact\ncase_sensitive: on\nrepo: ofedctl-vendor\nsolvable_name: dkms\n";

/// What zypper does its own way.
pub(in super::super) const DIALECT: Dialect = Dialect {
    speaker: Speaker::Zypper,
    program: "zypper",
    command,
    reinstall: "install --force",
    // It removes nothing unasked.
    mark_as_dependency: None,
    // A reboot, or a restart of zypper itself, is due (zypper(8)).
    hints: &[102, 103],
    in_target: in_target::resolve,
    sources: Places {
        repositories: &["/etc/zypp/repos.d"],
        variables: &["/etc/zypp/vars.d"],
        main: &[],
        checks_signatures: true,
        includes: false,
    },
    config,
    beside: &[(LOCKS, VENDORS_DKMS)],
    hold_place: |_| hold::in_list("/etc/zypp/locks", HoldList::ZyppLocks),
    more_modules: None,
    kernel_packages: &[
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
    // SUSE has put the old programs apart (net-tools-deprecated, SLE 15).
    ifconfig_package: "net-tools-deprecated",
    kvp_package: "hyper-v",
    headers,
    // What azhpc-images (`suse/`, `install_prerequisites.sh`) install.
    wanted_by_installer: &[
        "atk",
        "autoconf",
        "automake",
        "binutils",
        "byacc",
        "expat",
        "gcc-fortran",
        "insserv-compat",
        "libgfortran4",
        "libnl3-200",
        "libnuma-devel",
        "libopenssl-devel",
        "libtool",
        "m4",
        "numactl",
        "python-rpm-macros",
        "python3",
        "python3-devel",
        "tcl",
        "tcsh",
        "tk",
        "which",
    ],
};

fn command(program: &str, action: &str) -> String {
    format!(
        "{program} --non-interactive --no-gpg-checks --reposd-dir {REPOSITORIES} --cache-dir {SCRATCH} {action} \
         --no-recommends --auto-agree-with-licenses"
    )
}

/// No services: SUSE's add repositories from the network. Headers of several kernels lie side by side, as SUSE's own
/// settings have it; and what the image locks is not held back here either (zypp.conf).
fn config() -> String {
    format!(
        "[main]\nreposdir = {REPOSITORIES}\nservicesdir = {REPOSITORIES}\ncachedir = {SCRATCH}\n\
         multiversion = provides:multiversion(kernel)\nlocksfile.path = {LOCKS}\n"
    )
}

/// What modules of a kernel are built with on SUSE: the headers of its flavour, the sources, and what packages of
/// modules are built by. `uname -r` is VERSION-FLAVOUR, and each provides itself as of that version; the release has one
/// number more. Flavours other than `default` that Azure knows have sources of their own (SUSE/kernel-source, `rpm/`;
/// azhpc-images and LISA ask for the same words).
fn headers(kernel: &str) -> Vec<String> {
    let (version, flavour) = kernel.rsplit_once('-').unwrap_or((kernel, "default"));
    let variant = if flavour == "default" { String::new() } else { format!("-{flavour}") };
    let devel = format!("kernel-{flavour}-devel = {version}");
    let others = ["source", "syms"].map(|kind| format!("kernel-{kind}{variant} = {version}"));
    std::iter::once(devel).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_asked_for_by_what_they_provide() {
        let of = |kernel| headers(kernel).join(", ");
        assert_eq!(
            of("5.14.21-150400.14.31-azure"),
            "kernel-azure-devel = 5.14.21-150400.14.31, kernel-source-azure = 5.14.21-150400.14.31, \
             kernel-syms-azure = 5.14.21-150400.14.31"
        );
        assert_eq!(
            of("5.3.18-150300.59.93-default"),
            "kernel-default-devel = 5.3.18-150300.59.93, kernel-source = 5.3.18-150300.59.93, \
             kernel-syms = 5.3.18-150300.59.93"
        );
    }
}
