//! Problems that users have reported with the vendor's packages and their installers.

use crate::common::program;
use ofedctl::outcome::Reason;
use ofedctl::packages::diagnose::{Doing, Speaker, reason_of};

const TARGET: [&str; 9] = [
    "plan",
    "--json",
    "--distro",
    "ubuntu22.04",
    "--nic",
    "cx6",
    "--kernel",
    "5.15.0-1050-azure",
    "--arch=x86_64",
];

#[test]
fn a_disk_image_of_the_vendors_is_refused_with_the_file_to_name_in_its_place() {
    // dell/omnia 2614: the release as an .iso, which mounts; it was planned as another driver's file.
    let file = "/srv/MLNX_OFED_LINUX-5.8-6.0.4.2-ubuntu22.04-x86_64.iso";
    let ran = program::run(&[&TARGET[..], &["--artifact", file]].concat());
    ran.expect(1, "bad-settings");
    assert!(ran.stdout.contains("name the `.tgz` of the same release"), "{}", ran.stdout);
}

#[test]
fn what_the_vendors_packages_end_with_is_told_by_its_cause() {
    let table = [
        // daos-stack/pmdk 39: rpms of 24.10 on a newer minor release, whose key the image has not.
        (
            Doing::Installing(Speaker::Dnf),
            "Public key for kmod-mlnx-ofa_kernel-24.10-OFED.24.10.5.1.6.1.rhel9u5.x86_64.rpm is not installed",
            Reason::RepositoryKey,
        ),
        // network-operator 1453: packages of built modules want a package of the kernel that no source has.
        (
            Doing::Resolving(Speaker::Apt),
            "The following packages have unmet dependencies:\n mlnx-ofed-kernel-modules : Depends: \
             linux-modules-extra-5.15.0-106-generic but it is not installable\nE: Unable to correct problems, you have \
             held broken packages.",
            Reason::ResolveFailed,
        ),
        // nv_peer_memory 85: DKMS in a container takes the host's kernel for its own.
        (
            Doing::Vendors,
            "It is likely that 5.4.0-47-generic belongs to a chroot's host\nError! Bad return status for module build on \
             kernel: 4.15.0-137-generic (x86_64)",
            Reason::DkmsBuild,
        ),
        // FaaSMem 1: a kernel of one's own, and none of the vendor's sources compiles for it.
        (
            Doing::Vendors,
            "\u{1b}[31mError! Bad return status for module build on kernel: 6.1.55-fastswap (x86_64)\u{1b}[0m\nConsult \
             /var/lib/dkms/kernel-mft-dkms/4.14.0/build/make.log for more information.",
            Reason::DkmsBuild,
        ),
        // hermit 8: the installer's last words of a build that failed.
        (
            Doing::Vendors,
            "Building MLNX_OFED_LINUX DEBS . Please wait...\nFailed to build MLNX_OFED_LINUX for 5.14.0-rc5",
            Reason::DkmsBuild,
        ),
        // bfb-build 1: a spec file that names what the build did not make.
        (
            Doing::Vendors,
            "Processing files: iser-5.6-OFED.5.6.1.0.1.1.kver.4.19.0_1.0.1.6.aarch64\nerror: File not found by glob: \
             /var/tmp/OFED_topdir/BUILDROOT/iser-5.6-OFED.5.6.1.0.1.1.aarch64/etc/depmod.d/zz02-iser-*.conf\nFailed to \
             build MLNX_OFED_LINUX for 4.19.0",
            Reason::DkmsBuild,
        ),
        // debian-nvidia-installer 48 in its form, and DOCA on a kernel with CONFIG_MLXFW=y: a symbol that the kernel has.
        (
            Doing::Vendors,
            "  MODPOST Module.symvers\nERROR: modpost: drivers/net/ethernet/mellanox/mlxfw/mlxfw: \
             'mlxfw_firmware_flash' exported twice. Previous export was in vmlinux\nError! Bad return status for \
             module build on kernel: 6.6.0-custom (x86_64)",
            Reason::KernelUnsupported,
        ),
        // open-gpu-kernel-modules 805 in its form: a compiler that no dependency brings.
        (
            Doing::Vendors,
            "/bin/sh: line 1: make: command not found\nError! Bad return status for module build on kernel: \
             5.14.0-503.26.1.el9_5.x86_64 (x86_64)",
            Reason::PrerequisitesMissing,
        ),
    ];
    for (doing, said, wanted) in table {
        assert_eq!(reason_of(said, doing, Reason::Internal), wanted, "{said}");
    }
}
