//! What Packer says of templates before anything is built.

use crate::build::Workshop;
use crate::common::image;
use crate::common::need::need;
use crate::common::program::{self, Ran};
use crate::guest::{self, SUITE, USER};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file or folder of the templates that are shipped.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packer").join(name)
}

/// Attributes of azure-arm (packer-plugin-azure 2.6, builder/azure/arm/config.go and builder/azure/common/client/config.go)
/// that Debian's Packer 1.6.6, which has the builder in it, is too old for.
const NEWER: [&str; 5] =
    ["oidc_request_url", "oidc_request_token", "security_type", "secure_boot_enabled", "vtpm_enabled"];

/// The shipped template for Azure as Packer 1.6.6 can judge it.
fn without_newer_attributes(workshop: &Workshop) -> PathBuf {
    let folder = workshop.folder.path().join("azure");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["build", "variables", "sources"] {
        let name = format!("{name}.pkr.hcl");
        let text = std::fs::read_to_string(shipped("templates/azure").join(&name)).unwrap();
        let is_sources = name.starts_with("sources");
        let is_newer = |line: &str| NEWER.contains(&line.split_whitespace().next().unwrap_or_default());
        let mut in_spot = false;
        let mut kept = Vec::new();
        for line in text.lines() {
            in_spot |= line == "  spot {";
            let is_left_out = in_spot || (is_sources && is_newer(line));
            kept.extend((!is_left_out).then_some(line));
            in_spot &= line != "  }";
        }
        let kept = kept.join("\n");
        std::fs::write(folder.join(&name), kept).unwrap();
    }
    folder
}

/// Packer on a shipped template, with variables.
fn on_shipped(workshop: &Workshop, verb: &str, name: &str, variables: &[(&str, &str)]) -> Ran {
    on_template(workshop, verb, &shipped(name), variables)
}

fn on_template(workshop: &Workshop, verb: &str, template: &Path, variables: &[(&str, &str)]) -> Ran {
    let mut args = vec![verb.to_owned()];
    args.extend((verb == "build").then(|| "-color=false".to_owned()));
    args.extend(variables.iter().flat_map(|(name, value)| ["-var".to_owned(), format!("{name}={value}")]));
    args.push(template.display().to_string());
    Ran::from(workshop.packer(&args).output().unwrap())
}

#[test]
fn every_shipped_template_is_valid_and_in_packers_own_form() {
    need(&["openssh-client"]);
    let workshop = Workshop::new();
    let folder = workshop.folder.path();
    let key = folder.join("key");
    let keygen = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(keygen.unwrap().success());
    for name in ["meta-data", "user-data"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let (key, folder) = (key.to_str().unwrap(), folder.to_str().unwrap());
    let azure = [
        "subscription_id",
        "tenant_id",
        "client_id",
        "client_secret",
        "resource_group",
        "gallery",
        "vhd_storage_account",
    ];
    let azure: Vec<(&str, &str)> = azure.iter().map(|name| (*name, "x")).collect();
    let image = "file:///image.qcow2";
    let machine = [("host", "192.0.2.1"), ("ssh_private_key_file", key)];
    let templates: [(&str, Vec<(&str, &str)>); 4] = [
        ("templates/azure", azure),
        (
            "templates/qemu",
            vec![
                ("image", image),
                ("image_checksum", "none"),
                ("ssh_private_key_file", key),
                ("seed", folder),
            ],
        ),
        ("templates/ssh", machine.to_vec()),
        ("templates/shell", [&machine[..], &[("ofedctl", key), ("bundle", key)]].concat()),
    ];
    let mut folders: Vec<_> =
        std::fs::read_dir(shipped("templates")).unwrap().map(|it| it.unwrap().path()).collect();
    folders.sort();
    let mut named: Vec<_> = templates.iter().map(|(name, _)| shipped(name)).collect();
    named.sort();
    assert_eq!(folders, named, "a template that is not tried");
    for (name, variables) in &templates {
        // Newer Packers have these builders in plugins of their own, which only their vendor's servers have.
        if crate::build::newer().is_some() && ["templates/azure", "templates/qemu"].contains(name) {
            continue;
        }
        let template = match *name {
            "templates/azure" => without_newer_attributes(&workshop),
            name => shipped(name),
        };
        let ran = on_template(&workshop, "validate", &template, variables);
        assert_eq!(ran.code, 0, "{name}: {}{}", ran.stdout, ran.stderr);
    }
    for name in ["templates/azure", "templates/qemu", "templates/ssh", "templates/shell", "plugins"] {
        let ran = Ran::from(
            workshop.packer(&["fmt", "-check", "-diff", shipped(name).to_str().unwrap()]).output().unwrap(),
        );
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{name}: {}", ran.stderr);
    }
}

#[test]
fn what_later_packers_require_names_this_plugin_and_this_version() {
    for name in ["azure", "qemu", "ssh"] {
        let text = std::fs::read_to_string(shipped("plugins").join(format!("{name}.pkr.hcl"))).unwrap();
        assert!(text.contains("source  = \"github.com/ofedctl/ofed\""), "{name}");
        assert!(text.contains(concat!("\">= ", env!("CARGO_PKG_VERSION"), "\"")), "{name}");
    }
}

/// Azure makes no managed image, and no VHD, of a VM with a security type (hashicorp/packer issue 13189,
/// packer-plugin-azure pull request 257).
#[test]
fn the_template_for_azure_asks_for_no_managed_image_of_a_trusted_machine() {
    let sources = std::fs::read_to_string(shipped("templates/azure/sources.pkr.hcl")).unwrap();
    assert!(sources.contains("has_managed_image = var.managed_image && var.security_type == \"\""));
    let blocks: Vec<&str> = sources.split("\nsource ").skip(1).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let is_vhd = block.contains("capture_container_name");
        assert_eq!(block.contains("= var.security_type"), !is_vhd, "{block}");
        let names = block.lines().filter(|line| line.trim_start().starts_with("managed_image_"));
        assert!(names.clone().all(|line| line.contains("local.has_managed_image ?")), "{block}");
        assert_eq!(names.count(), if is_vhd { 0 } else { 2 });
    }
}

#[test]
fn the_shipped_templates_for_machines_that_run_build_with_the_plugin_and_without() {
    let guest = guest::start();
    let program = guest::program_for(&guest.root);
    let workshop = Workshop::with(&program);
    let cache = image::staged(SUITE);
    let bundle = workshop.folder.path().join("bundle.tar");
    let export = ["cache", "--cache", cache.to_str().unwrap(), "export", "--out", bundle.to_str().unwrap()];
    assert_eq!(program::run(&export).code, 0);
    let port = guest.port.to_string();
    let machine = [
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("user", USER),
        ("ssh_private_key_file", guest.key.to_str().unwrap()),
    ];
    let files = [("ofedctl", program.to_str().unwrap()), ("bundle", bundle.to_str().unwrap())];
    let ran = on_shipped(&workshop, "build", "templates/shell", &[&machine[..], &files].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    for says in ["installed: inbox from bundle", "already-installed: inbox"] {
        assert!(ran.stdout.contains(says), "not said: {says}\n{}", ran.stdout);
    }
    image::ask("verify", &guest.root).expect(0, "verified");
    assert!(!guest.root.path().join("var/tmp/ofedctl").exists());
    image::ask("uninstall", &guest.root).expect(0, "uninstalled");

    let cache = [("cache", cache.to_str().unwrap())];
    let ran = on_shipped(&workshop, "build", "templates/ssh", &[&machine[..], &cache].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    image::ask("verify", &guest.root).expect(0, "verified");
    assert!(workshop.folder.path().join("records/receipt.json").exists());
    guest.assert_clean(Duration::from_secs(10));
}

fn without_a_machine(workshop: &Workshop, attributes: &str) -> PathBuf {
    let text = format!(
        "source \"null\" \"none\" {{\n  communicator = \"none\"\n}}\nbuild {{\n  sources = [\"source.null.none\"]\n  \
         provisioner \"ofed\" {{\n{attributes}\n  }}\n}}\n"
    );
    workshop.write("template.pkr.hcl", &text)
}

#[test]
fn a_wrong_attribute_is_found_by_validation_with_its_line() {
    let workshop = Workshop::new();
    let refused = |attributes: &str, says: &[&str]| {
        let ran = workshop.validate(&without_a_machine(&workshop, attributes));
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, 1, "{attributes}: {said}");
        for says in says {
            assert!(said.contains(says), "{attributes}: not said: {says}\n{said}");
        }
    };
    refused("drivr = \"inbox\"", &["drivr", "driver"]);
    refused("offline = \"perhaps\"", &["bool"]);
    refused("nic = \"cx4\"", &["key `nic`", "cx5"]);
    refused(
        "nic = \"cx4\"\nreconnect_timeout = \"soon\"",
        &["2 error(s) occurred:", "* `reconnect_timeout`"],
    );
    // packer-plugin-sdk's own plugins name what they do not know, and templates are checked in CI long before a build.
    refused("vm_size = \"Standard_HB120sr_v3\"", &["did you mean", "Standard_HB120rs_v3,"]);
    refused(
        "cache = \"ftp://mirror/cache\"",
        &["`cache`: `ftp://mirror/cache` is of a kind that is not fetched"],
    );
    refused("ofedctl_binary = \"/etc/passwd\"", &["`ofedctl_binary` is no program for Linux"]);
    refused("reconnect_timeout = \"0s\"\ndeadline = \"0\"", &["no time at all", "`deadline` is 0"]);
    refused("execute_command = \"sudo {{ .Cmd }}\"", &["`{{ .Cmd }}`"]);
    refused("kernel = \"a\"\nkernels = [\"b\"]", &["`kernel` or `kernels`"]);

    let all = "vm_sizes = [\"Standard_HB120rs_v3\"]\ndeadline = 600\noffline = true\nkernel = build.ID\nstage = true";
    let ran = workshop.validate(&without_a_machine(&workshop, all));
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_template_in_json_is_checked_as_well() {
    let workshop = Workshop::new();
    let template = |attributes: &str| {
        let text = format!(
            "{{\"variables\": {{\"nic\": \"cx5\"}}, \"builders\": [{{\"type\": \"null\", \"communicator\": \"none\"}}],
             \"provisioners\": [{{\"type\": \"ofed\", \"timeout\": \"9m\"{attributes}}}]}}"
        );
        workshop.validate(&workshop.write("template.json", &text))
    };
    assert_eq!(template(", \"nic\": \"cx5\", \"deadline\": 600, \"offline\": true").code, 0);
    // What JSON templates write (hashicorp/packer issue 10261: one text where a list is meant), and override maps.
    assert_eq!(
        template(", \"vm_sizes\": \"Standard_NC24rs_v3\", \"generalize\": \"True\", \"stage\": \"1\"").code,
        0
    );
    for (attribute, says) in [
        (", \"stage\": \"yes\"", "`stage` takes true or false, and this is \"yes\""),
        (", \"vm_sizes\": \"Standard_NC42\"", "no VM size is known by the name `Standard_NC42`"),
        (", \"override\": {\"null\": {\"generalize\": \"perhaps\"}}", "`generalize` takes true or false"),
    ] {
        let ran = template(attribute);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code == 1 && said.contains(says), "{attribute}: {said}");
    }
    let ran = template(", \"drivr\": \"inbox\", \"nic\": \"{{user `nic`}}\"");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, 1, "{said}");
    assert!(said.contains("did you mean `driver`?") && said.contains("write it in HCL2"), "{said}");
}

#[test]
fn builders_without_a_machine_are_noticed() {
    let workshop = Workshop::new();
    let ran = workshop.build(&without_a_machine(&workshop, "driver = \"inbox\""));
    let mock = "source \"file\" \"mock\" {\n  content = \"x\"\n  target  = \"made\"\n}\nbuild {\n  sources = \
                [\"source.file.mock\"]\n  provisioner \"ofed\" {}\n}\n";
    for ran in [ran, workshop.build(&workshop.write("mock.pkr.hcl", mock))] {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, 1, "{said}");
        assert!(
            said.contains("ofed: guest-unreachable (exit code 14): the communicator runs no commands"),
            "{said}"
        );
    }
}
