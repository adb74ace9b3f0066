//! Programs that ask which kernel runs are told of the one that they are to build for.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::root::debian_root;
use crate::common::tree::{self, Tree};
use crate::{open, prints};
use ofedctl::host::sandbox::Sandbox;
use std::os::unix::fs::symlink;

const KERNEL: &str = "6.1.0-998-cloud-amd64";

#[test]
fn uname_names_the_kernel_being_built_for_by_every_path_and_is_truthful_otherwise() {
    let root = debian_root("trixie");
    let before = Tree::of(root.path());
    let plain = Sandbox::offline(&open(&root), true);
    let told = plain.clone().for_kernel(KERNEL);
    for ask in [
        "uname -r",
        "/usr/bin/uname -r",
        "/bin/uname -r",
        "uname --kernel-release",
        "cat /proc/sys/kernel/osrelease",
        "env -i /bin/sh -c 'uname -r'",
    ] {
        assert_eq!(prints(&told, ask), format!("{KERNEL}\n"), "{ask}");
    }
    let running = prints(&plain, "uname -r");
    for ask in [
        "uname",
        "uname -s",
        "uname -m",
        "uname -n",
        "uname -v",
        "uname -sm",
        "uname -o",
        "uname -i",
        "uname -p",
    ] {
        assert_eq!(prints(&told, ask), prints(&plain, ask), "{ask}");
    }
    for ask in ["uname -a", "uname -srm", "uname -rs", "uname --all"] {
        assert_eq!(prints(&told, ask), prints(&plain, ask).replacen(running.trim(), KERNEL, 1), "{ask}");
    }
    let wrong = prints(&told, "uname --no-such-option 2>&1; echo $?");
    assert!(wrong.contains("unrecognized option") && wrong.ends_with("\n1\n"), "{wrong}");
    let difference = tree::diff(&before, &Tree::of(root.path()));
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn package_scripts_of_a_bake_are_told_of_the_images_kernel_and_not_of_this_machines() {
    let script =
        "#!/bin/sh\nset -e\n{ uname -r; /bin/uname -r; cat /proc/sys/kernel/osrelease; } > /var/lib/told\n";
    let scripts = vec![("postinst", script)];
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", scripts, ..Deb::default() }]);
    let root = debian_root("trixie");
    root.add_source(&repository.source_line());
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    image::bake(&root, &cache).expect(0, "installed");
    let kernel = image::receipt(&root)["plan"]["target"]["kernels"][0].as_str().unwrap().to_owned();
    assert_ne!(kernel, prints(&Sandbox::offline(&open(&root), true), "uname -r").trim());
    assert_eq!(root.read("var/lib/told"), format!("{kernel}\n").repeat(3));
    image::assert_left_alone(&root);
}

#[test]
fn a_uname_that_may_be_replaced_is_found_in_the_search_path_alone() {
    let root = debian_root("trixie");
    let told = Sandbox::offline(&open(&root), true).for_kernel_in_search_path(KERNEL);
    let replace = "uname -r; cp /usr/bin/uname /usr/bin/new && mv /usr/bin/new /usr/bin/uname && uname -r";
    assert_eq!(prints(&told, replace), format!("{KERNEL}\n").repeat(2));
}

#[test]
fn a_uname_that_is_one_of_many_names_of_a_program_leaves_the_others_alone() {
    let root = debian_root("trixie");
    // As the coreutils of Ubuntu 25.10 are, and busybox is: one program that goes by the name it is called by.
    let many = "#!/bin/sh\ncase ${0##*/} in uname) [ \"$1\" = -r ] && echo 1.2.3 || echo Linux ;; *) echo \"$0\" ;; esac\n";
    std::fs::remove_file(root.path().join("usr/bin/uname")).unwrap();
    root.write("usr/bin/many", many);
    std::fs::set_permissions(
        root.path().join("usr/bin/many"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    symlink("many", root.path().join("usr/bin/uname")).unwrap();
    let told = Sandbox::offline(&open(&root), true).for_kernel(KERNEL);
    assert_eq!(prints(&told, "uname; /usr/bin/many"), "Linux\n/usr/bin/many\n");
}
