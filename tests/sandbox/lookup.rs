//! Lookups: programs of an image that answer a question and change nothing.

use crate::common::root::debian_root;
use crate::common::tree::{self, Tree};
use crate::{command, open, prints, script};
use ofedctl::host::sandbox::Sandbox;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn a_lookup_can_write_to_its_scratch_folder_alone_and_the_root_stays_as_it_was() {
    let root = debian_root("trixie");
    let scratch = root.beside("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let before = Tree::of(root.path());
    let sandbox = Sandbox::lookup(&open(&root), &scratch);
    let written = prints(
        &sandbox,
        "for at in / /etc /usr /var/lib /boot /proc/sys/kernel /opt /run /run/o /tmp /var/tmp /dev/shm; do
             if echo x > $at/probe 2>/dev/null; then echo $at; fi
         done",
    );
    let wanted = ["/run", "/run/o", "/tmp", "/var/tmp", "/dev/shm"];
    assert_eq!(written.lines().collect::<Vec<_>>(), wanted);
    assert_eq!(std::fs::read_to_string(scratch.join("probe")).unwrap(), "x\n");
    let sly = "mount -o remount,rw / || mount -t tmpfs x /mnt || mknod /tmp/null c 1 3 || chroot / true || touch /etc/x";
    assert!(!script(&sandbox, sly).status.success());
    let difference = tree::diff(&before, &Tree::of(root.path()));
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn what_covers_a_folder_takes_what_is_written_there_and_what_the_root_lacks_is_left_out() {
    let root = debian_root("trixie");
    let scratch = root.beside("scratch");
    for folder in ["cache", "log", "none"] {
        std::fs::create_dir_all(scratch.join(folder)).unwrap();
    }
    let before = Tree::of(root.path());
    let sandbox = Sandbox::lookup(&open(&root), &scratch)
        .with_cover("cache", "/var/cache")
        .with_cover("log", "/var/log")
        .with_cover("none", "/no/such/folder");
    let said = prints(
        &sandbox,
        "ls -A /var/cache /var/log; echo x > /var/cache/a; echo y > /var/log/b; ls -d /no || true",
    );
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["/var/cache:", "/var/log:"]);
    assert_eq!(std::fs::read_to_string(scratch.join("cache/a")).unwrap(), "x\n");
    assert_eq!(std::fs::read_to_string(scratch.join("log/b")).unwrap(), "y\n");
    let difference = tree::diff(&before, &Tree::of(root.path()));
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn a_lookup_asks_the_relay_for_names_wherever_the_roots_list_of_servers_should_be() {
    let ours = std::fs::read_to_string("/etc/resolv.conf").unwrap();
    let is_kept = |line: &&str| ["search", "domain", "options"].iter().any(|word| line.starts_with(word));
    let kept = ours.lines().filter(is_kept).fold(String::new(), |all, line| all + line + "\n");
    let here = format!("nameserver 127.0.0.1\n{kept}");
    let root = debian_root("trixie");
    let scratch = root.beside("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let file = root.path().join("etc/resolv.conf");
    let read = || {
        prints(
            &Sandbox::lookup(&open(&root), &scratch).through_relay([], false),
            "cat /etc/resolv.conf; ls -A /etc | wc -l",
        )
    };
    let count = || std::fs::read_dir(root.path().join("etc")).unwrap().count();

    let _ = std::fs::remove_file(&file);
    let before = Tree::of(root.path());
    assert_eq!(read(), format!("{here}{}\n", count() + 1), "absent");
    let difference = tree::diff(&before, &Tree::of(root.path()));
    assert!(difference.is_empty(), "{difference}");
    symlink("../run/systemd/resolve/stub-resolv.conf", &file).unwrap();
    assert_eq!(read(), format!("{here}{}\n", count()), "a link into /run");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(read(), format!("{here}{}\n", count()), "a file");
    let offline = prints(
        &Sandbox::lookup(&open(&root), &scratch),
        "cat /etc/resolv.conf; ls /sys/class/net 2>/dev/null || true",
    );
    assert_eq!(offline, "nameserver 192.0.2.1\n");
}

#[test]
fn a_lookup_in_the_running_system_changes_nothing_either() {
    let scratch = tempfile::tempdir().unwrap();
    let here = ofedctl::host::fs::Root::open(std::path::Path::new("/")).unwrap();
    let sandbox = Sandbox::lookup(&here, scratch.path());
    let said = prints(
        &sandbox,
        "echo x > /run/o/file; echo x > /var/lib/probe || echo refused; ls /dev | wc -l; cat /etc/os-release",
    );
    let own = std::fs::read_to_string("/etc/os-release").unwrap();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("refused"));
    let devices: u32 = lines.next().unwrap().parse().unwrap();
    assert!(devices < 15, "{devices} devices");
    assert!(said.ends_with(&own), "{said}");
    assert!(scratch.path().join("file").exists());
}

#[test]
fn a_lookup_needs_no_root_rights_where_the_system_gives_user_namespaces() {
    let root = debian_root("trixie");
    let scratch = root.beside("scratch");
    std::fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(65534), Some(65534)).unwrap();
    for above in root.path().ancestors().take(3) {
        let _ = std::fs::set_permissions(above, PermissionsExt::from_mode(0o755));
    }
    let sandbox = Sandbox::lookup(&open(&root), &scratch);
    let inner =
        command(&sandbox, &["/bin/sh", "-c", "id -u; echo x > /run/o/file; touch /etc/x || echo refused"]);
    // A copy of the program that anybody may start.
    let program = root.beside("ofedctl");
    std::fs::copy(inner.get_program(), &program).unwrap();
    let mut outer = std::process::Command::new("setpriv");
    outer.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c"]);
    // The parent that it asks for is the shell.
    outer.arg("shift; program=$1 enter=$2 spec=$4; shift 4; exec 3>&1; \"$program\" \"$enter\" $$ \"$spec\" \"$@\"; exit");
    outer.arg("sh").arg("-").arg(&program).args(inner.get_args());
    let output = outer.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\nrefused\n", "{output:?}");
    assert_eq!(std::fs::read_to_string(scratch.join("file")).unwrap(), "x\n");
}
