//! Refusals: the exit code and the agent's status are right, and the VM is unchanged.

use crate::common::image;
use crate::common::tree::{self, Tree};
use crate::vm::{Reported, Vm, enabled, folder, offline};
use serde_json::{Value, json};

#[track_caller]
fn refused(reported: &Reported, code: i64, reason: &str, at_once: bool) {
    assert_eq!(reported.ending(), ("error", code, reason), "{:#}", reported.0["status"]);
    let steps = reported.status()["substatus"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["status"] == "error" && step["code"] == code), "{steps:#?}");
    // The agent tells of a command that failed by the handler's own status.
    let handler = if at_once { "NotReady" } else { "Ready" };
    assert_eq!(reported.handler()["status"], handler, "{}", reported.handler());
}

/// Everything that is not the agent's own, this program's state, or the tests'.
fn watched(vm: &Vm) -> Tree {
    let noise = [
        "var/lib/waagent",
        "var/log",
        "var/lib/ofedctl",
        "srv",
        "usr/local/lib",
        "run",
        "tmp",
        "var/tmp",
        "var/lib/systemd",
        "root",
        "etc/waagent.conf",
    ];
    let pycache = |path: &str| path.contains("__pycache__");
    Tree::of(vm.root.path()).without(|path| {
        image::is_ours(path) || pycache(path) || noise.iter().any(|start| path.starts_with(start))
    })
}

#[test]
fn each_refusal_has_its_code_and_changes_nothing() {
    let vm = Vm::new();
    vm.publish("1.0.0.0");
    std::fs::create_dir_all(vm.root.path().join("srv/empty")).unwrap();
    let with = |pairs: &[(&str, Value)]| {
        let mut settings = offline();
        for (key, value) in pairs {
            settings[*key] = value.clone();
        }
        settings
    };
    let before = watched(&vm);

    // In one life of the VM: what its settings rule out, and an empty cache, which only the work itself meets.
    let reported = vm.run(&[
        enabled("1.0.0.0", 0, &with(&[("kernels", json!(["9.9.9-none"]))])),
        enabled("1.0.0.0", 1, &with(&[("offline", json!("perhaps"))])),
        enabled("1.0.0.0", 2, &with(&[("cache", json!("/srv/empty"))])),
    ]);
    refused(&reported[0], 12, "kernel-unsupported", true);
    refused(&reported[1], 1, "bad-settings", true);
    refused(&reported[2], 14, "cache-missing", false);
    assert_eq!(vm.root.read(&format!("{}/mrseq", folder("1.0.0.0"))), "2");

    // A size without InfiniBand, by the metadata service's word; then a size with it, whose adapter does not come.
    std::fs::remove_dir_all(vm.root.path().join("sys/bus/pci/devices")).unwrap();
    let reported = vm.run_on("Standard_D4s_v5", &[enabled("1.0.0.0", 3, &offline())]);
    refused(&reported[0], 13, "size-not-rdma", true);
    // Which is no failure where the settings say that none is required.
    let calm = [enabled("1.0.0.0", 3, &with(&[("required", json!(false))]))];
    let reported = vm.run_on("Standard_D4s_v5", &calm);
    assert_eq!(reported[0].ending(), ("success", 0, "not-needed"), "{:#}", reported[0].0["status"]);
    let reported = vm.run(&[
        enabled("1.0.0.0", 4, &with(&[("wait_for_device", json!(1))])),
        enabled("1.0.0.0", 5, &with(&[("wait_for_device", json!(13))])),
    ]);
    refused(&reported[0], 11, "no-ib-device", true);
    assert_eq!(reported[1].0["seen"], json!(["transitioning", "error"]));
    refused(&reported[1], 11, "no-ib-device", false);

    std::fs::remove_dir_all(vm.root.path().join("sys/bus/vmbus")).unwrap();
    let reported = vm.run(&[enabled("1.0.0.0", 6, &offline())]);
    refused(&reported[0], 10, "no-vmbus", true);

    let after = watched(&vm);
    let mut changed = tree::diff(&before, &after);
    changed.removed.retain(|path| !path.starts_with("sys/"));
    assert!(changed.is_empty(), "{changed}");
    image::assert_left_alone(&vm.root);
}

/// The documentation's own commands give no settings, and the agent reads no status document then.
#[test]
fn without_settings_a_failed_run_fails_the_command_and_a_good_one_does_not() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    vm.root.write(
        "usr/lib/ofedctl/config.d/50-image.yaml",
        "{driver: inbox, cache: /srv/empty, offline: true}\n",
    );
    std::fs::create_dir_all(vm.root.path().join("srv/empty")).unwrap();
    let mut bare = enabled("1.0.0.0", 0, &Value::Null);
    bare["extensions"][0].as_object_mut().unwrap().remove("settings");

    let reported = vm.run(&[bare.clone()]);
    let handler = reported[0].handler();
    assert_eq!(handler["status"], "NotReady", "{handler:#}");
    let said = handler.to_string();
    assert!(said.contains("cache-missing") && said.contains("14"), "{said}");

    // The agent's next start finds the cause gone.
    vm.root.write(
        "usr/lib/ofedctl/config.d/50-image.yaml",
        "{driver: inbox, cache: /srv/cache, offline: true}\n",
    );
    bare["restart"] = json!(true);
    let reported = vm.run(&[bare]);
    assert_eq!(reported[0].handler()["status"], "Ready", "{:#}", reported[0].0["status"]);
    assert!(vm.root.installed("rdma-core").is_some(), "the command waited for the worker");
}
