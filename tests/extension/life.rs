//! The life of an extension from the first goal state to the last: what the agent uploads, and the state of the VM.

use crate::common::image::{self, STEPS};
use crate::vm::{NAME, Reported, Vm, enabled, folder, offline, with_state};
use serde_json::{Value, json};
use std::process::Command;

/// The kernel these tests run on, as one with the whole RDMA stack built in.
fn boot_another_kernel(vm: &Vm) {
    let uname = Command::new("uname").arg("-r").output().unwrap().stdout;
    let kernel = String::from_utf8(uname).unwrap().trim().to_owned();
    let modules = ["mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];
    let built_in: String = modules.map(|module| format!("kernel/drivers/{module}.ko\n")).concat();
    vm.root.write(&format!("lib/modules/{kernel}/modules.builtin"), &built_in);
    let indexed = vm.root.inside(&["depmod", &kernel]);
    assert!(indexed.status.success(), "{indexed:?}");
}

/// The lines in which the log tells of packages.
fn installations(vm: &Vm) -> usize {
    vm.root.read("var/log/azure/ib-vmext-status").matches("packages installed or upgraded").count()
}

/// How often `enable` left something to a worker.
fn backgrounds(vm: &Vm) -> usize {
    vm.root.read("var/log/azure/ib-vmext-status").matches(": enable: at-work: ").count()
}

#[track_caller]
fn ends(reported: &Reported, ending: (&str, i64, &str)) {
    assert_eq!(reported.ending(), ending, "{:#}", reported.0["status"]);
    assert_eq!(reported.handler()["status"], "Ready", "{}", reported.handler());
}

#[test]
fn the_agent_installs_and_enables_again_and_follows_new_settings_and_kernels() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    let first = enabled("1.0.0.0", 0, &offline());
    let mut again = first.clone();
    again["restart"] = json!(true);
    let mut without_ipoib = offline();
    without_ipoib["ipoib"] = json!(false);
    let reported = vm.run(&[first, again.clone(), enabled("1.0.0.0", 1, &without_ipoib)]);

    // The kernel of this machine has no modules in the root.
    ends(&reported[0], ("success", 0, "reboot-required"));
    assert!(reported[0].seconds() < 60.0, "{}", reported[0].seconds());
    let steps = reported[0].status()["substatus"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, STEPS);
    assert_eq!(steps.last().unwrap()["status"], "warning");
    assert!(vm.root.installed("rdma-core").is_some());
    assert_eq!(image::receipt(&vm.root)["door"], "extension");
    events_are_parsed(&reported[0]);

    ends(&reported[1], ("success", 0, "reboot-required"));
    assert_eq!(reported[1].0["seen"], json!(["success"]), "nothing was to be done again");
    assert_eq!(backgrounds(&vm), 2, "the first settings, and the second");
    ends(&reported[2], ("success", 0, "reboot-required"));
    assert_eq!(reported[2].handler()["runtimeSettingsStatus"]["sequenceNumber"], 1);
    assert!(!vm.root.read("etc/modules-load.d/ofedctl.conf").contains("ib_ipoib"));
    assert_eq!(vm.root.read(&format!("{}/mrseq", folder("1.0.0.0"))), "1");

    // A kernel that comes with the modules needs nothing more. What is not right any more is made so.
    boot_another_kernel(&vm);
    let before = installations(&vm);
    let third = enabled("1.0.0.0", 1, &without_ipoib);
    let reported = vm.run(std::slice::from_ref(&third));
    ends(&reported[0], ("success", 0, "already-installed"));
    assert_eq!((installations(&vm), backgrounds(&vm)), (before, 2));
    vm.root.write("etc/modules-load.d/ofedctl.conf", "");
    let reported = vm.run(&[third.clone(), with_state(third.clone(), "disabled"), third]);
    ends(&reported[0], ("success", 0, "installed"));
    assert_eq!((installations(&vm), backgrounds(&vm)), (before + 1, 3));
    ends(&reported[2], ("success", 0, "installed"));
    assert_eq!((installations(&vm), backgrounds(&vm)), (before + 1, 3));

    let mirrored = vm.root.read(&format!("var/log/azure/{NAME}/ofedctl.log"));
    assert!(
        mirrored.contains("install: 15 packages") || mirrored.contains("packages installed"),
        "{mirrored}"
    );
    outputs_are_short(&vm);
}

/// The agent's own collector took the events and kept nothing back.
#[track_caller]
fn events_are_parsed(reported: &Reported) {
    let events = reported.0["events"].as_array().unwrap();
    let tasks: Vec<&Value> = events.iter().map(|event| &event["TaskName"]).collect();
    assert!(tasks.contains(&&json!("Install")) && tasks.contains(&&json!("Enable")), "{tasks:?}");
    let messages: Vec<&str> = events.iter().filter_map(|event| event["Context1"].as_str()).collect();
    assert!(messages.iter().any(|message| message.starts_with("verify: ")), "{messages:?}");
}

/// What the commands printed is what the agent keeps: the verdict, and less than a kilobyte.
#[track_caller]
fn outputs_are_short(vm: &Vm) {
    let log = vm.root.read(&format!("var/log/azure/{NAME}/CommandExecution.log"));
    let outputs: Vec<&str> = log.split("[stdout]").skip(1).collect();
    assert!(outputs.len() > 3, "{log}");
    for output in outputs {
        let output = output.split("\n2").next().unwrap();
        assert!(output.len() < 1024 + 100, "{output}");
        let verdicts =
            ["handler-ready: ", "at-work: ", "already-installed: ", "reboot-required: ", "let-go: "];
        assert!(verdicts.iter().any(|verdict| output.trim_start().starts_with(verdict)), "{output}");
    }
}

#[test]
fn an_update_keeps_the_driver_and_a_removal_takes_it_out_only_when_told() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    vm.publish("1.1.0.0");
    boot_another_kernel(&vm);
    let goal = |version: &str, seq: u64, remove: bool| {
        let mut settings = offline();
        settings["remove_on_uninstall"] = json!(remove);
        enabled(version, seq, &settings)
    };
    let old = goal("1.0.0.0", 3, true);
    let new = goal("1.1.0.0", 3, true);
    let reported = vm.run(&[old, new]);
    ends(&reported[0], ("success", 0, "installed"));
    ends(&reported[1], ("success", 0, "installed"));
    assert_eq!(reported[1].handler()["handlerVersion"], "1.1.0.0");
    assert!(!vm.root.path().join(folder("1.0.0.0")).exists());
    assert!(vm.root.installed("rdma-core").is_some(), "the update took the driver out");
    assert_eq!(installations(&vm), 1);

    // Back to the older version, which is an update, too.
    let reported = vm.run(&[goal("1.0.0.0", 4, false)]);
    ends(&reported[0], ("success", 0, "already-installed"));
    assert_eq!(reported[0].handler()["handlerVersion"], "1.0.0.0");

    let gone = vm.run(&[with_state(goal("1.0.0.0", 4, false), "uninstall")]);
    assert_eq!(gone[0].handler(), &Value::Null);
    assert!(!vm.root.path().join(folder("1.0.0.0")).exists());
    assert!(!vm.root.path().join("usr/local/lib/ofedctl-extension").exists());
    assert!(vm.root.installed("rdma-core").is_some());

    let told = goal("1.1.0.0", 0, true);
    let reported = vm.run(&[told.clone(), with_state(told, "uninstall")]);
    ends(&reported[0], ("success", 0, "already-installed"));
    assert!(vm.root.installed("rdma-core").is_none());
    assert!(!vm.root.path().join("var/lib/ofedctl/receipt.json").exists());
    assert!(!vm.root.path().join("etc/modules-load.d/ofedctl.conf").exists());
}
