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
use crate::vendor_packages::{Brings, Layout, compiled, signed_tgz};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "5.0-2.1.8.0";
/// The first kernel of its release, for which bundles have modules.
pub(crate) const FIRST: Identity = Identity { id: "centos", version: "8.1", kernel: "4.18.0-147.el8.x86_64" };

/// The same archive after a script has changed something in its folder.
fn changed(tgz: &Path, script: &str) {
    let scratch = crate::common::scratch();
    let script =
        format!("set -e; cd \"$1\"; tar xzf \"$2\"; cd MLNX*; {script}\ncd ..; tar czf \"$2\" MLNX*");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).arg(scratch.path()).arg(tgz);
    assert!(shell.status().unwrap().success());
}

/// A shop with one signed bundle, of which nobody published a digest, and what names it and the key to the program.
pub(crate) struct Signed {
    pub(crate) shop: Shop,
    pub(crate) tgz: PathBuf,
    key: tempfile::TempDir,
}

impl Signed {
    pub(crate) fn new(made: impl Fn(&Path, &Key)) -> Self {
        let key = Key::new();
        let shop = Shop::of(|folder| made(folder, &key));
        let catalog = std::fs::read_to_string(shop.catalog()).unwrap();
        let is_digest = |line: &&str| line.trim_start().starts_with("sha256:");
        let without: Vec<&str> = catalog.lines().filter(|line| !is_digest(line)).collect();
        std::fs::write(shop.catalog(), without.join("\n") + "\n").unwrap();
        let public = crate::common::scratch();
        std::fs::write(public.path().join("key"), key.public()).unwrap();
        let tgz = shop.files().remove(0);
        Self { shop, tgz, key: public }
    }

    /// The file without the key, and with it.
    pub(crate) fn args(&self) -> (Vec<String>, Vec<String>) {
        let base = ["--driver", "mlnx_ofed", "--artifact"].map(str::to_owned);
        let base = [&base[..], &[self.tgz.display().to_string()]].concat();
        let key = format!("vendor_key={}", self.key.path().join("key").display());
        (base.clone(), [base, vec!["--set".to_owned(), key]].concat())
    }

    /// Runs a command on an image, whose cache is beside it, with the file and the key.
    pub(crate) fn run(&self, command: &str, image: &Root, more: &[&str]) -> Ran {
        let (_, by_key) = self.args();
        let all: Vec<&str> = by_key.iter().map(String::as_str).chain(more.iter().copied()).collect();
        run(command, image, &self.shop, &image.beside("cache"), &all)
    }
}

/// Fails unless the bundle says how much room the vendor's packages take.
#[track_caller]
pub(crate) fn assert_knows_the_room(staged: &Ran) {
    let room = &staged.json()["bundle"]["config"]["vendor_room"];
    assert!(["unpacked", "packages"].iter().all(|part| room[part].as_u64() > Some(10_000)), "{room}");
}

#[test]
fn packages_with_modules_for_the_kernel_are_installed_by_their_signatures_and_nothing_unsigned_is() {
    let signed = Signed::new(|folder, key| {
        let maker = FIRST.building_root();
        let brings = compiled(&maker, FIRST.kernel);
        signed_tgz(folder, (VERSION, "rhel8.1"), Brings::Built(&brings, FIRST.kernel), Layout::Of50, key);
    });
    let repository = crate::packages::Repository::of(&packages(FIRST));

    let image = root(FIRST, &repository);
    // No key of the vendor's is known to have signed rpms as old as this.
    let (base, _) = signed.args();
    let base: Vec<&str> = base.iter().map(String::as_str).collect();
    run("stage", &image, &signed.shop, &image.beside("cache"), &base).expect(1, "bad-settings");
    assert_knows_the_room(signed.run("stage", &image, &[]).expect(0, "staged"));
    signed.run("bake", &image, &["--set", "trust=signed"]).expect(0, "installed");
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
    let own = ["--set", "library_set=mlnx"];
    signed.run("stage", &other, &own).expect(0, "staged");
    signed.run("bake", &other, &own).expect(0, "installed");
    assert_eq!(image::receipt(&other)["packages"]["libibverbs"], "41mlnx1-1");

    // One package that nobody signed, then one that was changed, then an index that leads elsewhere, which nobody reads.
    let unsigned = crate::common::scratch();
    Rpm::plain("rdma-core", "25", "test-libnl3").build(unsigned.path());
    let swap = format!("cp {}/rdma-core-25-1.noarch.rpm RPMS_UPSTREAM_LIBS/", unsigned.path().display());
    // Of its content: rpm leaves room for signatures in front, which nothing covers.
    let byte = "f=RPMS_UPSTREAM_LIBS/libibverbs-25-1.noarch.rpm; printf X | dd of=$f bs=1 seek=$(($(stat -c %s $f) - 40)) conv=notrunc status=none";
    let away = "cd RPMS_UPSTREAM_LIBS/repodata; for f in *primary.xml.gz; do zcat $f | sed 's,href=\"rdma-core,href=\"../rdma-core,' | gzip >p; mv p $f; done; cd ../..";
    let good = std::fs::read(&signed.tgz).unwrap();
    for (script, code, reason, word) in [
        (swap.as_str(), 14, "untrusted", "not signed by any key"),
        (byte, 14, "digest-mismatch", "libibverbs"),
        (away, 0, "staged", "ofedctl bake"),
    ] {
        std::fs::write(&signed.tgz, &good).unwrap();
        changed(&signed.tgz, script);
        let ran = signed.run("stage", &root(FIRST, &repository), &[]);
        ran.expect(code, reason);
        assert!(ran.stdout.contains(word), "{}", ran.stdout);
    }
}

#[test]
fn of_a_bundle_laid_out_as_4_9_its_own_libraries_are_installed_by_default_and_the_others_by_setting() {
    let signed = Signed::new(|folder, key| {
        let maker = FIRST.building_root();
        let brings = compiled(&maker, FIRST.kernel);
        let of = ("4.9-7.1.0.0", "rhel8.1");
        signed_tgz(folder, of, Brings::Built(&brings, FIRST.kernel), Layout::Of49, key);
    });
    let repository = crate::packages::Repository::of(&packages(FIRST));
    for (more, libraries) in [(&[][..], "41mlnx1-1"), (&["--set", "library_set=upstream"][..], "25-1")] {
        let image = root(FIRST, &repository);
        signed.run("stage", &image, more).expect(0, "staged");
        signed.run("bake", &image, &[more, &["--set", "trust=signed"]].concat()).expect(0, "installed");
        assert_eq!(image::receipt(&image)["packages"]["libibverbs"], libraries);
        assert_eq!(image::receipt(&image)["vendor_file"]["trust"], "signed");
        image::ask("verify", &image).expect(0, "verified");
        assert!(!image.path().join(BUILDS).exists(), "something was compiled");
    }
}
