//! A virtual machine: a disk made of a root, and a boot of it to its end.

use crate::azure::{Azure, CHASSIS, MAC, run};
use crate::common::{self, need, qemu, root::Root, wait};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A boot takes a minute or two without hardware acceleration; a machine that is busy may take far longer.
const PATIENCE: Duration = Duration::from_secs(1500);
/// Room for what the guest gives back.
const RESULT_BYTES: u64 = 64 << 20;

/// Lays the hardware over what the guest really has, before anything looks at it.
const HARDWARE: &str = "[Unit]\nDefaultDependencies=no\nAfter=systemd-udev-settle.service systemd-udev-trigger.service\n\
    Before=cloud-init-local.service cloud-init-main.service sysinit.target\n[Service]\nType=oneshot\n\
    ExecStart=mount -t overlay overlay -o lowerdir=/opt/hardware/sys/bus:/sys/bus /sys/bus\n\
    [Install]\nWantedBy=sysinit.target\n";
/// Looks at the machine when everything has ended, gives back what it found, and switches off.
const LOOK: &str = "[Unit]\nAfter=cloud-final.service multi-user.target\n[Service]\nType=oneshot\n\
    ExecStart=/opt/look\nExecStopPost=systemctl poweroff --force\nStandardOutput=journal+console\n\
    StandardError=journal+console\n[Install]\nWantedBy=cloud-init.target\n";
/// The network interface of the adapter's port, with the address that an agent would have given it. Its class is shown
/// as files, like the adapter's; the address is a real one, of an interface that the kernel makes without hardware.
const IPOIB: &str = "ip link add ib0 type dummy\nip address add 172.16.1.4/16 dev ib0\nip link set ib0 up\n";
/// Before and after what a test asks for.
const LOOK_HEAD: &str = "#!/bin/sh\nmkdir /tmp/result\ncd /tmp/result\n";
const LOOK_TAIL: &str = "cloud-init status --format json >status.json\ncp /var/log/azure/ib-vmext-status log; cp /var/log/azure/ran ran\n\
    cp /var/lib/ofedctl/receipt.json /var/lib/ofedctl/status/0.status .\ncp /var/log/cloud-init.log .\n\
    cp /var/lib/cloud/data/status.json stages.json\nuname -r >kernel\ncp /proc/modules /proc/uptime .\ndate +%s.%N >now\n\
    cloud-init analyze dump >analysis.json\njournalctl -b >journal\n\
    tar -cf /dev/vdb .\nsync\n";

/// A machine with its disk.
#[derive(Debug)]
pub struct Vm {
    folder: tempfile::TempDir,
    boots: Vec<(String, PathBuf, PathBuf)>,
}

/// What a boot left.
#[derive(Debug)]
pub struct Booted {
    folder: PathBuf,
    serial: PathBuf,
}

/// Makes a root one that boots in the emulator; `look` is what the test wants to be run at the end of each boot.
pub fn prepare(root: &Root, host: &str, look: &str) {
    let copy = |from: String, to: PathBuf| {
        std::fs::create_dir_all(&to).unwrap();
        run(Command::new("cp").arg("-a").arg(from).arg(to));
    };
    let machine = format!("{}/tests/fixtures/hosts/{host}/sys", env!("CARGO_MANIFEST_DIR"));
    copy(machine, root.path().join("opt/hardware"));
    // What udev does by the rules that the image was baked with.
    let devices = root.path().join("opt/hardware/sys/class/infiniband");
    for (from, to) in [("mlx5_0", "mlx5_ib0"), ("mlx5_1", "mlx5_an0")] {
        std::fs::rename(devices.join(from), devices.join(to)).unwrap();
    }
    let interface = "opt/hardware/sys/class/net/ib0";
    root.write(&format!("{interface}/type"), "32\n");
    root.write(&format!("{interface}/pkey"), "0x8001\n");
    let function = root.path().join(interface).join("device");
    std::os::unix::fs::symlink("../../../bus/pci/devices/0101:00:00.0", function).unwrap();
    root.write("etc/fstab", "LABEL=rootfs / ext4 defaults 0 1\n");
    root.write("etc/machine-id", "");
    root.write(
        "etc/cloud/cloud.cfg.d/90-vm.cfg",
        "datasource_list: [Azure, None]\nlocale: false\nssh_genkeytypes: []\n",
    );
    for (name, text, target) in [("hardware", HARDWARE, "sysinit"), ("look", LOOK, "cloud-init")] {
        root.write(&format!("etc/systemd/system/{name}.service"), text);
        let folder = root.path().join(format!("etc/systemd/system/{target}.target.wants"));
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(format!("../{name}.service"), folder.join(format!("{name}.service")))
            .unwrap();
    }
    root.write("opt/look", &format!("{LOOK_HEAD}{IPOIB}{look}\n{LOOK_TAIL}"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.path().join("opt/look"), mode).unwrap();
}

impl Vm {
    /// Makes a disk of a root; nothing is mounted for it.
    pub fn from_root(root: &Root) -> Self {
        need::need(&["qemu-system-x86", "genisoimage", "e2fsprogs"]);
        let folder = common::scratch();
        let disk = folder.path().join("disk");
        run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "rootfs", "-d"])
            .arg(root.path())
            .arg(&disk)
            .arg("4G"));
        let mut boots = Vec::new();
        for entry in std::fs::read_dir(root.path().join("lib/modules")).unwrap() {
            let kernel = entry.unwrap().file_name().into_string().unwrap();
            let [image, initrd] = ["vmlinuz", "initrd.img"].map(|name| {
                let to = folder.path().join(format!("{name}-{kernel}"));
                std::fs::copy(root.path().join(format!("boot/{name}-{kernel}")), &to).unwrap();
                to
            });
            boots.push((kernel, image, initrd));
        }
        boots.sort();
        Self { folder, boots }
    }

    /// The kernels it has, in order.
    pub fn kernels(&self) -> Vec<&str> {
        self.boots.iter().map(|(kernel, ..)| kernel.as_str()).collect()
    }

    /// Boots a kernel on the platform of the calling thread, until the machine switches itself off.
    pub fn boot(&self, kernel: &str, azure: &Azure) -> Booted {
        let mut qemu = self.machine(kernel, kernel, "2048", "", ",cache=unsafe");
        qemu.arg("-cdrom").arg(azure.disc(self.folder.path()));
        qemu.args(["-smbios", &format!("type=3,asset={CHASSIS}")]);
        qemu.args(["-smbios", &format!("type=1,uuid={}", azure.vm_id)]);
        qemu.args(["-netdev", "user,id=net"]).args(card(MAC));
        self.start(&mut qemu, kernel).end()
    }

    /// Boots two machines of the same disk, on one wire, with a program in the place of systemd. The variable `at` of the
    /// kernel's command line tells each which it is, 1 or 2. What they write to the disk is lost.
    pub fn boot_two(&self, kernel: &str, program: &str) -> [Booted; 2] {
        let wire = self.folder.path().join("wire");
        let started = [1, 2].map(|at| {
            let name = format!("{kernel}-{at}");
            let words = format!("init={program} at={at}");
            let mut qemu = self.machine(kernel, &name, "512", &words, ",snapshot=on");
            let server = if at == 1 { "on" } else { "off" };
            let socket = format!("stream,id=net,server={server},addr.type=unix,addr.path={}", wire.display());
            qemu.args(["-netdev", &socket]).args(card(&format!("52:54:00:00:00:0{at}")));
            let started = self.start(&mut qemu, &name);
            assert!(wait::within(PATIENCE, || wire.exists()), "the first machine has no wire");
            started
        });
        started.map(Started::end)
    }

    /// A machine without a network, with a name of its own for what it gives back.
    fn machine(&self, kernel: &str, name: &str, memory: &str, words: &str, disk: &str) -> Command {
        let (_, image, initrd) = self.boots.iter().find(|(name, ..)| name == kernel).unwrap();
        let [serial, result] = self.files(name);
        let _ = std::fs::remove_file(&serial);
        std::fs::File::create(&result).unwrap().set_len(RESULT_BYTES).unwrap();
        let words = format!("root=LABEL=rootfs net.ifnames=0 {words}");
        let mut qemu = qemu::machine(image, initrd, memory, &words, &serial);
        // What a machine that loses its power would lose, nobody asks here.
        qemu.args(qemu::drive(&self.folder.path().join("disk"), disk));
        qemu.args(qemu::drive(&result, ",cache=unsafe"));
        qemu
    }

    /// What a machine says, and what it gives back.
    fn files(&self, name: &str) -> [PathBuf; 2] {
        ["serial", "result"].map(|what| self.folder.path().join(format!("{what}-{name}")))
    }

    fn start(&self, qemu: &mut Command, name: &str) -> Started {
        let [serial, result] = self.files(name);
        let child = qemu.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Started { child, serial, result }
    }
}

/// A machine that runs. It does not outlive a test that fails.
struct Started {
    child: Child,
    serial: PathBuf,
    result: PathBuf,
}

impl Started {
    /// Waits until the machine switches itself off.
    fn end(mut self) -> Booted {
        let is_off = wait::within(PATIENCE, || self.child.try_wait().unwrap().is_some());
        assert!(is_off, "the machine did not switch itself off:\n{}", tail(&self.serial));
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        let unpacked = PathBuf::from(format!("{}.unpacked", self.result.display()));
        let _ = std::fs::remove_dir_all(&unpacked);
        std::fs::create_dir(&unpacked).unwrap();
        let tar = Command::new("tar").arg("-xf").arg(&self.result).arg("-C").arg(&unpacked).output().unwrap();
        assert!(tar.status.success(), "the machine gave nothing back:\n{}", tail(&self.serial));
        Booted { folder: unpacked, serial: self.serial.clone() }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A network card on the machine's wire.
fn card(mac: &str) -> [String; 2] {
    ["-device".to_owned(), format!("virtio-net-pci,netdev=net,mac={mac},romfile=")]
}

impl Booted {
    /// A file the guest gave back; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join(name)).unwrap_or_default()).into_owned()
    }

    pub fn json(&self, name: &str) -> Value {
        let text = self.read(name);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{name}: {error}: {text}\n{}", self.story()))
    }

    /// The errors of all of cloud-init's stages.
    pub fn errors(&self) -> Vec<Value> {
        let stages = self.json("stages.json");
        let stages = stages["v1"].as_object().unwrap().values().cloned().collect::<Vec<_>>();
        stages.iter().filter_map(|stage| stage["errors"].as_array()).flatten().cloned().collect()
    }

    /// How long the module ran, in seconds, and how long the boot took, from the kernel's first moment to the end of
    /// cloud-init's last stage.
    pub fn share(&self) -> (f64, f64) {
        let events = self.json("analysis.json");
        let events = events.as_array().unwrap();
        let at = |name: &str, kind: &str| {
            let is_it = |event: &&Value| event["name"] == name && event["event_type"] == kind;
            events.iter().rfind(is_it).and_then(|event| event["timestamp"].as_f64()).unwrap()
        };
        let seconds =
            |file: &str| -> f64 { self.read(file).split_whitespace().next().unwrap().parse().unwrap() };
        let module = "modules-config/config-ofedctl";
        let kernel = seconds("now") - seconds("uptime");
        (at(module, "finish") - at(module, "start"), at("modules-final", "finish") - kernel)
    }

    /// What a person would look at.
    pub fn story(&self) -> String {
        format!("{}\n{}\n{}", self.read("log"), self.read("stages.json"), tail(&self.serial))
    }
}

fn tail(serial: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(serial).unwrap_or_default()).replace('\r', "");
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
