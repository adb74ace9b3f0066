//! The commands around the choice: catalogues shown, checked, imported and replaced.

use ofedctl::catalog::Catalog;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");

fn ofedctl(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ofedctl")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_catalogue_is_listed_and_checked() {
    let (code, text, _) = ofedctl(&["catalog", "list"]);
    assert!(code == 0 && text.starts_with("distribution") && text.contains("doca 3.2.2"), "{text}");
    let (code, json, _) = ofedctl(&["catalog", "list", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(code == 0 && json["schema_version"] == 1 && !json["rows"].as_array().unwrap().is_empty());

    let (code, text, _) = ofedctl(&["catalog", "check"]);
    assert!(code == 0 && text.lines().all(|line| line.starts_with("note: ")), "{text}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.yaml");
    let good = std::fs::read_to_string(Path::new(HOUSE).join("src/catalog/catalog.yaml")).unwrap();
    std::fs::write(&file, good.replacen("arch: x86_64", "arch: aarch64", 1)).unwrap();
    let (code, text, said) = ofedctl(&["catalog", "check", file.to_str().unwrap()]);
    assert!(code == 1 && text.contains("problem: ") && said.contains("bad-settings"), "{text}{said}");
    std::fs::write(&file, "lines: 5\n").unwrap();
    for command in
        [&["catalog", "list"][..], &["catalog", "check"], &["plan", "--distro", "debian12", "--catalog"]]
    {
        let (code, _, said) = ofedctl(&[command, &[file.to_str().unwrap()]].concat());
        assert!(code == 1 && said.contains("mine.yaml"), "{command:?}: {said}");
    }
}

#[test]
fn an_imported_catalogue_takes_the_place_of_the_built_in_one() {
    let source = format!("{HOUSE}/tests/fixtures/catalog/resources.json");
    let (code, yaml, said) = ofedctl(&["catalog", "import", &source]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("taken: ") && said.contains("left: "), "{said}");
    Catalog::parse("printed", &yaml).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("imported.yaml");
    let file = file.to_str().unwrap();
    let (code, text, _) = ofedctl(&["catalog", "import", &source, "--out", file]);
    assert!(code == 0 && text.contains(" taken, "), "{text}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), yaml);
    let target = ["plan", "--distro", "ubuntu22.04", "--nic", "cx7", "--arch", "x86_64"];
    let (_, text, _) = ofedctl(&target);
    assert!(text.contains("driver     doca"), "{text}");
    let (_, text, _) = ofedctl(&[&target[..], &["--catalog", file]].concat());
    assert!(text.contains("driver     inbox"), "{text}");
    let digest = "a".repeat(64);
    let old =
        ["plan", "--distro", "centos7.4", "--nic", "cx5", "--arch", "x86_64", "--driver-version", "5.5"];
    let (code, text, said) = ofedctl(&[&old[..], &["--catalog", file, "--sha256", &digest]].concat());
    assert!(code == 0 && text.contains("kernel-devel http") && text.contains(&digest), "{text}{said}");
}

#[test]
fn a_vendor_driver_is_refused_where_it_cannot_be_installed() {
    let root = format!("{HOUSE}/tests/fixtures/identities/mariner2");
    let cache = tempfile::tempdir().unwrap();
    let stage = ["stage", "--root", &root, "--nic", "cx6", "--cache", cache.path().to_str().unwrap()];
    let (code, _, said) = ofedctl(&[&stage[..], &["--driver", "mlnx_ofed"]].concat());
    assert!(code == 12 && said.contains("mlnx_ofed 23.10-1.1.9.0: only its sources"), "{said}");
    let (code, text, _) = ofedctl(&["plan", "--root", &root, "--nic", "cx6"]);
    assert!(code == 0 && text.contains("driver     inbox"), "{text}");
    let root = format!("{HOUSE}/tests/fixtures/hosts/hpc-image");
    let (code, text, said) = ofedctl(&["stage", "--root", &root, "--cache", cache.path().to_str().unwrap()]);
    assert!(code == 0 && text.starts_with("already-installed: this HPC image"), "{text}{said}");
}
