//! No shell ever reads what came from outside as words of its own: places, names and settings with `$(…)`, backticks,
//! `;` and newlines in them are names like any other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::hostile_text::{self, assert_no_shell_was_here, text};
use common::image::{self, VM_SIZE};
use common::program::{self, Ran};
use common::root::debian_root;
use nix::mount::{MsFlags, mount};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const SUITE: &str = "bookworm";
fn started_in(folder: &Path, args: &[String]) -> Ran {
    let mut command = program::program(args);
    command.current_dir(folder);
    program::finish(command)
}

#[test]
fn a_shell_that_reads_the_hostile_text_is_seen() {
    hostile_text::assert_a_shell_would_be_seen();
}

#[test]
fn a_root_a_cache_and_a_folder_for_temporary_files_may_be_called_anything() {
    let root = debian_root(SUITE);
    let folder = common::scratch();
    let odd = folder.path().join(text());
    for name in ["root", "tmp"] {
        std::fs::create_dir_all(odd.join(name)).unwrap();
    }
    let none = None::<&str>;
    mount(Some(root.path()), &odd.join("root"), none, MsFlags::MS_BIND, none).unwrap();
    let cache = image::copy_of_staged(SUITE, &odd);
    // What is found in a root is no less from outside.
    root.write(&format!("lib/modules/{}/modules.dep", text()), "");
    root.write("etc/waagent.conf", &format!("# OS.EnableRDMA={}\n", text()));
    let place = odd.join("root").to_str().unwrap().to_owned();
    let args = ["bake", "--json", "--offline", "--vm-size", VM_SIZE, "--root", &place];
    let args = [&args[..], &["--cache", cache.to_str().unwrap()]].concat();
    let mut bake = program::program(&args);
    bake.current_dir(folder.path()).env("TMPDIR", odd.join("tmp"));
    let ran = program::finish(bake);
    assert_ne!(ran.reason(), "internal", "{ran:?}");
    assert_no_shell_was_here("the bake", &[&root.upper(), folder.path()]);

    std::fs::remove_dir_all(root.path().join("lib/modules").join(text())).unwrap();
    let mut bake = program::program(&args);
    bake.current_dir(folder.path()).env("TMPDIR", odd.join("tmp"));
    let ran = program::finish(bake);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut uninstall = program::program(&["uninstall", "--json", "--root", &place]);
    uninstall.current_dir(folder.path()).env("TMPDIR", odd.join("tmp"));
    program::finish(uninstall).expect(0, "uninstalled");
    assert_no_shell_was_here("all of it", &[&root.upper(), folder.path()]);
    nix::mount::umount2(&odd.join("root"), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn no_setting_of_any_door_reaches_a_shell() {
    let root = debian_root(SUITE);
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04");
    let mut cp = Command::new("cp");
    cp.args(["-a", &format!("{machine}/sys"), &format!("{machine}/run")]).arg(root.path());
    assert!(cp.status().unwrap().success());
    std::fs::create_dir_all(root.path().join("srv/handler/config")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_ofedctl"), root.path().join("srv/ofedctl")).unwrap();
    let folder = common::scratch();
    image::bake(&root, &image::staged(SUITE)).expect(0, "installed");

    let mut all = serde_json::Map::new();
    let file = "etc/ofedctl/config.d/odd.yaml";
    for key in ofedctl::settings::keys() {
        for value in [json!(text()), json!([text()]), json!(hostile_text::option())] {
            // On the command line, and in a file of the image.
            let set = ["--set".to_owned(), format!("{key}={value}")];
            let ran = started_in(
                folder.path(),
                &[image::bake_args(&root, &image::staged(SUITE)), set.into()].concat(),
            );
            assert_ne!(ran.reason(), "internal", "{key}: {ran:?}");
            root.write(file, &json!({&key: value}).to_string());
            let ran = started_in(folder.path(), &image::bake_args(&root, &image::staged(SUITE)));
            assert_ne!(ran.reason(), "internal", "{key}: {ran:?}");
            std::fs::remove_file(root.path().join(file)).unwrap();
        }
        all.insert(key, json!(text()));
    }
    assert_no_shell_was_here("the shell and the files", &[&root.upper(), folder.path()]);

    // What cloud-init and the VM agent hand over, for each setting that is a text.
    for (key, value) in &all {
        root.write("srv/settings.json", &json!({key: value}).to_string());
        let run = [
            "/srv/ofedctl",
            "cloud-init",
            "run",
            "--json",
            "--settings",
            "/srv/settings.json",
            "--set",
            "deadline=5",
        ];
        let ran = Ran::from(root.booted(&run));
        assert_ne!(ran.reason(), "internal", "{key}: {ran:?}");
    }
    assert_no_shell_was_here("cloud-init", &[&root.upper(), folder.path()]);
}
