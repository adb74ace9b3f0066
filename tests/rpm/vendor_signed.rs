//! The packages of a vendor's bundle for rpm, installed from its folder as a repository, where it has modules for the
//! image's kernel: by the signature of each package where no digest of the bundle is known.

use crate::common::image;
use crate::common::program::Ran;
use crate::common::root::Root;
use crate::common::vendor::modules::BUILDS;
use crate::common::vendor::shop::Shop;
use crate::packages::{Key, Rpm};
use crate::roots::Identity;
use crate::vendor::{packages, root, run};
use crate::vendor_packages::{compiled, tgz_with_modules};
use std::path::Path;
use std::process::Command;

const VERSION: &str = "5.0-2.1.8.0";
/// The first kernel of its release, for which bundles have modules.
const FIRST: Identity = Identity { id: "centos", version: "8.1", kernel: "4.18.0-147.el8.x86_64" };

/// The same archive after a script has changed something in its folder.
fn changed(tgz: &Path, script: &str) {
    let scratch = crate::common::scratch();
    let script =
        format!("set -e; cd \"$1\"; tar xzf \"$2\"; cd MLNX*; {script}\ncd ..; tar czf \"$2\" MLNX*");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).arg(scratch.path()).arg(tgz);
    assert!(shell.status().unwrap().success());
}

#[test]
fn packages_with_modules_for_the_kernel_are_installed_by_their_signatures_and_nothing_unsigned_is() {
    let key = Key::new();
    let shop = Shop::of(|folder| {
        let maker = FIRST.building_root();
        let modules = compiled(&maker, FIRST.kernel);
        tgz_with_modules(folder, (VERSION, "rhel8.1"), &modules, FIRST.kernel, &key);
    });
    // Nobody published its digest.
    let catalog = std::fs::read_to_string(shop.catalog()).unwrap();
    let is_digest = |line: &&str| line.trim_start().starts_with("sha256:");
    let without: Vec<&str> = catalog.lines().filter(|line| !is_digest(line)).collect();
    std::fs::write(shop.catalog(), without.join("\n") + "\n").unwrap();
    let tgz = shop.files().remove(0);
    let file = tgz.display().to_string();
    let repository = crate::packages::Repository::of(&packages(FIRST));
    let public = crate::common::scratch();
    std::fs::write(public.path().join("key"), key.public()).unwrap();
    let vendor_key = format!("vendor_key={}", public.path().join("key").display());
    let base = ["--driver", "mlnx_ofed", "--artifact", &file];
    let by_key = [&base[..], &["--set", &vendor_key]].concat();
    let stage =
        |root: &Root, args: &[&str]| -> Ran { run("stage", root, &shop, &root.beside("cache"), args) };

    let image = root(FIRST, &repository);
    // No key of the vendor's is known to have signed rpms as old as this.
    stage(&image, &base).expect(1, "bad-settings");
    stage(&image, &by_key).expect(0, "staged");
    let strictly = [&by_key[..], &["--set", "trust=signed"]].concat();
    run("bake", &image, &shop, &image.beside("cache"), &strictly).expect(0, "installed");
    let receipt = image::receipt(&image);
    assert_eq!(receipt["vendor_file"]["trust"], "signed");
    // 5.0 takes the set that is built from rdma-core by itself, older by its number than the distribution's.
    assert_eq!(receipt["packages"]["libibverbs"], "25-1");
    let verified = image::ask("verify", &image);
    verified.expect(0, "verified");
    for found in ["extra/mlnx-ofa_kernel/", &format!("MLNX_OFED_LINUX-{VERSION}")] {
        assert!(verified.stdout.contains(found), "{found}: {}", verified.stdout);
    }
    assert!(!image.path().join(BUILDS).exists(), "something was compiled");
    image::ask("uninstall", &image).expect(0, "uninstalled");

    let other = root(FIRST, &repository);
    let own = [&by_key[..], &["--set", "library_set=mlnx"]].concat();
    stage(&other, &own).expect(0, "staged");
    run("bake", &other, &shop, &other.beside("cache"), &own).expect(0, "installed");
    assert_eq!(image::receipt(&other)["packages"]["libibverbs"], "41mlnx1-1");

    // One package that nobody signed, then one that was changed, then an index that leads elsewhere, which nobody reads.
    let unsigned = crate::common::scratch();
    Rpm::plain("rdma-core", "25", "test-libnl3").build(unsigned.path());
    let swap = format!("cp {}/rdma-core-25-1.noarch.rpm RPMS_UPSTREAM_LIBS/", unsigned.path().display());
    // Of its content: rpm leaves room for signatures in front, which nothing covers.
    let byte = "f=RPMS_UPSTREAM_LIBS/libibverbs-25-1.noarch.rpm; printf X | dd of=$f bs=1 seek=$(($(stat -c %s $f) - 40)) conv=notrunc status=none";
    let away = "cd RPMS_UPSTREAM_LIBS/repodata; for f in *primary.xml.gz; do zcat $f | sed 's,href=\"rdma-core,href=\"../rdma-core,' | gzip >p; mv p $f; done; cd ../..";
    let good = std::fs::read(&tgz).unwrap();
    for (script, code, reason, word) in [
        (swap.as_str(), 14, "untrusted", "not signed by any key"),
        (byte, 14, "digest-mismatch", "libibverbs"),
        (away, 0, "staged", "ofedctl bake"),
    ] {
        std::fs::write(&tgz, &good).unwrap();
        changed(&tgz, script);
        let ran = stage(&root(FIRST, &repository), &by_key);
        ran.expect(code, reason);
        assert!(ran.stdout.contains(word), "{}", ran.stdout);
    }
}
