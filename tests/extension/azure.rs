//! Checks the examples in `azure/` against the program, as far as that is possible without Azure.
//!
//! ARM templates are taken apart and held against the properties in Azure's definition of its API; Terraform files are
//! parsed as HCL and held against the arguments that the provider documents; the parameters of `az` are those that `PyPI`'s
//! azure-cli declares, those of PowerShell those of its help. The tables of these are written down here, each with its
//! source. The scripts are run. No Bicep compiler, no PowerShell and no Azure was asked.

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

/// What every template has: the keys of a template and of its parameters, and parameters that are there and used.
fn template(name: &str) -> Value {
    let template = parsed(name);
    let keys: Vec<&String> = template.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["$schema", "contentVersion", "parameters", "resources"], "{name}");
    assert!(template["$schema"].as_str().unwrap().ends_with("/2019-04-01/deploymentTemplate.json#"));
    let text = read(name);
    for (parameter, described) in template["parameters"].as_object().unwrap() {
        let types = ["string", "secureString", "int", "bool", "object", "secureObject", "array"];
        assert!(types.contains(&described["type"].as_str().unwrap()), "{name}: {parameter}");
        assert!(text.contains(&format!("parameters('{parameter}')")), "{name}: {parameter} is not used");
    }
    for used in text.split("parameters('").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
        assert!(template["parameters"][used].is_object(), "{name}: {used} is no parameter");
    }
    for (open, close) in [('(', ')'), ('[', ']')] {
        assert_eq!(text.matches(open).count(), text.matches(close).count(), "{name}: {open}{close}");
    }
    template
}

fn known_properties(name: &str, resource: &Value) {
    for key in resource["properties"].as_object().unwrap().keys() {
        assert!(PROPERTIES.contains(&key.as_str()), "{name}: {key}");
    }
}

#[test]
fn the_arm_templates_are_of_the_form_azure_asks_for() {
    for (name, kind, has_location) in [
        ("vm.json", "Microsoft.Compute/virtualMachines/extensions", true),
        ("vmss.json", "Microsoft.Compute/virtualMachineScaleSets/extensions", false),
    ] {
        let template = template(name);
        let resource = &template["resources"][0];
        assert_eq!(resource["type"], kind);
        // Only the extension of a VM is a tracked resource.
        assert_eq!(resource["location"].is_string(), has_location, "{name}");
        known_properties(name, resource);
        assert_eq!(resource["properties"]["settings"], parsed("settings.json"), "{name}");
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

/// Profiles of a VM in the API's definition (the same, `VirtualMachineProperties`).
const VM_PROPERTIES: [&str; 5] =
    ["hardwareProfile", "networkProfile", "osProfile", "securityProfile", "storageProfile"];

/// A nested resource has the last parts of type and name alone, and waits for the one it lies in (Azure's "Set name and
/// type for child resources").
#[test]
fn an_extension_nested_in_its_vm_has_a_short_name_and_waits_for_the_vm() {
    let template = template("vm-nested.json");
    let vm = &template["resources"][0];
    assert_eq!(vm["type"], "Microsoft.Compute/virtualMachines");
    let profiles: Vec<&String> = vm["properties"].as_object().unwrap().keys().collect();
    assert!(profiles.iter().all(|key| VM_PROPERTIES.contains(&key.as_str())), "{profiles:?}");
    let extension = &vm["resources"][0];
    assert_eq!(
        (&extension["type"], &extension["name"]),
        (&json!("extensions"), &json!("InfiniBandDriverLinux"))
    );
    let waits_for = "[resourceId('Microsoft.Compute/virtualMachines', parameters('vmName'))]";
    assert_eq!(extension["dependsOn"], json!([waits_for]));
    assert_eq!(vm["name"], "[parameters('vmName')]");
    known_properties("vm-nested.json", extension);
    assert_eq!(extension["properties"]["settings"], parsed("settings.json"));
}

/// Arguments of the provider's resources (hashicorp/terraform-provider-azurerm, `website/docs/r`, the resources' pages).
const TERRAFORM: [&str; 13] = [
    "auto_upgrade_minor_version",
    "automatic_upgrade_enabled",
    "failure_suppression_enabled",
    "force_update_tag",
    "name",
    "protected_settings",
    "protected_settings_from_key_vault",
    "provision_after_extensions",
    "publisher",
    "settings",
    "tags",
    "type",
    "type_handler_version",
];

/// hashicorp/terraform-provider-azurerm 23688: without `settings` the agent of a scale set's VM fails.
#[test]
fn the_terraform_files_have_known_arguments_and_the_settings() {
    for (name, kind, target) in [
        ("terraform/vm.tf", "azurerm_virtual_machine_extension", "virtual_machine_id"),
        ("terraform/vmss.tf", "azurerm_virtual_machine_scale_set_extension", "virtual_machine_scale_set_id"),
    ] {
        let text = read(name);
        let body: hcl::Body = hcl::from_str(&text).unwrap_or_else(|error| panic!("azure/{name}: {error}"));
        let resource = body.blocks().find(|block| block.identifier() == "resource").unwrap();
        let labels: Vec<&str> = resource.labels().iter().map(hcl::BlockLabel::as_str).collect();
        assert_eq!(labels, [kind, "infiniband"], "{name}");
        let mut found = Vec::new();
        for attribute in resource.body().attributes() {
            let key = attribute.key();
            assert!(TERRAFORM.contains(&key) || key == target, "{name}: {key}");
            found.push(key);
            if key == "settings" {
                let hcl::Expression::FuncCall(call) = attribute.expr() else {
                    panic!("{name}: {attribute:?}")
                };
                assert_eq!(call.name.name.as_str(), "jsonencode");
                let given = serde_json::to_value(hcl::Value::from(call.args[0].clone())).unwrap();
                assert_eq!(given, parsed("settings.json"), "{name}");
            }
        }
        for needed in [target, "publisher", "type", "type_handler_version", "settings", "protected_settings"]
        {
            assert!(found.contains(&needed), "{name}: {needed}");
        }
        for variable in body.blocks().filter(|block| block.identifier() == "variable") {
            let variable = variable.labels()[0].as_str();
            assert!(text.contains(&format!("var.{variable}")), "{name}: {variable} is not used");
        }
    }
}

/// Parameters in the help of Az.Compute (Azure/azure-powershell, `src/Compute/Compute/help`), and of PowerShell's own
/// commands that the script calls. No PowerShell was asked.
const POWERSHELL: [(&str, &[&str]); 11] = [
    ("Get-AzVM", &["ResourceGroupName", "Name"]),
    (
        "Set-AzVMExtension",
        &[
            "ResourceGroupName",
            "VMName",
            "Location",
            "Name",
            "Publisher",
            "ExtensionType",
            "TypeHandlerVersion",
            "SettingString",
            "ProtectedSettingString",
        ],
    ),
    ("Get-AzVMExtension", &["ResourceGroupName", "VMName", "Name", "Status"]),
    ("Get-AzVmss", &["ResourceGroupName", "VMScaleSetName"]),
    (
        "Add-AzVmssExtension",
        &[
            "VirtualMachineScaleSet",
            "Name",
            "Publisher",
            "Type",
            "TypeHandlerVersion",
            "AutoUpgradeMinorVersion",
            "Setting",
            "ProtectedSetting",
        ],
    ),
    ("Update-AzVmss", &["ResourceGroupName", "VMScaleSetName", "VirtualMachineScaleSet"]),
    ("Get-AzVmssVM", &["ResourceGroupName", "VMScaleSetName", "InstanceId"]),
    ("Update-AzVmssInstance", &["ResourceGroupName", "VMScaleSetName", "InstanceId"]),
    ("Get-Content", &["Raw", "Path"]),
    ("ConvertFrom-Json", &["AsHashtable"]),
    ("Join-Path", &[]),
];

#[test]
fn the_powershell_script_calls_known_commands_with_known_parameters() {
    let text = read("powershell.ps1");
    let code = text.split("$ErrorActionPreference").nth(1).unwrap();
    let mut called = Vec::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let mut current: Option<&(&str, &[&str])> = None;
        for word in line.split(|c: char| c.is_whitespace() || "(){}".contains(c)) {
            if let Some(known) = POWERSHELL.iter().find(|(name, _)| *name == word) {
                called.push(word);
                current = Some(known);
            } else if let Some(parameter) = word.strip_prefix('-').filter(|word| !["eq"].contains(word)) {
                // `Format-List` and its like take none.
                let (name, parameters) = current.unwrap_or_else(|| panic!("{line}: {word}"));
                assert!(parameters.contains(&parameter), "{name} -{parameter}");
            } else if word.starts_with('|') {
                current = None;
            }
        }
    }
    for (command, _) in &POWERSHELL[..8] {
        assert!(called.contains(command), "{command} is not called");
    }
    for (open, close) in [('{', '}'), ('(', ')')] {
        assert_eq!(text.matches(open).count(), text.matches(close).count(), "{open}{close}");
    }
}

/// Options of the commands (azure-cli 2.91.0 of `PyPI`, `azure/cli/command_modules/vm/_params.py` and the core's
/// `--resource-group`, `--output` and `--query`).
const AZ: [(&str, &[&str]); 5] = [
    (
        "vm extension set",
        &["resource-group", "vm-name", "name", "publisher", "version", "settings", "protected-settings"],
    ),
    (
        "vmss extension set",
        &["resource-group", "vmss-name", "name", "publisher", "version", "settings", "protected-settings"],
    ),
    ("vmss update-instances", &["resource-group", "name", "instance-ids"]),
    ("vm extension list", &["resource-group", "vm-name", "output"]),
    ("vm extension show", &["resource-group", "vm-name", "name", "instance-view", "query"]),
];

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
    let status = run(&["status", "group", "machine"]);
    let all = [&vm, &set, &status].map(|ran| ran.stdout.clone()).concat();
    for line in all.lines().filter(|line| !line.trim().is_empty()) {
        let known = AZ.iter().find(|(name, _)| line.starts_with(&format!("{name} ")));
        let (name, options) = known.unwrap_or_else(|| panic!("{line}"));
        for option in line.split(' ').filter_map(|word| word.strip_prefix("--")) {
            assert!(options.contains(&option), "az {name} --{option}");
        }
    }
    assert!(status.stdout.contains("vm extension show ") && status.stdout.contains("--instance-view"));
    assert_eq!(run(&["what"]).code, 1);
    assert_eq!(run(&["what", "group", "name"]).code, 1);
}

/// Runs the script for Custom Script with a stand-in for the program that the script downloads, whose exit code is told.
fn custom_script(told: &str, address: &str, sha256: &str) -> common::program::Ran {
    let folder = common::scratch();
    // The script writes to /usr/local/bin: a mount namespace of its own keeps it off this machine.
    let text = format!(
        "mount --bind {0} /usr/local/bin && exec sh {1} --set ipoib=false",
        folder.path().display(),
        file("custom-script/infiniband.sh").display()
    );
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c", &text]).env("CODE", told);
    run.env("OFEDCTL_URL", address).env("OFEDCTL_SHA256", sha256);
    common::program::finish(run)
}

#[test]
fn the_custom_script_runs_the_release_that_its_digest_names_and_ends_with_its_code() {
    let folder = common::scratch();
    let program = "#!/bin/sh\necho \"$@\"\ncase $* in *install*) exit \"$CODE\" ;; esac\n";
    fs::write(folder.path().join("ofedctl"), program).unwrap();
    let digest = common::sha256(program.as_bytes());
    let web = common::web::Web::serve(folder.path());
    let address = format!("{}/ofedctl?sig=hush", web.address());
    for code in [0, 12, 14] {
        let ran = custom_script(&code.to_string(), &address, &digest);
        assert_eq!(ran.code, code, "{ran:?}");
        assert_eq!(ran.stdout, "--quiet install --set ipoib=false\nstatus\n", "{ran:?}");
    }
    let wrong = custom_script("0", &address, &"0".repeat(64));
    assert_eq!(wrong.code, 14, "{wrong:?}");
    assert!(wrong.stderr.contains("digest-mismatch: ") && wrong.stdout.is_empty(), "{wrong:?}");
    let none = custom_script("0", &format!("{}/none?sig=hush", web.address()), &digest);
    assert_eq!(none.code, 14, "{none:?}");
    assert!(none.stderr.contains("download-failed: ") && !format!("{none:?}").contains("hush"), "{none:?}");
}

#[test]
fn the_custom_script_template_keeps_addresses_secret_and_names_the_script() {
    let template = template("custom-script/vm.json");
    let resource = &template["resources"][0];
    known_properties("custom-script/vm.json", resource);
    let properties = &resource["properties"];
    let handler = ["publisher", "type", "typeHandlerVersion"].map(|key| properties[key].as_str().unwrap());
    assert_eq!(handler, ["Microsoft.Azure.Extensions", "CustomScript", "2.1"]);
    // What Custom Script takes in its protected settings alone, or in the public ones, and never in both.
    let protected: Vec<&String> = properties["protectedSettings"].as_object().unwrap().keys().collect();
    assert_eq!(protected, ["fileUris", "commandToExecute"]);
    assert_eq!(properties["settings"], json!({}));
    let command = properties["protectedSettings"]["commandToExecute"].as_str().unwrap();
    assert!(command.contains("OFEDCTL_URL=''{0}'' OFEDCTL_SHA256={1} sh infiniband.sh {2}"), "{command}");
    for secret in ["scriptUrl", "ofedctlUrl"] {
        assert_eq!(template["parameters"][secret]["type"], "secureString");
    }
}

/// Fields of the service's definition (Azure/azure-rest-api-specs, Microsoft.Batch, `PoolAddParameter` and `StartTask`).
#[test]
fn the_batch_pool_runs_the_script_as_an_administrator_and_waits_for_it() {
    let pool = parsed("batch/pool.json");
    let task = &pool["startTask"];
    let known = [
        "commandLine",
        "resourceFiles",
        "environmentSettings",
        "userIdentity",
        "maxTaskRetryCount",
        "waitForSuccess",
    ];
    assert!(task.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{task}");
    assert_eq!(task["userIdentity"]["autoUser"], json!({"scope": "pool", "elevationLevel": "admin"}));
    assert_eq!(
        (&task["waitForSuccess"], &pool["enableInterNodeCommunication"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(task["commandLine"], "sh infiniband.sh");
    assert_eq!(task["resourceFiles"][0]["filePath"], "infiniband.sh");
    let set: Vec<&str> = task["environmentSettings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(set, ["OFEDCTL_URL", "OFEDCTL_SHA256"]);
}

#[test]
fn the_cluster_init_script_gives_the_projects_own_files_to_the_script() {
    let spec = common::scratch();
    for folder in ["scripts", "files"] {
        fs::create_dir(spec.path().join(folder)).unwrap();
    }
    let script = spec.path().join("scripts/10-infiniband.sh");
    fs::copy(file("cyclecloud/specs/default/cluster-init/scripts/10-infiniband.sh"), &script).unwrap();
    fs::copy(file("custom-script/infiniband.sh"), spec.path().join("files/infiniband.sh")).unwrap();
    fs::write(
        spec.path().join("files/ofedctl"),
        "#!/bin/sh\necho \"$@\"\n[ \"$2\" != install ] || exit 13\n",
    )
    .unwrap();
    let bin = common::scratch();
    let text =
        format!("mount --bind {} /usr/local/bin && exec sh {}", bin.path().display(), script.display());
    let mut run = Command::new("unshare");
    run.args(["--mount", "sh", "-c", &text]);
    let ran = common::program::finish(run);
    assert_eq!((ran.code, ran.stdout.as_str()), (13, "--quiet install\nstatus\n"), "{ran:?}");
    let project = read("cyclecloud/project.ini");
    assert!(project.contains("name = ofedctl\n") && project.contains("version = 1.0.0\n"));
}
