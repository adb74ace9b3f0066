//! The kernel's side of RDMA: verbs devices and their ports, and the modules behind them.
//!
//! A verbs device is not yet InfiniBand: Accelerated Networking on `ND96is_H200_v5` shows `mlx5_an0`, an Ethernet
//! one (Azure/azurehpc-health-checks, `conf/nd96is_h200_v5.conf`), and `mana_ib` another. The port's link layer decides.
//! Attribute formats: Linux, Documentation/ABI/stable/sysfs-class-infiniband.

use crate::host::Host;
use serde::{Deserialize, Serialize};

const DEVICES: &str = "/sys/class/infiniband";

/// The modules whose presence tells about a driver installation.
pub(crate) const MODULES: [&str; 16] = [
    "hv_network_direct",
    "ib_cm",
    "ib_core",
    "ib_ipoib",
    "ib_umad",
    "ib_uverbs",
    "iw_cm",
    "mana_ib",
    "mlx4_core",
    "mlx4_ib",
    "mlx5_core",
    "mlx5_ib",
    "mlx_compat",
    "rdma_cm",
    "rdma_rxe",
    "rdma_ucm",
];

/// A verbs device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerbsDevice {
    /// Its name, `mlx5_0` or `mlx5_ib0`.
    pub name: String,
    /// `CA` for a channel adapter.
    pub node_type: Option<String>,
    /// The adapter's part, `MT4124`.
    pub hca_type: Option<String>,
    /// The firmware's version.
    pub firmware: Option<String>,
    /// The PCI function under it.
    pub pci_address: Option<String>,
    /// The kernel driver of that function.
    pub driver: Option<String>,
    /// Its ports, in order.
    pub ports: Vec<Port>,
}

/// A port of a verbs device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Port {
    /// Its number, from 1.
    pub number: u32,
    /// `InfiniBand` or `Ethernet`.
    pub link_layer: Option<String>,
    /// `ACTIVE`, `INIT`, `DOWN`.
    pub state: Option<String>,
    /// `LinkUp`, `Polling`, `Disabled`.
    pub phys_state: Option<String>,
    /// The rate in whole Gb/s.
    pub gbps: Option<u32>,
}

/// A module in the running kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoadedModule {
    /// Its name, with underscores.
    pub name: String,
    /// Its version, where it has one: vendor modules do, those of newer kernels do not.
    pub version: Option<String>,
    /// The digest of its sources. If it differs from the file's, an older module is still loaded.
    pub srcversion: Option<String>,
}

impl VerbsDevice {
    /// Whether any of its ports is InfiniBand.
    pub fn is_infiniband(&self) -> bool {
        self.ports.iter().any(Port::is_infiniband)
    }
}

impl Port {
    /// Whether it is InfiniBand, and not Ethernet.
    pub fn is_infiniband(&self) -> bool {
        self.link_layer.as_deref() == Some("InfiniBand")
    }
}

/// All verbs devices, by name.
pub fn devices(host: &Host) -> Vec<VerbsDevice> {
    host.root.list(DEVICES).into_iter().map(|name| device(host, name)).collect()
}

fn device(host: &Host, name: String) -> VerbsDevice {
    let base = format!("{DEVICES}/{name}");
    let attribute = |file: &str| host.root.attribute(&format!("{base}/{file}"));
    let last_of_link = |file: &str| {
        let target = host.root.link_target(&format!("{base}/{file}"))?;
        Some(target.file_name()?.to_str()?.to_owned())
    };
    let mut ports: Vec<Port> = host
        .root
        .list(&format!("{base}/ports"))
        .iter()
        .filter_map(|number| {
            let of_port = |file: &str| attribute(&format!("ports/{number}/{file}"));
            Some(Port {
                number: number.parse().ok()?,
                link_layer: of_port("link_layer"),
                state: of_port("state").map(|text| word(&text)),
                phys_state: of_port("phys_state").map(|text| word(&text)),
                gbps: of_port("rate").and_then(|text| gbps(&text)),
            })
        })
        .collect();
    ports.sort_by_key(|port| port.number);
    VerbsDevice {
        node_type: attribute("node_type").map(|text| word(&text)),
        hca_type: attribute("hca_type"),
        firmware: attribute("fw_ver"),
        pci_address: last_of_link("device"),
        driver: last_of_link("device/driver"),
        ports,
        name,
    }
}

/// The partition keys of a port, each with its index; an index without a key is left out.
pub fn partition_keys(host: &Host, device: &str, port: u32) -> Vec<(u32, u16)> {
    let folder = format!("{DEVICES}/{device}/ports/{port}/pkeys");
    let key = |index: String| {
        let text = host.root.attribute(&format!("{folder}/{index}"))?;
        let key = u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
        Some((index.parse().ok()?, key))
    };
    let mut keys: Vec<(u32, u16)> = host.root.list(&folder).into_iter().filter_map(key).collect();
    keys.retain(|(_, key)| *key != 0);
    keys.sort_unstable();
    keys
}

/// The loaded modules that belong to RDMA, by name.
pub fn modules(host: &Host) -> Vec<LoadedModule> {
    let loaded = host.root.read_text("/proc/modules").ok().flatten().unwrap_or_default();
    MODULES
        .iter()
        .filter(|module| is_loaded(&loaded, module))
        .map(|module| LoadedModule {
            name: (*module).to_owned(),
            version: host.root.attribute(&format!("/sys/module/{module}/version")),
            srcversion: host.root.attribute(&format!("/sys/module/{module}/srcversion")),
        })
        .collect()
}

/// Whether a module is part of the kernel image itself, so that no other build of it can ever be loaded
/// (`CONFIG_MLX5_CORE=y`; seen in Ubuntu's azure kernel 4.15.0-1041, microsoft/azure-linux-kernel issue 28).
pub fn is_built_in(host: &Host, kernel: &str, module: &str) -> bool {
    let list = host.root.read_text(&format!("/lib/modules/{kernel}/modules.builtin")).ok().flatten();
    list.is_some_and(|list| lists_module(&list, module))
}

/// Whether a name is in the first column of `/proc/modules`.
fn is_loaded(proc_modules: &str, module: &str) -> bool {
    proc_modules.lines().any(|line| line.split_ascii_whitespace().next() == Some(module))
}

/// Whether `modules.builtin` has a module. File names may use dashes where module names have underscores.
fn lists_module(builtin: &str, module: &str) -> bool {
    builtin.lines().filter_map(|line| line.trim().rsplit('/').next()?.strip_suffix(".ko")).any(|name| {
        name.len() == module.len()
            && name.bytes().zip(module.bytes()).all(|(a, b)| a == b || (a == b'-' && b == b'_'))
    })
}

/// The word of a numbered attribute: `4: ACTIVE` is `ACTIVE`.
fn word(text: &str) -> String {
    text.split_once(':').map_or(text, |(_, word)| word).trim().to_owned()
}

/// The rate of `200 Gb/sec (4X HDR)`, in whole Gb/s.
fn gbps(text: &str) -> Option<u32> {
    let number = text.split_ascii_whitespace().next()?;
    number.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    #[test]
    fn attributes_lose_their_numbers_and_units() {
        assert_eq!(word("4: ACTIVE"), "ACTIVE");
        assert_eq!(word("5: LinkUp"), "LinkUp");
        assert_eq!(word("InfiniBand"), "InfiniBand");
        for (text, rate) in [
            ("200 Gb/sec (4X HDR)", Some(200)),
            ("400 Gb/sec (4X NDR)", Some(400)),
            ("2.5 Gb/sec (1X SDR)", Some(2)),
            ("", None),
            ("fast", None),
        ] {
            assert_eq!(gbps(text), rate, "{text}");
        }
    }

    #[test]
    fn a_module_is_found_by_its_whole_name() {
        let loaded = "mlx5_ib 471040 0 - Live 0x0\nib_core 460000 9 mlx5_ib, Live 0x0\n";
        assert!(is_loaded(loaded, "mlx5_ib") && is_loaded(loaded, "ib_core"));
        assert!(!is_loaded(loaded, "mlx5") && !is_loaded(loaded, "mlx5_core"));
        let builtin =
            "kernel/drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko\nkernel/drivers/hv/hv-vmbus.ko\n";
        assert!(lists_module(builtin, "mlx5_core") && lists_module(builtin, "hv_vmbus"));
        assert!(!lists_module(builtin, "mlx5_ib") && !lists_module(builtin, "core") && !lists_module("", ""));
    }

    #[test]
    fn only_modules_of_rdma_are_told_with_their_versions() {
        let (_dir, host) = host_with(&[
            ("proc/modules", "ext4 1 0 - Live 0x0\nmlx5_core 1 0 - Live 0x0\n"),
            ("sys/module/mlx5_core/version", "5.8-1.1.2\n"),
            ("sys/module/mlx5_core/srcversion", "0123456789ABCDEF0123456\n"),
        ]);
        let found = modules(&host);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version.as_deref(), Some("5.8-1.1.2"));
        assert_eq!(found[0].srcversion.as_deref(), Some("0123456789ABCDEF0123456"));
    }

    #[test]
    fn partition_keys_keep_their_indices_and_what_is_no_key_is_left_out() {
        let base = "sys/class/infiniband/mlx5_ib0/ports/1/pkeys";
        let files =
            [("0", "0x7fff\n"), ("10", "0x8002\n"), ("2", "0x8001\n"), ("3", "0x0000\n"), ("4", "8003\n")];
        let files = files.into_iter().chain([("5", "0x18004\n"), ("many", "0x8005\n")]);
        let files: Vec<(String, &str)> = files.map(|(name, key)| (format!("{base}/{name}"), key)).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, key)| (path.as_str(), *key)).collect();
        let (_dir, host) = host_with(&files);
        assert_eq!(partition_keys(&host, "mlx5_ib0", 1), [(0, 0x7fff), (2, 0x8001), (10, 0x8002)]);
        assert_eq!(partition_keys(&host, "mlx5_ib0", 2), []);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*", module in "[a-z_]{0,8}") {
            let _ = (word(&text), gbps(&text), is_loaded(&text, &module), lists_module(&text, &module));
        }
    }
}
