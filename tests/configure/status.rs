//! What somebody sees who comes to a machine at night: how the last run ended, what is due, where the log is, and one file
//! for whoever helps.

use crate::common::documents;
use crate::common::image;
use crate::common::program::{self, Ran};
use crate::common::root::{Root, debian_root};
use serde_json::Value;
use std::process::Command;

fn status(root: &Root, more: &[&str]) -> Ran {
    program::run(&[&["status", "--root", root.path().to_str().unwrap()], more].concat())
}

fn document(root: &Root) -> Value {
    let printed: Value = serde_json::from_str(&status(root, &["--json"]).stdout).unwrap();
    documents::assert_is_as_promised(&printed);
    printed[0].clone()
}

fn without_a_cache(root: &Root) -> Ran {
    let nowhere = root.beside("nothing-here");
    let mut args = image::bake_args(root, &nowhere);
    args.retain(|arg| arg != "--json");
    program::run(&args)
}

#[test]
fn the_status_tells_of_this_run_and_of_the_last_good_one() {
    let root = debian_root("bookworm");
    let cache = image::staged("bookworm");
    let refused = status(&root, &["--exit-code"]);
    assert!(refused.code == 14 && refused.stderr.contains("never-run"), "{refused:?}");

    image::bake(&root, &cache).expect(0, "installed");
    let good = document(&root);
    assert_eq!(
        (&good["state_of_run"], &good["run"]["command"]),
        (&"ended".into(), &"bake".into()),
        "{good:#}"
    );
    assert_eq!(
        (&good["run"]["version"], &good["reboot_due"]),
        (&env!("CARGO_PKG_VERSION").into(), &false.into())
    );
    assert_eq!(good["run"]["machine"]["host"], Value::Null, "an image names no machine");
    assert_eq!(good["run"]["settings"]["offline"], true);
    let steps: Vec<&str> =
        good["run"]["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps, image::STEPS);
    let id = good["run"]["run_id"].as_str().unwrap();
    let said = status(&root, &["--exit-code"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    for part in [id, "entry point shell", "took ", "/var/log/azure/ib-vmext-status", "this run", "nothing"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }

    let failed = without_a_cache(&root);
    assert_eq!(failed.code, 0, "everything is in place: {failed:?}");
    image::ask("uninstall", &root).expect(0, "uninstalled");
    let last_good = document(&root)["run"]["run_id"].clone();
    let failed = without_a_cache(&root);
    assert_eq!(failed.code, 14, "{failed:?}");
    assert_eq!(failed.stderr.matches("cache-").count(), 1, "an error is printed once:\n{}", failed.stderr);
    let now = document(&root);
    assert_eq!((&now["last_good"]["run_id"], &now["status"]["code"]), (&last_good, &14.into()), "{now:#}");
    let said = status(&root, &["--exit-code"]);
    assert!(said.code == 14 && said.stdout.contains("uninstall: uninstalled"), "{said:?}");
    assert_eq!(status(&root, &[]).code, 0, "only when asked");

    let log = root.read("var/log/azure/ib-vmext-status");
    let lines = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!(
        (lines(&format!("run {id} begins")), lines(&format!("run {id} ends: installed (0)"))),
        (1, 1),
        "{log}"
    );
    assert_eq!((lines(" begins: ofedctl "), lines(" ends: ")), (4, 4), "{log}");
    assert!(log.contains("offline=true") && log.contains("ERROR "), "{log}");
}

#[test]
fn a_run_that_was_killed_is_told_as_interrupted_and_one_at_work_as_unfinished() {
    let root = debian_root("bookworm");
    let cache = image::staged("bookworm");
    let mut standing =
        program::stop_at("packages-installed", program::program(&image::bake_args(&root, &cache)));
    assert_eq!(document(&root)["state_of_run"], "at-work");
    assert_eq!(status(&root, &["--exit-code"]).code, 14);
    standing.kill().unwrap();
    standing.wait().unwrap();
    image::assert_left_alone(&root);
    assert_eq!(document(&root)["state_of_run"], "interrupted");
    let said = status(&root, &["--exit-code"]);
    assert!(said.code == 14 && said.stdout.contains("did not end"), "{said:?}");
    image::bake(&root, &cache).expect(0, "installed");
    assert_eq!(document(&root)["state_of_run"], "ended");
}

#[test]
fn an_image_tells_what_its_receipt_says() {
    let root = debian_root("bookworm");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    image::ask("generalize", &root).expect(0, "generalized");
    let said = status(&root, &["--exit-code"]);
    assert_eq!(said.code, 0, "{said:?}");
    for part in ["receipt", "inbox", "ofedctl 0.", "0 failed"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
}

#[test]
fn a_support_bundle_is_one_file_that_the_program_reads_back_and_that_names_no_machine() {
    let root = debian_root("bookworm");
    image::bake(&root, &image::staged("bookworm")).expect(0, "installed");
    // As a run on the VM itself would have left it.
    for file in ["var/lib/ofedctl/run.json", "var/lib/ofedctl/receipt.json"] {
        let mut text: Value = serde_json::from_str(&root.read(file)).unwrap();
        text["vm_id"] = "5c0ffee0-secret".into();
        if file.ends_with("run.json") {
            let names = serde_json::json!({"host": "secret-host", "vm_id": "secret", "boot_id": "secret"});
            text["machine"] = names;
        }
        root.write(file, &text.to_string());
    }
    let folder = root.beside("help");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("it.tar.gz");
    let args = ["support-bundle", "--root", root.path().to_str().unwrap(), "--out", file.to_str().unwrap()];
    let made = program::run(&args);
    assert!(made.code == 0 && made.stdout.starts_with(file.to_str().unwrap()), "{made:?}");
    let again = program::run(&args);
    assert!(again.code != 0 && again.stderr.contains("it.tar.gz"), "nothing is overwritten: {again:?}");

    let elsewhere = crate::common::scratch();
    let mut unnamed = program::program(&args[..3]);
    unnamed.current_dir(elsewhere.path());
    let made = program::finish(unnamed);
    assert!(made.code == 0 && made.stdout.starts_with("ofedctl-support-"), "{made:?}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    let tar = Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&folder).status().unwrap();
    assert!(tar.success());
    let found =
        Command::new("grep").args(["-rlE", "secret"]).arg(folder.join("ofedctl-support")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    for command in ["status", "detect", "plan"] {
        let ran = program::run(&[command, "--root", folder.join("ofedctl-support").to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{command}: {ran:?}");
        assert!(!ran.stdout.is_empty(), "{command}");
    }
}

#[test]
fn the_log_is_rotated_by_the_file_that_is_shipped() {
    crate::common::need::need(&["logrotate"]);
    let root = debian_root("bookworm");
    image::ask("uninstall", &root).expect(0, "not-installed");
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/logrotate");
    let inside = root.path().display().to_string();
    let configuration =
        std::fs::read_to_string(shipped).unwrap().replace("/var/log", &format!("{inside}/var/log"));
    let [file, state] = ["logrotate.conf", "logrotate.state"].map(|name| root.beside(name));
    std::fs::write(&file, configuration).unwrap();
    let rotated = Command::new("logrotate").arg("-f").arg("-s").arg(&state).arg(&file).output().unwrap();
    assert!(rotated.status.success() && rotated.stderr.is_empty(), "{rotated:?}");
    let first = root.read("var/log/azure/ib-vmext-status.1");
    assert!(first.contains(" begins: ofedctl "), "{first}");
    image::ask("uninstall", &root).expect(0, "not-installed");
    assert!(root.read("var/log/azure/ib-vmext-status").contains(" begins: ofedctl "));
    assert_eq!(root.read("var/log/azure/ib-vmext-status.1"), first);
}
