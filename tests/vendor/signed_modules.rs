//! Kernel modules that are signed as they are built, for machines with Secure Boot.

use super::kernels::{add_kernel, headers_of};
use super::scene::{Scene, builds};
use crate::common::deb::Repository;
use crate::common::image;
use crate::common::module_key::{ModuleKey, modules_below};
use crate::common::vendor;
use crate::common::vendor::doca::{self, Doca};
use crate::common::vendor::shop::Shop;
use std::path::Path;
use std::process::Command;

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// The files below a folder that hold a text.
fn holders(folder: &Path, text: &str) -> String {
    let mut grep = Command::new("grep");
    grep.args(["-rlF", "--devices=skip", "--", text]).arg(folder);
    String::from_utf8(grep.output().unwrap().stdout).unwrap()
}

#[test]
fn built_modules_are_signed_and_one_that_comes_later_needs_the_key() {
    let key = ModuleKey::new("modules of a test");
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    let (kernel, later) = (scene.kernel(), "6.1.0-998-cloud-amd64");
    let config = format!("boot/config-{kernel}");
    let text = scene.root.read(&config);
    let rest = text.lines().filter(|line| !line.contains("CONFIG_MODULE_SIG_HASH"));
    let text: Vec<&str> = rest.chain(["CONFIG_MODULE_SIG_HASH=\"sha384\"", ""]).collect();
    scene.root.write(&config, &text.join("\n"));
    let repository = Repository::of(&[headers_of(later, &kernel)]);
    scene.root.add_source(&repository.source_line());
    add_kernel(&scene.root, later);
    scene.root.write(&format!("lib/modules/{later}/modules.dep"), "kernel/a.ko.xz:\n");

    let (by_key, by_certificate) = (key.by_key(), key.by_certificate());
    let base = ["--driver", "doca"];
    let args = |kernels: &[&'static str], more: &[String]| {
        let mut all: Vec<String> = base.iter().chain(kernels).map(|word| (*word).to_owned()).collect();
        all.extend(more.iter().cloned());
        all
    };
    scene.stage(&words(&args(&[], &by_key))).expect(0, "staged");
    let first: &'static str = kernel.clone().leak();
    let baked = scene.bake(&words(&args(&["--kernel", first], &by_key)));
    baked.expect(0, "installed");
    assert!(baked.stderr.contains("signed 8 modules"), "{}", baked.stderr);

    let folder = scene.root.path().join("lib/modules").join(&kernel).join("updates");
    let modules = modules_below(&folder);
    assert_eq!(modules.len(), 11, "{modules:?}");
    for module in &modules {
        let bytes = std::fs::read(module).unwrap();
        assert!(key.signed(&bytes), "{}", module.display());
        let changed = [b"x", &bytes[1..]].concat();
        assert!(!key.signed(&changed), "{}", module.display());
    }
    let path = format!("/{}", modules[0].strip_prefix(scene.root.path()).unwrap().display());
    let told = scene.root.inside(&["modinfo", &path]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("modules of a test") && told.contains("sha384"), "{told}");
    let verified = image::ask("verify", &scene.root);
    verified.expect(0, "verified");
    assert!(verified.stdout.contains("CN=modules of a test"), "{}", verified.stdout);

    // The key is nowhere but in its file.
    let pem = std::fs::read_to_string(key.key()).unwrap();
    let line = pem.lines().nth(3).unwrap();
    assert_eq!(holders(scene.root.path(), line), "");
    assert_eq!(holders(&scene.cache, line), "");
    assert!(!baked.stderr.contains(line) && !baked.stdout.contains(line));

    // Nothing changes without the key, and nothing is built unsigned.
    scene.bake(&words(&args(&["--kernel", first], &[]))).expect(0, "already-installed");
    let both = ["--kernel", first, "--kernel", later];
    for more in [&[][..], &by_certificate] {
        let refused = scene.bake(&words(&args(&both, more)));
        refused.expect(12, "secure-boot");
        assert!(refused.stdout.contains("signing-key-missing"), "{}", refused.stdout);
    }
    image::ask("verify", &scene.root).expect(0, "verified");

    // With the key the other kernel is served, too. It has compressed modules, and DKMS compresses what it builds.
    scene.bake(&words(&args(&both, &by_key))).expect(0, "installed");
    image::ask("verify", &scene.root).expect(0, "verified");
    let packed = modules_below(&scene.root.path().join("lib/modules").join(later).join("updates"));
    assert_eq!(packed.len(), 11, "{packed:?}");
    for module in packed {
        assert!(module.extension().is_some_and(|ending| ending == "xz"), "{}", module.display());
        let listed = Command::new("xz").args(["--robot", "-lv"]).arg(&module).output().unwrap();
        assert!(String::from_utf8(listed.stdout).unwrap().contains("CRC32"), "{}", module.display());
        let unpacked = Command::new("xz").arg("-dc").arg(&module).output().unwrap();
        assert!(key.signed(&unpacked.stdout), "{}", module.display());
    }

    // Another image takes the signed modules from the cache, where the key is not.
    let other = scene.again(vendor::building_root_as("ubuntu22.04"));
    other.root.add_source(&repository.source_line());
    let taken = other.bake(&words(&args(&["--kernel", first], &by_certificate)));
    taken.expect(0, "installed");
    assert_eq!(builds(&other.root), Vec::<String>::new());
    for module in modules_below(&other.root.path().join("lib/modules").join(&kernel).join("updates")) {
        assert!(key.signed(&std::fs::read(&module).unwrap()), "{}", module.display());
    }
    image::ask("verify", &other.root).expect(0, "verified");

    // A module that lost its signature is found.
    let module = &modules[0];
    let bytes = std::fs::read(module).unwrap();
    std::fs::write(module, &bytes[..bytes.len() - 1]).unwrap();
    let found = image::ask("verify", &scene.root);
    assert!(found.stdout.contains("signed for") && found.reason() == "verify-failed", "{}", found.stdout);
}

#[test]
fn modules_that_were_not_signed_are_signed_when_a_key_is_given() {
    let key = ModuleKey::new("a key that came later");
    let shop = Shop::of(|folder| drop(doca::host_package(folder, &Doca::default())));
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu22.04"));
    scene.stage(&["--driver", "doca"]).expect(0, "staged");
    scene.bake(&["--driver", "doca"]).expect(0, "installed");
    let before = builds(&scene.root).len();
    let mut args = vec!["--driver".to_owned(), "doca".to_owned()];
    args.extend(key.by_key());
    scene.bake(&words(&args)).expect(0, "installed");
    assert_eq!(builds(&scene.root).len(), before, "nothing is compiled again");
    let modules = modules_below(&scene.root.path().join("lib/modules").join(scene.kernel()).join("updates"));
    assert!(modules.len() == 11 && modules.iter().all(|it| key.signed(&std::fs::read(it).unwrap())));
    image::ask("verify", &scene.root).expect(0, "verified");
    scene.bake(&words(&args)).expect(0, "already-installed");
}
