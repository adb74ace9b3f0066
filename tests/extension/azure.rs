//! What `azure/` shows: read as far as it can be without Azure, and held against the program.

use crate::common;
use ofedctl::settings::{Layer, Settings};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("azure").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("azure/{name}: {error}"))
}

fn parsed(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("azure/{name}: {error}"))
}

#[test]
fn the_settings_are_those_of_the_program() {
    let layer = Layer::parse("azure/settings.json", &read("settings.json")).unwrap();
    Settings::from_layers([layer]).unwrap();
}

/// Properties of an extension in the API's definition (Azure/azure-rest-api-specs, Microsoft.Compute 2023-09-01,
/// `VirtualMachineExtensionProperties` and `VirtualMachineScaleSetExtensionProperties`).
const PROPERTIES: [&str; 10] = [
    "autoUpgradeMinorVersion",
    "enableAutomaticUpgrade",
    "forceUpdateTag",
    "protectedSettings",
    "provisionAfterExtensions",
    "publisher",
    "settings",
    "suppressFailures",
    "type",
    "typeHandlerVersion",
];

#[test]
fn the_arm_templates_are_of_the_form_azure_asks_for() {
    for (name, kind, has_location) in [
        ("vm.json", "Microsoft.Compute/virtualMachines/extensions", true),
        ("vmss.json", "Microsoft.Compute/virtualMachineScaleSets/extensions", false),
    ] {
        let template = parsed(name);
        let keys: Vec<&String> = template.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["$schema", "contentVersion", "parameters", "resources"], "{name}");
        assert!(template["$schema"].as_str().unwrap().ends_with("/2019-04-01/deploymentTemplate.json#"));
        let resource = &template["resources"][0];
        assert_eq!(resource["type"], kind);
        // Only the extension of a VM is a tracked resource.
        assert_eq!(resource["location"].is_string(), has_location, "{name}");
        let properties = resource["properties"].as_object().unwrap();
        for key in properties.keys() {
            assert!(PROPERTIES.contains(&key.as_str()), "{name}: {key}");
        }
        assert_eq!(properties["settings"], parsed("settings.json"), "{name}");

        let text = read(name);
        for (parameter, described) in template["parameters"].as_object().unwrap() {
            let types = ["string", "secureString", "int", "bool", "object", "secureObject", "array"];
            assert!(types.contains(&described["type"].as_str().unwrap()), "{name}: {parameter}");
            assert!(text.contains(&format!("parameters('{parameter}')")), "{name}: {parameter} is not used");
        }
        for used in text.split("parameters('").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            assert!(template["parameters"][used].is_object(), "{name}: {used} is no parameter");
        }
        // A child resource has one name for each part of its type.
        assert!(resource["name"].as_str().unwrap().starts_with("[format('{0}/InfiniBandDriverLinux', "));
    }
}

/// The properties of a Bicep resource's `settings`, in the simple form these files have.
fn bicep_settings(text: &str) -> Value {
    let block = text.split("    settings: {\n").nth(1).unwrap().split("\n    }\n").next().unwrap();
    let pairs = block.lines().map(|line| {
        let (key, value) = line.trim().split_once(": ").unwrap();
        let value = match value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
            Some(word) => json!(word),
            None => serde_json::from_str(value).unwrap(),
        };
        (key.to_owned(), value)
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

#[test]
fn the_bicep_files_say_what_the_templates_say() {
    for (bicep, template) in [("vm.bicep", "vm.json"), ("vmss.bicep", "vmss.json")] {
        let (text, template) = (read(bicep), parsed(template));
        assert_eq!(bicep_settings(&text), parsed("settings.json"), "{bicep}");
        for (open, close) in [('{', '}'), ('(', ')')] {
            assert_eq!(text.matches(open).count(), text.matches(close).count(), "{bicep}: {open}{close}");
        }
        let resource = &template["resources"][0];
        let kind = format!(
            "'{}@{}' = {{",
            resource["type"].as_str().unwrap(),
            resource["apiVersion"].as_str().unwrap()
        );
        assert!(text.contains(&kind), "{bicep}: {kind}");
        for key in resource["properties"].as_object().unwrap().keys() {
            assert!(text.contains(&format!("    {key}: ")), "{bicep}: {key}");
        }
        for parameter in template["parameters"].as_object().unwrap().keys() {
            assert!(text.contains(&format!("\nparam {parameter} ")), "{bicep}: {parameter}");
        }
    }
}

/// `az` itself cannot be had here; a script in its place prints what it was given.
#[test]
fn the_command_line_example_calls_az_for_a_vm_and_for_a_scale_set() {
    let folder = common::scratch();
    let az = folder.path().join("az");
    fs::write(&az, "#!/bin/sh\necho \"$@\"\n").unwrap();
    fs::set_permissions(&az, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = |args: &[&str]| {
        let mut sh = Command::new("sh");
        sh.arg(file("cli.sh")).args(args).env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
        common::program::finish({
            sh.env("PROTECTED_SETTINGS", "/mine.json");
            sh
        })
    };
    let vm = run(&["vm", "group", "machine"]);
    let common = "--name InfiniBandDriverLinux --publisher Contoso.Hpc --version 1.0 --settings";
    let starts = format!("vm extension set --resource-group group --vm-name machine {common} ");
    assert!(vm.stdout.starts_with(&starts), "{vm:?}");
    assert!(vm.stdout.trim_end().ends_with("settings.json --protected-settings /mine.json"), "{vm:?}");
    let set = run(&["vmss", "group", "many"]);
    let lines: Vec<&str> = set.stdout.lines().collect();
    assert!(
        lines[0]
            .starts_with(&format!("vmss extension set --resource-group group --vmss-name many {common} "))
    );
    assert_eq!(lines[1], "vmss update-instances --resource-group group --name many --instance-ids *");
    assert_eq!(run(&["what"]).code, 1);
}
