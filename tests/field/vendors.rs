//! Problems that users have reported with the vendor's packages and their installers.

use crate::common::program;
use ofedctl::catalog::versions::Version;
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
        // NVIDIA/cuda-quantum 5456: packages of DOCA that were signed anew in January 2026, and the old key in the image.
        (
            Doing::Resolving(Speaker::Dnf),
            "Importing GPG key 0xE6D6A281:\nImport of key(s) didn't help, wrong key(s)?\nError: GPG check FAILED",
            Reason::RepositoryKey,
        ),
        // Azure/AgentBaker 9256 and 9394, Mellanox/bfb-build 81: the same for apt.
        (
            Doing::Resolving(Speaker::Apt),
            "W: GPG error: https://linux.mellanox.com/public/repo/doca/latest/ubuntu24.04/arm64-sbsa ./ InRelease: The \
             following signatures couldn't be verified because the public key is not available: NO_PUBKEY \
             DC726C5E41B9CC50\nE: The repository 'https://linux.mellanox.com/public/repo/doca/latest/ubuntu24.04/arm64-sbsa \
             ./ InRelease' is not signed.",
            Reason::RepositoryKey,
        ),
        // NVIDIA/cuda-repo-management 39: sqv takes no key that vouches for itself with SHA-1 since February 2026.
        (
            Doing::Resolving(Speaker::Apt),
            "W: OpenPGP signature verification failed: https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64 \
             InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Signing key on \
             EB693B3035CD5710E231E123A4B469963BF863CC is not bound: No binding signature because: SHA1 is not considered \
             secure since 2026-02-01T00:00:00Z",
            Reason::RepositoryKey,
        ),
        // xcat2/xcat-dep 51: Enterprise Linux 9 takes no signature with SHA-1, whatever `gpgcheck` says.
        (
            Doing::Installing(Speaker::Dnf),
            "Error: Transaction test error:\n  package mlnx-ofa_kernel-5.4-OFED.5.4.1.0.3.1.rhel8u4.x86_64 does not verify: Header \
             V4 DSA/SHA1 Signature, key ID 6224c050: BAD",
            Reason::RepositoryKey,
        ),
        // openucx/ucx 6662: a package of somebody's that is built against another release of the vendor's libraries.
        (
            Doing::Resolving(Speaker::Dnf),
            "Error: Package: ucx-1.10.0-1.el7.x86_64 (/ucx-1.10.0-1.el7.x86_64)\n           Requires: libibverbs = \
             50mlnx1-1.50100.0\n           Installed: libibverbs-52mlnx1-1.53100.x86_64 (installed)\n You could try \
             using --skip-broken to work around the problem",
            Reason::ResolveFailed,
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
        // microsoft/linux-package-repositories 351: Enterprise Linux 9.8 takes no package without a digest.
        (
            Doing::Installing(Speaker::Dnf),
            "Error: Transaction test error:\n  package mdatp-101.26052.0009-1.x86_64 does not verify: no digest",
            Reason::RepositoryKey,
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

/// What is planned for ConnectX-6 on a described target.
fn planned(distro: &str, arch: &str, kernel: &str, more: &[&str]) -> program::Ran {
    let target = ["plan", "--json", "--nic", "cx6", "--distro", distro, "--arch", arch, "--kernel", kernel];
    program::run(&[&target[..], more].concat())
}

#[test]
fn each_cell_of_azures_images_for_hpc_is_planned_as_there_or_newer() {
    // Azure/azhpc-images, versions.json of November 2026, with kernels of those images.
    for (distro, arch, kernel, theirs) in [
        ("ubuntu22.04", "x86_64", "6.8.0-1044-azure", "3.2.1"),
        ("ubuntu24.04", "x86_64", "6.17.0-1008-azure", "3.2.3"),
        ("ubuntu24.04", "aarch64", "6.14.0-1014-azure-nvidia", "3.2.2"),
        ("almalinux8.10", "x86_64", "4.18.0-553.89.1.el8_10.x86_64", "3.2.1"),
        ("rhel8.10", "x86_64", "4.18.0-553.89.1.el8_10.x86_64", "2.8.0"),
        ("rocky8.10", "x86_64", "4.18.0-553.89.1.el8_10.x86_64", "3.2.1"),
        ("almalinux9.8", "x86_64", "5.14.0-687.5.1.el9_8.x86_64", "3.2.2"),
        ("rocky9.8", "x86_64", "5.14.0-687.5.1.el9_8.x86_64", "3.2.2"),
    ] {
        let ran = planned(distro, arch, kernel, &[]);
        assert_eq!(ran.code, 0, "{distro}: {}", ran.stderr);
        let plan = ran.json();
        let version = Version::new(plan["driver_version"].as_str().unwrap_or_default());
        assert!(plan["driver"] == "doca" && version >= Version::new(theirs), "{distro} {arch}: {plan}");
        assert_eq!(plan["artifact"]["trust"], "digest", "{distro} {arch}");
    }
    // Their list names a package of Alibaba's distribution here; their script installs the distribution's own.
    let plan = planned("azurelinux3.0", "x86_64", "6.6.96.1-1.azl3", &[]).json();
    assert_eq!(plan["driver"], "inbox");
    let packages = plan["packages"].as_array().unwrap();
    assert!(packages.iter().any(|name| name == "mlnx-ofa_kernel-modules"), "{plan}");
}

#[test]
fn a_release_that_came_before_a_kernel_is_refused_for_it_with_its_range() {
    let refused = |distro, kernel, version, range: &str| {
        let ran = planned(distro, "x86_64", kernel, &["--driver-version", version]);
        ran.expect(12, "kernel-unsupported");
        assert!(ran.stdout.contains(range), "{}", ran.stdout);
    };
    refused("ubuntu24.04", "6.12.68-061268-generic", "3.2.1", "TLS interface");
    // codgician/mlnx-ofed-nixos, commits 73b7d8d and 1b87faa (after its pull requests 7 and 16): stable releases change too.
    refused("ubuntu24.04", "6.12.60-061260-generic", "3.2.1", "TLS interface");
    refused("ubuntu26.04", "6.18.45-061845-generic", "3.4.0", "xsk_tx_metadata_request");
    // microsoft/azure-linux-kernel 28: 4.3 to 4.5 with a kernel of Azure's that got newer code.
    let file = "https://content.mellanox.com/ofed/MLNX_OFED-4.5-1.0.1.0/MLNX_OFED_LINUX-4.5-1.0.1.0-ubuntu18.04-x86_64.tgz";
    let sha256 = format!("sha256={}", "0".repeat(64));
    let own = ["--driver-version", "4.5-1.0.1.0", "--artifact", file, "--set", &sha256];
    let ran = planned("ubuntu18.04", "x86_64", "4.15.0-1041-azure", &own);
    ran.expect(12, "kernel-unsupported");
    assert!(ran.stdout.contains("azure-linux-kernel, issue 28"), "{}", ran.stdout);
    assert_eq!(planned("ubuntu18.04", "x86_64", "4.15.0-1037-azure", &own).code, 0);
    // Prebuilt modules of one minor release's first kernel: 2.10 on an errata kernel, and 3.1 for 9.6 on 9.7.
    for (distro, kernel, version) in [
        ("almalinux8.10", "4.18.0-553.89.1.el8_10.x86_64", "2.10.0"),
        ("rhel9.6", "5.14.0-570.62.1.el9_6.x86_64", "3.1.0"),
        ("rhel9.7", "5.14.0-611.5.1.el9_7.x86_64", "3.1.0"),
    ] {
        planned(distro, "x86_64", kernel, &["--driver-version", version]).expect(12, "image-unsupported");
    }
    // microsoft/lisa, pull request 2212: Ubuntu 20.04 with 5.15 needs 5.7. siderolabs/pkgs, 1048: 5.9 left for 24.07 on 6.6.
    refused("ubuntu20.04", "5.15.0-1017-azure", "5.4-1.0.3.0", "kernels below 5.11");
    refused("ubuntu22.04", "6.6.54-talos", "5.9-0.5.6.0", "kernels below 6.2");
    let taken = planned("ubuntu20.04", "x86_64", "5.15.0-1017-azure", &["--driver-version", "5.7-1.0.2.0"]);
    assert_eq!(
        taken.json()["reason"],
        "image-unsupported",
        "the catalogue has no such file: {}",
        taken.stdout
    );
}

#[test]
fn a_file_of_the_vendors_that_no_list_names_is_taken_with_its_digest_and_not_without() {
    let digest = "0123456789abcdef".repeat(4);
    for (distro, kernel, name) in [
        // Mellanox/ofed-docker 36 and Mellanox/network-operator 604.
        ("centos7.9", "3.10.0-1160.el7.x86_64", "MLNX_OFED_LINUX-5.6-2.0.9.0-rhel7.9-x86_64.tgz"),
        // spdk/spdk 2167.
        ("ol8.4", "5.4.17-2102.203.6.el8uek.x86_64", "MLNX_OFED_LINUX-5.4-1.0.3.0-ol8.4-x86_64.tgz"),
    ] {
        let artifact = format!("http://files.example/ofed-driver/{name}");
        let bare = planned(distro, "x86_64", kernel, &["--artifact", &artifact]);
        bare.expect(1, "bad-settings");
        let sha256 = format!("sha256={digest}");
        let ran = planned(distro, "x86_64", kernel, &["--artifact", &artifact, "--set", &sha256]);
        assert_eq!(ran.code, 0, "{name}: {}{}", ran.stderr, ran.stdout);
        assert_eq!(ran.json()["artifact"]["url"], artifact);
    }
    // dell/omnia 1413: a version is named for a whole fleet of RHEL and Rocky Linux, and nothing else.
    let sha256 = format!("sha256={digest}");
    let version = ["--driver-version", "5.8-6.0.4.2", "--set", &sha256];
    let ran = planned("rocky8.8", "x86_64", "4.18.0-477.10.1.el8_8.x86_64", &version);
    assert_eq!(ran.code, 0, "{}{}", ran.stderr, ran.stdout);
    let url = "https://content.mellanox.com/ofed/MLNX_OFED-5.8-6.0.4.2/MLNX_OFED_LINUX-5.8-6.0.4.2-rhel8.8-x86_64.tgz";
    assert_eq!(ran.json()["artifact"]["url"], url);
}
