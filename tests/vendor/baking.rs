//! A vendor's driver in an image: staged with a network, baked without one, and proven. A second image of the same kernel
//! needs no compiler any more.

use super::scene::{Scene, builds};
use crate::common::deb::Deb;
use crate::common::image;
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::shop::Shop;

/// In DOCA's openmpi and in the distribution's libpmix.
const PMIX: &str = "/etc/pmix-mca-params.conf";

/// What `verify` says of every module and of the release.
fn assert_proven(scene: &Scene, driver: &str, release: &str) {
    let verified = image::ask("verify", &scene.root);
    verified.expect(0, "verified");
    let checks = verified.json()["checks"].clone();
    let found = |name: &str| {
        let named = checks.as_array().unwrap().iter().find(|check| check["name"] == name);
        named.unwrap_or_else(|| panic!("no check `{name}`: {checks}"))["found"].as_str().unwrap().to_owned()
    };
    let kernel = scene.kernel();
    assert_eq!(found("release by ofed_info"), release);
    assert!(found(&format!("module mlx5_core for {kernel}")).starts_with("updates/"), "{checks}");
    assert_eq!(found(&format!("built for {kernel}")), "6 modules");
    assert_eq!(image::receipt(&scene.root)["plan"]["driver"], driver);
    image::assert_left_alone(&scene.root);
}

#[test]
fn doca_is_baked_without_a_network_and_a_second_time_without_compiling() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let first = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    first.stage(&[]).expect(0, "staged");
    let vendors = shop.web.requests().len();
    first.bake(&[]).expect(0, "installed");
    assert_proven(&first, "doca", "DOCA-Host 3.2.1, OFED-internal-25.10-1.7.1");
    let kernel = first.kernel();
    let all = ["mlnx-ofed-kernel", "iser", "isert", "srp"].map(|name| format!("{name} {kernel}"));
    assert_eq!(builds(&first.root), all, "each once, for the image's kernel alone, and the main one first");
    first.bake(&[]).expect(0, "already-installed");

    let later = first.root.inside(&["sh", "-c", "cat /etc/dkms/iser.conf"]);
    assert!(
        String::from_utf8_lossy(&later.stdout).contains("BUILD_DEPENDS=\"mlnx-ofed-kernel\""),
        "{later:?}"
    );
    assert!(first.root.path().join("usr/mpi").exists(), "DOCA's MPI where there is no other");

    // Somebody's MPI of the distribution, which has a file in common with DOCA's.
    let second = first.again(vendor::building_root_as("ubuntu22.04"));
    let pmix = Deb { name: "libpmix2", version: "4.2", files: vec![(PMIX, "# mine\n")], ..Deb::default() };
    let deb = pmix.build(&second.root.path().join("opt"));
    let deb = format!("/opt/{}", deb.file_name().unwrap().to_str().unwrap());
    assert!(second.root.inside(&["dpkg", "-i", &deb]).status.success());
    second.bake(&[]).expect(0, "installed");
    assert_eq!(second.root.read(PMIX.trim_start_matches('/')), "# mine\n");
    assert!(!second.root.path().join("usr/mpi").exists(), "DOCA's MPI was put over the distribution's");
    assert_proven(&second, "doca", "DOCA-Host 3.2.1, OFED-internal-25.10-1.7.1");
    assert_eq!(builds(&second.root), Vec::<String>::new(), "something was compiled");
    // A bundle for this image would lack what a clean one needs.
    let again = second.stage(&[]);
    again.expect(0, "already-installed");
    assert!(again.stdout.contains("nothing to stage: doca 3.2.1 is installed"), "{}", again.stdout);
    // Staged again for a clean one, the bundle keeps what was built, and the vendor's file is not asked for again.
    let third = first.again(vendor::building_root_as("ubuntu22.04"));
    let again = third.stage(&[]);
    again.expect(0, "staged");
    let files = again.json()["bundle"]["files"].to_string();
    assert!(files.contains("vnd.ofedctl.built.v1"), "{files}");
    assert_eq!(shop.web.requests().len(), vendors);
}

#[test]
fn mlnx_ofed_is_baked_without_a_network_and_a_second_time_without_compiling() {
    let shop = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &MlnxOfed::default())));
    let first = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    first.stage(&[]).expect(0, "staged");
    first.bake(&[]).expect(0, "installed");
    assert_proven(&first, "mlnx_ofed", "MLNX_OFED_LINUX-5.8-2.0.3.0");
    let all = ["mlnx-ofed-kernel", "iser", "isert", "srp"].map(|name| format!("{name} {}", first.kernel()));
    assert_eq!(builds(&first.root), all, "each once, by no script of a package");
    assert!(!first.root.path().join("var/lib/ofedctl/vendor").exists());
    first.bake(&[]).expect(0, "already-installed");

    let second = first.again(vendor::building_root_as("ubuntu22.04"));
    second.bake(&[]).expect(0, "installed");
    assert_proven(&second, "mlnx_ofed", "MLNX_OFED_LINUX-5.8-2.0.3.0");
    assert_eq!(builds(&second.root), Vec::<String>::new(), "something was compiled");
}

#[test]
fn every_supported_release_of_the_distribution_is_baked() {
    let shop = Shop::of(|folder| {
        for distro in ["ubuntu20.04", "ubuntu24.04", "debian12"] {
            doca::host_package(folder, &Doca { distro, ..Doca::default() });
        }
        for (distro, version) in [("ubuntu20.04", "5.8-2.0.3.0"), ("ubuntu24.04", "24.10-3.2.5.0")] {
            mlnx_ofed::tgz(folder, &MlnxOfed { version, distro, ..MlnxOfed::default() });
        }
    });
    for (distro, driver, release) in [
        ("ubuntu20.04", "doca", "DOCA-Host 3.2.1, OFED-internal-25.10-1.7.1"),
        ("ubuntu20.04", "mlnx_ofed", "MLNX_OFED_LINUX-5.8-2.0.3.0"),
        ("ubuntu24.04", "doca", "DOCA-Host 3.2.1, OFED-internal-25.10-1.7.1"),
        ("ubuntu24.04", "mlnx_ofed", "MLNX_OFED_LINUX-24.10-3.2.5.0"),
        ("debian12", "doca", "DOCA-Host 3.2.1, OFED-internal-25.10-1.7.1"),
    ] {
        let scene = Scene::new(&shop, vendor::building_root_as(distro));
        let profile = if distro == "debian12" { "doca-all" } else { "doca-ofed" };
        let set = format!("doca_profile={profile}");
        let args = ["--driver", driver, "--set", &set];
        scene.stage(&args).expect(0, "staged");
        let baked = scene.bake(&args);
        let packages = &baked.expect(0, "installed").json()["receipt"]["packages"];
        assert_eq!(packages[profile].is_string(), driver == "doca", "{packages}");
        assert_proven(&scene, driver, release);
    }
}
