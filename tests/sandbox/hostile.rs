//! A package whose script tries to get at the machine that bakes: every way is shut, and the bake goes on.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::root::debian_root;

/// Numbers of the calls that a script makes by hand: `init_module`, `finit_module`, `bpf`, `add_key`, `mount`,
/// `open_by_handle_at`, `open_tree`, `swapoff`, `clock_settime`.
const CALLS: [u16; 9] = if cfg!(target_arch = "aarch64") {
    [105, 273, 280, 217, 40, 265, 428, 225, 112]
} else {
    [175, 313, 321, 248, 165, 304, 428, 168, 227]
};

/// Each attempt says its name and how it went. None does any harm where it succeeds: calls get arguments that the kernel
/// refuses later than the right to make them, and settings the values they have.
const ATTEMPTS: &str = r#"#!/bin/bash
out=/var/lib/attempts
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name DONE"; else echo "$name refused"; fi >> $out; }
call() { name=$1; shift; perl -e 'my ($n, @a) = @ARGV; my @p = map { /^\d+$/ ? $_ + 0 : $_ } @a;
  my $r = syscall($n + 0, @p); exit(($r == -1 && $!{EPERM}) ? 1 : 0)' "$@"
  if [ $? = 1 ]; then echo "$name refused"; else echo "$name DONE"; fi >> $out; }
write() { echo "$2" > "$1"; }
raw() { rm -f /var/lib/node; mknod /var/lib/node "$@" && dd if=/var/lib/node of=/dev/null bs=512 count=1; r=$?; rm -f /var/lib/node; return $r; }
raw_in_memory() { mknod /dev/node "$@" && dd if=/dev/node of=/dev/null bs=512 count=1; }
leave() { perl -e 'my $top = (stat "/")[1]; mkdir "/var/lib/jail"; opendir my $here, "/"; chroot "/var/lib/jail" or exit 1;
  chdir $here or exit 1; chdir ".." for 1 .. 64; chroot "."; exit((stat "/")[1] == $top && -e "/var/lib/jail" ? 1 : 0)'; }
marker() { test -e "/proc/1/root@MARKER@" || test -e "@MARKER@" || test -e "/proc/1/cwd@MARKER@"; }

try write-sysctl write /proc/sys/kernel/panic "$(cat /proc/sys/kernel/panic)"
try write-sysctl-of-this-kernel write /proc/sys/vm/swappiness "$(cat /proc/sys/vm/swappiness)"
try remount-proc mount -o remount,rw /proc/sys
try unmount-proc umount /proc/sys
try press-sysrq write /proc/sysrq-trigger h
call load-module @0@ x 1 ''
call load-module-file @1@ 0 '' 0
try modprobe modprobe dummy
call bpf @2@ 0 x 0
call add-key @3@ user name x 1 0
try mount-tmpfs mount -t tmpfs none /mnt
try bind-mount mount --bind /usr /mnt
call mount-by-hand @4@ none /mnt tmpfs 0 ''
call open-tree @6@ 0 / 1
call open-by-handle @5@ 0 x 0
try new-mounts unshare -m true
try leave-the-root leave
try find-the-machine marker
try write-our-program write /proc/1/exe x
try read-our-memory cat /proc/1/environ
try read-memory raw c 1 1
try read-kernel-log raw c 1 11
try read-disk raw b @DISK@
try read-disk-by-memory-file raw_in_memory b @DISK@
try see-hardware ls /sys/class
call swap @7@ 0
call set-clock @8@ 0 0
try kill-the-machine kill -0 @TEST@
try write-kcore head -c 1 /proc/kcore
touch /dev/x && echo x > /dev/null && head -c 4 /dev/urandom >/dev/null && echo "usual-devices there" >> $out
chown 7:7 $out && chmod 4755 $out && echo "usual-rights there" >> $out
exit 0
"#;

#[test]
fn a_hostile_package_script_gets_at_nothing_of_the_machine() {
    let marker = crate::common::scratch();
    let mut text = ATTEMPTS
        .replace("@MARKER@", marker.path().to_str().unwrap())
        .replace("@TEST@", &std::process::id().to_string())
        .replace("@DISK@", &a_disk());
    for (at, call) in CALLS.iter().enumerate() {
        text = text.replace(&format!("@{at}@"), &call.to_string());
    }
    let scripts = vec![("postinst", text.leak() as &str)];
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", scripts, ..Deb::default() }]);
    let root = debian_root("trixie");
    root.add_source(&repository.source_line());
    let cache = root.beside("cache");
    image::stage(&root, &cache).expect(0, "staged");

    image::bake(&root, &cache).expect(0, "installed");
    let attempts = root.read("var/lib/attempts");
    let wrong: Vec<_> = attempts.lines().filter(|line| line.ends_with("DONE")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let wanted =
        ATTEMPTS.lines().filter(|line| line.starts_with("try ") || line.starts_with("call ")).count() + 2;
    assert_eq!(attempts.lines().count(), wanted, "{attempts}");
    image::assert_left_alone(&root);
}

/// The numbers of a disk of this machine; of the first loop device where it has none.
fn a_disk() -> String {
    let partitions = std::fs::read_to_string("/proc/partitions").unwrap_or_default();
    let mut rows =
        partitions.lines().skip(2).map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    rows.next().unwrap_or_else(|| "7 0".to_owned())
}
