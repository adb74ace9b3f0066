//! Modules are for the kernels of the image: for those that are named, for several, and for one that came after the cache
//! was filled.

use super::scene::{Scene, builds};
use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::program;
use crate::common::root::Root;
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::shop::Shop;

/// The headers of a kernel that is another by name alone, as a package: a copy of those that the root has.
pub(super) fn headers_of(name: &'static str, copy_of: &str) -> Deb {
    let script = format!(
        "#!/bin/sh\nset -e\nnew={name} old={copy_of}\ncp -a /usr/src/linux-headers-$old /usr/src/linux-headers-$new\n\
         cd /usr/src/linux-headers-$new\nsed -i \"s/$old/$new/\" include/generated/utsrelease.h include/config/kernel.release\n\
         sed -i \"s/$old/$new/\" .kernelvariables Makefile 2>/dev/null || true\n\
         ln -sfn /usr/src/linux-headers-$new /lib/modules/$new/build\n"
    );
    let package: &'static str = format!("linux-headers-{name}").leak();
    let depends: &'static str = format!("linux-headers-{copy_of}").leak();
    let scripts = vec![("postinst", script.leak() as &str)];
    Deb { name: package, version: "1", depends, scripts, ..Deb::default() }
}

/// A kernel of which nothing but the name is there.
pub(super) fn add_kernel(root: &Root, kernel: &str) {
    for file in ["modules.dep", "modules.builtin", "modules.order"] {
        root.write(&format!("lib/modules/{kernel}/{file}"), "");
    }
}

#[test]
fn modules_are_built_for_named_kernels_for_several_and_for_one_that_comes_later() {
    let shop = Shop::of(|folder| {
        doca::host_package(folder, &Doca::default());
        mlnx_ofed::tgz(folder, &MlnxOfed::default());
    });
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let (old, new) = (scene.kernel(), "6.1.0-998-cloud-amd64");
    let repository = Repository::of(&[headers_of(new, &old)]);
    scene.root.add_source(&repository.source_line());
    add_kernel(&scene.root, new);
    // Filled for both; baked for one, and for the other when it has come.
    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    scene.bake(&["--driver", "doca", "--kernel", &old]).expect(0, "installed");
    assert!(builds(&scene.root).iter().all(|line| line.ends_with(&old)), "{:?}", builds(&scene.root));
    scene.bake(&["--driver", "doca", "--kernel", &old, "--kernel", new]).expect(0, "installed");
    let later: Vec<String> = builds(&scene.root).split_off(4);
    let wanted = ["mlnx-ofed-kernel", "iser", "isert", "srp"].map(|name| format!("{name} {new}"));
    assert_eq!(later, wanted, "for the new kernel alone");
    image::ask("verify", &scene.root).expect(0, "verified");

    // The other driver names its packages of built modules alike for every kernel, so two kernels are DKMS's work.
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.root.add_source(&repository.source_line());
    add_kernel(&scene.root, new);
    scene.stage(&["--driver", "mlnx_ofed"]).expect(0, "staged");
    scene.bake(&["--driver", "mlnx_ofed"]).expect(0, "installed");
    for kernel in [old.as_str(), new] {
        assert!(
            builds(&scene.root).contains(&format!("mlnx-ofed-kernel {kernel}")),
            "{:?}",
            builds(&scene.root)
        );
    }
    image::ask("verify", &scene.root).expect(0, "verified");
}

#[test]
fn a_release_with_folders_and_links_is_built_for_a_kernel_old_enough_for_it() {
    let wanted = MlnxOfed { version: "4.9-7.1.0.0", distro: "ubuntu20.04", ..MlnxOfed::default() };
    let shop = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &wanted)));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu20.04"));
    let (own, old) = (scene.kernel(), "5.4.0-999-generic");
    let repository = Repository::of(&[headers_of(old, &own)]);
    scene.root.add_source(&repository.source_line());
    add_kernel(&scene.root, old);
    let args = ["--driver", "mlnx_ofed", "--kernel", old];
    scene.stage(&args).expect(0, "staged");
    scene.bake(&args).expect(0, "installed");
    let all = ["mlnx-ofed-kernel", "iser", "isert", "srp"].map(|name| format!("{name} {old}"));
    assert_eq!(builds(&scene.root), all);
    let verified = image::ask("verify", &scene.root);
    verified.expect(0, "verified");
    assert!(verified.stdout.contains("MLNX_OFED_LINUX-4.9-7.1.0.0"), "{}", verified.stdout);
}

/// Azure/azhpc-images issue 372: somebody else installed the driver, and then a kernel came.
#[test]
fn a_driver_of_somebody_else_is_built_for_a_kernel_that_came_and_stays_theirs() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let (old, new) = (scene.kernel(), "6.1.0-998-cloud-amd64");
    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    scene.bake(&["--driver", "doca"]).expect(0, "installed");
    // Without its receipt, it is anybody's.
    std::fs::remove_dir_all(scene.root.path().join("var/lib/ofedctl")).unwrap();
    scene.bake(&[]).expect(0, "already-installed");
    let repository = Repository::of(&[headers_of(new, &old)]);
    scene.root.add_source(&repository.source_line());
    add_kernel(&scene.root, new);
    let before = builds(&scene.root).len();
    scene.stage(&[]).expect(0, "staged");
    scene.bake(&[]).expect(0, "installed");
    let later = builds(&scene.root).split_off(before);
    let wanted = ["mlnx-ofed-kernel", "iser", "isert", "srp"].map(|name| format!("{name} {new}"));
    assert_eq!(later, wanted, "for the new kernel alone");
    image::ask("verify", &scene.root).expect(0, "verified");
    scene.bake(&[]).expect(0, "already-installed");
    // What was built goes, and the driver stays.
    let root = scene.root.path().display().to_string();
    program::run(&["uninstall".to_owned(), "--json".to_owned(), "--root".to_owned(), root])
        .expect(0, "uninstalled");
    assert!(scene.root.installed("mlnx-ofed-kernel-dkms").is_some());
    assert!(scene.root.installed(&format!("linux-headers-{new}")).is_none());
    let has =
        |kernel: &str| scene.root.read(&format!("lib/modules/{kernel}/modules.dep")).contains("mlx5_core");
    assert!(has(&old) && !has(new));
}
