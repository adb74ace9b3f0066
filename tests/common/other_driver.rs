//! A vendor's driver that somebody else installed: real packages with the vendor's files, and its own uninstaller.

use super::deb::Deb;
use super::root::{Root, debian_root};
use std::process::Command;

pub const RELEASE: &str = "MLNX_OFED_LINUX-5.8-1.1.2.1";
/// As the vendor's does: asks unless told not to, purges the packages it knows, itself among them.
pub const UNINSTALLER: &str = "#!/bin/sh\nset -e\n[ \"$1\" = --force ] || { read -r answer; [ \"$answer\" = y ]; }\n\
    dpkg --purge mlnx-ofed-kernel-modules ofed-scripts\n";

/// A root in which somebody has installed the vendor's driver for all kernels.
pub fn with_another_driver(uninstaller: &'static str) -> Root {
    let root = debian_root("bookworm");
    let folder = root.beside("debs");
    std::fs::create_dir_all(&folder).unwrap();
    let mut scripts = Deb { name: "ofed-scripts", version: "5.8", ..Deb::default() };
    scripts.files = vec![
        ("/usr/bin/ofed_info", "#!/bin/sh\necho MLNX_OFED_LINUX-5.8-1.1.2.1:\n"),
        ("/etc/init.d/openibd", "#!/bin/sh\n"),
    ];
    if !uninstaller.is_empty() {
        scripts.files.push(("/usr/sbin/ofed_uninstall.sh", uninstaller));
        scripts.scripts = vec![("postinst", "#!/bin/sh\nchmod +x /usr/sbin/ofed_uninstall.sh\n")];
    }
    let kernel = kernel(&root);
    // The kernel's own module, where the vendor's would be.
    let module = own_module(&root);
    let text: &'static str = Box::leak(
        format!("/lib/modules/{kernel}/updates/{}", module.rsplit('/').next().unwrap()).into_boxed_str(),
    );
    let modules = Deb {
        name: "mlnx-ofed-kernel-modules",
        version: "5.8",
        files: vec![(text, "not yet")],
        scripts: vec![(
            "postrm",
            "#!/bin/sh\nfor kernel in /lib/modules/*; do depmod -a \"${kernel##*/}\"; done\n",
        )],
        ..Deb::default()
    };
    for deb in [scripts, modules] {
        let deb = deb.build(&folder);
        let inside = format!("srv/{}", deb.file_name().unwrap().to_str().unwrap());
        std::fs::copy(&deb, root.path().join(&inside)).unwrap();
        assert!(root.inside(&["dpkg", "-i", &format!("/{inside}")]).status.success());
        std::fs::remove_file(root.path().join(&inside)).unwrap();
    }
    let base = root.path().join(format!("lib/modules/{kernel}"));
    std::fs::copy(base.join(&module), root.path().join(&text[1..])).unwrap();
    assert!(root.inside(&["depmod", "-a", &kernel]).status.success());
    root
}

/// Rebuilds the kernel's initramfs with few modules, the adapter's among them.
pub fn make_initramfs(root: &Root) {
    root.write("etc/initramfs-tools/conf.d/few", "MODULES=list\n");
    root.write("etc/initramfs-tools/modules", "mlx5_core\n");
    assert!(root.inside(&["update-initramfs", "-u", "-k", &kernel(root)]).status.success());
}

pub fn kernel(root: &Root) -> String {
    let kernels = std::fs::read_dir(root.path().join("lib/modules")).unwrap();
    kernels.last().unwrap().unwrap().file_name().into_string().unwrap()
}

/// Where the kernel's own adapter module is, below its folder.
pub fn own_module(root: &Root) -> String {
    let folder = format!("lib/modules/{}/", kernel(root));
    let mut find = Command::new("find");
    find.arg(root.path().join(folder)).args([
        "-path",
        "*/kernel/*",
        "-name",
        "mlx5_core.ko*",
        "-printf",
        "%P",
    ]);
    String::from_utf8(find.output().unwrap().stdout).unwrap()
}

/// The adapter's modules in the kernel's initial file system.
pub fn in_initramfs(root: &Root) -> Vec<String> {
    let kernel = kernel(root);
    let listing = root.inside(&["lsinitramfs", &format!("/boot/initrd.img-{kernel}")]).stdout;
    let listing = String::from_utf8(listing).unwrap();
    let below = |line: &str| Some(line.split_once(&format!("lib/modules/{kernel}/"))?.1.to_owned());
    listing.lines().filter_map(below).filter(|path| path.contains("mlx5_core")).collect()
}
