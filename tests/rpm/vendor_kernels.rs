//! A vendor's rpm packages and the kernels of an image: built modules for the one they were made for, sources for several,
//! and a refusal where a bundle has neither.

use crate::common::image;
use crate::enterprise::headers;
use crate::packages::{Repository, Rpm};
use crate::scene::{Scene, tools};
use crate::vendor::root;
use crate::vendor_packages::{Brings, Layout, compiled, signed_tgz};
use crate::vendor_signed::{FIRST, Signed};

const VERSION: &str = "24.10-3.2.5.0";
/// A later kernel of the same release.
const LATER: &str = "4.18.0-147.8.1.el8_1.x86_64";

/// A repository with headers of both kernels.
fn repository() -> Repository {
    // As Red Hat's and their rebuilds', which stand side by side.
    let head = "Provides: installonlypkg(kernel)";
    let headers = [FIRST.kernel, LATER].map(|kernel| Rpm { head, ..headers("kernel-devel", kernel) });
    Repository::of(&[&tools()[..], &headers].concat())
}

#[test]
fn modules_for_several_kernels_are_built_of_the_signed_packages_sources_and_kept() {
    let signed = Signed::new(|folder, key| {
        drop(signed_tgz(folder, (VERSION, "rhel8.1"), Brings::Sources, Layout::One, key));
    });
    let repository = repository();
    let scene = Scene::new(FIRST, &signed.shop, &repository);
    scene.add_kernel(LATER);
    let before = scene.packages();
    let (_, by_key) = signed.args();
    let mut args: Vec<&str> = by_key.iter().map(String::as_str).collect();
    scene.stage(&args).expect(0, "staged");
    args.extend(["--set", "trust=signed"]);
    scene.bake(&args).expect(0, "installed");
    assert_eq!(image::receipt(&scene.root)["vendor_file"]["trust"], "signed");
    for kernel in [FIRST.kernel, LATER] {
        assert_eq!(scene.found(&format!("dkms mlnx-ofa_kernel for {kernel}")), "installed");
        assert!(scene.found(&format!("module mlx5_core for {kernel}")).starts_with("updates/"));
    }
    assert_eq!(scene.found("release by ofed_info"), format!("MLNX_OFED_LINUX-{VERSION}"));
    assert_eq!(scene.builds().len(), 2, "{:?}", scene.builds());

    let again = scene.again(&repository);
    again.add_kernel(LATER);
    again.bake(&args).expect(0, "installed");
    assert_eq!(again.builds(), Vec::<String>::new(), "something was compiled");

    image::ask("uninstall", &scene.root).expect(0, "uninstalled");
    assert_eq!(scene.packages(), before);
}

#[test]
fn a_bundle_without_modules_or_sources_for_a_kernel_is_refused_at_stage_and_its_installer_builds_for_one() {
    let maker = FIRST.building_root();
    let brings = compiled(&maker, FIRST.kernel);
    // Built for a kernel that the release did not begin with.
    let for_another = Signed::new(|folder, key| {
        drop(signed_tgz(folder, (VERSION, "rhel8.1"), Brings::Built(&brings, LATER), Layout::One, key));
    });
    let repository = repository();
    let image = root(FIRST, &repository);
    let ran = for_another.run("stage", &image, &[]);
    ran.expect(12, "kernel-unsupported");
    for word in ["bundle-lacks-kernel", FIRST.kernel, LATER, "mlnx_ofed_installer"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    // As advised. The installer is signed by nobody, so its file needs another voucher than the key.
    let by_installer = ["--set", "mlnx_ofed_installer=true"];
    for_another.run("stage", &image, &by_installer).expect(1, "bad-settings");

    // Two kernels, and built modules for one of them.
    let for_first = Signed::new(|folder, key| {
        let built = Brings::Built(&brings, FIRST.kernel);
        drop(signed_tgz(folder, (VERSION, "rhel8.1"), built, Layout::One, key));
    });
    let scene = Scene::new(FIRST, &for_first.shop, &repository);
    scene.add_kernel(LATER);
    let (_, by_key) = for_first.args();
    let args: Vec<&str> = by_key.iter().map(String::as_str).collect();
    let ran = scene.stage(&args);
    ran.expect(12, "kernel-unsupported");
    assert!(ran.stdout.contains("mlnx-ofa_kernel-dkms"), "{}", ran.stdout);
    // As advised: one of them, by the modules that are there.
    let one = [&args[..], &["--kernel", FIRST.kernel]].concat();
    scene.stage(&one).expect(0, "staged");
    scene.bake(&one).expect(0, "installed");
    assert_eq!(scene.builds(), Vec::<String>::new(), "something was compiled");
}
