//! Facts about a machine, one subject per file. Nothing here changes the machine or starts a program. Every loader
//! takes a [`Host`](crate::host::Host) and reads a few small files of its root; a missing file means unknown and is
//! never an error. The parsers beside them take text, so that they can be tested without a machine.

pub mod azure;
pub mod compute;
pub mod enrolled_keys;
pub mod imds;
pub mod interface_naming;
pub mod interfaces;
pub mod kernel_updates;
pub mod modules;
pub mod naming;
mod netplan;
pub mod network_managers;
pub mod ofed;
pub mod os;
pub mod pci;
pub mod rdma;
mod rule_files;
pub mod rule_findings;
pub mod secure_boot;
pub mod stack_users;
pub mod surroundings;
pub mod vm_size;
pub mod vm_size_table;
pub mod vmbus;
pub mod waagent;
pub mod waagent_start;

use crate::target::Arch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The kernel modules that detection looks for: the adapters' and the RDMA stack's.
pub const MODULES: [&str; 8] =
    ["mlx4_core", "mlx4_ib", "mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];

/// Everything detection found about one root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Facts {
    /// Version of this document's form.
    pub schema_version: u32,
    /// Distribution, architecture and kernels.
    pub os: os::Os,
    /// For each installed kernel, where it has each of [`MODULES`].
    pub modules: BTreeMap<String, BTreeMap<String, modules::Place>>,
    /// Versions of the installed packages that make up an RDMA stack.
    pub packages: BTreeMap<String, String>,
    /// Whether the firmware says that this is an Azure VM.
    pub azure: bool,
    /// The Hyper-V bus; none when this is no Hyper-V guest, or an image's root.
    pub vmbus: Option<vmbus::Vmbus>,
    /// What the platform says of the VM.
    pub compute: compute::Compute,
    /// Mellanox and MANA PCI functions, in the order of their domains.
    pub functions: Vec<pci::PciFunction>,
    /// The verbs devices that a driver has brought up.
    pub verbs: Vec<rdma::VerbsDevice>,
    /// The RDMA modules the running kernel has loaded.
    pub loaded: Vec<rdma::LoadedModule>,
    /// Whether the firmware lets only signed modules in.
    pub secure_boot: secure_boot::SecureBoot,
    /// The SHA-256 of each certificate by which the firmware, or the machine's owner, lets modules in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrolled_certificates: Vec<String>,
    /// The Azure VM agent, where one is installed.
    pub waagent: Option<waagent::Waagent>,
    /// The marker of Azure's HPC images.
    pub hpc_image: Option<azure::HpcImage>,
    /// A vendor's driver, where one is installed.
    pub ofed: Option<ofed::Ofed>,
    /// The kernels for which an earlier run of this program installed working modules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served_kernels: Vec<String>,
    /// Programs that name RDMA devices, beside the distribution's rdma-core and this program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub naming: Vec<naming::Naming>,
    /// What else has a hand in network interfaces, kernels and `ib_core`.
    #[serde(default, skip_serializing_if = "surroundings::Surroundings::is_empty")]
    pub surroundings: surroundings::Surroundings,
    /// What the files of rules and of systemd's network settings say. Remembered, so that the next run need not read them.
    #[serde(skip)]
    pub rule_files: rule_findings::RuleFindings,
}

impl Facts {
    /// The facts in one line; `vm_size` is the one that was set, which counts before the one that was found.
    pub fn summary(&self, vm_size: Option<&str>) -> String {
        let os = &self.os;
        let distro =
            os.distro.as_ref().map_or_else(|| "unknown distribution".to_owned(), ToString::to_string);
        let mut text = format!("{distro} {}", os.arch.map_or("unknown architecture", Arch::name));
        let _ =
            write!(text, "; {}", vm_size.or(self.compute.vm_size.as_deref()).unwrap_or("VM size unknown"));
        let _ = write!(text, "; {}", self.adapters());
        let kernels = if os.kernels.is_empty() { "no kernel".to_owned() } else { os.kernels.join(", ") };
        let _ = write!(text, "; kernels: {kernels}");
        text
    }

    /// The InfiniBand functions in a few words.
    pub fn adapters(&self) -> String {
        let count = pci::infiniband(&self.functions).count();
        let functions = if count == 1 { "function" } else { "functions" };
        match pci::generation_of(&self.functions) {
            Some(nic) => format!("{count} InfiniBand {functions} ({nic})"),
            None => format!("{count} InfiniBand {functions}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::events::Events;
    use crate::host::Host;
    use crate::host::cancel::Cancel;

    /// A root with these files, and nothing else.
    pub(super) fn host_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::open(dir.path(), Events::silent(), Cancel::never()).unwrap();
        (dir, host)
    }
}
