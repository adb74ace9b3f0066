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

/// Packer on a shipped template, with variables.
fn on_shipped(workshop: &Workshop, verb: &str, name: &str, variables: &[(&str, &str)]) -> Ran {
    let template = shipped(name);
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
    let azure = ["subscription_id", "tenant_id", "client_id", "client_secret", "resource_group", "gallery"];
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
        let ran = on_shipped(&workshop, "validate", name, variables);
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
