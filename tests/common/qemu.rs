//! Emulated machines that boot a root's own kernel.

use std::path::Path;
use std::process::Command;

/// A machine without a network that boots a kernel with these words behind the usual ones, and ends where it would boot
/// again. /dev/kvm may be there and hang every kernel, where this is a VM itself: never used. One processor of an old kind
/// boots with three fifths of the work that two with all that can be emulated take, and other tests run meanwhile.
pub fn machine(kernel: &Path, initrd: &Path, memory: &str, words: &str, serial: &Path) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", "Nehalem", "-m", memory, "-smp", "1", "-nodefaults"]);
    qemu.args(["-display", "none", "-no-reboot", "-append"]);
    qemu.arg(format!("rw console=ttyS0 quiet mitigations=off {words}"));
    qemu.arg("-serial").arg(format!("file:{}", serial.display()));
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    qemu
}

/// The option `-drive` for a disk in a file; `more` begins with a comma.
pub fn drive(file: &Path, more: &str) -> [String; 2] {
    ["-drive".to_owned(), format!("file={},if=virtio,format=raw{more}", file.display())]
}
