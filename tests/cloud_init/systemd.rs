//! Complete boots under systemd: units that wait for the run start after it, and no unit waits for ever.

use crate::common::{image, program};
use crate::machine::{Machine, text};
use std::process::Output;

/// A job daemon that notes how the run stands when it starts.
const SLURMD: &str = "[Service]\nType=oneshot\n\
    ExecStart=sh -c 'cp /var/lib/ofedctl/status/0.status /var/log/slurmd-saw || touch /var/log/slurmd-saw'\n\
    [Install]\nWantedBy=multi-user.target\n";
/// Writes the result and shuts the machine down.
const END: &str = "[Unit]\nAfter=multi-user.target cloud-final.service slurmd.service\n[Service]\nType=oneshot\n\
    ExecStart=sh -c 'journalctl -b >/var/log/journal.txt; cloud-init status >/var/log/said; \
    systemctl show -P Result -P ActiveState ofedctl.service cloud-config.service >/var/log/units; \
    systemctl exit 42'\n";

/// Boots a machine that ends itself.
fn boot(vm: &Machine) -> Output {
    vm.boot_under_systemd(&[("slurmd", SLURMD, "multi-user"), ("end", END, "multi-user")])
}

fn assert_ended_well(vm: &Machine, output: &Output) {
    let journal = vm.root.read("var/log/journal.txt");
    assert_eq!(output.status.code(), Some(42), "{}\n{journal}", text(output));
    assert!(!journal.contains("ordering cycle"), "{journal}");
    let saw = vm.root.read("var/log/slurmd-saw");
    assert!(saw.contains("\"status\": \"success\"") && saw.contains("reboot-required"), "{saw}\n{journal}");
    assert!(vm.root.installed("rdma-core").is_some());
}

#[test]
fn a_job_daemon_starts_when_the_module_has_ended() {
    let vm = Machine::with_cache("trixie");
    program::run(&["cloud-init", "setup", "--json", "--before", "slurmd", "--root", vm.path()])
        .expect(0, "listed");
    let output = boot(&vm);
    assert_ended_well(&vm, &output);
    assert_eq!(vm.root.read("var/log/said"), "status: done\n");
}

#[test]
fn a_unit_of_its_own_does_the_same_where_cloud_init_is_disabled() {
    let vm = Machine::with_cache("bookworm");
    program::run(&["cloud-init", "setup", "--json", "--remove", "--root", vm.path()]).expect(0, "listed");
    let wish =
        ["cloud-init", "setup", "--json", "--unit", "--before", "slurmd", "--offline", "--root", vm.path()];
    program::run(&wish).expect(0, "listed");
    vm.root.write("etc/cloud/cloud-init.disabled", "");
    let output = boot(&vm);
    assert_ended_well(&vm, &output);
    assert_eq!(image::receipt(&vm.root)["door"], "cloud-init");
    assert!(
        vm.root.read("var/log/units").starts_with("success\nactive\n"),
        "{}",
        vm.root.read("var/log/units")
    );
    assert_eq!(vm.root.read("var/log/said"), "status: disabled\n");
}
