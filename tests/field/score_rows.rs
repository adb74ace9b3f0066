//! The rows of the score: what happens, and how it is proven.

use crate::common::endings;
use crate::common::small_root::{KERNEL, MODULES, SmallRoot};
use crate::releases::without_proc;
use crate::score::Proof::{self, Described, Ends, Machine, Mended, Planned, Provoked, Refused, Said};
use crate::score_provoked as provoked;
use crate::sources_apt::without_network;
use crate::sources_rpm::from_a_mirror_that_is_gone;
use crate::surroundings::with;
use crate::updates::nothing_rebuilds;
use ofedctl::outcome::{Cause, Reason};
use ofedctl::packages::diagnose::Doing;
use ofedctl::packages::diagnose::Speaker::{Apt, Dnf};
use std::path::Path;

const RESOLVING: Doing = Doing::Resolving(Apt);
const VENDORS: Doing = Doing::Vendors;
const NEW: &str = "6.8.0-1027-azure";
/// The lock that every kind of user meets.
const LOCK: Proof =
    Provoked(provoked::a_lock_that_is_held, Reason::LockTimeout, None, "Wait for the named program");

/// The test that runs the real agents of Debian 12, with what is planned for them and without.
const REAL_AGENT: Proof = Mended(
    "extension/ipoib.rs",
    "an_agent_that_looks_for_ib0_finds_it_in_a_baked_root",
    &["net-tools", "keeps_names(root), wants_ib0"],
);

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

const AGENT_CODE: &str = "usr/lib/python3/dist-packages/azurelinuxagent";

/// An agent that calls `ifconfig` and looks for `ib0`, in an image without `ifconfig`.
pub(crate) fn with_an_agent() -> SmallRoot {
    let code = "sriov \"ifconfig {0} {1}/16\" ib0 is not available\n";
    with(&[(&format!("{AGENT_CODE}/common/rdma.py"), code)])
}

/// An agent whose daemon gives no address at all.
fn with_a_faulty_agent() -> SmallRoot {
    with(&[(&format!("{AGENT_CODE}/daemon/main.py"), "GoalState(protocol, goal_state_properties)\n")])
}

fn with_a_name_of_ones_own() -> SmallRoot {
    with(&[(
        "etc/udev/rules.d/70-persistent-ipoib.rules",
        "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{type}==\"32\", NAME=\"mlx5_ib0\"\n",
    )])
}

fn with_netplans_ib0() -> SmallRoot {
    with(&[
        ("usr/sbin/netplan", ""),
        ("etc/netplan/60-ib.yaml", "network:\n  ethernets:\n    ib0: {dhcp4: true}\n"),
    ])
}

fn with_another_rule() -> SmallRoot {
    with(&[(
        "etc/udev/rules.d/60-ib.rules",
        "ACTION==\"add\", SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n",
    )])
}

fn with_users_of_ib_core() -> SmallRoot {
    let dep = "updates/dkms/nvidia-peermem.ko: updates/dkms/nvidia.ko\n";
    with(&[(&format!("lib/modules/{KERNEL}/modules.dep"), dep)])
}

/// A driver whose sources lie there, and a kernel that came after it, with these modules.
fn with_a_new_kernel(folder: &str) -> SmallRoot {
    let root = with(&[("usr/src/mlnx-ofed-kernel-25.10.OFED.25.10.1.7.1.1/dkms.conf", "")]);
    let line = |module: &&str| format!("{folder}/{module}.ko:\n");
    root.put(&format!("lib/modules/{NEW}/modules.dep"), &MODULES.iter().map(line).collect::<String>());
    root
}

pub(crate) fn with_sources_for_a_new_kernel() -> SmallRoot {
    with_a_new_kernel("kernel/drivers")
}

fn with_links_for_a_new_kernel() -> SmallRoot {
    with_a_new_kernel("weak-updates")
}

/// A kernel of Ubuntu's without the package that has the rest of its modules.
fn without_more_modules() -> SmallRoot {
    own_modules("ID=ubuntu\nVERSION_ID=\"25.04\"\n", &MODULES[..3])
}

pub(crate) fn of_an_unlisted_release() -> SmallRoot {
    own_modules("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"25.04\"\n", &MODULES)
}

fn own_modules(os_release: &str, modules: &[&str]) -> SmallRoot {
    let root = SmallRoot::ubuntu();
    root.put("etc/os-release", os_release);
    root.put("etc/ofedctl/config.yaml", "nic: cx6\n");
    root.add_modules(
        &modules.iter().map(|module| ["kernel/drivers/", module, ".ko:\n"].concat()).collect::<String>(),
    );
    root
}

/// The fifteen failure modes of `MLNX_OFED` and DOCA.
#[rustfmt::skip]
pub(crate) const OFED: &[(&str, &[Proof])] = &[
    ("1 a kernel newer than the package", &[
        Said(VENDORS, "The 6.8.0-1 kernel is installed, MLNX_OFED_LINUX does not have drivers available for this kernel.", Reason::KernelUnsupported, "a driver that is made for this one"),
        Refused(&["--distro", "ubuntu22.04", "--nic", "cx6", "--arch", "x86_64", "--kernel", "6.99.0-1-azure", "--set", "driver=mlnx_ofed"], Reason::KernelUnsupported, Some(Cause::KernelOutOfRange), "within the range")]),
    ("2 backports that do not know the kernel", &[
        Said(VENDORS, "main.c:12: error: implicit declaration of function 'x'", Reason::DkmsBuild, "a newer release of the driver"),
        Said(VENDORS, "Error! Bad return status for module build on kernel: 6.8.0-1 (x86_64)", Reason::DkmsBuild, "compiler's lines"),
        Ends("vendor/failures.rs", "modules_that_do_not_build_are_named_with_the_compilers_words", &endings::MODULES_DO_NOT_BUILD)]),
    ("3 headers that are gone", &[
        Said(VENDORS, "Provide path to the kernel sources for 5.4.0-1 kernel.", Reason::HeadersMissing, "still have its headers"),
        Said(RESOLVING, "E: Unable to locate package linux-headers-5.15.0-1", Reason::HeadersMissing, "still have its headers"),
        Said(Doing::Resolving(Dnf), "No match for argument: kernel-devel-4.18.0-1.el8", Reason::HeadersMissing, "boot a newer kernel"),
        Provoked(provoked::headers_that_are_gone, Reason::HeadersMissing, None, "still have its headers")]),
    ("4 a lock that is held", &[
        Said(Doing::Installing(Apt), "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)", Reason::LockTimeout, "raise `lock_timeout`"),
        Said(Doing::Installing(Dnf), "Waiting for process with pid 7 to finish.", Reason::LockTimeout, "Wait for the named program"),
        LOCK]),
    ("5 a full disk", &[
        Said(VENDORS, "Not enough free space. Required 1048576KB", Reason::NoSpace, "Free space on the named file system"),
        Said(Doing::Installing(Apt), "dpkg: error: unable to write: No space left on device", Reason::NoSpace, "run again"),
        Provoked(provoked::a_full_disk, Reason::NoSpace, None, "Free space")]),
    ("6 a package of another distribution", &[
        Said(VENDORS, "Error: The current MLNX_OFED_LINUX is intended for rhel8.6", Reason::WrongPackage, "the package for this distribution"),
        Ends("vendor/failures.rs", "a_package_for_another_distribution_is_refused_before_its_installer_runs", &endings::PACKAGE_OF_ANOTHER)]),
    ("7 prerequisites", &[
        Said(VENDORS, "Error: One or more required packages for installing MLNX_OFED_LINUX are missing.", Reason::PrerequisitesMissing, "Stage again"),
        Mended("rpm/vendor_failures.rs", "what_the_installer_misses_is_installed_from_the_cache_and_it_is_run_once_more", &["the installer misses tcsh", "\"installed\""])]),
    ("8 an adapter that the release does not know", &[
        Said(VENDORS, "System has one or more unsupported device, see below.", Reason::AdapterUnsupported, "ConnectX-3 Pro needs MLNX_OFED 4.9"),
        Described(&["--distro", "ubuntu20.04", "--nic", "cx3-pro", "--arch", "x86_64", "--kernel", "5.4.0-1109-azure"], &["\"4.9-6.0.6.0\"", "mlnx_ofed"]),
        Described(&["--distro", "ubuntu20.04", "--nic", "cx3-pro", "--arch", "x86_64", "--kernel", "5.15.0-1064-azure"], &["builds for kernels below 5.6", "not for 5.15.0-1064-azure", "\"message\": \"inbox\""])]),
    ("9 packages in the way", &[
        Said(RESOLVING, "E: Unable to correct problems, you have held broken packages.", Reason::ResolveFailed, "package sources"),
        Said(Doing::Installing(Apt), "trying to overwrite '/etc/pmix-mca-params.conf', which is also in package libpmix2", Reason::PackageConflict, "Remove the package"),
        Said(Doing::Resolving(Dnf), "- cannot install both libibverbs-41 and libibverbs-2501", Reason::PackageConflict, "Remove the package"),
        Ends("rpm/vendor_failures.rs", "a_file_of_the_vendors_that_another_package_has_is_named_with_both", &endings::FILE_OF_ANOTHER)]),
    ("10 modules of another kernel", &[
        Said(VENDORS, "Module mlx5_ib belong to a kernel which is not a part of MLNX_OFED, skipping...", Reason::DriverShadowed, "weak-updates"),
        Planned(with_links_for_a_new_kernel, &["weak-updates", "\"linux-headers-6.8.0-1027-azure\""])]),
    ("11 modules in use", &[
        Said(VENDORS, "rmmod: ERROR: Module ib_core is in use by: ko2iblnd rpcrdma", Reason::DriverInUse, "Reboot"),
        Planned(with_users_of_ib_core, &["nvidia_peermem for 5.15.0-1074-azure shares ib_core", "built again where DKMS has its sources"])]),
    ("12 Secure Boot", &[
        Said(VENDORS, "modprobe: ERROR: could not insert 'mlx5_core': Required key not available", Reason::SecureBoot, "Standard security type"),
        Machine(with_secure_boot, &["--set", "driver=mlnx_ofed"], Reason::SecureBoot, Some(Cause::ModulesRefused), "--set driver=inbox")]),
    ("13 a function that is not there", &[
        Machine(without_function, &[], Reason::NoIbDevice, None, "Stop (deallocate) and start the VM")]),
    ("14 an interface without an address", &[
        Planned(with_an_agent, &["calls ifconfig, which this root lacks", "\"optional\":[\"net-tools\"]"]),
        Planned(with_a_name_of_ones_own, &["looks for ib0 and gives it no address", "stays in charge"]),
        REAL_AGENT]),
    ("15 a boot that waits", &[
        Planned(with_netplans_ib0, &["configures an InfiniBand interface", "the boot waits for it unless it is made optional there"]),
        Ends("field/score.rs", "a_service_that_hangs_at_boot_has_its_reason_and_remedy", &endings::SERVICE_HANGS)]),
];

/// The twelve that users of VM extensions meet.
#[rustfmt::skip]
pub(crate) const AGENT: &[(&str, &[Proof])] = &[
    ("1 a lock", &[LOCK]),
    ("2 a run that was killed", &[
        Mended("extension/interrupted.rs", "a_power_loss_while_packages_are_installed_is_mended_at_the_next_start", &["did not end well, in step install", "reboot-required"]),
        Ends("field/interrupted.rs", "an_image_that_was_captured_while_dpkg_worked_is_healed_by_a_bake", &endings::HALF_INSTALLED)]),
    ("3 a status that stays transitioning", &[
        Ends("extension/interrupted.rs", "a_worker_asked_to_stop_says_so_and_the_next_start_goes_on", &endings::STOPPED),
        Mended("extension/interrupted.rs", "disable_lets_go_of_a_worker_that_waits_and_enable_begins_again", &["is held by process", "reboot-required"])]),
    ("4 modules that are built in", &[
        Machine(with_core_built_in, &["--set", "driver=mlnx_ofed"], Reason::KernelUnsupported, Some(Cause::ModuleBuiltIn), "--set driver=inbox")]),
    ("5 headers that are not in the repositories", &[
        Said(Doing::Resolving(Dnf), "Error: Unable to find a match: kernel-devel-3.10.0-957.el7", Reason::HeadersMissing, "Stage again"),
        Mended("rpm/enterprise.rs", "mlnx_ofed_is_built_on_centos_7_with_headers_that_only_the_catalogue_knows_of", &["kernel-devel-3.10.0-957.12.2.el7", "\"installed\""])]),
    ("6 modules of another kernel after an update", &[
        Mended("extension/life.rs", "the_agent_installs_and_enables_again_and_follows_new_settings_and_kernels", &["boot_another_kernel", "already-installed"]),
        Provoked(nothing_rebuilds, Reason::BadSettings, Some(Cause::NothingRebuilds), "`ofedctl cloud-init setup`")]),
    ("7 openibd and modules in use", &[
        Said(VENDORS, "rmmod: FATAL: Module mlx5_core is in use.", Reason::DriverInUse, "before anything uses the adapter")]),
    ("8 ib0 without an address", &[
        Planned(with_a_faulty_agent, &["never gives IPoIB interfaces addresses", "install 2.12 or newer"]),
        REAL_AGENT]),
    ("9 a machine that is misread", &[
        Machine(without_bus, &[], Reason::NoVmbus, None, "Run it on an Azure VM"),
        Machine(without_function, &["--set", "vm_size=Standard_D4s_v5"], Reason::SizeNotRdma, None, "Standard_HB120rs_v3"),
        Machine(with_another_release, &["--set", "driver=mlnx_ofed"], Reason::ImageUnsupported, None, "--set driver=auto")]),
    ("10 a prompt of Secure Boot", &[
        Machine(with_secure_boot, &["--set", "driver=mlnx_ofed"], Reason::SecureBoot, Some(Cause::ModulesRefused), "disable Secure Boot")]),
    ("11 no network, and a folder that runs nothing", &[
        Said(RESOLVING, "W: Failed to fetch http://deb.debian.org/debian/dists/stable/InRelease  Temporary failure resolving 'deb.debian.org'", Reason::NameUnknown, "this machine's DNS"),
        Said(Doing::Resolving(Dnf), "- Curl error (7): Couldn't connect to server for http://127.0.0.1:9/repodata/repomd.xml [Failed to connect]", Reason::DownloadFailed, "proxy"),
        Mended("extension/package.rs", "the_shim_needs_no_modes_no_exec_and_no_closed_file", &["noexec", "handler-ready"])]),
    ("12 a status that the agent does not take", &[
        Mended("extension/life.rs", "the_agent_installs_and_enables_again_and_follows_new_settings_and_kernels", &["boot_another_kernel", "already-installed"]),
        Provoked(provoked::an_empty_cache, Reason::CacheMissing, Some(Cause::CacheEmpty), "ofedctl stage")]),
];

/// The situations of public reports: repository and issue.
#[rustfmt::skip]
pub(crate) const FIELD: &[(&str, &[Proof])] = &[
    ("azhpc-images 550: DOCA does not compile on EL 9.8", &[Described(&["--distro", "rocky9.8", "--nic", "cx6", "--arch", "x86_64", "--kernel", "5.14.0-687.5.1.el9_8.x86_64"], &["struct dpll_ffo_param", "mlnx-ofa_kernel"])]),
    ("microsoft/pai 2470: rows without a digest", &[Refused(&["--distro", "ubuntu16.04", "--nic", "cx6", "--arch", "x86_64", "--set", "driver=mlnx_ofed", "--set", "trust=digest"], Reason::ImageUnsupported, Some(Cause::NoDigest), "--set trust")]),
    ("azhpc-images 28: retired sizes", &[Refused(&["--distro", "ubuntu22.04", "--vm-size", "Standard_NC24r"], Reason::SizeLegacyNd, None, "Standard_HB")]),
    ("AzureBuildCentOS 92: ConnectX-3 at a domain of any number", &[Mended("../src/verify/live.rs", "connectx_3_in_a_domain_of_any_number_is_judged_by_the_rules_that_name_it", &["225e:00:02.0", "(\"mlx4_ib0\", true)"])]),
    ("azhpc-images 372: the sources of the release lie there", &[Planned(with_sources_for_a_new_kernel, &["has no mlx5_core for the kernel", "\"linux-headers-6.8.0-1027-azure\""])]),
    ("azhpc-images 119: links in weak-updates", &[Planned(with_links_for_a_new_kernel, &["weak-updates", "\"linux-headers-6.8.0-1027-azure\""])]),
    ("WALinuxAgent 1712: no ifconfig", &[Planned(with_an_agent, &["calls ifconfig, which this root lacks", "\"optional\":[\"net-tools\"]"])]),
    ("WALinuxAgent 2814: ibP257s0", &[Planned(with_a_name_of_ones_own, &["looks for ib0 and gives it no address", "stays in charge"])]),
    ("WALinuxAgent 841: EnableRDMA", &[Planned(with_an_agent, &["OS.EnableRDMA", "/etc/waagent.conf"])]),
    ("az-hop 394: another rule", &[Planned(with_another_rule, &["/etc/udev/rules.d/60-ib.rules, which stays in charge", "replace_names"])]),
    ("hermit 8, siderolabs/pkgs 637: an old OFED", &[Refused(&["--distro", "ubuntu22.04", "--nic", "cx6", "--arch", "x86_64", "--kernel", "6.2.0-1018-azure", "--set", "driver_version=5.8"], Reason::KernelUnsupported, Some(Cause::KernelOutOfRange), "`driver_version`")]),
    ("vagrant-vbguest 349: mirrors that are gone", &[Provoked(from_a_mirror_that_is_gone, Reason::NotOnServer, None, "run `ofedctl stage` again")]),
    ("runner-images 7587: linux-modules-extra", &[Planned(without_more_modules, &["\"linux-modules-extra-5.15.0-1074-azure\"", "ib_ipoib"])]),
    ("open-gpu-kernel-modules 188: the cloud flavour", &[Refused(&["--driver", "inbox", "--nic", "cx6", "--distro", "debian12", "--kernel", "6.1.0-37-cloud-amd64"], Reason::KernelUnsupported, Some(Cause::KernelWithoutModules), "linux-image-amd64")]),
    ("nv_peer_memory 79: another ib_core", &[Planned(with_users_of_ib_core, &["nvidia_peermem for 5.15.0-1074-azure shares ib_core", "built again where DKMS has its sources"])]),
    ("trixie 81: limits of services", &[Described(&["--driver", "inbox", "--nic", "cx6", "--distro", "azurelinux3.0"], &["/etc/security/limits.d/90-ofedctl.conf", "/etc/systemd/system.conf.d/90-ofedctl.conf"])]),
    ("drbd 123: a release that nobody lists", &[Planned(of_an_unlisted_release, &["\"inbox\"", "ibverbs-providers"])]),
    ("chroot without /proc", &[Provoked(without_proc, Reason::ToolMissing, Some(Cause::NoProc), "mount -t proc")]),
    ("a captured machine", &[Mended("field/releases.rs", "a_copied_machine_is_planned_for_as_the_machine_itself", &["Standard_HB120rs_v3", "169.254"]), Machine(unchanged, &["--set", "kernels=[none]"], Reason::KernelUnsupported, Some(Cause::KernelNotThere), "or none")]),
    ("a file name that tells its version", &[Described(&["--distro", "ubuntu22.04", "--nic", "cx6", "--arch", "x86_64", "--set", "artifact=/srv/doca-host_3.2.1-044000-25.10-ubuntu2204_amd64.deb"], &["\"3.2.1\"", "file:///srv/doca-host_3.2.1"])]),
    ("no network while staging", &[Provoked(without_network, Reason::NameUnknown, None, "DNS")]),
];
