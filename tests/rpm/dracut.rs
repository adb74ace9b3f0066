//! Initial file systems made by dracut: one that holds the adapter's module follows the driver, and another is left alone.

use crate::common::image;
use crate::common::root::Root;
use crate::common::vendor::modules::{MAIN_OF_RPM, Source, sources};
use crate::common::vendor::shop::Shop;
use crate::hold;
use crate::packages::{Repository, Rpm};
use crate::roots::ALMA8;
use crate::vendor::{packages, run};
use crate::vendor_packages;

const OWN: &str = "kernel/drivers/net/ethernet/mellanox/mlx5/core";

/// A root whose kernel has a module of its own that really is one, and an initial file system with or without it.
fn root(repository: &Repository, with: bool) -> Root {
    let root = ALMA8.dracut_root();
    let kernel = ALMA8.kernel;
    root.write("etc/yum.repos.d/test.repo", &repository.file(""));
    for (path, text, _) in sources(MAIN_OF_RPM, "1", Source::Good) {
        root.write(&format!("var/build/{path}"), &text);
    }
    hold::run(&root, &["make", "-C", &format!("/usr/lib/modules/{kernel}/build"), "M=/var/build", "modules"]);
    let own = format!("/usr/lib/modules/{kernel}/{OWN}");
    hold::run(&root, &["mkdir", "-p", &own]);
    hold::run(&root, &["cp", "/var/build/mlx5_core.ko", "/var/build/mlx_compat.ko", &own]);
    hold::run(&root, &["rm", "-r", "/var/build"]);
    root.write(&format!("usr/lib/modules/{kernel}/modules.order"), "");
    hold::run(&root, &["depmod", kernel]);
    let wanted = if with { "add_drivers+=\" mlx5_core \"\n" } else { "" };
    let settings = format!("hostonly=no\ndracutmodules=\"base kernel-modules\"\ncompress=gzip\n{wanted}");
    root.write("etc/dracut.conf.d/test.conf", &settings);
    hold::run(&root, &["dracut", "--force", &format!("/boot/initramfs-{kernel}.img"), kernel]);
    root
}

/// The adapter's modules in the initial file system, by their folder below the kernel's.
fn held(root: &Root) -> Vec<String> {
    let listed = root.inside(&["lsinitrd", &format!("/boot/initramfs-{}.img", ALMA8.kernel)]);
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let below = format!("lib/modules/{}/", ALMA8.kernel);
    let folder = |line: &str| Some(line.split_once(&below)?.1.split_once("/mlx5_core.ko")?.0.to_owned());
    listed.lines().filter_map(folder).collect()
}

#[test]
fn one_that_holds_the_adapters_module_is_made_anew_and_another_is_left_alone_to_the_bit() {
    let version = "24.10-3.2.5.0";
    let shop = Shop::of(|folder| drop(vendor_packages::tgz(folder, version, "rhel8.10", "rhel8.10")));
    let repository = Repository::of(&[packages(ALMA8), vec![Rpm::plain("unasked", "1", "")]].concat());
    let with = root(&repository, true);
    assert_eq!(held(&with), [OWN]);
    let cache = with.beside("cache");
    run("stage", &with, &shop, &cache, &[]).expect(0, "staged");
    run("bake", &with, &shop, &cache, &[]).expect(0, "installed");
    assert_eq!(held(&with), ["extra/mlnx-ofa_kernel"]);
    image::ask("verify", &with).expect(0, "verified");

    let without = root(&repository, false);
    assert!(held(&without).is_empty());
    let file = without.path().join(format!("boot/initramfs-{}.img", ALMA8.kernel));
    let before = std::fs::read(&file).unwrap();
    run("bake", &without, &shop, &cache, &[]).expect(0, "installed");
    assert!(std::fs::read(&file).unwrap() == before, "it was made anew");
    image::ask("verify", &without).expect(0, "verified");
}
