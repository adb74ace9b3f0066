//! A root that is booted by cloud-init: the stages one after the other, in namespaces, with no systemd.

use crate::common::root::{Root, cloud_root};
use crate::common::{image, need, program};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Debian's releases with cloud-init 22.4 and 25.1.
pub const SUITES: [&str; 2] = ["bookworm", "trixie"];
const SIZE: &str = "Standard_HB120rs_v3";
/// Debian's own configuration sets up more than a root without a package archive and a boot loader has.
const QUIET: &str = "resize_rootfs: false\nlocale: false\ngrowpart: {mode: 'off'}\n\
    apt: {preserve_sources_list: true}\nssh_genkeytypes: []\ndatasource_list: [NoCloud, None]\n";

/// Shows the hardware under systemd, as a folder over `/sys/bus`.
const HARDWARE: (&str, &str, &str) = (
    "hardware",
    "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\n\
    RemainAfterExit=yes\nExecStart=mount --bind /opt/bus /sys/bus\n[Install]\nWantedBy=sysinit.target\n",
    "sysinit",
);

/// A VM that cloud-init boots.
#[derive(Debug)]
pub struct Machine {
    pub root: Root,
    /// Its `/run`, which a reboot empties.
    run: PathBuf,
    /// The folder that is mounted as its `/sys/bus`.
    bus: PathBuf,
}

/// The output of `cloud-init status`.
#[derive(Debug)]
pub struct Status {
    /// The exit code of `cloud-init status`.
    pub code: i32,
    pub word: String,
    /// The errors of all stages.
    pub errors: Vec<String>,
    /// All output, for the message of a failed test.
    pub all: Value,
}

impl Machine {
    /// A VM of a size with `ConnectX-6`, with the module in it and nothing to install from.
    pub fn new(suite: &str) -> Self {
        let machine = Self::without_module(suite);
        program::run(&["cloud-init", "setup", "--json", "--root", machine.path()]).expect(0, "listed");
        machine
    }

    /// A VM of that size that knows nothing of this program.
    pub fn without_module(suite: &str) -> Self {
        let root = cloud_root(suite);
        let machine = Self { run: root.beside("run"), bus: root.beside("bus"), root };
        std::fs::create_dir(&machine.run).unwrap();
        machine.put_bus("hb120rs_v3-ubuntu20.04");
        machine.root.write("etc/cloud/cloud.cfg.d/90-quiet.cfg", QUIET);
        machine.be(SIZE, "5c0ffee0-0000-4000-8000-000000000001");
        machine.user_data("#cloud-config\n{}\n");
        machine
    }

    /// The same, with what it installs from in its cache.
    pub fn with_cache(suite: &'static str) -> Self {
        let machine = Self::new(suite);
        machine.put_cache(suite);
        machine
    }

    pub fn put_cache(&self, suite: &'static str) {
        let cache = staged(suite);
        let to = self.root.path().join("var/cache/ofedctl");
        assert!(Command::new("cp").arg("-a").arg(cache).arg(to).status().unwrap().success());
        self.root.write("etc/ofedctl/config.yaml", "offline: true\n");
    }

    pub fn path(&self) -> &str {
        self.root.path().to_str().unwrap()
    }

    /// Becomes a VM of another size or identity.
    pub fn be(&self, size: &str, vm_id: &str) {
        let imds = json!({"compute": {"vmSize": size, "vmId": vm_id}});
        let meta_data = json!({"instance-id": vm_id, "local-hostname": "vm", "imds": imds});
        self.root.write("var/lib/cloud/seed/nocloud/meta-data", &meta_data.to_string());
    }

    pub fn user_data(&self, text: &str) {
        self.root.write("var/lib/cloud/seed/nocloud/user-data", text);
    }

    /// Gives it the buses of a captured host, or empty ones.
    pub fn put_bus(&self, host: &str) {
        let _ = std::fs::remove_dir_all(&self.bus);
        std::fs::create_dir(&self.bus).unwrap();
        let bus = format!("{}/tests/fixtures/hosts/{host}/sys/bus/.", env!("CARGO_MANIFEST_DIR"));
        if std::fs::exists(&bus).unwrap() {
            assert!(Command::new("cp").arg("-a").arg(bus).arg(&self.bus).status().unwrap().success());
        }
    }

    /// Boots it: all four stages, in a machine that has just been switched on.
    pub fn boot(&self) -> Status {
        std::fs::remove_dir_all(&self.run).unwrap();
        std::fs::create_dir(&self.run).unwrap();
        let stages = "cloud-init init --local; cloud-init init; cloud-init modules --mode=config; \
            cloud-init modules --mode=final";
        self.shell(stages);
        self.status()
    }

    /// cloud-init's report of the boot.
    pub fn status(&self) -> Status {
        let output = self.shell("cloud-init status --format json");
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("no status: {error}: {}", text(&output)));
        let stages = ["init-local", "init", "modules-config", "modules-final"].map(|stage| &said[stage]);
        let errors = stages.iter().filter_map(|stage| stage["errors"].as_array()).flatten();
        let all: Value =
            serde_json::from_str(&self.root.read("var/lib/cloud/data/status.json")).unwrap_or_default();
        let recorded = ["init-local", "init", "modules-config", "modules-final"];
        let recorded =
            recorded.iter().filter_map(|stage| all["v1"][stage]["errors"].as_array()).flatten().cloned();
        let errors: Vec<Value> =
            if errors.clone().count() > 0 { errors.cloned().collect() } else { recorded.collect() };
        Status {
            code: output.status.code().unwrap(),
            word: said["status"].as_str().unwrap().to_owned(),
            errors: errors.iter().map(|error| error.as_str().unwrap().to_owned()).collect(),
            all: json!({"status": said, "stages": all}),
        }
    }

    /// Runs a shell script in it.
    pub fn shell(&self, script: &str) -> Output {
        let enter = "mount --make-rprivate /; mount --bind \"$1\" \"$1\"; cd \"$1\"; mount -t proc proc proc; \
            mount -t sysfs -o ro sysfs sys; mount --bind \"$3\" sys/bus; mount --rbind /dev dev; \
            mount --bind \"$2\" run; mkdir -p run/lock; exec chroot . sh -c \"$4\"";
        let mut unshare = program::in_namespaces(enter);
        unshare.arg("sh").arg(self.root.path()).arg(&self.run).arg(&self.bus).arg(script);
        unshare.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
    }

    /// Boots it under systemd, with these services of it: name, text and the target that wants each. One of them ends it.
    pub fn boot_under_systemd(&self, services: &[(&str, &str, &str)]) -> Output {
        need::need(&["systemd-container"]);
        for (name, text, target) in services.iter().chain([&HARDWARE]) {
            self.root.write(&format!("etc/systemd/system/{name}.service"), text);
            let folder = self.root.path().join(format!("etc/systemd/system/{target}.target.wants"));
            std::fs::create_dir_all(&folder).unwrap();
            symlink(format!("../{name}.service"), folder.join(format!("{name}.service"))).unwrap();
        }
        self.root.write("etc/machine-id", "");
        let opt = self.root.path().join("opt");
        assert!(Command::new("cp").arg("-a").arg(&self.bus).arg(opt).status().unwrap().success());
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args([
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--quiet",
            "--boot",
            "--directory",
        ]);
        nspawn.arg(self.root.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// A file of its `/run`; empty when there is none.
    pub fn in_run(&self, path: &str) -> String {
        std::fs::read_to_string(self.run.join(path)).unwrap_or_default()
    }

    /// What cloud-init logged.
    pub fn log(&self) -> String {
        self.root.read("var/log/cloud-init.log")
    }
}

impl Status {
    /// Fails unless the boot ended without an error and without a warning.
    #[track_caller]
    pub fn expect_clean(&self) {
        let extended = self.all["status"]["extended_status"].as_str().unwrap_or("done");
        let found = (self.code, self.word.as_str(), extended, self.errors.len());
        assert_eq!(found, (0, "done", "done", 0), "{:#}", self.all);
    }

    /// Fails unless the boot ended with exactly one error, which is returned.
    #[track_caller]
    pub fn expect_error(&self) -> &str {
        let found = (self.code, self.word.as_str(), self.errors.len());
        assert_eq!(found, (1, "error", 1), "{:#}", self.all);
        &self.errors[0]
    }
}

/// A cache that holds what a machine of the suite needs. Made once per test program; only to be read.
fn staged(suite: &'static str) -> PathBuf {
    need::need_root();
    image::staged_for(&format!("cloud-{suite}"), || cloud_root(suite))
}

/// All that a program printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
