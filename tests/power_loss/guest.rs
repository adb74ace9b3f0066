//! A virtual machine whose disk has a volatile cache: the kernel of the root itself, with its own journal, scheduler of
//! requests and idea of when to flush, does the run. What it writes and flushes comes to [`Disk`].

use crate::common::{need, qemu, wait};
use crate::disk::Disk;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// A run takes some minutes without hardware acceleration; a machine that is busy may take far longer.
const PATIENCE: Duration = Duration::from_secs(1500);
/// What the guest runs in the place of systemd: the run, and then it is off, with nothing synced. Its hardware is that of
/// the files in `/sys`, which the kernel's own would cover. [`RAN`] stands before the code with which the run ended.
const INIT: &str = "#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
umount -l /sys /run
/srv/ofedctl \"$@\" </dev/null
echo \"the run ended with $?\"
echo o >/proc/sysrq-trigger
read -r never <>/dev/console
";
const RAN: &str = "the run ended with ";

/// The kernel and its initial file system, from a root.
#[derive(Debug)]
pub(crate) struct Guest {
    kernel: PathBuf,
    initrd: PathBuf,
}

impl Guest {
    /// Takes the kernel of a root, and puts there what the guest runs.
    pub(crate) fn of(root: &Path, folder: &Path) -> Self {
        need::need(&["qemu-system-x86"]);
        let copied = |name: &str| {
            let boot = std::fs::read_dir(root.join("boot")).unwrap().map(|entry| entry.unwrap().path());
            let from = boot.into_iter().find(|path| path.to_str().unwrap().contains(name)).unwrap();
            let to = folder.join(name);
            std::fs::copy(from, &to).unwrap();
            to
        };
        let guest = Self { kernel: copied("vmlinuz"), initrd: copied("initrd.img") };
        let init = root.join("srv/init");
        std::fs::write(&init, INIT).unwrap();
        std::fs::set_permissions(&init, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        guest
    }

    /// Boots a disk, lets it do a run, and returns when the machine is off.
    pub(crate) fn run(&self, disk: &Disk, folder: &Path, words: &str) {
        let serial = folder.join("serial");
        // What is behind the two hyphens, the kernel hands to the first program.
        let words = format!("root=/dev/vda panic=-1 init=/srv/init -- {words}");
        let mut qemu = qemu::machine(&self.kernel, &self.initrd, "1024", &words, &serial);
        // The guest is told of a cache, and a flush is what makes it put down what it holds.
        qemu.args(qemu::drive(&disk.path(), ",cache=writeback"));
        let mut machine = Machine(qemu.stdin(Stdio::null()).spawn().unwrap());
        let is_off = wait::within(PATIENCE, || machine.0.try_wait().unwrap().is_some());
        let said = String::from_utf8_lossy(&std::fs::read(&serial).unwrap_or_default()).into_owned();
        assert!(is_off && said.contains(&format!("{RAN}0")), "{said}");
    }
}

/// Does not outlive a test that fails.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
