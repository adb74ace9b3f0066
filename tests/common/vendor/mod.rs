//! Replacements for the vendor's driver packages, because tests must not contain the vendor's files: they have the
//! vendor's layout and its installer's behaviour, and consist of small real Debian packages and kernel modules that
//! really have to be compiled. [`mlnx_ofed`] builds the `.tgz`, [`doca`] the `doca-host` package, and [`shop`] serves
//! the files together with a catalogue that names them. [`root_as`] is a Debian root whose os-release names another
//! distribution.

pub mod doca;
pub mod mlnx_ofed;
pub mod modules;
mod package;
pub mod shop;
pub mod signing;

use super::root::{Root, building_root, debian_root};

/// A Debian 12 root whose os-release names a distribution and version such as `ubuntu22.04`.
pub fn root_as(distro: &str) -> Root {
    let root = debian_root("bookworm");
    identify(&root, distro);
    root
}

/// The same, in which kernel modules can be built without anything from a package archive.
pub fn building_root_as(distro: &str) -> Root {
    let root = building_root("bookworm");
    identify(&root, distro);
    root
}

/// Lets a root say that it is another distribution.
pub fn identify(root: &Root, distro: &str) {
    let at = distro.find(|c: char| c.is_ascii_digit()).unwrap();
    let (id, version) = distro.split_at(at);
    // A file of its own: the link leads to one that a package owns.
    std::fs::remove_file(root.path().join("etc/os-release")).unwrap();
    root.write(
        "etc/os-release",
        &format!("ID={id}\nVERSION_ID=\"{version}\"\nNAME=\"{id} (made by a test)\"\n"),
    );
}

/// The kernels a root has.
pub fn kernels(root: &Root) -> Vec<String> {
    let folder = std::fs::read_dir(root.path().join("lib/modules")).unwrap();
    let mut kernels: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    kernels.sort();
    kernels
}
