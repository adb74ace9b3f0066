//! A newer catalogue of drivers from a registry. It would be in force on the machine that asks, so each call has a
//! `/var/lib` of its own.

use super::Lab;
use super::common::program::{self, Ran};
use super::common::registry::Registry;
use super::trust::keys;
use ofedctl::catalog::Catalog;
use ofedctl::catalog::versions::Version;
use ofedctl::target::{Arch, Nic};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The built-in catalogue with another day, and one more release of the newest driver of Ubuntu 24.04; its version.
fn newer(day: &str, digest: &str) -> (String, String) {
    let mut catalog = Catalog::embedded().unwrap();
    let ubuntu = "ubuntu24.04".parse().unwrap();
    let mut row = catalog.candidates(&ubuntu, Arch::X86_64, Nic::Cx7)[0].clone();
    let version = row.version.to_string();
    let later = format!("{version}9");
    row.url = row.url.replace(&version, &later);
    row.version = Version::new(&*later);
    row.mirrors.clear();
    row.sha256 = Some(digest.repeat(64));
    catalog.drivers.push(row);
    catalog.issued = Some(day.to_owned());
    (serde_yaml::to_string(&catalog).unwrap(), later)
}

fn run(lab: &Lab, arguments: &[&str]) -> Ran {
    let state = lab.path("state");
    fs::create_dir_all(&state).unwrap();
    let mut own = Command::new("unshare");
    own.args(["--mount", "sh", "-ec", "mount --make-rprivate /; mount --bind \"$0\" /var/lib; exec \"$@\""]);
    own.arg(state).arg(env!("CARGO_BIN_EXE_ofedctl")).args(arguments).arg("--json");
    program::finish(own)
}

fn write(lab: &Lab, name: &str, text: &str) -> String {
    let path = lab.path(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn in_force(lab: &Lab) -> String {
    fs::read_to_string(lab.path("state/ofedctl/catalog.yaml")).unwrap_or_default()
}

#[test]
fn a_signed_catalogue_of_a_later_day_is_in_force_and_no_other() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let place = registry.place("catalog:1");
    let (mine, other) = (keys(&lab, "mine"), keys(&lab, "other"));
    let trusting = |key: &Path| format!("public_key={}", key.display());
    let (mine, other) = (trusting(&mine), trusting(&other));
    let key = lab.path("mine.key").display().to_string();
    let (text, version) = newer("9998-01-01", "a");
    let file = write(&lab, "newer.yaml", &text);
    run(&lab, &["catalog", "push", &file, &place]).json();

    let update = |more: &[&str]| run(&lab, &[&["catalog", "update"], more].concat());
    assert_eq!(update(&[&place]).expect(14, "untrusted").json()["cause"], "catalog-unsigned");
    update(&[&place, "--set", &mine]).expect(14, "untrusted");
    run(&lab, &["catalog", "push", &file, &place, "--key", &key]).json();
    update(&[&place, "--set", &other]).expect(14, "untrusted");
    assert_eq!(in_force(&lab), "");

    let plan = || {
        let target =
            ["--distro", "ubuntu24.04", "--vm-size", "Standard_HB176rs_v4", "--kernel", "6.8.0-1015-azure"];
        run(&lab, &[&["plan"], target.as_slice()].concat()).json()["driver_version"].clone()
    };
    assert_ne!(plan(), version.as_str());
    let seen = run(&lab, &["catalog", "diff", &place, "--set", &mine]).json();
    assert!(seen["changes"].to_string().contains(&version), "{seen:#}");
    let done = update(&[&place, "--set", &mine]).json();
    assert_eq!((&done["issued"], &done["changes"]), (&"9998-01-01".into(), &seen["changes"]));
    assert_eq!(plan(), version.as_str());
    assert_eq!(run(&lab, &["catalog", "diff", &place, "--set", &mine]).json()["changes"].to_string(), "[]");

    // What is older is not taken, and what is in force stays as it is.
    let before = in_force(&lab);
    let (text, _) = newer("9997-12-31", "b");
    let older = registry.place("catalog:older");
    run(&lab, &["catalog", "push", &write(&lab, "older.yaml", &text), &older, "--key", &key]).json();
    assert_eq!(update(&[&older, "--set", &mine]).expect(14, "untrusted").json()["cause"], "older-catalog");
    assert_eq!(in_force(&lab), before);
    // It remembers where it came from.
    let again = update(&["--set", &mine]).json();
    assert_eq!(again["address"], place.as_str());
    update(&["--set", &mine, "--set", "offline=true"]).expect(1, "bad-settings");
}

#[test]
fn what_is_no_sound_catalogue_is_neither_pushed_nor_taken() {
    let (lab, registry) = (Lab::new(), Registry::open());
    let place = registry.place("catalog:1");
    let key = format!("public_key={}", keys(&lab, "mine").display());
    let undated = serde_yaml::to_string(&Catalog { issued: None, ..Catalog::embedded().unwrap() }).unwrap();
    for (name, text) in
        [("undated.yaml", undated.as_str()), ("half.yaml", "schema_version: 1\nlines:\n  - x")]
    {
        let refused = run(&lab, &["catalog", "push", &write(&lab, name, text), &place]);
        refused.expect(1, "bad-settings");
    }
    // A bundle is signed by the same key, and is no catalogue.
    let signed = ["sign", "--key", &lab.path("mine.key").display().to_string()].map(str::to_owned);
    super::cache(&lab.cache(), &signed.iter().map(String::as_str).collect::<Vec<_>>()).json();
    lab.push(&registry.place("ib:bundle"), &[]).json();
    let refused = run(&lab, &["catalog", "update", &registry.place("ib:bundle"), "--set", &key]);
    assert_eq!(refused.expect(1, "bad-settings").json()["cause"], "catalog-faulty");
    assert_eq!(in_force(&lab), "");
}
