//! Azure Linux: the distribution's own build of the vendor's modules, each package for one kernel.

use crate::bake;
use crate::common::image;
use crate::common::vendor::modules::{MAIN_OF_RPM, Source, sources};
use crate::packages::{Repository, Rpm};
use crate::roots::{AZURE3, Identity};
use crate::scene::Scene;
use crate::vendor_packages;
use std::path::PathBuf;

const LATER: Identity = Identity { kernel: "6.6.92.2-2.azl3", ..AZURE3 };

/// The modules of a kernel, really compiled; they lie in the folder.
fn compiled(identity: Identity, folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let root = identity.building_root();
    for (path, text, _) in sources(MAIN_OF_RPM, "24.10", Source::Good) {
        root.write(&format!("var/build/{path}"), &text);
    }
    let headers = format!("/usr/lib/modules/{}/build", identity.kernel);
    let made = root.inside(&["make", "-C", &headers, "M=/var/build", "modules"]);
    assert!(made.status.success(), "{made:?}");
    let all = std::fs::read_dir(root.path().join("var/build")).unwrap().map(|entry| entry.unwrap().path());
    let modules = all.filter(|path| path.extension().is_some_and(|extension| extension == "ko"));
    let keep = |path: PathBuf| {
        let kept = folder.path().join(path.file_name().unwrap());
        std::fs::copy(path, &kept).unwrap();
        kept
    };
    modules.map(keep).collect()
}

/// The packages of modules as the distribution builds them for a kernel (microsoft/azurelinux, SPECS/mlnx-ofa_kernel and
/// SPECS-SIGNED): the kernel is in their release, where they lie, and what they require.
fn modules(release: &str, identity: Identity, copies: &[PathBuf]) -> Vec<Rpm> {
    let (version, kernel_release) = identity.kernel.split_once('-').unwrap();
    let release = vendor_packages::text(format!("{release}_{version}.{kernel_release}"));
    let kernel = identity.kernel;
    let place: &'static str = vendor_packages::text(format!("/usr/lib/modules/{kernel}/updates"));
    let requires = vendor_packages::text(format!("kernel = {kernel}"));
    let kernel = Rpm { release: kernel_release, ..Rpm::plain("kernel", version, "") };
    let modules = Rpm {
        release,
        copies: copies.iter().map(|path| (path.clone(), place)).collect(),
        post: vendor_packages::text(format!("depmod {}", identity.kernel)),
        ..Rpm::plain("mlnx-ofa_kernel-modules", "24.10", requires)
    };
    vec![kernel, modules]
}

/// The distribution: its stack, and the vendor's service and modules built for two kernels.
fn distribution() -> (Repository, tempfile::TempDir) {
    let folder = crate::common::scratch();
    let of_both = [modules("20", AZURE3, &compiled(AZURE3, &folder)), modules("21", LATER, &[])].concat();
    let service = vendor_packages::service("24.10-0.7.0", "24.10");
    (Repository::of(&[bake::stack(), of_both, service].concat()), folder)
}

#[test]
fn the_distributions_own_build_of_the_modules_is_taken_for_the_images_very_kernel_and_no_other() {
    let (repository, _folder) = distribution();
    let kernel_of = |identity: Identity| modules("20", identity, &[]).remove(0);
    let scene = Scene::without_shop(AZURE3, &repository);
    scene.give(&kernel_of(AZURE3));
    let before = scene.packages();
    scene.stage(&["--driver", "inbox"]).expect(0, "staged");
    scene.bake(&["--driver", "inbox"]).expect(0, "installed");
    let kernel = AZURE3.kernel;
    assert!(scene.packages().contains(&"mlnx-ofa_kernel-modules-24.10-20_6.6.57.1.7.azl3".to_owned()));
    assert_eq!(scene.found(&format!("module mlx5_core for {kernel}")), "updates/mlx5_core.ko");
    assert_eq!(scene.found(&format!("built for {kernel}")), "6 modules");
    // The vendor's service that came with them is not somebody else's driver.
    scene.bake(&["--driver", "inbox"]).expect(0, "already-installed");

    // A kernel that came since has only its own modules, and that is said before anything is touched.
    let later = format!("usr/lib/modules/{}", LATER.kernel);
    let own = "kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko.xz:\n\
        kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.xz:\nkernel/drivers/infiniband/core/ib_uverbs.ko.xz:\n\
        kernel/drivers/infiniband/core/ib_umad.ko.xz:\nkernel/drivers/infiniband/core/rdma_ucm.ko.xz:\n\
        kernel/drivers/infiniband/ulp/ipoib/ib_ipoib.ko.xz:\n";
    scene.root.write(&format!("{later}/modules.dep"), own);
    scene.give(&kernel_of(LATER));
    let refused = scene.bake(&["--driver", "inbox"]);
    refused.expect(14, "cache-missing");
    assert!(refused.stdout.contains(&format!("it lacks modules for {}", LATER.kernel)), "{}", refused.stdout);
    // Both at once there are no packages for; for either there are.
    let refused = scene.stage(&["--driver", "inbox"]);
    refused.expect(12, "kernel-unsupported");
    assert!(refused.stdout.contains("name one with --kernel"), "{}", refused.stdout);
    scene.bake(&["--driver", "inbox", "--kernel", kernel]).expect(0, "already-installed");

    std::fs::remove_dir_all(scene.root.path().join(later)).unwrap();
    assert!(scene.root.inside(&["rpm", "--erase", &format!("kernel-{}", LATER.kernel)]).status.success());
    image::ask("uninstall", &scene.root).expect(0, "uninstalled");
    assert_eq!(scene.packages(), before);
}

#[test]
fn a_kernel_that_the_distribution_built_no_modules_for_does_not_fall_back_to_its_own() {
    let other = Identity { kernel: "6.6.60.1-1.azl3", ..AZURE3 };
    let all = [bake::stack(), vendor_packages::service("24.10-0.7.0", "24.10")].concat();
    let bound = Repository::of(&[&all[..], &modules("20", AZURE3, &[]), &modules("21", LATER, &[])].concat());
    let refused = Scene::without_shop(other, &bound).stage(&["--driver", "inbox"]);
    refused.expect(12, "kernel-unsupported");
    let said = "no package mlnx-ofa_kernel-modules is there for the kernel 6.6.60.1-1.azl3, only for \
        6.6.57.1-7.azl3, 6.6.92.2-2.azl3";
    assert!(refused.stdout.contains(said), "{}", refused.stdout);

    // The first packages of them required no kernel.
    let unbound = Rpm { requires: "", ..modules("4", AZURE3, &[]).remove(1) };
    let repository = Repository::of(&[&all[..], &[unbound]].concat());
    let scene = Scene::without_shop(other, &repository);
    scene.stage(&["--driver", "inbox"]).expect(0, "staged");
    let refused = scene.bake(&["--driver", "inbox"]);
    refused.expect(12, "kernel-unsupported");
    assert!(refused.stdout.contains("mlx5_core for 6.6.60.1-1.azl3"), "{}", refused.stdout);
}
