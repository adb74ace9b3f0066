//! No output of any command contains a secret from an address or a value of a wrong type.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::program::program;
use std::process::Output;

const CANARY: &str = "c4n4ry-0f-7h3-m1n3";

fn run(args: &[&str]) -> Output {
    program(args).env("HOME", "/nonexistent").output().unwrap()
}

#[track_caller]
fn assert_silent(args: &[&str]) {
    let ran = run(args);
    let all = [ran.stdout, ran.stderr].concat();
    let all = String::from_utf8_lossy(&all);
    assert!(!all.contains(CANARY), "{args:?} said {all}");
    assert_ne!(ran.status.code(), None, "{args:?}");
}

#[test]
fn no_command_says_a_secret_of_an_address() {
    let address = format!("https://me:{CANARY}@host.invalid/cache.tar?sig={CANARY}");
    let registry = format!("oci://me:{CANARY}@host.invalid/name:tag?sig={CANARY}");
    let dir = common::scratch();
    let here = dir.path().to_str().unwrap();
    for place in [&address, &registry] {
        for json in [&[][..], &["--json"]] {
            for verb in [&["list"][..], &["verify"], &["gc"], &["export", "--out", "/nonexistent/x"]] {
                assert_silent(&[&["cache"], verb, &["--cache", place], json].concat());
            }
            assert_silent(&[&["cache", "import", place, "--cache", here], json].concat());
            assert_silent(&[&["cache", "pull", place, "--cache", here, "--set", "retries=0"], json].concat());
            assert_silent(&[&["catalog", "check", place], json].concat());
            assert_silent(&[&["catalog", "import", place], json].concat());
            assert_silent(&[&["catalog", "list", "--catalog", place], json].concat());
            assert_silent(&[&["plan", "--distro", "debian12", "--catalog", place], json].concat());
            assert_silent(&[&["stage", "--distro", "debian12", "--cache", place], json].concat());
            assert_silent(&[&["explain", place], json].concat());
            assert_silent(&[&[place.as_str()], json].concat());
            assert_silent(&[&["plan", "--set", place], json].concat());
            assert_silent(&[&["verify", "--root", place], json].concat());
        }
    }
}

#[test]
fn no_setting_is_repeated_with_a_secret_in_it() {
    let dir = common::scratch();
    let root = dir.path();
    std::fs::create_dir_all(root.join("etc/ofedctl/config.d")).unwrap();
    std::fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
    let secret = format!("https://me:{CANARY}@host.invalid/x?sig={CANARY}");
    let file = root.join("etc/ofedctl/config.d/a.yaml");
    let root = root.to_str().unwrap();
    for key in ofedctl::settings::keys() {
        for value in [format!("'{secret}'"), format!("['{secret}']"), format!("{{a: '{secret}'}}")] {
            assert_silent(&["plan", "--root", root, "--set", &format!("{key}={value}")]);
            std::fs::write(&file, format!("{key}: {value}\n")).unwrap();
            assert_silent(&["plan", "--root", root]);
            assert_silent(&["settings", "--root", root, "--json"]);
        }
    }
}
