//! Boots with each outcome of a run, as cloud-init reports it.

use crate::common::image::{self, receipt};
use crate::common::status;
use crate::machine::{Machine, SUITES, text};

const VM: &str = "5c0ffee0-0000-4000-8000-000000000001";
const FLAG: &str = "ofedctl/reboot-required";

#[test]
fn a_first_boot_installs_offline_and_a_second_one_has_nothing_to_do() {
    for suite in SUITES {
        let vm = Machine::with_cache(suite);
        vm.boot().expect_clean();
        let log = vm.root.read("var/log/azure/ib-vmext-status");
        assert!(vm.root.installed("rdma-core").is_some(), "{suite}: {log}");
        // The kernel is this machine's, which has no modules in the root.
        assert!(log.contains("INFO  report: reboot-required: inbox from bundle"), "{suite}: {log}");
        assert!(log.contains("; Standard_HB120rs_v3; 1 InfiniBand function (cx6)"), "{suite}: {log}");
        assert_eq!(vm.in_run(FLAG), "report\n", "{suite}");
        let receipt = receipt(&vm.root);
        assert_eq!((&receipt["door"], &receipt["vm_id"]), (&"cloud-init".into(), &VM.into()), "{suite}");
        assert_eq!(image::status(&vm.root).state, "success", "{suite}");
        // The program's output is in the log where users look for it.
        let output = vm.root.read("var/log/cloud-init-output.log");
        assert!(output.is_empty() || output.contains("reboot-required"), "{suite}: {output}");
        assert!(vm.log().contains("ofedctl: reboot-required: inbox from bundle"), "{suite}");

        vm.boot().expect_clean();
        let log = vm.root.read("var/log/azure/ib-vmext-status");
        assert!(log.contains("INFO  report: reboot-required: inbox is in place"), "{suite}: {log}");
        assert_eq!(log.matches("INFO  install:").count(), 1, "{suite}: {log}");
    }
}

#[test]
fn a_machine_without_infiniband_boots_in_silence() {
    for suite in SUITES {
        let vm = Machine::new(suite);
        vm.root.write("etc/ofedctl/config.yaml", "wait_for_device: 0\n");
        let refusals = [
            ("d4s_v5-an-vf", "Standard_D4s_v5", "13 size-not-rdma"),
            ("h16r", "Standard_H16r", "13 size-legacy-nd"),
            ("d4s_v5-an-vf", "Standard_HB120rs_v3", "11 no-ib-device"),
            ("nothing", "Standard_HB120rs_v3", "10 no-vmbus"),
        ];
        for (at, (bus, size, _)) in refusals.iter().enumerate() {
            vm.put_bus(bus);
            vm.be(size, &format!("5c0ffee0-0000-4000-8000-{at:012}"));
            vm.boot().expect_clean();
        }
        let log = vm.root.read("var/log/azure/ib-vmext-status");
        for (_, _, refusal) in refusals {
            let reason = refusal.split(' ').nth(1).unwrap();
            assert!(
                log.contains(&format!("INFO  report: not-needed: {reason}: ")),
                "{suite} {reason}: {log}"
            );
        }
        assert!(!log.contains("ERROR") && vm.in_run(FLAG).is_empty(), "{log}");
        let said = image::status(&vm.root);
        assert_eq!((said.state.as_str(), said.code), ("success", 0), "{said:?}");
    }
}

#[test]
fn what_is_required_fails_the_boot_with_its_code() {
    for suite in SUITES {
        let vm = Machine::new(suite);
        vm.root.write("etc/cloud/cloud.cfg.d/50.cfg", "ofedctl: {required: true, wait_for_device: 0}\n");
        let refusals = [
            ("d4s_v5-an-vf", "Standard_D4s_v5", "13 (size-not-rdma)"),
            ("d4s_v5-an-vf", "Standard_HB120rs_v3", "11 (no-ib-device)"),
            ("nothing", "Standard_HB120rs_v3", "10 (no-vmbus)"),
        ];
        for (at, (bus, size, said)) in refusals.into_iter().enumerate() {
            vm.put_bus(bus);
            vm.be(size, &format!("5c0ffee0-0000-4000-8000-{at:012}"));
            let status = vm.boot();
            let error = status.expect_error();
            assert!(error.contains(&format!("ofedctl ended with {said}: ")), "{suite}: {error}");
        }
        let status = status::read(vm.root.read("var/lib/ofedctl/status/0.status").as_bytes()).unwrap();
        assert_eq!((status.state.as_str(), status.code), ("error", 10));
    }
}

#[test]
fn a_boot_that_fails_says_why_in_a_sentence_and_the_next_boot_tries_again() {
    for suite in SUITES {
        let vm = Machine::with_cache(suite);
        vm.user_data("#cloud-config\nruncmd: ['echo all the same > /ran']\n");
        let blobs = vm.root.path().join("var/cache/ofedctl/blobs/sha256");
        let is_package = |file: &std::fs::DirEntry| file.metadata().unwrap().len() > 50_000;
        let mut files = std::fs::read_dir(&blobs).unwrap().map(Result::unwrap);
        let damaged = files.find(is_package).unwrap().path();
        let whole = std::fs::read(&damaged).unwrap();
        let mut broken = whole.clone();
        broken[40_000] ^= 1;
        std::fs::write(&damaged, broken).unwrap();

        let status = vm.boot();
        let error = status.expect_error();
        assert!(error.contains("ofedctl ended with 14 (digest-mismatch): "), "{suite}: {error}");
        assert!(
            error.contains("see /var/log/azure/ib-vmext-status") && error.len() < 400,
            "{suite}: {error}"
        );
        assert!(vm.root.installed("rdma-core").is_none());
        // The user's own scripts run although the module failed.
        assert_eq!(vm.root.read("ran"), "all the same\n", "{suite}");

        std::fs::write(&damaged, whole).unwrap();
        vm.boot().expect_clean();
        assert!(vm.root.installed("rdma-core").is_some(), "{suite}");
    }
}

#[test]
fn an_image_that_no_driver_serves_fails_with_12() {
    let vm = Machine::new("trixie");
    // The vendor has none for Debian 13, and the distribution's own is not asked for.
    vm.root.write("etc/ofedctl/config.d/50-site.yaml", "driver: mlnx_ofed\n");
    let status = vm.boot();
    let error = status.expect_error();
    assert!(error.contains("ofedctl ended with 12 (image-unsupported): "), "{error}");
}

#[test]
fn a_clone_is_looked_at_anew_and_named_in_the_receipt() {
    let vm = Machine::with_cache("bookworm");
    vm.boot().expect_clean();
    let clone = "5c0ffee0-0000-4000-8000-00000000c10e";
    vm.be("Standard_HB120-16rs_v3", clone);
    vm.boot().expect_clean();
    let log = vm.root.read("var/log/azure/ib-vmext-status");
    assert!(log.contains("; Standard_HB120-16rs_v3; "), "{log}");
    assert_eq!(receipt(&vm.root)["vm_id"], clone);
}

#[test]
fn settings_come_from_the_cloud_config_the_file_and_the_modules_arguments() {
    let vm = Machine::new("trixie");
    vm.put_bus("nothing");
    // Each wrong in its own way, so that each is named when it is read.
    let boots = std::cell::Cell::new(0);
    let wrong = |said: &str| {
        // What a user sends is read once in a VM's life.
        boots.set(boots.get() + 1);
        vm.be("Standard_D4s_v5", &format!("5c0ffee0-0000-4000-8000-{:012}", boots.get()));
        let status = vm.boot();
        let error = status.expect_error().to_owned();
        assert!(error.contains("ended with 1 (") && error.contains(said), "{error}");
        let status = image::status(&vm.root);
        assert_eq!((status.state.as_str(), status.code), ("error", 1), "{status:?}");
        assert!(status.message.contains(said), "{status:?}");
        std::fs::remove_file(vm.root.path().join("var/lib/ofedctl/status/0.status")).unwrap();
    };
    vm.root.write("etc/cloud/cloud.cfg.d/50.cfg", "ofedctl: {offlin: true}\n");
    wrong("cloud-init's key `ofedctl`");
    vm.root.write("etc/cloud/cloud.cfg.d/50.cfg", "");
    vm.user_data(
        "#cloud-config\nwrite_files: [{path: /etc/ofedctl/config.yaml, content: 'ipoib: perhaps'}]\n",
    );
    wrong("/etc/ofedctl/config.yaml");
    vm.root.write("etc/ofedctl/config.yaml", "");
    vm.user_data("#cloud-config\n{}\n");
    let drop_in = vm.root.read("etc/cloud/cloud.cfg.d/zz-ofedctl.cfg");
    let with_arguments = drop_in.replace("- ofedctl", "- [ofedctl, always, --set, ipoib=perhaps]");
    vm.root.write("etc/cloud/cloud.cfg.d/zz-ofedctl.cfg", &with_arguments);
    wrong("--set");
}

#[test]
fn two_runs_at_a_time_are_one_after_the_other() {
    let vm = Machine::new("bookworm");
    vm.root.write("etc/ofedctl/config.yaml", "lock_timeout: 1\n");
    let held = vm.shell(
        "mkdir -p /run/lock; exec 9>/run/lock/ofedctl.lock; flock 9; /usr/local/bin/ofedctl cloud-init run --json",
    );
    assert_eq!(held.status.code(), Some(14), "{}", text(&held));
    assert!(text(&held).contains("lock-timeout"), "{}", text(&held));
}

#[test]
fn a_run_that_hangs_ends_by_its_own_deadline() {
    let vm = Machine::new("bookworm");
    vm.put_bus("d4s_v5-an-vf");
    vm.root.write("etc/ofedctl/config.yaml", "deadline: 2\nwait_for_device: 600\n");
    let status = vm.boot();
    let error = status.expect_error();
    assert!(error.contains("ofedctl ended with 14 (deadline-exceeded): "), "{error}");
}

/// The stand-in for systemctl prints what that of systemd 252 does.
#[test]
fn a_verification_names_the_service_that_hangs_and_says_so_where_none_could_be_asked() {
    let vm = Machine::with_cache("bookworm");
    vm.boot().expect_clean();
    let verify = || text(&vm.shell("mkdir -p /run/systemd/system; /usr/local/bin/ofedctl verify"));
    // The image's own finds no systemd that runs.
    let said = verify();
    assert!(said.contains("the services around the driver could not be checked: "), "{said}");
    assert!(said.contains("verify-failed"), "{said}");

    let shown = "Result=success\nId=systemd-modules-load.service\nLoadState=loaded\nActiveState=active\n\n\
        Result=success\nId=systemd-networkd-wait-online.service\nLoadState=loaded\nActiveState=activating\n";
    vm.root.write("usr/local/sbin/systemctl", &format!("#!/bin/sh\ncat <<'.'\n{shown}.\n"));
    let program = vm.root.path().join("usr/local/sbin/systemctl");
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = verify();
    assert!(said.contains("service-failed"), "{said}");
    assert!(said.contains("service systemd-networkd-wait-online: activating"), "{said}");
    assert!(!said.contains("could not be checked"), "{said}");
}
