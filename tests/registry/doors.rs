//! A real Debian root baked straight from a registry, and what a run leaves on this machine.

use super::common::registry::Registry;
use super::common::{image, need, program, root::debian_root, tree::Tree};
use super::{Lab, noise};
use ofedctl::settings::Settings;

const SUITE: &str = "trixie";

#[test]
fn a_root_is_baked_from_a_registry_but_not_with_what_is_not_signed() {
    need::need_root();
    let (lab, registry) = (Lab::with(&[]), Registry::open());
    let pushed = super::cache(&image::staged(SUITE), &["push", &registry.place("ib:v1")]);
    let pinned = pushed.json()["pushed"]["pinned"].as_str().unwrap().to_owned();
    let root = debian_root(SUITE);
    let before = Tree::of(root.path());
    let kept = lab.path("kept").display().to_string();
    let bake = |cache: &str, more: &[&str]| {
        let path = root.path().display().to_string();
        let copy = format!("cache_copy={kept}");
        let args =
            ["bake", "--root", &path, "--vm-size", image::VM_SIZE, "--offline", "--json", "--cache", cache];
        program::run(&[&args[..], &["--set", &copy], more].concat())
    };
    let key = format!("public_key={}", super::trust::keys(&lab, "mine").display());
    for cache in [registry.place("ib:v1"), image::staged(SUITE).display().to_string()] {
        bake(&cache, &["--set", &key]).expect(14, "untrusted");
        image::assert_untouched(&root, &before);
    }
    bake(&registry.place("ib:v1"), &[]).expect(0, "installed");
    // Pinned, and here by now, it needs no registry any more.
    drop(registry);
    let settings = Settings { cache: pinned, cache_copy: kept, retries: 0, ..Settings::default() };
    let opened = ofedctl::stage::open(&super::host(std::path::Path::new("/")), &settings).unwrap();
    assert_eq!(opened.cache.bundles().unwrap().len(), 1);
}

#[test]
fn a_registry_is_not_filled_by_staging() {
    let refused = program::run(&[
        "stage",
        "--json",
        "--distro",
        "debian13",
        "--vm-size",
        image::VM_SIZE,
        "--cache",
        "oci://localhost:1/ib:v1",
    ]);
    refused.expect(1, "usage");
    assert!(!std::path::Path::new("oci:").exists());
}

#[test]
fn memory_stays_flat_whatever_the_size() {
    let lab = Lab::with(&[("a_1_amd64.deb", noise(1, 192 << 20))]);
    let registry = Registry::open();
    let (cache, copy) = (lab.cache().display().to_string(), lab.path("copy").display().to_string());
    let place = registry.place("ib:bundle");
    for arguments in [["push", &place, "--cache", &cache], ["pull", &place, "--cache", &copy]] {
        // Python tells the peak of its children, in KiB.
        let measure = "import resource,subprocess,sys; subprocess.run(sys.argv[1:],check=True); \
                       print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
        let mut python = std::process::Command::new("python3");
        python.args(["-c", measure, env!("CARGO_BIN_EXE_ofedctl"), "--quiet", "cache"]).args(arguments);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let peak: u64 = said.lines().last().unwrap().parse().unwrap();
        assert!(peak < 64 << 10, "{arguments:?} took {peak} KiB");
    }
}
