//! The packages these tests are made with are as the vendor's: what the vendor's own procedure does with them works, and
//! fails as it does there.

use crate::common::root::Root;
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::modules::{BUILDS, Source};
use crate::common::vendor::shop::Shop;
use std::path::Path;
use std::process::{Command, Output};

/// Copies a file into a root.
fn put(root: &Root, file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    std::fs::copy(file, root.path().join("opt").join(name)).unwrap();
    format!("/opt/{name}")
}

/// Runs a shell script inside, as a user would, with no network.
fn shell(root: &Root, script: &str) -> Output {
    root.inside(&["sh", "-exc", script])
}

/// A shell's first lines, after which `uname -r` names this kernel, as on a machine that runs it: the packages' builds ask
/// for it as the vendor's do.
fn as_on(kernel: &str) -> String {
    format!(
        r#"mkdir -p /opt/as; cp /usr/bin/uname /opt/as/real
printf '#!/bin/sh\n[ "$1" != -r ] || exec echo {kernel}\nexec /opt/as/real "$@"\n' >/opt/as/uname
chmod 755 /opt/as/uname; mount --bind /opt/as/uname /usr/bin/uname
"#
    )
}

fn output_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn vendor_packages_come_into_a_catalogue_by_import() {
    let shop = Shop::of(|folder| {
        mlnx_ofed::tgz(folder, &MlnxOfed::default());
        let old = MlnxOfed { version: "4.9-7.1.0.0", distro: "ubuntu20.04", ..MlnxOfed::default() };
        mlnx_ofed::tgz(folder, &old);
        doca::host_package(folder, &Doca::default());
    });
    let catalog = std::fs::read_to_string(shop.catalog()).unwrap();
    for version in ["5.8-2.0.3.0", "4.9-7.1.0.0", "3.2.1"] {
        assert!(catalog.contains(&format!("version: {version}")), "{catalog}");
    }
}

#[test]
fn the_tgz_is_installed_by_its_installer_for_a_kernel_that_does_not_run() {
    let root = vendor::building_root_as("ubuntu22.04");
    let kernel = vendor::kernels(&root).remove(0);
    let folder = crate::common::scratch();
    let tgz = put(&root, &mlnx_ofed::tgz(folder.path(), &MlnxOfed::default()));
    let script = format!(
        "cd /opt; tar xzf {tgz}; cd MLNX_OFED_LINUX-5.8-2.0.3.0-ubuntu22.04-x86_64; \
         ./mlnxofedinstall --force --without-fw-update --skip-unsupported-devices-check --add-kernel-support --kernel {kernel} --tmpdir /var/tmp; \
         ofed_info -s; ofed_info -n; modinfo -k {kernel} -F version mlx5_core"
    );
    let ran = shell(&root, &(as_on(&kernel) + &script));
    assert!(ran.status.success(), "{}", output_of(&ran));
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(text.ends_with("MLNX_OFED_LINUX-5.8-2.0.3.0:\n5.8-2.0.3.0\n5.8\n"), "{text}");
    assert_eq!(root.read(BUILDS), format!("mlnx-ofed-kernel {kernel}\n"));
    let ran = shell(&root, "ofed_uninstall.sh --force");
    assert!(ran.status.success(), "{}", output_of(&ran));
    assert!(!root.path().join("usr/bin/ofed_info").exists());
}

#[test]
fn the_installer_refuses_as_the_vendors_does() {
    let root = vendor::building_root_as("ubuntu22.04");
    let folder = crate::common::scratch();
    let other = MlnxOfed { tag: Some("ubuntu20.04"), source: Source::Outdated, ..MlnxOfed::default() };
    let tgz = put(&root, &mlnx_ofed::tgz(folder.path(), &other));
    let unpacked = shell(&root, &format!("cd /opt; tar xzf {tgz}; mv MLNX_OFED_LINUX-*-x86_64 ofed"));
    assert!(unpacked.status.success(), "{}", output_of(&unpacked));
    let kernel = vendor::kernels(&root).remove(0);
    let table = [
        ("--no-such-option".to_owned(), 22, "Unsupported installation option: '--no-such-option'"),
        ("--force".to_owned(), 172, "is intended for ubuntu20.04"),
        ("--kernel 1.2.3".to_owned(), 1, "Provide path to the kernel sources for 1.2.3 kernel."),
        (
            format!("--skip-distro-check --without-fw-update --kernel {kernel} --add-kernel-support"),
            1,
            "Failed to build MLNX_OFED_LINUX for",
        ),
        (
            "--skip-distro-check --without-fw-update --without-dkms".to_owned(),
            1,
            "does not have drivers available",
        ),
        ("--skip-distro-check --without-fw-update".to_owned(), 1, "Do you want to continue?"),
    ];
    for (options, code, words) in table {
        let ran = shell(&root, &format!("/opt/ofed/mlnxofedinstall {options}"));
        assert_eq!(ran.status.code(), Some(code), "{options}: {}", output_of(&ran));
        assert!(output_of(&ran).contains(words), "{options}: {}", output_of(&ran));
    }
}

#[test]
fn the_host_package_brings_a_repository_whose_packages_build_their_modules() {
    let root = vendor::building_root_as("debian12");
    let kernel = vendor::kernels(&root).remove(0);
    let folder = crate::common::scratch();
    let wanted = Doca { distro: "debian12", ..Doca::default() };
    let deb = put(&root, &doca::host_package(folder.path(), &wanted));
    // As azhpc-images do it: DOCA's own dkms is pinned away.
    root.write(
        "etc/apt/preferences.d/doca-dkms-pin",
        "Package: dkms\nPin: release l=DOCA-HOST*\nPin-Priority: -1\n",
    );
    let script = format!(
        "rm -f /etc/apt/sources.list; dpkg -i {deb}; apt-get update; apt-get -y install doca-ofed; dkms status; dkms autoinstall -k {kernel} || true"
    );
    let ran = shell(&root, &(as_on(&kernel) + &script));
    assert!(ran.status.success(), "{}", output_of(&ran));
    let status = output_of(&shell(&root, "dkms status"));
    assert!(
        status.contains(&format!("mlnx-ofed-kernel/25.10.OFED.25.10.1.7.1.1, {kernel}, x86_64: installed")),
        "{status}"
    );
    let built = Command::new("grep").arg("-c").arg(&kernel).arg(root.path().join(BUILDS)).output().unwrap();
    assert!(built.status.success(), "nothing was built");
}
