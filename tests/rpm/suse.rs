//! The vendor's driver on SLES, whose packages of kernel headers are asked for by what they provide.

use crate::common::image;
use crate::common::tree::{Tree, diff};
use crate::common::vendor::shop::Shop;
use crate::packages::{Repository, Rpm};
use crate::roots::{Identity, SLES15};
use crate::scene::{Scene, tools};
use crate::vendor_packages::{self, Brings, Layout, compiled, signed_tgz};
use crate::vendor_signed::{Signed, assert_knows_the_room};

const VERSION: &str = "5.7-1.0.2.0";

/// A package of a kernel as SUSE builds it: its release has a number more than `uname -r`, which counts rebuilds, and it
/// provides itself without that (SUSE/kernel-source, `rpm/kernel-binary.spec.in`).
fn of_kernel(name: &'static str, release: &'static str, requires: &'static str) -> Rpm {
    let source = release.rsplit_once('.').unwrap().0;
    let head = format!("Provides: {name} = 5.14.21-{source}\nProvides: multiversion(kernel)");
    Rpm { release, head: head.leak(), ..Rpm::plain(name, "5.14.21", requires) }
}

/// SLES's packages: those of the image's kernel in two builds, and of kernels before and after it.
fn distribution() -> Repository {
    let mut all = tools();
    for (release, requires) in [
        ("150400.14.28.1", "kernel-devel-azure = 5.14.21-150400.14.28"),
        ("150400.14.31.1", "kernel-devel-azure = 5.14.21-150400.14.31"),
        ("150400.14.31.2", "kernel-devel-azure = 5.14.21-150400.14.31"),
        ("150400.14.34.1", "kernel-devel-azure = 5.14.21-150400.14.34"),
    ] {
        all.push(of_kernel("kernel-azure-devel", release, requires));
        for name in ["kernel-devel-azure", "kernel-source-azure", "kernel-syms-azure"] {
            all.push(of_kernel(name, release, ""));
        }
    }
    all.push(Rpm::plain("insserv-compat", "0.1", ""));
    Repository::of(&all)
}

#[test]
fn mlnx_ofed_is_built_on_sles_with_the_headers_of_the_images_kernel_and_leaves_without_a_trace() {
    let shop = Shop::of(|folder| drop(vendor_packages::tgz(folder, VERSION, "sles15sp4", "sles15sp4")));
    let repository = distribution();
    let first = Scene::new(SLES15, &shop, &repository);
    // What the image locks is not in the way of what is asked for.
    first.root.write(
        "etc/zypp/locks",
        "type: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel*\n",
    );
    // SUSE's own settings keep packages of several kernels side by side.
    first.root.write("etc/zypp/zypp.conf", "[main]\nmultiversion = provides:multiversion(kernel)\n");
    // Headers of a later kernel, which others need, stay beside those of the image's.
    for (name, requires) in
        [("kernel-azure-devel", ""), ("kernel-syms-azure", "kernel-azure-devel = 5.14.21-150400.14.34")]
    {
        first.give(&of_kernel(name, "150400.14.34.1", requires));
    }
    let before = (first.packages(), Tree::of(first.root.path()));
    first.stage(&[]).expect(0, "staged");
    let asked = repository.web.requests().len();
    first.bake(&[]).expect(0, "installed");
    assert_eq!(repository.web.requests().len(), asked);
    image::assert_left_alone(&first.root);

    let kernel = SLES15.kernel;
    assert_eq!(first.found("release by ofed_info"), format!("MLNX_OFED_LINUX-{VERSION}"));
    assert!(first.found(&format!("module mlx5_core for {kernel}")).starts_with("updates/"));
    let headers = "package kernel-azure-devel = 5.14.21-150400.14.31";
    assert_eq!(first.found(headers), "5.14.21-150400.14.31.2", "the newest build of this very version");
    assert_eq!(first.found(&format!("built for {kernel}")), "6 modules");
    assert_eq!(first.builds(), [format!("mlnx-ofa_kernel {kernel}")]);
    assert!(first.packages().contains(&"insserv-compat-0.1-1".to_owned()));
    let allows = first.root.read("etc/modprobe.d/10-unsupported-modules.conf");
    assert!(allows.ends_with("allow_unsupported_modules 1\n"), "{allows}");
    first.bake(&[]).expect(0, "already-installed");

    let second = first.again(&repository);
    second.bake(&[]).expect(0, "installed");
    assert_eq!(second.found(&format!("built for {kernel}")), "6 modules");
    assert_eq!(second.builds(), Vec::<String>::new(), "something was compiled");

    image::ask("uninstall", &first.root).expect(0, "uninstalled");
    assert_eq!(first.packages(), before.0);
    let left = diff(&before.1.without(made), &Tree::of(first.root.path()).without(made));
    assert!(left.is_empty(), "{left}");
}

/// What programs note of their own work, and what is this program's.
fn made(path: &str) -> bool {
    let logs = ["var/lib/rpm/", "var/log/zypp", "var/lib/zypp/", "var/cache/zypp", "var/log/test-builds"];
    let index =
        path.starts_with("usr/lib/modules/") && path.rsplit('/').next().unwrap().starts_with("modules.");
    index || image::is_ours(path) || logs.iter().any(|log| path.starts_with(log.trim_end_matches('/')))
}

#[test]
fn a_kernel_of_sles_whose_headers_are_gone_is_named() {
    let shop = Shop::of(|folder| drop(vendor_packages::tgz(folder, VERSION, "sles15sp4", "sles15sp4")));
    let identity = Identity { kernel: "5.14.21-150400.14.99-azure", ..SLES15 };
    let refused = Scene::new(identity, &shop, &distribution()).stage(&[]);
    refused.expect(14, "headers-missing");
    assert!(refused.stdout.contains("kernel-azure-devel = 5.14.21-150400.14.99"), "{}", refused.stdout);
}

/// The first kernel of a service pack, for which bundles have modules. zypper is shown the packages by an index of ours.
#[test]
fn packages_with_modules_for_the_kernel_of_sles_are_installed_by_their_signatures() {
    let first = Identity { kernel: "5.14.21-150400.22-default", ..SLES15 };
    let signed = Signed::new(|folder, key| {
        let maker = first.building_root();
        let brings = compiled(&maker, first.kernel);
        signed_tgz(folder, (VERSION, "sles15sp4"), Brings::Built(&brings, first.kernel), Layout::One, key);
    });
    let repository = distribution();
    let scene = Scene::new(first, &signed.shop, &repository);
    let before = scene.packages();
    let (_, by_key) = signed.args();
    let by_key: Vec<&str> = by_key.iter().map(String::as_str).collect();
    let strict = [&by_key[..], &["--set", "trust=signed"]].concat();
    // Nobody signs the packages of the test's distribution.
    assert_knows_the_room(scene.stage(&by_key).expect(0, "staged"));
    let asked = repository.web.requests().len();
    scene.bake(&strict).expect(0, "installed");
    assert_eq!(repository.web.requests().len(), asked);
    assert_eq!(image::receipt(&scene.root)["vendor_file"]["trust"], "signed");
    assert_eq!(scene.found("release by ofed_info"), format!("MLNX_OFED_LINUX-{VERSION}"));
    let place = scene.found(&format!("module mlx5_core for {}", first.kernel));
    assert!(place.starts_with("extra/mlnx-ofa_kernel/"), "{place}");
    assert_eq!(scene.builds(), Vec::<String>::new(), "something was compiled");
    scene.bake(&strict).expect(0, "already-installed");
    image::ask("uninstall", &scene.root).expect(0, "uninstalled");
    assert_eq!(scene.packages(), before);
}

#[test]
fn doca_is_baked_on_sles_with_the_distributions_own_dkms() {
    let shop = Shop::of(|folder| drop(vendor_packages::host_package(folder, "3.2.1", "25.10", "sles15sp4")));
    let repository = distribution();
    let scene = Scene::new(SLES15, &shop, &repository);
    let before = scene.packages();
    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    scene.bake(&["--driver", "doca"]).expect(0, "installed");
    let kernel = SLES15.kernel;
    assert_eq!(scene.found("package dkms >= 3.2"), "3.2.2-1");
    assert!(scene.found(&format!("module mlx5_core for {kernel}")).starts_with("updates/"));
    // The vendor's, though the distribution has a newer one.
    assert!(scene.packages().contains(&"rdma-core-25-1".to_owned()), "{:?}", scene.packages());
    image::ask("uninstall", &scene.root).expect(0, "uninstalled");
    assert_eq!(scene.packages(), before);
}
