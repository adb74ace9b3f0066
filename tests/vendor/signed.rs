//! The packages of a bundle, installed from its folder as a repository: by the signature where no digest is known.

use super::scene::{Scene, builds};
use crate::common::deb::Repository;
use crate::common::image;
use crate::common::vendor;
use crate::common::vendor::mlnx_ofed::{self, MlnxOfed};
use crate::common::vendor::shop::Shop;
use crate::common::vendor::signing::Key;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shop with one signed bundle of two library sets, and a catalogue that knows its file, but no digest of it.
fn signed_shop(key: &Key) -> (Shop, PathBuf) {
    let wanted =
        MlnxOfed { version: "4.9-7.1.0.0", distro: "ubuntu20.04", key: Some(key), ..MlnxOfed::default() };
    let shop = Shop::of(|folder| drop(mlnx_ofed::tgz(folder, &wanted)));
    let catalog = std::fs::read_to_string(shop.catalog()).unwrap();
    let is_digest = |line: &&str| line.trim_start().starts_with("sha256:");
    let without: Vec<&str> = catalog.lines().filter(|line| !is_digest(line)).collect();
    std::fs::write(shop.catalog(), without.join("\n") + "\n").unwrap();
    let tgz = shop.files().remove(0);
    (shop, tgz)
}

/// The same archive with one byte of one package changed.
fn changed(tgz: &Path) {
    let scratch = crate::common::scratch();
    let script = "set -e; cd \"$1\"; tar xzf \"$2\"; deb=$(echo */DEBS/COMMON/srp-dkms_*.deb); \
        printf X | dd of=\"$deb\" bs=1 seek=200 conv=notrunc status=none; tar czf \"$2\" MLNX*";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(scratch.path()).arg(tgz);
    assert!(shell.status().unwrap().success());
}

#[test]
fn a_bundle_of_two_library_sets_is_taken_by_its_signature_and_one_changed_byte_is_refused() {
    let key = Key::new();
    let (shop, tgz) = signed_shop(&key);
    let scene = Scene::new(&shop, vendor::building_root_as("ubuntu20.04"));
    let (own, old) = (scene.kernel(), "5.4.0-999-generic");
    let repository = Repository::of(&[super::kernels::headers_of(old, &own)]);
    scene.root.add_source(&repository.source_line());
    super::kernels::add_kernel(&scene.root, old);
    let vendor_key = format!("vendor_key={}", key.file().display());
    let file = tgz.display().to_string();
    let base = ["--driver", "mlnx_ofed", "--kernel", old, "--artifact", &file];
    let by_key = [&base[..], &["--set", &vendor_key]].concat();

    // The vendor has not signed it, and nobody published a digest.
    scene.stage(&base).expect(14, "untrusted");
    scene.stage(&by_key).expect(0, "staged");
    scene.bake(&[&by_key[..], &["--set", "trust=signed"]].concat()).expect(0, "installed");
    let all = ["mlnx-ofed-kernel", "iser", "isert", "srp"].map(|name| format!("{name} {old}"));
    assert_eq!(builds(&scene.root), all);
    // 4.9 has the vendor's own libraries by default, which are older by their number than the distribution's.
    let version = |name: &str| scene.root.installed(name).unwrap_or_default();
    assert!(version("libmlx5-1").starts_with("41mlnx1") && version("libibverbs1").starts_with("41mlnx1"));
    image::ask("verify", &scene.root).expect(0, "verified");

    // What was found is written down, and not what could be counted on before.
    assert_eq!(image::receipt(&scene.root)["vendor_file"]["trust"], "signed");

    let mut upstream = by_key.clone();
    upstream.extend(["--set", "library_set=upstream", "--set", "mlnx_ofed_profile=kernel-only"]);
    let second = scene.again(vendor::building_root_as("ubuntu20.04"));
    second.root.add_source(&repository.source_line());
    super::kernels::add_kernel(&second.root, old);
    second.stage(&upstream).expect(0, "staged");
    second.bake(&upstream).expect(0, "installed");
    assert!(second.root.installed("libmlx5-1").is_none() && second.root.installed("libibverbs1").is_none());

    // To a cache that took the whole file before, the changed one is no other: this one has not seen it.
    changed(&tgz);
    let third = Scene::new(&shop, vendor::building_root_as("ubuntu20.04"));
    third.root.add_source(&repository.source_line());
    super::kernels::add_kernel(&third.root, old);
    let ran = third.stage(&by_key);
    ran.expect(14, "digest-mismatch");
    assert!(ran.stdout.contains("srp-dkms"), "{}", ran.stdout);
}
