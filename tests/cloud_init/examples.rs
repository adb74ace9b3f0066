//! Checks the examples for users with cloud-init 25.1.

use crate::common::root::cloud_root;
use crate::machine::{Machine, text};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cloud-init/examples");

fn example(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/{name}")).unwrap()
}

#[test]
fn every_example_is_tried() {
    let mut names: Vec<_> =
        std::fs::read_dir(EXAMPLES).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["cloud-config.yaml", "multi-part.txt", "runcmd.yaml"]);
}

#[test]
fn the_schema_of_cloud_init_has_nothing_to_say_of_them() {
    let root = cloud_root("trixie");
    for name in ["cloud-config.yaml", "runcmd.yaml"] {
        root.write("tmp/example.yaml", &example(name));
        let schema = root.inside(&["cloud-init", "schema", "--config-file", "/tmp/example.yaml"]);
        let said = text(&schema);
        assert!(schema.status.success() && said.trim().starts_with("Valid schema"), "{name}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{name}: {said}");
    }
    // The check detects a wrong example.
    root.write("tmp/example.yaml", "#cloud-config\nofedctl: {offline: true}\n");
    let schema = root.inside(&["cloud-init", "schema", "--config-file", "/tmp/example.yaml"]);
    assert!(!schema.status.success() && text(&schema).contains("ofedctl"), "{}", text(&schema));
}

#[test]
fn a_boot_takes_the_settings_of_the_examples_without_a_warning() {
    let vm = Machine::new("trixie");
    vm.put_bus("nothing");
    vm.user_data(&example("multi-part.txt"));
    vm.boot().expect_clean();
    assert_eq!(vm.root.read("etc/ofedctl/config.d/50-site.yaml"), "ipoib: false\n");
    assert!(vm.root.read("var/log/site/infiniband").contains("not-needed: no-vmbus"));
    let schema = vm.shell("cloud-init schema --system");
    assert!(
        schema.status.success() && !text(&schema).to_lowercase().contains("invalid"),
        "{}",
        text(&schema)
    );

    vm.be("Standard_D4s_v5", "5c0ffee0-0000-4000-8000-000000000002");
    vm.user_data(&example("cloud-config.yaml"));
    let status = vm.boot();
    let error = status.expect_error();
    assert!(error.contains("ofedctl ended with 10 (no-vmbus)"), "{error}");
}
