//! What each kernel's modules are built with: its headers, by the name and version that the distribution's packages have.

use crate::machine::CATALOG;
use ofedctl::plan::{Described, plan};
use ofedctl::settings::Settings;
use ofedctl::target::{Arch, Mode, Nic};

const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Distribution, kernel, a version to name where nobody published a digest; what is taken, and the headers.
const TABLE: [(&str, &str, &str, &str, &str); 11] = [
    // Oracle's own kernels have packages of their own; Red Hat's have Red Hat's.
    (
        "ol7.9",
        "5.4.17-2136.330.7.5.el7uek.x86_64",
        "5.4-3.0.3.0",
        "MLNX_OFED_LINUX-5.4-3.0.3.0-ol7.9-x86_64.tgz",
        "kernel-uek-devel-5.4.17-2136.330.7.5.el7uek",
    ),
    (
        "ol7.9",
        "3.10.0-1160.119.1.0.3.el7.x86_64",
        "5.4-3.0.3.0",
        "MLNX_OFED_LINUX-5.4-3.0.3.0-ol7.9-x86_64.tgz",
        "kernel-devel-3.10.0-1160.119.1.0.3.el7",
    ),
    // DOCA 3.1 has built modules for one kernel alone; of 3.2 Oracle Linux has no package.
    ("ol9.6", "6.12.0-100.28.2.el9uek.x86_64", "", "inbox", ""),
    ("ol8.10", "5.15.0-300.163.18.1.el8uek.x86_64", "", "inbox", ""),
    ("rhel10.0", "6.12.0-55.9.1.el10_0.x86_64", "", "inbox", ""),
    // One package for all of Enterprise Linux 9.
    (
        "rhel9.6",
        "5.14.0-570.12.1.el9_6.x86_64",
        "",
        "doca-host-3.2.2-035000_25.10_rhel9.x86_64.rpm",
        "kernel-devel-5.14.0-570.12.1.el9_6",
    ),
    (
        "almalinux9.4",
        "5.14.0-427.13.1.el9_4.x86_64",
        "",
        "doca-host-3.2.2-035000_25.10_rhel9.x86_64.rpm",
        "kernel-devel-5.14.0-427.13.1.el9_4",
    ),
    (
        "rocky9.7",
        "5.14.0-611.5.1.el9_7.x86_64",
        "",
        "doca-host-3.2.2-035000_25.10_rhel9.x86_64.rpm",
        "kernel-devel-5.14.0-611.5.1.el9_7",
    ),
    (
        "sles15.4",
        "5.14.21-150400.24.63-default",
        "",
        "MLNX_OFED_LINUX-5.7-1.0.2.0-sles15sp4-x86_64.tgz",
        "kernel-default-devel = 5.14.21-150400.24.63",
    ),
    (
        "sles15.3",
        "5.3.18-150300.38.83-azure",
        "",
        "MLNX_OFED_LINUX-5.6-1.0.3.3-sles15sp3-x86_64.tgz",
        "kernel-azure-devel = 5.3.18-150300.38.83",
    ),
    ("azurelinux3", "6.6.92.2-2.azl3", "", "inbox", ""),
];

#[test]
fn every_kernel_has_its_own_headers() {
    for (distro, kernel, version, file, headers) in TABLE {
        let version = Some(version).filter(|version| !version.is_empty()).map(str::to_owned);
        let settings = Settings {
            nic: Some(Nic::Cx6),
            kernels: vec![kernel.to_owned()],
            sha256: version.as_ref().map(|_| DIGEST.to_owned()),
            driver_version: version,
            ..Settings::default()
        };
        let described =
            Described { distro: distro.parse().ok(), arch: Some(Arch::X86_64), ..Described::default() };
        let plan = plan(&described, None, Mode::Bake, &CATALOG, &settings)
            .unwrap_or_else(|error| panic!("{distro} {kernel}: {error:#}"));
        let taken = plan.artifact.as_ref().map_or(plan.driver.name(), |artifact| &artifact.file_name);
        assert_eq!(taken, file, "{distro} {kernel}");
        let first = plan.packages.first().map(String::as_str).filter(|_| plan.artifact.is_some());
        assert_eq!(first.unwrap_or_default(), headers, "{distro} {kernel}");
    }
}
