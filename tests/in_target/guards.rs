//! What programs of an image must not be able to do while its own package manager runs.

use crate::common::need::need;
use crate::common::program::Ran;
use crate::common::root::{Root, debian_root};
use crate::common::still::Still;
use ofedctl::host::sandbox::{ENTER, Sandbox};
use std::process::{Command, Stdio};

/// A machine whose network is the loopback alone, with three servers that answer `here` to everything.
const MACHINE: &str = r#"
        ip link set lo up
        for address in 169.254.169.254 168.63.129.16 169.254.1.1; do
            ip address add $address/32 dev lo
            python3 -c '
import socket, sys
server = socket.create_server((sys.argv[1], 80))
while True:
    client = server.accept()[0]
    client.sendall(b"here\n")
    client.close()' $address & servers="$servers $!"
            until (exec 3<>/dev/tcp/$address/80) 2>/dev/null; do :; done
        done
        enter=$1; shift
        "$0" "$enter" $$ "$@" && code=0 || code=$?
        kill $servers
        exit $code"#;

/// Runs a shell script inside a root that is lent, on a machine whose network is the loopback alone, with two servers:
/// one where the metadata service is, one beside it. Both answer `here` to everything.
fn lent(root: &Root, script: &str, metadata: bool) -> Ran {
    need(&["iproute2", "python3"]);
    let scratch = root.beside("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    let here = ofedctl::host::fs::Root::open(root.path()).unwrap();
    let sandbox = Sandbox::lookup(&here, &scratch).through_relay([], metadata);
    let spec = serde_json::to_string(&sandbox).unwrap();
    let mut machine = Command::new("unshare");
    machine.args(["--net", "bash", "-ec", MACHINE, env!("CARGO_BIN_EXE_ofedctl"), ENTER, &spec]);
    machine.args(["/bin/bash", "-c", script]).stdin(Stdio::null()).env_clear();
    machine.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ran::from(machine.output().unwrap())
}

#[test]
fn nothing_of_the_image_or_the_machine_can_be_changed_by_any_means_at_hand() {
    let root = debian_root("bookworm");
    let before = Still::of(root.path());
    let tries = [
        "touch /x",
        "echo x >>/etc/passwd",
        "touch /var/lib/dpkg/status",
        "chmod 777 /etc",
        "mount -o remount,rw /",
        "mount -o remount,rw,bind /",
        "mount -t tmpfs none /mnt",
        "umount /run",
        "umount -l /proc",
        "echo 1 >/proc/sys/kernel/sysrq",
        "echo x >/proc/sys/kernel/hostname",
        "echo b >/proc/sysrq-trigger",
        "hostname x",
        "mknod /run/o/disk b 8 0",
        "chroot / true",
        "unshare --mount true",
        "nsenter --mount=/proc/1/ns/mnt chroot / true",
        "ls /run/o/../../proc/1/root/work",
        "unshare --user --map-root-user --mount mount -o remount,rw,bind /",
        "cp /bin/true /run/o/t; chmod u+s /run/o/t; chroot /run/o /t",
    ];
    let script = tries.map(|one| format!("({one}) 2>/dev/null && echo 'succeeded: {one}'\n")).concat();
    let ran = lent(&root, &format!("{script}\ntouch /run/o/mine /tmp/mine && echo written"), false);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "written\n"), "{ran:?}");
    before.assert_same(root.path());
    assert!(root.beside("scratch/mine").exists());
}

const ASK: &str = "for address in 169.254.1.1 169.254.169.254 168.63.129.16 ::ffff:169.254.169.254; do
    answer=; { exec 3<>/dev/tcp/$address/80 && read -r answer <&3; } 2>/dev/null; echo $address $answer; done";

#[test]
fn the_machines_metadata_service_is_out_of_reach_unless_a_setting_lets_it_be_asked() {
    let root = debian_root("bookworm");
    let ran = lent(&root, ASK, false);
    let refused = "169.254.1.1 here\n169.254.169.254\n168.63.129.16\n::ffff:169.254.169.254\n";
    assert_eq!(ran.stdout, refused, "{ran:?}");
    assert!(ran.stderr.contains("allow_metadata"), "{ran:?}");
    let ran = lent(&root, ASK, true);
    assert!(ran.stdout.contains("169.254.169.254 here\n168.63.129.16 here\n"), "{ran:?}");
}

#[test]
fn a_program_that_is_not_there_and_one_for_another_machine_are_told_apart() {
    let root = debian_root("bookworm");
    root.write("usr/bin/foreign", "\x7fELF\x02\x01\x01 for no machine");
    std::fs::set_permissions(
        root.path().join("usr/bin/foreign"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    assert_eq!(lent(&root, "exec no-such-program", false).code, 127);
    assert_eq!(lent(&root, "exec /usr/bin/foreign", false).code, 126);
}
