//! A Debian root that is taken for an HPC VM: Azure's agent in it, the VMBus and PCI functions as a tree of the files
//! that detection reads, and the fabric's HTTP services on addresses of its own network namespace.

use crate::common::program::{self, Ran};
use crate::common::root::{self, Root};
use crate::common::{self, image};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// What an image on Azure has beside the usual, and what the agent itself works with.
const PACKAGES: &str = "waagent,openssl,iproute2";
/// The hardware of an `HB120rs_v3`.
const MACHINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hosts/hb120rs_v3-ubuntu20.04/sys");
/// What the tests' packages are registered as.
pub(crate) const NAME: &str = "Ofedctl.Hpc.InfiniBandDriverLinux";

/// The program without debug information: it is zipped, unzipped and copied again and again.
pub(crate) static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let stripped = common::kept("test-programs").join(format!("ofedctl-{}", std::process::id()));
    let mut strip = Command::new("strip");
    assert!(strip.arg("-o").arg(&stripped).arg(env!("CARGO_BIN_EXE_ofedctl")).status().unwrap().success());
    stripped
});

/// Makes a package of the program under test.
pub(crate) fn package(out: &Path, more: &[&str]) -> Ran {
    let mut command = Command::new(&*PROGRAM);
    command.args(["extension", "package", "--json", "--out"]).arg(out).args(more).env_clear();
    common::program::finish(command)
}

/// A VM that is switched off, or at work on one scenario.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) root: Root,
}

/// What the agent reported at the end of one goal state.
#[derive(Debug)]
pub(crate) struct Reported(pub(crate) Value);

impl Vm {
    /// An `HB120rs_v3` with Debian 12 and a cache of what it needs.
    pub(crate) fn new() -> Self {
        Self::with_root("bookworm")
    }

    /// The same with another Debian.
    pub(crate) fn with_root(suite: &str) -> Self {
        let root = root::root_of(&root::debian(suite).with("agent", PACKAGES));
        common::hosts::put_agent(root.path());
        assert!(Command::new("cp").args(["-a", MACHINE]).arg(root.path()).status().unwrap().success());
        for folder in ["srv/packages", "srv/agent", "var/lib/waagent"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        for file in ["fabric.py", "drive.py"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/extension/agent").join(file);
            std::fs::copy(from, root.path().join("srv/agent").join(file)).unwrap();
        }
        Self { root }
    }

    /// The same with a filled cache.
    pub(crate) fn with_cache() -> Self {
        let vm = Self::new();
        image::copy_of_staged("bookworm", &vm.root.path().join("srv"));
        vm
    }

    /// Publishes a version of the handler where this VM's agent looks for it.
    pub(crate) fn publish(&self, version: &str) {
        let out = self.root.path().join(format!("srv/packages/{version}.zip"));
        package(&out, &["--version", version]).expect(0, "packaged");
    }

    /// Lets the agent work through goal states, and waits for what it reports in the end of each. Then everything in
    /// the VM ends, as when it is switched off.
    #[track_caller]
    pub(crate) fn run(&self, steps: &[Value]) -> Vec<Reported> {
        self.run_on("Standard_HB120rs_v3", steps)
    }

    /// The same, where the metadata service tells this size.
    #[track_caller]
    pub(crate) fn run_on(&self, size: &str, steps: &[Value]) -> Vec<Reported> {
        let ran = Ran::from(self.start_on(size, steps).wait_with_output().unwrap());
        let log = || self.root.read("var/log/waagent.log") + &self.root.read("var/log/azure/ib-vmext-status");
        assert_eq!(ran.code, 0, "{ran:?}\n{}", log());
        let reported: Vec<Reported> =
            ran.stdout.lines().map(|line| Reported(serde_json::from_str(line).unwrap())).collect();
        assert_eq!(reported.len(), steps.len(), "{ran:?}\n{}", log());
        reported
    }

    /// Starts the agent on goal states.
    pub(crate) fn start(&self, steps: &[Value]) -> Child {
        self.start_on("Standard_HB120rs_v3", steps)
    }

    fn write_scenario(&self, size: &str, steps: &[Value]) {
        let vm_id = "5c0ffee0-0000-4000-8000-00000000cafe";
        let compute = json!({"vmSize": size, "vmId": vm_id, "offer": "debian-12"});
        let scenario = json!({"compute": compute, "steps": steps});
        self.root.write("srv/scenario.json", &scenario.to_string());
    }

    /// Boots the VM's own systemd, lets the agent work through goal states there, and leaves what it reports in
    /// `srv/out.json`, and what systemd says of the worker's unit in `srv/units.txt`.
    pub(crate) fn booted_by_systemd(&self, steps: &[Value]) {
        self.write_scenario("Standard_HB120rs_v3", steps);
        let unit = "[Unit]\nAfter=basic.target\nRequires=basic.target\n[Service]\nType=oneshot\n\
                    StandardError=file:/srv/unit.log\nExecStart=/bin/sh /srv/unit.sh\nTimeoutStartSec=200\n";
        self.root.write("etc/systemd/system/drive.service", unit);
        // Every container is shown this machine's own devices; those of the VM go over them.
        let copied = Command::new("cp").args(["-a", MACHINE]).arg(self.root.path().join("srv")).status();
        assert!(copied.unwrap().success());
        let script = "
            mount --bind /srv/sys/bus /sys/bus
            ip link set lo up
            ip address add 168.63.129.16/32 dev lo
            ip address add 169.254.169.254/32 dev lo
            (until systemctl show 'ofedctl-extension-*' --property=Id,ExecStart,ControlGroup | grep Id= >/dev/null
            do :; done; systemctl show 'ofedctl-extension-*' --property=Id,ExecStart,ControlGroup >/srv/units.txt) &
            python3 -W ignore /srv/agent/drive.py /srv/scenario.json >/srv/out.json
            systemctl exit 0
        ";
        self.root.write("srv/unit.sh", script);
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args([
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--quiet",
            "--boot",
            "--directory",
        ]);
        nspawn.arg(self.root.path()).args(["--", "systemd.unit=drive.service"]);
        let ran = common::program::finish({
            nspawn.stdin(Stdio::null());
            nspawn
        });
        assert_ne!(self.root.read("srv/out.json"), "", "{ran:?}\n{}", self.root.read("srv/unit.log"));
    }

    fn start_on(&self, size: &str, steps: &[Value]) -> Child {
        self.write_scenario(size, steps);
        let script = r#"
            ip link set lo up
            ip address add 168.63.129.16/32 dev lo
            ip address add 169.254.169.254/32 dev lo
            mount --bind "$0" "$0"
            cd "$0"
            mount -t proc proc proc
            mount --bind /dev dev
            mount -t tmpfs -o mode=755 tmpfs run
            mkdir run/lock
            [ ! -e srv/boot.sh ] || . ./srv/boot.sh
            exec chroot . "$@"
        "#;
        let mut unshare = program::in_namespaces(script);
        unshare.arg(self.root.path()).args([
            "python3",
            "-W",
            "ignore",
            "/srv/agent/drive.py",
            "/srv/scenario.json",
        ]);
        unshare.env("LC_ALL", "C.UTF-8").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// The handler's folder in a root.
pub(crate) fn folder(version: &str) -> String {
    format!("var/lib/waagent/{NAME}-{version}")
}

/// A goal state with the extension in it.
pub(crate) fn enabled(version: &str, seq: u64, public: &Value) -> Value {
    let settings = json!({"runtimeSettings": [{"handlerSettings": {"publicSettings": public}}]});
    json!({"extensions": [{"name": NAME, "version": version, "seq": seq, "settings": settings}], "events": true})
}

/// The same goal state in another of the agent's states.
pub(crate) fn with_state(mut goal: Value, state: &str) -> Value {
    goal["extensions"][0]["state"] = json!(state);
    goal
}

/// What an offline VM's settings are in these tests.
pub(crate) fn offline() -> Value {
    json!({"driver": "inbox", "cache": "/srv/cache", "offline": true})
}

impl Reported {
    /// The handler's part of the uploaded status; null when it is in none.
    pub(crate) fn handler(&self) -> &Value {
        &self.0["status"]["aggregateStatus"]["handlerAggregateStatus"][0]
    }

    /// The extension's part.
    pub(crate) fn status(&self) -> &Value {
        &self.handler()["runtimeSettingsStatus"]["settingsStatus"]["status"]
    }

    /// State, code and the message's first word, which is the reason.
    pub(crate) fn ending(&self) -> (&str, i64, &str) {
        let status = self.status();
        let message = status["formattedMessage"]["message"].as_str().unwrap_or_default();
        let reason = message.split(':').next().unwrap();
        (status["status"].as_str().unwrap_or_default(), status["code"].as_i64().unwrap_or(-1), reason)
    }

    /// Seconds until the agent had started all commands and they had returned.
    pub(crate) fn seconds(&self) -> f64 {
        self.0["seconds"].as_f64().unwrap()
    }
}
