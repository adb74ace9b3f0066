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
        // Here 3.2.2 is planned with what makes it compile, because somebody published its digest.
        ("almalinux9.8", "5.14.0-687.5.1.el9_8.x86_64", "doca 3.2.2"),
        ("rocky9.7", "5.14.0-611.5.1.el9_7.x86_64", "doca 3.2.2"),
        // stackhpc-kayobe-config, pull requests 2404, 2418 and 2430, and ansible-slurm-appliance, 999: 3.2.2 ends with
        // 687.12.1, and 3.2.3 builds for 687.25.1.
        ("rocky9.8", "5.14.0-687.12.1.el9_8.x86_64", "doca 3.2.2"),
        ("rocky9.8", "5.14.0-687.25.1.el9_8.x86_64", "doca 3.2.3"),
    ] {
        assert_eq!(for_kernel(distro, kernel, &auto).unwrap().driver_name(), taken, "{distro} {kernel}");
    }
    // siderolabs/pkgs, pull request 637, and geerlingguy/raspberry-pi-pcie-devices, issue 143.
    for (distro, version, kernel, range) in [
        ("ubuntu22.04", "5.8", "6.2.0-1018-azure", "kernels below 6.1"),
        ("ubuntu22.04", "5.8", "6.1.0-1018-azure", "kernels below 6.1"),
        ("rhel7.6", "5.0", "6.1.0-1.x86_64", "kernels below 5.10"),
        ("ubuntu24.04", "3.2.1", "6.17.0-1008-azure", "TLS interface"),
        ("ubuntu22.04", "23.04", "6.5.0-1025-azure", "kernels below 6.4"),
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
    assert_eq!(taken.driver_name(), "doca 3.2.2");
}

#[test]
fn a_release_that_needs_a_patch_for_a_kernel_is_planned_with_it_and_elsewhere_without() {
    // Azure/azhpc-images, issue 550 and pull request 567.
    let auto = Settings::default();
    let plan = for_kernel("rocky9.8", "5.14.0-687.5.1.el9_8.x86_64", &auto).unwrap();
    let [patch] = plan.patches.as_slice() else { panic!("{plan:?}") };
    assert_eq!((patch.package.as_str(), patch.kernels.as_str()), ("mlnx-ofa_kernel", r"\.el9_8\."));
    assert!(
        patch.text.contains("struct dpll_ffo_param") && plan.to_text().contains("patch      the sources of")
    );
    assert!(plan.packages.contains(&"dkms >= 3.2".to_owned()) && !plan.packages.contains(&"dkms".to_owned()));
    let plan = for_kernel("rocky9.7", "5.14.0-611.5.1.el9_7.x86_64", &auto).unwrap();
    assert!(plan.patches.is_empty(), "{plan:?}");
}

/// The line of the driver as it stood before, in as much as the change names it; the rest is of no matter to `patch`.
const DPLL: [&str; 2] = [
    "\t\t\t     s64 *ffo, struct netlink_ext_ack *extack)",
    "\treturn mlx5_dpll_pin_ffo_get(&synce_status, ffo);",
];

#[test]
fn the_catalogues_patch_applies_where_its_lines_are_and_nowhere_else() {
    let bad = CATALOG.known_bad.iter().find(|bad| bad.patch.is_some()).unwrap();
    let text = &bad.patch.as_ref().unwrap().text;
    // At the lines it names, and some lines away, as in other releases.
    for shift in [0, 5] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("drivers/net/ethernet/mellanox/mlx5/core/dpll.c");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut lines: Vec<String> = (0..400).map(|number| format!("/* {number} */")).collect();
        DPLL[0].clone_into(&mut lines[333 + shift]);
        DPLL[1].clone_into(&mut lines[342 + shift]);
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        std::fs::write(folder.path().join("the.patch"), text).unwrap();
        let mut patch = std::process::Command::new("patch");
        let done = patch.args(["-p1", "-i", "the.patch"]).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
        let now = std::fs::read_to_string(&file).unwrap();
        assert!(now.contains("&offset->ffo") && !DPLL.iter().any(|line| now.contains(line)), "{now}");
        assert_eq!(now.lines().count(), 400);
    }
}

#[test]
fn every_limit_of_a_line_has_its_source() {
    for (name, line) in &CATALOG.lines {
        assert_eq!(line.kernel_below.is_some(), line.kernel_source.is_some(), "{name}");
    }
    // Kernels that no line's code can know are in no line's range.
    assert!(CATALOG.lines.values().all(|line| line.kernel_below.is_some()));
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

#[test]
fn a_file_that_no_row_knows_is_taken_for_what_it_says_of_itself() {
    let on = |distro: &str, settings: &Settings| {
        let settings = Settings { nic: Some(Nic::Cx6), sha256: Some(DIGEST.to_owned()), ..settings.clone() };
        planned(&machine(distro, Arch::X86_64, "5.14.0-427.el9.x86_64"), Mode::Bake, &settings)
    };
    let named = |file: &str| Settings { artifact: Some(format!("/srv/{file}")), ..Settings::default() };
    for (distro, file, taken) in [
        // A release of a line that the catalogue has, and of one that is newer than it.
        ("rhel9.4", "MLNX_OFED_LINUX-24.10-4.1.4.0-rhel9.4-x86_64.tgz", "mlnx_ofed 24.10-4.1.4.0"),
        ("rocky9.5", "MLNX_OFED_LINUX-24.10-4.1.4.0-rhel9.5-x86_64.tgz", "mlnx_ofed 24.10-4.1.4.0"),
        ("almalinux9.6", "doca-host-3.6.0-012000_26.10_rhel9.x86_64.rpm", "doca 3.6.0"),
    ] {
        let plan = on(distro, &named(file)).unwrap();
        assert_eq!(plan.driver_name(), taken, "{file}");
        assert_eq!(plan.artifact.as_ref().unwrap().file_name, file);
        assert!(plan.why.iter().any(|why| why.contains("does not know this file")), "{plan:?}");
    }
    // Of another distribution's file nothing is made.
    let (reason, said) =
        refused(on("rhel9.4", &named("MLNX_OFED_LINUX-24.10-4.1.4.0-ubuntu24.04-x86_64.tgz")));
    assert_eq!(reason, Reason::ImageUnsupported, "{said}");
    // A file by any name is what version and digest say; without a file, the vendor's own address is asked.
    let version = Some("24.10-4.1.4.0".to_owned());
    let renamed = Settings { driver_version: version.clone(), ..named("ofed.tgz") };
    assert_eq!(on("rhel9.4", &renamed).unwrap().artifact.unwrap().url, "file:///srv/ofed.tgz");
    let plan = on("rhel9.4", &Settings { driver_version: version.clone(), ..Settings::default() }).unwrap();
    let url = "https://content.mellanox.com/ofed/MLNX_OFED-24.10-4.1.4.0/MLNX_OFED_LINUX-24.10-4.1.4.0-rhel9.4-x86_64.tgz";
    assert_eq!(plan.artifact.unwrap().url, url);
    // Nobody's word is none.
    let settings = Settings { nic: Some(Nic::Cx6), driver_version: version, ..Settings::default() };
    let facts = machine("rhel9.4", Arch::X86_64, "5.14.0-427.el9.x86_64");
    assert_eq!(refused(planned(&facts, Mode::Bake, &settings)).0, Reason::ImageUnsupported);
}
