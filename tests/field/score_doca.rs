//! The rows of the score about DOCA: each failure of its packages that is publicly known, and what this program does about
//! it. Where a row has several proofs, the first is what is planned, and the others what is told when it happens anyhow.

use crate::common::endings;
use crate::score::Proof::{self, Described, Ends, Mended, Refused, Said};
use ofedctl::outcome::{Cause, Reason};
use ofedctl::packages::diagnose::Doing;
use ofedctl::packages::diagnose::Speaker::Apt;

/// What is asked of a plan for one kernel of a machine with a ConnectX-7.
macro_rules! asked {
    ($distro:literal, $kernel:literal $(, $more:literal)*) => {
        &["--distro", $distro, "--nic", "cx7", "--arch", "x86_64", "--kernel", $kernel $(, $more)*]
    };
}

const JAMMY: &[&str] = asked!("ubuntu22.04", "5.15.0-1064-azure");
const ROCKY98: &[&str] = asked!("rocky9.8", "5.14.0-687.5.1.el9_8.x86_64");
const ROCKY98_LATER: &[&str] = asked!("rocky9.8", "5.14.0-687.25.1.el9_8.x86_64");
const NOBLE617: &[&str] =
    asked!("ubuntu24.04", "6.17.0-1008-azure", "--driver", "doca", "--driver-version", "3.2.1");
const NOBLE612: &[&str] =
    asked!("ubuntu24.04", "6.12.68-061268-generic", "--driver", "doca", "--driver-version", "3.2.1");
const ERRATA: &[&str] =
    asked!("almalinux8.10", "4.18.0-553.89.1.el8_10.x86_64", "--driver-version", "2.10.0");
const OF_96: &[&str] = asked!("rhel9.7", "5.14.0-611.5.1.el9_7.x86_64", "--driver-version", "3.1.0");
const AZURE3: &[&str] = asked!("azurelinux3.0", "6.6.96.1-1.azl3");

#[rustfmt::skip]
pub(crate) const DOCA: &[(&str, &[Proof])] = &[
    ("network-operator 1450 and 1453: packages of built modules need linux-modules-extra", &[
        Described(JAMMY, &["\"doca-ofed\"", "\"dkms\"", "\"linux-headers-5.15.0-1064-azure\""]),
        Said(Doing::Resolving(Apt), "The following packages have unmet dependencies:\n mlnx-ofed-kernel-modules : Depends: linux-modules-extra-5.15.0-106-generic but it is not installable\nE: Unable to correct problems, you have held broken packages.", Reason::ResolveFailed, "package sources")]),
    ("azhpc-images 550 and 567: 3.2 does not compile on EL 9.8 (struct dpll_ffo_param)", &[
        Described(ROCKY98, &["\"3.2.2\"", "struct dpll_ffo_param", "mlnx-ofa_kernel"]),
        Ends("vendor/failures.rs", "modules_that_do_not_build_are_named_with_the_compilers_words", &endings::MODULES_DO_NOT_BUILD)]),
    ("stackhpc-kayobe-config 2404, 2418 and 2430, ansible-slurm-appliance 999: 3.2.2 on later kernels of EL 9.8", &[
        Described(ROCKY98_LATER, &["\"3.2.3\"", "687.12.1"])]),
    ("3.2.1 on 6.17 and on 6.12.68: the TLS interface changed", &[
        Refused(NOBLE617, Reason::KernelUnsupported, Some(Cause::KernelOutOfRange), "within the range"),
        Refused(NOBLE612, Reason::KernelUnsupported, Some(Cause::KernelOutOfRange), "within the range")]),
    ("a kernel with CONFIG_MLXFW=y: a symbol is exported twice", &[
        Said(Doing::Vendors, "ERROR: modpost: drivers/net/ethernet/mellanox/mlxfw/mlxfw: 'mlxfw_firmware_flash' exported twice. Previous export was in vmlinux", Reason::KernelUnsupported, "kernel")]),
    ("`could not determine kernel version`: no gcc or make", &[
        Described(JAMMY, &["\"gcc\"", "\"make\""]),
        Said(Doing::Vendors, "configure: error: could not determine kernel version", Reason::PrerequisitesMissing, "what is missing")]),
    ("2.10 on an errata kernel of EL: goes back to the first kernel's modules", &[
        Refused(ERRATA, Reason::ImageUnsupported, None, "`ofedctl catalog list`")]),
    ("3.1 for 9.6 on 9.7: brings kernel-core of 9.6 into the image", &[
        Refused(OF_96, Reason::ImageUnsupported, None, "`ofedctl catalog list`"),
        Ends("rpm/vendor_failures.rs", "a_kernel_that_a_vendors_package_needs_never_comes_into_an_image_unasked", &endings::KERNEL_UNASKED)]),
    ("azhpc-images 567: sources named with a kernel, by doca-kernel-support, break the exact dependency of the -dkms package", &[
        Mended("rpm/vendor_failures.rs", "sources_that_were_made_for_one_kernel_do_not_take_the_place_of_the_vendors_own", &["mlnx-ofa_kernel", "staged"])]),
    ("azhpc-images 546: the distribution's newer libibverbs comes with an update on 9.8", &[
        Mended("rpm/vendor.rs", "doca_is_baked_from_its_own_repository_and_a_second_time_without_compiling", &["libibverbs-25-1", "upgraded", "excludepkgs"])]),
    ("stackhpc: /tmp is noexec, and the build script cannot run", &[
        Mended("field/broken_state.rs", "a_package_that_runs_a_program_from_its_temporary_folder_is_installed_where_tmp_runs_none", &["-o noexec", "reboot-required"]),
        Ends("vendor/failures.rs", "where_no_program_runs_from_var_nothing_is_changed_and_when_it_does_the_driver_is_built", &endings::NOTHING_RUNS_IN_VAR)]),
    ("azhpc-images 572: 3.3 on Azure Linux asks for knem, which is gone", &[
        Described(AZURE3, &["\"inbox\"", "mlnx-ofa_kernel-modules"])]),
];
