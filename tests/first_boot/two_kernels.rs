//! Debian images with a vendor's driver and two kernels.

use crate::common::image::VM_SIZE;
use crate::common::program;
use crate::common::root::Root;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::shop::Shop;

/// The two kernels: the usual one, and the one for clouds.
pub fn kernels(root: &Root) -> [String; 2] {
    let mut kernels = crate::common::vendor::kernels(root);
    kernels.sort_by_key(|kernel| kernel.contains("cloud"));
    kernels.try_into().unwrap()
}

/// The command line of a command for one kernel of a root, with the cache in the root.
pub fn target(command: &str, root: &Root, shop: &Shop, kernel: &str) -> Vec<String> {
    let path = root.path().display().to_string();
    let cache = root.path().join("var/cache/ofedctl").display().to_string();
    let catalog = shop.catalog().display().to_string();
    let words =
        [command, "--json", "--root", &path, "--vm-size", VM_SIZE, "--driver", "doca", "--kernel", kernel];
    let files = ["--cache", &cache, "--catalog", &catalog];
    words.iter().chain(&files).map(|word| (*word).to_owned()).collect()
}

pub fn shop() -> Shop {
    Shop::of(|folder| drop(doca::host_package(folder, &Doca { distro: "debian12", ..Doca::default() })))
}

/// Stages an image for one of its kernels and bakes it for that one, with the network cut.
pub fn bake(root: &Root, shop: &Shop, kernel: &str) {
    let mut bake = target("bake", root, shop, kernel);
    bake.push("--offline".to_owned());
    program::finish(program::program_without_network(&bake)).expect(0, "installed");
    std::fs::copy(shop.catalog(), root.path().join("etc/ofedctl-catalog.yaml")).unwrap();
}
