//! A worker that dies at the worst moment: the next start of the agent repairs the state, and the status is never wrong
//! meanwhile.

use crate::common::endings;
use crate::common::image;
use crate::common::need::need;
use crate::common::status;
use crate::common::wait;
use crate::vm::{Vm, enabled, folder, offline, with_state};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::process::Child;

/// Waits until packages are being installed.
fn wait_for_install(vm: &Vm, agent: &mut Child) {
    let is_noted = || vm.root.read("var/lib/ofedctl/journal.json").contains("\"packages_before\": {");
    wait::until_at_work(agent, "packages are installed", is_noted);
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
    // A newer agent that is tried in place of the distribution's has other files.
    let edited: Vec<&str> = edited.lines().filter(|line| !line.contains("/azurelinuxagent/")).collect();
    assert_eq!(edited, ["??5?????? c /etc/waagent.conf"], "the one edit of a package's file");
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
    assert_eq!(
        reported.ending(),
        ("error", 14, endings::STOPPED.reason.token()),
        "{:#}",
        reported.0["status"]
    );

    let reported = vm.run(&[goal]);
    assert_eq!(reported[0].ending(), ("success", 0, "reboot-required"), "{:#}", reported[0].0["status"]);
}

/// A package manager that somebody else has locked keeps the worker waiting for as long as the test wants.
#[test]
fn disable_lets_go_of_a_worker_that_waits_and_enable_begins_again() {
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    let lock = "import fcntl, time\nlock = open('/var/lib/dpkg/lock-frontend', 'r+')\nfcntl.lockf(lock, fcntl.LOCK_EX)\n\
                open('/srv/locked', 'w').close()\ntime.sleep(600)\n";
    vm.root.write("srv/lock.py", lock);
    let hold =
        "chroot . python3 /srv/lock.py >/dev/null 2>&1 &\nuntil [ -e srv/locked ]; do sleep 0.05; done\n";
    vm.root.write("srv/boot.sh", hold);
    let goal = enabled("1.0.0.0", 0, &offline());
    let glance = |mut goal: Value| {
        goal["once"] = json!(true);
        goal["restart"] = json!(true);
        goal
    };
    let steps = [glance(goal.clone()), glance(goal.clone()), with_state(goal.clone(), "disabled")];
    let reported = vm.run(&steps);
    assert_eq!(reported[0].0["seen"], json!(["transitioning"]));
    assert!(reported[0].seconds() < 60.0, "{}", reported[0].seconds());
    assert_eq!(
        reported[1].0["seen"],
        json!(["transitioning"]),
        "the worker that is there is left to its work"
    );
    assert_eq!(state(&vm), "error");
    let log = vm.root.read("var/log/azure/ib-vmext-status");
    assert!(
        log.contains("the settings 0 are being dealt with") && log.contains("stopping the worker"),
        "{log}"
    );
    assert!(log.contains("waiting: `/var/lib/dpkg/lock-frontend` is held by process"), "{log}");
    assert!(vm.root.installed("rdma-core").is_none());

    std::fs::remove_file(vm.root.path().join("srv/boot.sh")).unwrap();
    let reported = vm.run(&[goal]);
    assert_eq!(reported[0].ending(), ("success", 0, "reboot-required"), "{:#}", reported[0].0["status"]);
}

/// With systemd as the first process, the work is a unit of its own and no part of the agent's.
#[test]
fn where_there_is_systemd_the_worker_is_a_transient_unit() {
    need(&["systemd-container"]);
    let vm = Vm::with_cache();
    vm.publish("1.0.0.0");
    vm.booted_by_systemd(&[enabled("1.0.0.0", 0, &offline())]);
    let reported = crate::vm::Reported(serde_json::from_str(vm.root.read("srv/out.json").trim()).unwrap());
    assert_eq!(reported.ending(), ("success", 0, "reboot-required"), "{:#}", reported.0["status"]);
    let units = vm.root.read("srv/units.txt");
    assert!(units.contains("ofedctl-extension-0-") && units.contains("extension worker --seq 0"), "{units}");
    let log = vm.root.read("var/log/azure/ib-vmext-status");
    assert!(!log.contains("systemd-run said"), "{log}");
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
