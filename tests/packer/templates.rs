//! What Packer says of templates before anything is built.

use crate::build::Workshop;
use std::path::PathBuf;

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
