//! What goes wrong with a vendor's driver in an rpm root ends in a reason of its own, with the words that tell why.

use crate::bake::{give, known, prepared, stack};
use crate::common::endings;
use crate::common::image;
use crate::common::program::{self, Ran};
use crate::common::root::Root;
use crate::common::vendor::shop::Shop;
use crate::packages::{Repository, Rpm};
use crate::roots::ALMA8;
use crate::vendor::{packages, root, run};
use crate::vendor_packages;
use ofedctl::cache::Cache;
use std::path::PathBuf;

const VERSION: &str = "24.10-3.2.5.0";

fn archive(tag: &'static str) -> Shop {
    Shop::of(move |folder| drop(vendor_packages::tgz(folder, VERSION, "rhel8.10", tag)))
}

fn message(ran: &Ran) -> String {
    ran.json()["message"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_nothing_left(root: &Root) {
    assert!(!root.path().join("var/lib/ofedctl/receipt.json").exists());
    assert!(!root.path().join("var/lib/ofedctl/vendor").exists());
    image::assert_left_alone(root);
}

#[test]
fn what_the_installer_misses_is_installed_from_the_cache_and_it_is_run_once_more() {
    let shop = archive("rhel8.10");
    // What is staged for the installer cannot be installed as a whole where something is in the way of one of it.
    let repository = Repository::of(&[packages(ALMA8), vec![Rpm::plain("gtk2", "1", "")]].concat());
    let root = root(ALMA8, &repository);
    let cache = root.beside("cache");
    run("stage", &root, &shop, &cache, &[]).expect(0, "staged");
    give(&root, &Rpm { head: "Conflicts: gtk2", ..Rpm::plain("site-desktop", "1", "") });
    let ran = run("bake", &root, &shop, &cache, &[]);
    ran.expect(0, "installed");
    assert!(ran.stderr.contains("the installer misses tcsh"), "{}", ran.stderr);
    let known = known(&root);
    assert!(known.contains("tcsh-1-1") && !known.contains("gtk2"), "{known}");
}

#[test]
fn what_neither_the_image_nor_the_cache_has_is_named() {
    let shop = archive("rhel8.10");
    let mut without = packages(ALMA8);
    without.retain(|rpm| rpm.name != "tcsh");
    let repository = Repository::of(&without);
    let root = root(ALMA8, &repository);
    let cache = root.beside("cache");
    run("stage", &root, &shop, &cache, &[]).expect(0, "staged");
    let ran = run("bake", &root, &shop, &cache, &[]);
    ran.expect(14, "prerequisites-missing");
    assert!(message(&ran).contains("misses tcsh, and so does the cache"), "{}", message(&ran));
    assert_nothing_left(&root);
}

#[test]
fn a_package_for_another_release_is_refused_before_its_installer_runs() {
    let shop = archive("rhel8.6");
    let repository = Repository::of(&packages(ALMA8));
    let root = root(ALMA8, &repository);
    let cache = root.beside("cache");
    run("stage", &root, &shop, &cache, &[]).expect(0, "staged");
    let ran = run("bake", &root, &shop, &cache, &[]);
    ran.expect(12, "wrong-package");
    assert!(message(&ran).contains("`distro` says `rhel8.6`, and not `rhel8.10`"), "{}", message(&ran));
    assert_nothing_left(&root);
}

#[test]
fn a_file_of_the_vendors_that_another_package_has_is_named_with_both() {
    let shop = Shop::of(|folder| {
        vendor_packages::tgz(folder, VERSION, "rhel8.10", "rhel8.10");
        vendor_packages::host_package(folder, "3.2.1", "25.10", "rhel8");
    });
    let repository = Repository::of(&packages(ALMA8));
    let root = root(ALMA8, &repository);
    let cache = root.beside("cache");
    for driver in ["doca", "mlnx_ofed"] {
        run("stage", &root, &shop, &cache, &["--driver", driver]).expect(0, "staged");
    }
    let files = vec![("/etc/rdma/mlx4.conf", "# the site's\n")];
    give(&root, &Rpm { files, ..Rpm::plain("site-rdma", "1", "") });
    for driver in ["doca", "mlnx_ofed"] {
        let ran = run("bake", &root, &shop, &cache, &["--driver", driver]);
        ran.ends(&endings::FILE_OF_ANOTHER);
        for words in ["/etc/rdma/mlx4.conf", "rdma-core-25-1", "site-rdma-1-1"] {
            assert!(message(&ran).contains(words), "{driver}: no `{words}` in: {}", message(&ran));
        }
        assert_eq!(root.read("etc/rdma/mlx4.conf"), "# the site's\n");
        assert_nothing_left(&root);
    }
}

#[test]
fn a_kernel_that_a_vendors_package_needs_never_comes_into_an_image_unasked() {
    // DOCA 3.1 for Enterprise Linux 9.6 on 9.7: built modules need 9.6's kernel, which the distribution still has.
    let kmod = Rpm::plain("kmod-mlnx-ofa_kernel", "25.07", "kernel-core = 4.18.0");
    let shop = Shop::of(|folder| {
        vendor_packages::host_package_with(folder, "3.2.1", "25.10", "rhel8", std::slice::from_ref(&kmod));
    });
    let kernel = Rpm::plain("kernel-core", "4.18.0", "");
    let repository = Repository::of(&[&packages(ALMA8)[..], std::slice::from_ref(&kernel)].concat());
    let root = root(ALMA8, &repository);
    let cache = root.beside("cache");
    // From the distribution's repositories dnf is shown no kernel at all.
    let ran = run("stage", &root, &shop, &cache, &["--driver", "doca"]);
    ran.expect(14, "resolve-failed");
    assert!(message(&ran).contains("kernel-core-4.18.0-1.noarch is filtered out"), "{}", message(&ran));
    assert_nothing_left(&root);

    // Of an image that is only described, nobody knows what it has.
    let shell = Rpm { head: "Provides: /bin/sh", ..Rpm::plain("bash", "5", "") };
    let all = [&packages(ALMA8)[..], &[kernel.clone(), shell]].concat();
    let repository = Repository::of(&all);
    root.write("sources/etc/yum.repos.d/test.repo", &repository.file(""));
    let path = |path: PathBuf| path.display().to_string();
    let (sources, catalog) = (path(root.path().join("sources")), path(shop.catalog()));
    let of = ["--distro", "almalinux8.10", "--kernel", ALMA8.kernel, "--nic", "cx7", "--sources", &sources];
    let ran = program::run(
        &[&["stage", "--json", "--catalog", &catalog, "--cache", &path(cache.clone())], &of[..]].concat(),
    );
    ran.ends(&endings::KERNEL_UNASKED);
    assert!(message(&ran).contains("would bring it in: kernel-core-4.18.0-1"), "{}", message(&ran));

    // Where it is there already, nothing has to come.
    give(&root, &kernel);
    run("stage", &root, &shop, &cache, &["--driver", "doca"]).expect(0, "staged");
}

#[test]
fn sources_that_were_made_for_one_kernel_do_not_take_the_place_of_the_vendors_own() {
    // Azure/azhpc-images, pull request 567: `doca-kernel-support` leaves a repository in the image whose packages have the
    // kernel in their versions, and the exact dependencies of the vendor's own are broken by them.
    let shop = Shop::of(|folder| drop(vendor_packages::host_package(folder, "3.2.1", "25.10", "rhel8")));
    let left = Rpm::plain("mlnx-ofa_kernel", "25.10.OFED.25.10.1.7.1.1.1.4.18.0.553.16.1.el8.10.x86.64", "");
    let repository = Repository::of(&[&packages(ALMA8)[..], &[left]].concat());
    let image = root(ALMA8, &repository);
    let cache = image.beside("cache");
    run("stage", &image, &shop, &cache, &["--driver", "doca"]).expect(0, "staged");
    let bundles = Cache::open(&cache).unwrap().bundles().unwrap();
    let titles: Vec<&str> = bundles[0].files.iter().map(|file| file.title.as_str()).collect();
    assert!(titles.iter().any(|title| title.starts_with("doca-host-")), "{titles:?}");
    assert!(!titles.iter().any(|title| title.starts_with("mlnx-ofa_kernel")), "{titles:?}");
}

#[test]
fn an_image_whose_rpm_wants_signatures_says_which_package_has_none() {
    let (root, _repository) = prepared(ALMA8, "etc/yum.repos.d", &stack());
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");
    root.write("etc/rpm/macros", "%_dbpath /var/lib/rpm\n%_pkgverify_level signature\n");
    let before = known(&root);
    let ran = image::bake(&root, &cache);
    ran.expect(14, "repository-key");
    assert!(message(&ran).contains("rdma-core-48.0-1"), "{}", message(&ran));
    assert_eq!(known(&root), before);
}
