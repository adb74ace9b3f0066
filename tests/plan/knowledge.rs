//! What the catalogue knows of kernels, and what a file's own name tells.

use crate::machine::{CATALOG, machine, planned, refused};
use ofedctl::outcome::Reason;
use ofedctl::plan::{Described, plan};
use ofedctl::plan_document::Plan;
use ofedctl::settings::{Settings, UnsupportedKernel};
use ofedctl::target::{Arch, Mode, Nic};

const DIGEST: &str = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF";

/// A bake of one kernel, without facts of a root.
fn for_kernel(distro: &str, kernel: &str, settings: &Settings) -> anyhow::Result<Plan> {
    let described =
        Described { distro: distro.parse().ok(), arch: Some(Arch::X86_64), ..Described::default() };
    let settings = Settings { kernels: vec![kernel.to_owned()], nic: Some(Nic::Cx6), ..settings.clone() };
    plan(&described, None, Mode::Bake, &CATALOG, &settings)
}

#[test]
fn a_release_is_not_planned_for_kernels_that_it_is_known_not_to_build_for() {
    let auto = Settings::default();
    for (distro, kernel, taken) in [
        ("ubuntu18.04", "5.4.0-1109-azure", "mlnx_ofed 23.04-1.1.3.0"),
        // stackhpc-release-train, pull request 545, and stackhpc-kayobe-config, 2430: 3.2.2 does not compile, 3.2.3 does.
        ("almalinux9.8", "5.14.0-687.5.1.el9_8.x86_64", "doca 3.2.3"),
        ("rocky9.7", "5.14.0-611.5.1.el9_7.x86_64", "doca 3.2.2"),
    ] {
        assert_eq!(for_kernel(distro, kernel, &auto).unwrap().driver_name(), taken, "{distro} {kernel}");
    }
    // siderolabs/pkgs, pull request 637, and geerlingguy/raspberry-pi-pcie-devices, issue 143.
    for (distro, version, kernel, range) in [
        ("ubuntu22.04", "5.8", "6.2.0-1018-azure", "kernels below 6.1"),
        ("ubuntu22.04", "5.8", "6.1.0-1018-azure", "kernels below 6.1"),
        ("rhel7.6", "5.0", "6.1.0-1.x86_64", "kernels below 5.10"),
        ("almalinux9.8", "3.2.2", "5.14.0-687.5.1.el9_8.x86_64", "dpll_ffo_param"),
    ] {
        let named = Settings { driver_version: Some(version.to_owned()), ..Settings::default() };
        let (reason, said) = refused(for_kernel(distro, kernel, &named));
        assert_eq!(reason, Reason::KernelUnsupported, "{said}");
        assert!(said.contains(range) && said.contains("`unsupported_kernel: try`"), "{said}");
        let tried = Settings { unsupported_kernel: UnsupportedKernel::Try, ..named };
        assert!(for_kernel(distro, kernel, &tried).unwrap().driver_version.unwrap().starts_with(version));
    }
    // The setting alone makes no choice a bolder one.
    let bold = Settings { unsupported_kernel: UnsupportedKernel::Try, ..auto };
    let taken = for_kernel("almalinux9.8", "5.14.0-687.5.1.el9_8.x86_64", &bold).unwrap();
    assert_eq!(taken.driver_name(), "doca 3.2.3");
}

#[test]
fn every_limit_of_a_line_has_its_source() {
    for (name, line) in &CATALOG.lines {
        assert_eq!(line.kernel_below.is_some(), line.kernel_source.is_some(), "{name}");
    }
    assert!(
        CATALOG.known_bad.iter().all(|bad| CATALOG.lines.contains_key(&bad.line) && !bad.source.is_empty())
    );
}

fn on(distro: &str, settings: &Settings) -> anyhow::Result<Plan> {
    let settings = Settings { nic: Some(Nic::Cx6), ..settings.clone() };
    planned(&machine(distro, Arch::X86_64, "4.18.0-193.el8.x86_64"), Mode::Bake, &settings)
}

#[test]
fn a_file_name_tells_driver_and_version() {
    let file = "/srv/doca-host_3.2.1-044000-25.10-ubuntu2204_amd64.deb";
    let given = Settings { artifact: Some(file.to_owned()), ..Settings::default() };
    let plan = on("ubuntu22.04", &given).unwrap();
    assert_eq!(plan.driver_name(), "doca 3.2.1");
    assert_eq!(plan.artifact.unwrap().url, format!("file://{file}"));
    // A file of this machine needs somebody's word on its digest.
    let unknown = "/srv/MLNX_OFED_LINUX-5.5-1.0.3.2-rhel8.2-x86_64.tgz";
    let given = Settings { artifact: Some(unknown.to_owned()), ..Settings::default() };
    let (reason, said) = refused(on("rhel8.2", &given));
    assert!(reason == Reason::BadSettings && said.contains("not the vendor's own place"), "{said}");
    let pinned = Settings { sha256: Some(DIGEST.to_owned()), ..given };
    assert_eq!(on("rhel8.2", &pinned).unwrap().driver_name(), "mlnx_ofed 5.5-1.0.3.2");
}
