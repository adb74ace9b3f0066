//! A small root of files alone, for what is judged by files: Ubuntu with a kernel, and whatever a test puts there.

use super::program::{self, Ran};
use super::scratch;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

pub const KERNEL: &str = "5.15.0-1074-azure";
/// The modules that a usable driver has.
pub const MODULES: [&str; 6] = ["mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];

/// The program by which a driver says which release it is.
pub const OFED_INFO: &str =
    "#!/bin/bash\nif [ \"$1\" == \"-s\" ]; then\n\techo \"MLNX_OFED_LINUX-5.8-1.1.2.1:\"\n\texit 0\nfi\n";

pub struct SmallRoot(TempDir);

impl SmallRoot {
    /// Ubuntu as the marketplace has it, without a module.
    pub fn ubuntu() -> Self {
        let root = Self(scratch());
        root.put("etc/os-release", "ID=ubuntu\nVERSION_ID=\"22.04\"\n");
        root.put("etc/waagent.conf", "# OS.EnableRDMA=y\n");
        root.put("var/lib/dpkg/status", "");
        root.put(&modules_dep(), "");
        root
    }

    /// With a driver that somebody else installed.
    #[must_use]
    pub fn with_vendor_driver(self) -> Self {
        let line = |module: &&str| format!("updates/dkms/{module}.ko: updates/dkms/ib_core.ko\n");
        self.add_modules(&MODULES.iter().map(line).collect::<String>());
        self.put("usr/bin/ofed_info", OFED_INFO);
        self.put("etc/init.d/openibd", "#!/bin/sh\n");
        self
    }

    /// Adds lines to what depmod lists.
    pub fn add_modules(&self, lines: &str) {
        self.put(&modules_dep(), &(self.read(&modules_dep()) + lines));
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A file's text; empty where it does not exist.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap_or_default()
    }

    pub fn run(&self, command: &str, more: &[&str]) -> Ran {
        let root = self.path().display().to_string();
        program::run(&[&[command, "--json", "--root", &root][..], more].concat())
    }

    pub fn bake(&self) -> Ran {
        self.run("bake", &["--arch", "x86_64"])
    }

    pub fn plan(&self, more: &[&str]) -> Value {
        let ran = self.run("plan", &[&["--arch", "x86_64"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stdout);
        ran.json()
    }
}

fn modules_dep() -> String {
    format!("lib/modules/{KERNEL}/modules.dep")
}

/// The files that a plan edits.
pub fn edited(answer: &Value) -> Vec<&str> {
    let edits = answer["plan"]["edits"].as_array().or_else(|| answer["edits"].as_array()).unwrap();
    edits.iter().filter_map(|edit| edit["path"].as_str()).collect()
}
