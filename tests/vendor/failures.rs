//! What goes wrong with a vendor's driver ends in a reason of its own, with the lines that tell why.

use super::scene::{Scene, builds};
use crate::common::endings;
use crate::common::image;
use crate::common::program::{self, Ran};
use crate::common::root::{Root, building};
use crate::common::tree::{self, Tree};
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::modules::Source;
use crate::common::vendor::shop::Shop;
use ofedctl::catalog::versions::Version;
use ofedctl::catalog::{Catalog, KnownBad, Patch};
use std::process::Command;

/// By the vendor's own installer, and not from its packages.
const BY_INSTALLER: [&str; 2] = ["--set", "mlnx_ofed_installer=true"];

/// A kernel that is there, but has nothing but its name.
fn add_kernel(root: &Root, kernel: &str) {
    for file in ["modules.dep", "modules.builtin"] {
        root.write(&format!("lib/modules/{kernel}/{file}"), "");
    }
}

#[test]
fn modules_that_do_not_build_are_named_with_the_compilers_words() {
    let source = Source::Outdated;
    let shop = Shop::of(|folder| {
        doca::host_package(folder, &Doca { source, ..Doca::default() });
        mlnx_ofed::tgz(folder, &MlnxOfed { source, ..MlnxOfed::default() });
    });
    let first = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    // The installer's log names another, which names the compiler's.
    for (driver, more) in [("mlnx_ofed", &BY_INSTALLER[..]), ("doca", &[])] {
        let scene = first.again(vendor::building_root_as("ubuntu22.04"));
        let args = [&["--driver", driver], more].concat();
        scene.stage(&args).expect(0, "staged");
        let ran = scene.bake(&args);
        ran.ends(&endings::MODULES_DO_NOT_BUILD);
        let message = ran.json()["message"].as_str().unwrap().to_owned();
        for words in ["has no member named", "mlx5_core.c", &scene.kernel(), "/var/log/azure/ofedctl/"] {
            assert!(message.contains(words), "{driver}: no `{words}` in: {message}");
        }
        let mut logs = message.split('`').filter(|part| part.starts_with("/var/log/azure/ofedctl/"));
        let tells = |log: &str| scene.root.read(log.trim_start_matches('/')).contains("has no member named");
        assert!(logs.any(tells), "{driver}: no log that tells why in: {message}");
        assert!(!scene.root.path().join("var/lib/ofedctl/receipt.json").exists());
        assert!(!scene.root.path().join("etc/dkms/no-autoinstall").exists());
        // What came with it is out again, and the run says so.
        for package in ["mlnx-ofed-kernel-dkms", "ofed-scripts", "doca-host", "doca-ofed", "mlnx-ofed-all"] {
            assert!(scene.root.installed(package).is_none(), "{driver}: {package} is left");
        }
        assert!(driver == "mlnx_ofed" || ran.stderr.contains("are out again"), "{}", ran.stderr);
        image::assert_left_alone(&scene.root);
    }
}

/// Mends what [`Source::Outdated`] has of an older kernel.
const PATCH: &str = "--- a/mlx5_core.c
+++ b/mlx5_core.c
@@ -7,1 +7,1 @@
-unsigned long old_timer(struct timer_list *timer) { return timer->data; }
+unsigned long old_timer(struct timer_list *timer) { return timer->expires; }
";

#[test]
fn sources_with_a_patch_in_the_catalogue_are_built_with_it_and_it_leaves_with_them() {
    // Azure/azhpc-images, pull request 567, in its form.
    let shop = Shop::of(|folder| {
        doca::host_package(folder, &Doca { source: Source::Outdated, ..Doca::default() });
    });
    let mut catalog = Catalog::parse("test", &std::fs::read_to_string(shop.catalog()).unwrap()).unwrap();
    catalog.known_bad.push(KnownBad {
        line: "doca-3.2-lts".to_owned(),
        before: None,
        named: None,
        from: Version::new("4.0"),
        below: None,
        why: "it has an old timer".to_owned(),
        source: "this test".to_owned(),
        patch: Some(Patch {
            package: "mlnx-ofed-kernel".to_owned(),
            kernels: ".".to_owned(),
            text: PATCH.to_owned(),
        }),
    });
    std::fs::write(shop.catalog(), serde_yaml::to_string(&catalog).unwrap()).unwrap();
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    scene.bake(&["--driver", "doca"]).expect(0, "installed");
    let settings = "etc/dkms/mlnx-ofed-kernel.conf";
    assert!(scene.root.read(settings).contains("ofedctl-0.patch"));
    scene.bake(&["--driver", "doca"]).expect(0, "already-installed");
    image::ask("uninstall", &scene.root).expect(0, "uninstalled");
    let sources = std::fs::read_dir(scene.root.path().join("usr/src")).unwrap();
    let left: Vec<_> = sources.map(|it| it.unwrap().file_name()).collect();
    let is_ours = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("mlnx-ofed-kernel");
    assert!(!left.iter().any(|name| is_ours(&name)), "{left:?}");
    assert!(!scene.root.path().join(settings).exists());
}

/// Hardened images have file systems of their own below `/var`, from which nothing may run.
#[test]
fn where_no_program_runs_from_var_nothing_is_changed_and_when_it_does_the_driver_is_built() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    let var = scene.root.path().join("var").display().to_string();
    let bake = scene.arguments("bake", &["--driver", "doca", "--offline"]);
    let bake_with = |option: &str| {
        let script =
            format!("mount --bind {var} {var}; mount -o remount,bind,{option} {var}; exec \"$0\" \"$@\"");
        let mut inside = program::in_namespaces(&script);
        inside.arg(env!("CARGO_BIN_EXE_ofedctl")).args(&bake);
        program::finish(inside)
    };
    let before = scene.root.installed("doca-host");
    let ran = bake_with("noexec");
    ran.ends(&endings::NOTHING_RUNS_IN_VAR);
    assert!(
        before.is_none() && scene.root.installed("doca-host").is_none() && builds(&scene.root).is_empty()
    );
    bake_with("exec").expect(0, "installed");
}

#[test]
fn a_package_for_another_distribution_is_refused_before_its_installer_runs() {
    let shop = Shop::of(|folder| {
        mlnx_ofed::tgz(folder, &MlnxOfed { tag: Some("ubuntu20.04"), ..MlnxOfed::default() });
    });
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&[]).expect(0, "staged");
    let ran = scene.bake(&[]);
    ran.ends(&endings::PACKAGE_OF_ANOTHER);
    assert!(ran.stdout.contains("`distro` says `ubuntu20.04`, and not `ubuntu22.04`"), "{}", ran.stdout);
    assert!(builds(&scene.root).is_empty() && !scene.root.path().join("var/lib/ofedctl/vendor").exists());
}

#[test]
fn what_the_installer_misses_and_the_cache_has_not_is_named() {
    let shop = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &MlnxOfed::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&BY_INSTALLER).expect(0, "staged");
    // It was there when the cache was filled, and only the vendor's own packages need it.
    let purge = scene.root.inside(&["dpkg", "--purge", "--force-depends", "libnl-route-3-200"]);
    assert!(purge.status.success(), "{purge:?}");
    let ran = scene.bake(&BY_INSTALLER);
    ran.expect(14, "prerequisites-missing");
    assert!(ran.stdout.contains("misses libnl-route-3-200, and so does the cache"), "{}", ran.stdout);
}

#[test]
fn headers_that_are_not_to_be_had_are_named_while_staging_and_while_baking() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let (old, gone) = (scene.kernel(), "6.1.0-999-cloud-amd64");
    scene.stage(&[]).expect(0, "staged");
    add_kernel(&scene.root, gone);
    let before = Tree::of(scene.root.path());
    let ran = scene.bake(&[]);
    ran.expect(14, "cache-missing");
    let lacks = format!("it lacks linux-headers-{gone}");
    assert!(ran.stdout.contains(&lacks), "{}", ran.stdout);
    image::assert_untouched(&scene.root, &before);

    let ran = scene.stage(&[]);
    ran.expect(14, "headers-missing");
    assert!(ran.stdout.contains(&format!("linux-headers-{gone}")), "{}", ran.stdout);
    // Somebody else's package manager is waited for, and then named.
    scene.root.write("etc/ofedctl/config.yaml", "lock_timeout: 1\n");
    let mut holder = program::hold_lock(scene.root.path());
    let ran = scene.bake(&["--kernel", &old]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    ran.expect(14, "lock-timeout");
    assert!(ran.stdout.contains("lock-frontend"), "{}", ran.stdout);
    // The kernel that has them is not held up by the one that has not.
    scene.bake(&["--kernel", &old]).expect(0, "installed");
}

#[test]
fn a_bundle_that_lacks_something_leaves_nothing_of_the_vendor_behind() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&[]).expect(0, "staged");
    // It was there when the cache was filled, so it is not in it.
    assert!(scene.root.inside(&["dpkg", "--purge", "lsof"]).status.success());
    let before = Tree::of(scene.root.path());
    let ran = scene.bake(&[]);
    ran.expect(14, "cache-missing");
    assert!(ran.stdout.contains("lsof"), "{}", ran.stdout);
    assert!(scene.root.installed("doca-host").is_none());
    let is_a_record = |path: &str| ["var/lib/dpkg/", "var/log/"].iter().any(|at| path.starts_with(at));
    let before = before.without(is_a_record);
    let after = Tree::of(scene.root.path()).without(is_a_record).without(image::is_ours);
    let difference = tree::diff(&before, &after);
    assert!(difference.is_empty(), "{difference}");
    image::assert_left_alone(&scene.root);
}

#[test]
fn an_archive_that_climbs_out_is_refused_while_it_is_looked_into() {
    let shop = Shop::of(|folder| {
        let tree = crate::common::scratch();
        std::fs::create_dir(tree.path().join("MLNX_OFED")).unwrap();
        std::fs::write(tree.path().join("evil"), "from outside").unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-czPf").arg(folder.join("MLNX_OFED_LINUX-5.8-2.0.3.0-ubuntu22.04-x86_64.tgz"));
        tar.arg("../evil").current_dir(tree.path().join("MLNX_OFED"));
        assert!(tar.status().unwrap().success());
    });
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let ran = scene.stage(&[]);
    ran.expect(14, "digest-mismatch");
    assert!(ran.stdout.contains("refused: `../evil` leads outside the archive"), "{}", ran.stdout);
}

#[test]
fn another_file_of_the_same_name_is_not_taken_from_anywhere() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let file = shop.files().remove(0);
    std::fs::write(&file, "<html>please log in</html>").unwrap();
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let ran = scene.stage(&[]);
    assert!(ran.code == 14 && ran.stdout.contains("came from none of"), "{ran:?}");
    let elsewhere = scene.root.beside("file.deb");
    std::fs::write(&elsewhere, "something else").unwrap();
    scene.stage(&["--artifact", elsewhere.to_str().unwrap()]).expect(14, "digest-mismatch");
    assert!(image::blobs(&scene.cache).is_empty());
}

#[test]
fn a_full_disk_is_named_and_with_room_the_next_bake_finishes() {
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&[]).expect(0, "staged");
    let folder = crate::common::scratch();
    // The mount is private to this shell and ends with it, however it ends.
    let script = r#"
        over=$1/over disk=$1/disk layers=$2 from=$3
        shift 3
        mkdir "$over" "$disk"
        mount -t tmpfs -o size=1g tmpfs "$over"
        mkdir "$over/upper" "$over/work"
        mount -t overlay -o "lowerdir=$layers,upperdir=$over/upper,workdir=$over/work" overlay "$disk"
        rm "$disk/etc/os-release"
        cp "$from/etc/os-release" "$disk/etc/"
        mount -o remount,size=1m "$over"
        "$@" --root "$disk" >"$disk/../full.json" || echo $? >"$disk/../full.code"
        mount -o remount,size=1g "$over"
        "$@" --root "$disk" >"$disk/../room.json"
    "#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "sh", "-euc", script, "sh"]).arg(folder.path());
    unshare.arg(building("bookworm").lower()).arg(scene.root.path()).arg(env!("CARGO_BIN_EXE_ofedctl"));
    unshare.args(scene.arguments_without_root("bake", &["--offline"]));
    let ran = program::finish(unshare);
    assert_eq!(ran.code, 0, "{ran:?}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let full = Ran { code: read("full.code").trim().parse().unwrap_or(0), stdout: read("full.json"), ..ran };
    full.expect(14, "no-space");
}
