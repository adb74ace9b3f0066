//! The score of diagnosis: the failures that users of `MLNX_OFED` on Azure meet, those that users of VM extensions meet, and
//! the situations of public reports, in a row each. What a program prints is read here; what a machine is, is planned for
//! here; and what needs a package manager or a boot is provoked by the test that a row names.

use crate::common::program;
use crate::common::small_root::{KERNEL, SmallRoot};
use crate::common::{need::need_root, scratch};
use ofedctl::outcome::{Cause, Reason};
use ofedctl::packages::diagnose::Speaker::{Apt, Dnf};
use ofedctl::packages::diagnose::{Doing, reason_of};
use ofedctl::remedies::Situation;
use std::path::Path;
use std::process::Command;

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");

/// How a row is proven.
enum Proof {
    /// What a program prints has this reason, and the remedy has these words.
    Said(Doing, &'static str, Reason, &'static str),
    /// The facts of a machine, from the fixtures, changed: what a plan for it ends with, and words of message and remedy.
    Machine(fn(&Path), &'static [&'static str], Reason, Option<Cause>, &'static str),
    /// A test provokes it: its file below `tests`, and its name.
    Test(&'static str, &'static str),
}
use Proof::{Machine, Said, Test};

const RESOLVING: Doing = Doing::Resolving(Apt);
const VENDORS: Doing = Doing::Vendors;
const HB: &str = "hb120rs_v3-ubuntu20.04";

fn unchanged(_: &Path) {}

fn without(root: &Path, path: &str) {
    std::fs::remove_dir_all(root.join(path)).unwrap();
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    std::fs::write(root.join(path), bytes).unwrap();
}

/// The InfiniBand function has not come; the size says that there is one.
fn without_function(root: &Path) {
    without(root, "sys/bus/pci/devices/0101:00:00.0");
}

fn without_bus(root: &Path) {
    without(root, "sys/bus/vmbus");
    without_function(root);
}

fn with_secure_boot(root: &Path) {
    put(root, "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", &[6, 0, 0, 0, 1]);
}

fn with_core_built_in(root: &Path) {
    let kernel = std::fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap();
    put(root, &format!("lib/modules/{}/modules.builtin", kernel.trim()), b"kernel/drivers/mlx5_core.ko\n");
}

fn with_another_release(root: &Path) {
    put(root, "etc/os-release", b"ID=ubuntu\nVERSION_ID=\"12.04\"\n");
}

/// The fifteen failure modes of `MLNX_OFED` and DOCA.
#[rustfmt::skip]
const OFED: &[(&str, &[Proof])] = &[
    ("1 a kernel newer than the package", &[
        Said(VENDORS, "The 6.8.0-1 kernel is installed, MLNX_OFED_LINUX does not have drivers available for this kernel.", Reason::KernelUnsupported, "a driver that is made for this one"),
        Test("field/remedies.rs", "settings_that_are_advised_end_the_refusal_of_a_described_target")]),
    ("2 backports that do not know the kernel", &[
        Said(VENDORS, "main.c:12: error: implicit declaration of function 'x'", Reason::DkmsBuild, "a newer release of the driver"),
        Said(VENDORS, "Error! Bad return status for module build on kernel: 6.8.0-1 (x86_64)", Reason::DkmsBuild, "compiler's lines"),
        Test("vendor/failures.rs", "modules_that_do_not_build_are_named_with_the_compilers_words")]),
    ("3 headers that are gone", &[
        Said(VENDORS, "Provide path to the kernel sources for 5.4.0-1 kernel.", Reason::HeadersMissing, "still have its headers"),
        Said(RESOLVING, "E: Unable to locate package linux-headers-5.15.0-1", Reason::HeadersMissing, "still have its headers"),
        Said(Doing::Resolving(Dnf), "No match for argument: kernel-devel-4.18.0-1.el8", Reason::HeadersMissing, "boot a newer kernel"),
        Test("vendor/failures.rs", "headers_that_are_not_to_be_had_are_named_while_staging_and_while_baking")]),
    ("4 a lock that is held", &[
        Said(Doing::Installing(Apt), "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)", Reason::LockTimeout, "raise `lock_timeout`"),
        Said(Doing::Installing(Dnf), "Waiting for process with pid 7 to finish.", Reason::LockTimeout, "Wait for the named program"),
        Test("bake_failures.rs", "a_package_manager_at_work_is_waited_for_and_then_named")]),
    ("5 a full disk", &[
        Said(VENDORS, "Not enough free space. Required 1048576KB", Reason::NoSpace, "Free space on the named file system"),
        Said(Doing::Installing(Apt), "dpkg: error: unable to write: No space left on device", Reason::NoSpace, "run again"),
        Test("vendor/failures.rs", "a_full_disk_is_named_and_with_room_the_next_bake_finishes")]),
    ("6 a package of another distribution", &[
        Said(VENDORS, "Error: The current MLNX_OFED_LINUX is intended for rhel8.6", Reason::WrongPackage, "the package for this distribution"),
        Test("vendor/failures.rs", "a_package_for_another_distribution_is_refused_before_its_installer_runs")]),
    ("7 prerequisites", &[
        Said(VENDORS, "Error: One or more required packages for installing MLNX_OFED_LINUX are missing.", Reason::PrerequisitesMissing, "Stage again"),
        Test("rpm/vendor_failures.rs", "what_the_installer_misses_is_installed_from_the_cache_and_it_is_run_once_more")]),
    ("8 an adapter that the release does not know", &[
        Said(VENDORS, "System has one or more unsupported device, see below.", Reason::AdapterUnsupported, "ConnectX-3 Pro needs MLNX_OFED 4.9"),
        Test("plan/settings.rs", "the_old_adapter_gets_the_old_line_while_kernels_let_it")]),
    ("9 packages in the way", &[
        Said(RESOLVING, "E: Unable to correct problems, you have held broken packages.", Reason::ResolveFailed, "package sources"),
        Said(Doing::Installing(Apt), "trying to overwrite '/etc/pmix-mca-params.conf', which is also in package libpmix2", Reason::PackageConflict, "Remove the package"),
        Said(Doing::Resolving(Dnf), "- cannot install both libibverbs-41 and libibverbs-2501", Reason::PackageConflict, "Remove the package"),
        Test("rpm/vendor_failures.rs", "a_file_of_the_vendors_that_another_package_has_is_named_with_both")]),
    ("10 modules of another kernel", &[
        Said(VENDORS, "Module mlx5_ib belong to a kernel which is not a part of MLNX_OFED, skipping...", Reason::DriverShadowed, "weak-updates"),
        Test("plan/settings.rs", "a_driver_that_lacks_a_new_kernel_is_built_for_it_from_the_sources_that_are_there")]),
    ("11 modules in use", &[
        Said(VENDORS, "rmmod: ERROR: Module ib_core is in use by: ko2iblnd rpcrdma", Reason::DriverInUse, "Reboot"),
        Test("field/surroundings.rs", "modules_that_share_ib_core_are_named_with_what_becomes_of_them")]),
    ("12 Secure Boot", &[
        Said(VENDORS, "modprobe: ERROR: could not insert 'mlx5_core': Required key not available", Reason::SecureBoot, "Standard security type"),
        Machine(with_secure_boot, &["--set", "driver=mlnx_ofed"], Reason::SecureBoot, Some(Cause::ModulesRefused), "--set driver=inbox")]),
    ("13 a function that is not there", &[
        Machine(without_function, &[], Reason::NoIbDevice, None, "Stop (deallocate) and start the VM")]),
    ("14 an interface without an address", &[
        Test("extension/ipoib.rs", "without_what_is_planned_for_it_the_agent_gives_no_address"),
        Test("extension/ipoib.rs", "an_agent_that_looks_for_ib0_finds_it_in_a_baked_root")]),
    ("15 a boot that waits", &[
        Test("field/surroundings.rs", "managers_leave_interfaces_alone_that_others_look_after"),
        Test("field/score.rs", "a_service_that_hangs_at_boot_has_its_reason_and_remedy")]),
];

/// The twelve that users of VM extensions meet.
#[rustfmt::skip]
const AGENT: &[(&str, &[Proof])] = &[
    ("1 a lock", &[Test("bake_failures.rs", "a_package_manager_at_work_is_waited_for_and_then_named")]),
    ("2 a run that was killed", &[
        Test("extension/interrupted.rs", "a_power_loss_while_packages_are_installed_is_mended_at_the_next_start"),
        Test("field/interrupted.rs", "an_image_that_was_captured_while_dpkg_worked_is_healed_by_a_bake")]),
    ("3 a status that stays transitioning", &[
        Test("extension/interrupted.rs", "a_worker_asked_to_stop_says_so_and_the_next_start_goes_on"),
        Test("extension/interrupted.rs", "disable_lets_go_of_a_worker_that_waits_and_enable_begins_again")]),
    ("4 modules that are built in", &[
        Machine(with_core_built_in, &["--set", "driver=mlnx_ofed"], Reason::KernelUnsupported, Some(Cause::ModuleBuiltIn), "--set driver=inbox")]),
    ("5 headers that are not in the repositories", &[
        Said(Doing::Resolving(Dnf), "Error: Unable to find a match: kernel-devel-3.10.0-957.el7", Reason::HeadersMissing, "Stage again"),
        Test("rpm/enterprise.rs", "mlnx_ofed_is_built_on_centos_7_with_headers_that_only_the_catalogue_knows_of")]),
    ("6 modules of another kernel after an update", &[
        Test("extension/life.rs", "the_agent_installs_and_enables_again_and_follows_new_settings_and_kernels"),
        Test("field/updates.rs", "a_new_kernel_is_kept_away_or_built_for_or_left_alone_as_the_setting_says")]),
    ("7 openibd and modules in use", &[
        Said(VENDORS, "rmmod: FATAL: Module mlx5_core is in use.", Reason::DriverInUse, "before anything uses the adapter")]),
    ("8 ib0 without an address", &[
        Test("extension/ipoib.rs", "an_agent_that_takes_any_name_finds_the_interface_in_a_baked_root"),
        Test("extension/ipoib.rs", "without_what_is_planned_for_it_the_agent_gives_no_address")]),
    ("9 a machine that is misread", &[
        Machine(without_bus, &[], Reason::NoVmbus, None, "Run it on an Azure VM"),
        Machine(without_function, &["--set", "vm_size=Standard_D4s_v5"], Reason::SizeNotRdma, None, "Standard_HB120rs_v3"),
        Machine(with_another_release, &["--set", "driver=mlnx_ofed"], Reason::ImageUnsupported, None, "--set driver=auto"),
        Test("extension/refusals.rs", "each_refusal_has_its_code_and_changes_nothing")]),
    ("10 a prompt of Secure Boot", &[
        Machine(with_secure_boot, &["--set", "driver=mlnx_ofed"], Reason::SecureBoot, Some(Cause::ModulesRefused), "disable Secure Boot")]),
    ("11 no network, and a folder that runs nothing", &[
        Said(RESOLVING, "W: Failed to fetch http://deb.debian.org/debian/dists/stable/InRelease  Temporary failure resolving 'deb.debian.org'", Reason::NameUnknown, "this machine's DNS"),
        Said(Doing::Resolving(Dnf), "- Curl error (7): Couldn't connect to server for http://127.0.0.1:9/repodata/repomd.xml [Failed to connect]", Reason::DownloadFailed, "proxy"),
        Test("extension/package.rs", "the_shim_needs_no_modes_no_exec_and_no_closed_file")]),
    ("12 a status that the agent does not take", &[
        Test("extension/life.rs", "the_agent_installs_and_enables_again_and_follows_new_settings_and_kernels"),
        Test("extension/refusals.rs", "without_settings_a_failed_run_fails_the_command_and_a_good_one_does_not")]),
];

/// The situations of public reports: repository and issue.
#[rustfmt::skip]
const FIELD: &[(&str, &[Proof])] = &[
    ("azhpc-images 550: DOCA does not compile on EL 9.8", &[Test("plan/knowledge.rs", "a_release_is_not_planned_for_kernels_that_it_is_known_not_to_build_for")]),
    ("microsoft/pai 2470: rows without a digest", &[Test("plan/extension.rs", "every_row_of_the_live_extension_has_its_file_or_a_newer_one_or_a_reason")]),
    ("azhpc-images 28: retired sizes", &[Test("field/sizes.rs", "a_retired_size_without_sr_iov_is_refused_with_sizes_that_can_be_had")]),
    ("AzureBuildCentOS 92: ConnectX-3 at a domain of any number", &[Test("../src/verify/live.rs", "connectx_3_in_a_domain_of_any_number_is_judged_by_the_rules_that_name_it")]),
    ("azhpc-images 372: the sources of the release lie there", &[Test("plan/settings.rs", "a_driver_that_lacks_a_new_kernel_is_built_for_it_from_the_sources_that_are_there")]),
    ("azhpc-images 119: links in weak-updates", &[Test("plan/settings.rs", "a_driver_that_lacks_a_new_kernel_is_built_for_it_from_the_sources_that_are_there")]),
    ("WALinuxAgent 1712: no ifconfig", &[Test("extension/ipoib.rs", "without_what_is_planned_for_it_the_agent_gives_no_address")]),
    ("WALinuxAgent 2814: ibP257s0", &[Test("extension/ipoib.rs", "an_agent_that_looks_for_ib0_finds_it_in_a_baked_root")]),
    ("WALinuxAgent 841: EnableRDMA", &[Test("field/around.rs", "what_is_around_a_driver_is_made_and_undone_whoever_installed_it")]),
    ("az-hop 394: another rule", &[Test("field/around.rs", "rules_and_services_that_name_devices_stay_in_charge_or_are_replaced")]),
    ("hermit 8, siderolabs/pkgs 637: an old OFED", &[Test("field/remedies.rs", "settings_that_are_advised_end_the_refusal_of_a_described_target"), Test("plan/knowledge.rs", "every_limit_of_a_line_has_its_source")]),
    ("vagrant-vbguest 349: mirrors that are gone", &[Test("field/sources_rpm.rs", "a_mirror_that_is_gone_is_told_with_the_vault")]),
    ("runner-images 7587: linux-modules-extra", &[Test("field/releases.rs", "modules_that_ubuntus_cloud_images_leave_out_are_asked_for")]),
    ("open-gpu-kernel-modules 188: the cloud flavour", &[Test("field/releases.rs", "a_described_target_is_refused_as_a_root_would_be")]),
    ("nv_peer_memory 79: another ib_core", &[Test("field/surroundings.rs", "modules_that_share_ib_core_are_named_with_what_becomes_of_them")]),
    ("trixie 81: limits of services", &[Test("field/around.rs", "limits_are_for_logins_and_services_on_every_distribution")]),
    ("drbd 123: a release that nobody lists", &[Test("field/releases.rs", "whatever_has_packages_and_modules_gets_the_distributions_own_driver")]),
    ("chroot without /proc", &[Test("field/releases.rs", "without_proc_a_run_says_so")]),
    ("a captured machine", &[Test("field/releases.rs", "a_copied_machine_is_planned_for_as_the_machine_itself"), Machine(unchanged, &["--set", "kernels=[none]"], Reason::KernelUnsupported, Some(Cause::KernelNotThere), "or none")]),
    ("a file name that tells its version", &[Test("plan/knowledge.rs", "a_file_name_tells_driver_and_version")]),
    ("no network while staging", &[Test("field/sources_apt.rs", "what_failed_first_is_told_in_one_line_and_without_a_second_try")]),
];

#[test]
fn every_row_has_its_reason_its_cause_and_a_remedy_that_fits() {
    need_root();
    assert_eq!((OFED.len(), AGENT.len(), FIELD.len()), (15, 12, 21));
    for (row, proofs) in OFED.iter().chain(AGENT).chain(FIELD) {
        assert!(!proofs.is_empty(), "{row}");
        proofs.iter().for_each(|proof| holds(row, proof));
    }
}

fn holds(row: &str, proof: &Proof) {
    match proof {
        Said(doing, printed, reason, advised) => {
            let around = format!("some words before\n{printed}\nmake: *** [all] Error 2\n");
            assert_eq!(reason_of(&around, *doing, Reason::Internal), *reason, "{row}: {printed}");
            let remedy = Situation::default().remedy(*reason, None);
            assert!(remedy.contains(advised), "{row}: {remedy}");
        }
        Machine(change, more, reason, cause, advised) => {
            let folder = scratch();
            let from = format!("{HOUSE}/tests/fixtures/hosts/{HB}/.");
            assert!(Command::new("cp").args(["-a", &from]).arg(folder.path()).status().unwrap().success());
            change(folder.path());
            let root = folder.path().to_str().unwrap();
            let ran = program::run(&[&["plan", "--json", "--root", root], *more].concat());
            let answer = ran.json();
            assert_eq!(answer["reason"], reason.token(), "{row}: {answer:#}");
            assert_eq!(answer["cause"].as_str(), cause.map(Cause::token), "{row}: {answer:#}");
            assert!(answer["remedy"].as_str().unwrap().contains(advised), "{row}: {answer:#}");
        }
        Test(file, name) => {
            let text = std::fs::read_to_string(Path::new(HOUSE).join("tests").join(file)).unwrap();
            assert!(text.contains(&format!("fn {name}()")), "{row}: {file} has no test {name}");
        }
    }
}

#[test]
fn a_service_that_hangs_at_boot_has_its_reason_and_remedy() {
    // The signatures of mode 15 are judged on a running VM by `verify` (src/verify/services.rs); what it hands over is told so.
    let remedy = Situation::default().remedy(Reason::ServiceFailed, None);
    for word in ["journalctl", "ib_iser", "wait-online"] {
        assert!(remedy.contains(word), "{remedy}");
    }
    // In an image, what waits for ib0 is named while it is planned.
    let root = SmallRoot::ubuntu().with_vendor_driver();
    root.put("usr/sbin/netplan", "");
    root.put("etc/netplan/60-ib.yaml", "network:\n  ethernets:\n    ib0: {dhcp4: true}\n");
    let why = root.plan(&["--kernel", KERNEL])["why"].to_string();
    assert!(why.contains("the boot waits for it unless it is made optional there"), "{why}");
}
