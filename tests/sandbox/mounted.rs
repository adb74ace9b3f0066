//! Roots with file systems of their own for some folders, as LVM layouts and a separate `/boot` have them.

use crate::common::image;
use crate::common::program;
use crate::common::root::{Root, debian_root};
use crate::{open, prints};
use nix::mount::{MsFlags, mount};
use ofedctl::host::fs;
use ofedctl::host::sandbox::Sandbox;
use std::path::Path;
use std::process::Command;

/// Moves a folder of a root to a file system of its own, mounted where it was; what it held is covered by that.
fn give_own(root: &Root, folder: &str, flags: MsFlags) {
    let (there, own) = (root.path().join(folder), root.beside(&format!("own-{folder}")));
    assert!(Command::new("cp").arg("-a").args([&there, &own]).status().unwrap().success());
    let none = None::<&str>;
    mount(Some(&own), &there, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &there, none, flags, none).unwrap();
}

#[test]
fn a_root_with_its_own_var_and_boot_is_baked_into_those() {
    let root = debian_root("trixie");
    let status = |at: &str| std::fs::read_to_string(root.beside(at)).unwrap_or_default();
    give_own(&root, "var", MsFlags::MS_SHARED);
    give_own(&root, "boot", MsFlags::MS_UNBINDABLE);
    image::bake(&root, &image::staged("trixie")).expect(0, "installed");
    assert!(status("own-var/lib/dpkg/status").contains("\nPackage: rdma-core\n"));
    assert!(status("own-var/lib/ofedctl/receipt.json").contains("rdma-core"));
    image::ask("verify", &root).expect(0, "verified");

    let sandbox = Sandbox::offline(&open(&root), true);
    prints(&sandbox, "echo new > /boot/made; echo new > /var/made");
    for own in ["own-boot/made", "own-var/made"] {
        assert_eq!(status(own), "new\n", "{own}");
    }
    // What is mounted for the root alone is not to be seen under the names it has on the machine.
    let mounts = prints(&sandbox, "cat /proc/mounts");
    assert!(!mounts.contains(root.path().to_str().unwrap()), "{mounts}");
    assert_eq!(program::processes_in(root.path()), [] as [u32; 0]);
    let own = ["var", "boot"].map(|folder| root.path().join(folder).display().to_string());
    assert_eq!(program::mounts_in(root.path()), own);
}

#[test]
fn what_a_builder_has_mounted_for_its_own_chroot_is_covered() {
    let root = debian_root("trixie");
    let none = None::<&str>;
    for folder in ["proc", "sys", "dev", "run"] {
        let (from, to) = (format!("/{folder}"), root.path().join(folder));
        mount(Some(from.as_str()), &to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).unwrap();
    }
    let sandbox = Sandbox::offline(&open(&root), true);
    let seen = prints(&sandbox, "ls /sys; ls -d /proc/[0-9]* | wc -l; ls /dev /run | sort | tr '\\n' ' '");
    let mut seen = seen.lines();
    let processes: u32 = seen.next().unwrap().parse().expect("nothing in /sys");
    assert!(processes < 10, "{processes} processes to be seen");
    let rest = seen.next().unwrap();
    assert!(rest.contains("null") && !rest.contains("kmsg") && !rest.contains("ofedctl"), "{rest}");
}

#[test]
fn a_hidden_file_is_seen_by_no_program_of_this_machine() {
    // Programs have a /tmp of their own, which is where somebody's checkout may be.
    let scratch = tempfile::tempdir_in("/opt").unwrap();
    let key = scratch.path().join("key.pem");
    std::fs::write(&key, "a secret").unwrap();
    let seen = |root: &fs::Root| {
        let kinds = [
            Sandbox::offline(root, false),
            Sandbox::offline(root, true),
            Sandbox::lookup(root, scratch.path()),
        ];
        kinds.map(|sandbox| {
            prints(&sandbox, &format!("cat {} 2>&1 || true", key.display())).contains("secret")
        })
    };
    let root = fs::Root::open(Path::new("/")).unwrap();
    assert_eq!(seen(&root), [true; 3]);
    root.hide(&key);
    assert_eq!(seen(&root), [false; 3]);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), "a secret");
}
