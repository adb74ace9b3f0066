//! Images that are baked without a machine, in a chroot of the build host.

use crate::chroot_host::{Built, Chroot};
use crate::common::image;
use crate::common::root::{self, Root};
use crate::guest::{SUITE, program_for};
use serde_json::{Value, json};

/// What azure-chroot mounts by itself (packer-plugin-azure, builder/azure/chroot).
const KERNEL: [&str; 3] = ["proc", "sys", "dev"];

fn block(root: &Root, more: &Value) -> String {
    let mut block = json!({
        "vm_size": image::VM_SIZE, "cache": image::staged(SUITE), "ofedctl_binary": program_for(root),
    });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"value": block, "type": ["object", {}]}).to_string()
}

#[track_caller]
fn expect(built: &Built, says: &[&str]) {
    assert_eq!(built.error, "", "{}", built.said);
    for says in says {
        assert!(built.said.contains(says), "not said: {says}\n{}", built.said);
    }
}

#[test]
fn an_image_in_a_chroot_is_baked_and_can_be_unmounted_at_once() {
    let root = root::root_of(&root::guest(SUITE));
    let out = crate::common::scratch();
    let chroot = Chroot::mount(&root, &KERNEL, "{}");
    let built = chroot.build(&block(&root, &json!({"output_directory": out.path().join("out")})));
    expect(&built, &["ofed: install: ", "ofed: verify: ", "ofed: installed: inbox"]);
    assert_eq!(image::receipt(&root)["door"], "packer");
    let kept = std::fs::read_to_string(out.path().join("out/receipt.json")).unwrap();
    assert_eq!(kept, root.read("var/lib/ofedctl/receipt.json"));

    // What went wrong has its own code and reason.
    let built = chroot.build(&block(&root, &json!({"vm_size": "Standard_D4s_v5"})));
    assert!(built.error.starts_with("ofed: size-not-rdma (exit code 13): "), "{built:?}");

    // What is in place is so whatever the cache holds, as on the command line.
    let empty = out.path().join("empty");
    let built = chroot.build(&block(&root, &json!({"cache": empty, "generalize": true})));
    expect(&built, &["ofed: already-installed: inbox", "ofed: generalized: "]);
    let unmounted = chroot.unmount(&["proc", "sys", "dev"]);
    assert!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
    let left = std::fs::read_dir(root.path().join("var/tmp")).unwrap().count();
    assert_eq!(left, 0);
}

/// hashicorp/packer issue 7366: a chroot gets the build host's `PATH`, in which its own folders need not be.
#[test]
fn a_chroot_without_proc_is_told_so_and_the_hosts_path_does_not_matter() {
    let root = root::root_of(&root::guest(SUITE));
    let chroot = Chroot::mount(&root, &["dev"], "PATH=/nowhere; export PATH; /usr/sbin/{}");
    let built = chroot.build(&block(&root, &json!({})));
    assert!(built.error.contains("guest-failed") && built.error.contains("no /proc"), "{built:?}");
    assert_eq!(std::fs::read_dir(root.path().join("var/tmp")).unwrap().count(), 0);
}

#[test]
fn one_more_shell_around_each_command_changes_nothing() {
    let root = root::root_of(&root::guest(SUITE));
    let wrapper = "/bin/sh -ec \": a builder's own wrapper\"; {}";
    let chroot = Chroot::mount(&root, &KERNEL, wrapper);
    let way = json!({"execute_command": "chmod +x {{ .Path }}; {{ .Vars }} sh -eux '{{ .Path }}'"});
    let built = chroot.build(&block(&root, &way));
    expect(&built, &["ofed: installed: inbox"]);
    assert!(chroot.unmount(&KERNEL).status.success());
}
