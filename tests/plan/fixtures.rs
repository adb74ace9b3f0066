//! Whole machines: one golden plan each, live and while an image is baked.

use crate::hold;
use crate::machine::CATALOG;
use ofedctl::detect::{bug_report, detect};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::outcome::Outcome;
use ofedctl::plan::{Described, plan};
use ofedctl::plan_document::Plan;
use ofedctl::settings::Settings;
use ofedctl::status::verdict;
use ofedctl::target::Mode;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn trees() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hosts");
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mut trees: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    trees.sort();
    assert!(trees.len() >= 17);
    trees
}

fn open(path: &Path) -> Host {
    Host::open(path, Events::silent(), Cancel::never()).unwrap()
}

fn ofedctl(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ofedctl")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_machine_has_its_plan_when_it_runs() {
    for (name, path) in trees() {
        let facts = detect(&open(&path)).unwrap();
        let planned = plan(&Described::default(), Some(&facts), Mode::Live, &CATALOG, &Settings::default());
        let (text, json) = match &planned {
            Ok(plan) => (plan.to_text(), serde_json::to_value(plan).unwrap()),
            Err(error) => {
                let outcome = Outcome::from(error);
                let (code, reason) = (outcome.exit_code().number(), outcome.reason.token());
                let text = format!("{code} {}\n", verdict(&outcome));
                (text, json!({"code": code, "reason": reason, "message": outcome.message}))
            }
        };
        hold(&format!("plan/live/{name}.txt"), &text);
        hold(&format!("plan/live/{name}.json"), &format!("{json:#}\n"));
    }
}

#[test]
fn every_machine_has_its_plan_while_its_image_is_baked() {
    for (name, path) in trees() {
        // With a `/proc` of the machine that bakes, it is an image and no copy of a machine.
        let image = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-a").arg(path.join(".")).arg(image.path()).status().unwrap();
        assert!(copied.success());
        std::fs::create_dir_all(image.path().join("proc")).unwrap();
        std::fs::write(image.path().join("proc/version"), "Linux\n").unwrap();
        let root = image.path().to_str().unwrap();
        let (code, text, said) = ofedctl(&["plan", "--root", root]);
        let text = if code == 0 { text } else { format!("{code} {said}") };
        hold(&format!("plan/bake/{name}.txt"), &text);
        let (code, json, _) = ofedctl(&["plan", "--root", root, "--json"]);
        let mut json: Value = serde_json::from_str(&json).unwrap();
        // The fields that every document has name the version of the program.
        for field in ["schema", "made_by", "outcome"] {
            assert!(json.as_object_mut().unwrap().shift_remove(field).is_some(), "{name}: {field}");
        }
        hold(&format!("plan/bake/{name}.json"), &format!("{json:#}\n"));
        match code {
            0 => drop(serde_json::from_value::<Plan>(json).unwrap()),
            code => assert_eq!(json["code"], code, "{name}"),
        }
    }
}

#[test]
fn a_captured_machine_has_the_facts_of_the_machine() {
    for (name, path) in trees() {
        let host = open(&path);
        let facts = detect(&host).unwrap();
        let copy = tempfile::tempdir().unwrap();
        bug_report::write(&host, &facts, copy.path()).unwrap();
        assert_eq!(detect(&open(copy.path())).unwrap(), facts, "{name}");
    }
}

#[test]
fn a_captured_machine_tells_no_secrets() {
    let (_, path) = trees().into_iter().find(|(name, _)| name == "hpc-image").unwrap();
    let copy = tempfile::tempdir().unwrap();
    let folder = copy.path().join("new");
    let (code, _, said) =
        ofedctl(&["detect", "--root", path.to_str().unwrap(), "--capture", folder.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let data = read("run/cloud-init/instance-data.json");
    assert!(data.contains("Standard_HB120rs_v3"), "{data}");
    for secret in ["macAddress", "node-0", "10.0.0.4", "userData", "resourceGroup"] {
        assert!(!data.contains(secret), "{data}");
    }
    assert!(read("etc/waagent.conf").lines().all(|line| line.contains("OS.EnableRDMA")));
    let (code, _, said) = ofedctl(&["detect", "--root", "/", "--capture", folder.to_str().unwrap()]);
    assert!(code == 1 && said.contains("not empty"), "{said}");
}
