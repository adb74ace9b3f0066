//! A worker that dies at the worst moment: the next start of the agent sets it right, and meanwhile nothing lies.

use crate::common::image;
use crate::common::status;
use crate::vm::{Vm, enabled, folder, offline};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;
use std::time::{Duration, Instant};

/// Waits until packages are being installed.
fn wait_for_install(vm: &Vm, agent: &mut Child) {
    let end = Instant::now() + Duration::from_secs(120);
    while !vm.root.read("var/lib/ofedctl/journal.json").contains("\"packages_before\": {") {
        assert!(agent.try_wait().unwrap().is_none(), "it ended before anyone could look");
        assert!(Instant::now() < end, "it never came to its packages");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn state(vm: &Vm) -> String {
    let bytes = std::fs::read(vm.root.path().join(folder("1.0.0.0")).join("status/0.status")).unwrap();
    status::read(&bytes).unwrap().state
}

#[test]
fn a_power_loss_while_packages_are_installed_is_mended_at_the_next_start() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    let goal = enabled("1.0.0.0", 0, &offline());
    let mut agent = vm.start(std::slice::from_ref(&goal));
    wait_for_install(&vm, &mut agent);
    // Everything in the VM ends with the first process of its namespace, at once.
    agent.kill().unwrap();
    agent.wait().unwrap();
    image::assert_left_alone(&vm.root);
    assert_eq!(state(&vm), "transitioning");
    assert!(!vm.root.path().join(folder("1.0.0.0")).join("mrseq").exists());

    let reported = vm.run(&[goal]);
    assert_eq!(reported[0].ending(), ("success", 0, "reboot-required"), "{:#}", reported[0].0["status"]);
    let edited = vm.root.dpkg_verify();
    assert_eq!(edited.trim_end(), "??5?????? c /etc/waagent.conf", "the one edit of a package's file");
    assert!(vm.root.read("var/log/azure/ib-vmext-status").contains("did not end well, in step install"));
    image::ask("verify", &vm.root).expect(0, "verified");
}

#[test]
fn a_worker_asked_to_stop_says_so_and_the_next_start_goes_on() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    let goal = enabled("1.0.0.0", 0, &offline());
    let mut agent = vm.start(std::slice::from_ref(&goal));
    wait_for_install(&vm, &mut agent);
    let worker = workers_in(&vm);
    assert_eq!(worker.len(), 1, "{worker:?}");
    kill(Pid::from_raw(worker[0]), Signal::SIGTERM).unwrap();
    let ran = crate::common::program::Ran::from(agent.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let reported = crate::vm::Reported(serde_json::from_str(ran.stdout.trim()).unwrap());
    assert_eq!(reported.ending(), ("error", 14, "interrupted"), "{:#}", reported.0["status"]);

    let reported = vm.run(&[goal]);
    assert_eq!(reported[0].ending(), ("success", 0, "reboot-required"), "{:#}", reported[0].0["status"]);
}

/// The workers at work in the VM, by this machine's numbers.
fn workers_in(vm: &Vm) -> Vec<i32> {
    let is_worker = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("extension\0worker\0")
    };
    let pids = crate::common::program::processes_in(vm.root.path()).into_iter().filter(is_worker);
    pids.map(|pid| i32::try_from(pid).unwrap()).collect()
}
