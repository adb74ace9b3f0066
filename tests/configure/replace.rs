//! A vendor's driver that somebody else installed: real packages with the vendor's files, and its own uninstaller.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::program::{self, Ran};
use crate::common::root::{Root, debian_root};
use crate::common::wait;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const RELEASE: &str = "MLNX_OFED_LINUX-5.8-1.1.2.1";
/// As the vendor's does: asks unless told not to, purges the packages it knows, itself among them.
const UNINSTALLER: &str = "#!/bin/sh\nset -e\n[ \"$1\" = --force ] || { read -r answer; [ \"$answer\" = y ]; }\n\
    dpkg --purge mlnx-ofed-kernel-modules ofed-scripts\n";

/// A root in which somebody has installed the vendor's driver for all kernels.
fn with_another_driver(uninstaller: &'static str) -> Root {
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
fn make_initramfs(root: &Root) {
    root.write("etc/initramfs-tools/conf.d/few", "MODULES=list\n");
    root.write("etc/initramfs-tools/modules", "mlx5_core\n");
    assert!(root.inside(&["update-initramfs", "-u", "-k", &kernel(root)]).status.success());
}

fn kernel(root: &Root) -> String {
    let kernels = std::fs::read_dir(root.path().join("lib/modules")).unwrap();
    kernels.last().unwrap().unwrap().file_name().into_string().unwrap()
}

/// Where the kernel's own adapter module is, below its folder.
fn own_module(root: &Root) -> String {
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
fn in_initramfs(root: &Root) -> Vec<String> {
    let kernel = kernel(root);
    let listing = root.inside(&["lsinitramfs", &format!("/boot/initrd.img-{kernel}")]).stdout;
    let listing = String::from_utf8(listing).unwrap();
    let below = |line: &str| Some(line.split_once(&format!("lib/modules/{kernel}/"))?.1.to_owned());
    listing.lines().filter_map(below).filter(|path| path.contains("mlx5_core")).collect()
}

fn inbox(root: &Root, replace: &str) {
    root.write("etc/ofedctl/config.yaml", &format!("{{driver: inbox, replace_driver: {replace}}}\n"));
}

fn bake(root: &Root) -> Ran {
    image::bake(root, &image::staged("bookworm"))
}

#[test]
fn another_driver_is_kept_where_it_is_right_and_refused_where_it_is_in_the_way() {
    let root = with_another_driver(UNINSTALLER);
    bake(&root).expect(0, "already-installed");
    inbox(&root, "refuse");
    let refused = bake(&root);
    refused.expect(12, "driver-present");
    assert!(refused.json()["message"].as_str().unwrap().contains(RELEASE), "{refused:?}");
    assert!(refused.stderr.contains("replace_driver=replace"), "{refused:?}");
    assert!(root.installed("ofed-scripts").is_some());
    let plan = image::ask("plan", &root);
    plan.expect(12, "driver-present");
}

#[test]
fn another_driver_is_taken_out_by_its_own_uninstaller_and_the_kernel_has_its_modules_again() {
    let root = with_another_driver(UNINSTALLER);
    make_initramfs(&root);
    assert!(in_initramfs(&root)[0].starts_with("updates/"), "{:?}", in_initramfs(&root));
    inbox(&root, "replace");
    let plan: Value = image::ask("plan", &root).json();
    assert_eq!(plan["replaces"], RELEASE);
    bake(&root).expect(0, "installed");
    assert!(root.installed("ofed-scripts").is_none() && root.installed("rdma-core").is_some());
    let own = own_module(&root);
    let found = root.inside(&["modinfo", "-n", "-k", &kernel(&root), "mlx5_core"]);
    assert!(String::from_utf8(found.stdout).unwrap().trim().ends_with(&own));
    assert_eq!(in_initramfs(&root), [own]);
    image::ask("verify", &root).expect(0, "verified");
    bake(&root).expect(0, "already-installed");
    image::ask("uninstall", &root).expect(0, "uninstalled");
}

#[test]
fn a_driver_without_an_uninstaller_or_with_one_that_fails_is_left_to_who_installed_it() {
    let root = with_another_driver("");
    inbox(&root, "replace");
    let ran = bake(&root);
    ran.expect(12, "driver-present");
    assert!(ran.json()["message"].as_str().unwrap().contains("ofed_uninstall.sh"), "{ran:?}");

    let root =
        with_another_driver("#!/bin/sh\necho 'Failed to remove mlnx-ofed-kernel-modules' >&2\nexit 174\n");
    inbox(&root, "replace");
    let ran = bake(&root);
    ran.expect(14, "package-manager");
    assert!(ran.json()["message"].as_str().unwrap().contains("Failed to remove mlnx-ofed"), "{ran:?}");
    assert!(root.installed("rdma-core").is_none());

    let root = with_another_driver("#!/bin/sh\nexit 0\n");
    inbox(&root, "replace");
    let ran = bake(&root);
    ran.expect(14, "verify-failed");
    assert!(ran.json()["message"].as_str().unwrap().contains("updates/mlx5_core.ko"), "{ran:?}");
}

#[test]
fn a_bake_killed_while_it_takes_a_driver_out_is_finished_by_the_next() {
    let root = with_another_driver(
        "#!/bin/sh\nset -e\ndpkg --purge mlnx-ofed-kernel-modules\n: > /srv/half-way\n\
         while [ ! -e /srv/go-on ]; do sleep 0.05; done\ndpkg --purge ofed-scripts\n",
    );
    inbox(&root, "replace");
    let mut child = program::start(program::program(&image::bake_args(&root, &image::staged("bookworm"))));
    wait::until_at_work(&mut child, "the uninstaller is half-way", || {
        root.path().join("srv/half-way").exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    image::assert_left_alone(&root);
    root.write("srv/go-on", "");
    bake(&root).expect(0, "installed");
    assert!(root.installed("ofed-scripts").is_none());
    image::ask("verify", &root).expect(0, "verified");
}

#[test]
fn what_will_be_taken_out_is_not_counted_on_when_the_cache_is_filled() {
    let root = with_another_driver(UNINSTALLER);
    let packages =
        ["rdma-core", "ibverbs-utils", "ibverbs-providers", "rdmacm-utils", "infiniband-diags", "perftest"];
    let repository = Repository::of(&packages.map(|name| Deb { name, version: "50", ..Deb::default() }));
    for source in ["etc/apt/sources.list", "etc/apt/sources.list.d"] {
        let source = root.path().join(source);
        let _ = std::fs::remove_file(&source).or_else(|_| std::fs::remove_dir_all(&source));
    }
    root.add_source(&repository.source_line());
    // The vendor's, newer than the distribution's.
    let vendors =
        Deb { name: "rdma-core", version: "58mlnx43", ..Deb::default() }.build(&root.beside("debs"));
    std::fs::copy(&vendors, root.path().join("srv/rdma-core.deb")).unwrap();
    assert!(root.inside(&["dpkg", "-i", "/srv/rdma-core.deb"]).status.success());
    inbox(&root, "replace");
    let cache = root.beside("cache");
    let staged = image::stage(&root, &cache);
    staged.expect(0, "staged");
    let files = staged.json()["bundle"]["files"].to_string();
    assert!(files.contains("rdma-core_50_all.deb"), "{files}");
    assert!(Path::new(&cache).join("index.json").exists());
}
