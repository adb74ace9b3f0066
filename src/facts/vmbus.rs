//! Hyper-V's VMBus: whether this is a Hyper-V guest, and which kinds of devices the host offers on it.
//!
//! Read from sysfs and not from the list of modules: the VMBus and its drivers may be built into the kernel.

use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const DEVICES: &str = "/sys/bus/vmbus/devices";
/// The driver of PCI functions passed through; its folder has one link for each bound device.
const HV_PCI: &str = "/sys/bus/vmbus/drivers/hv_pci";

/// `class_id` of a synthetic network adapter (Linux, include/linux/hyperv.h, `HV_NIC_GUID`).
const NETVSC: &str = "f8615163-df3e-46c5-913f-f2d2f965ed0e";
/// `class_id` of a PCI function passed through (the same file, `HV_PCIE_GUID`). Every virtual function comes so.
const PCI_PASSTHROUGH: &str = "44c4f61d-4444-4400-9d52-802e27ede19f";
/// `class_id` of the paravirtual Network Direct adapter (the same file, `HV_ND_GUID`).
const NETWORK_DIRECT: &str = "8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501";

/// The Network Direct driver; its packages may add the host's firmware version, as in `hv_network_direct_144_0`.
const NETWORK_DIRECT_MODULE: &str = "hv_network_direct";

/// The devices on the VMBus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Vmbus {
    /// How many devices there are, of any kind.
    pub devices: usize,
    /// How many of them are synthetic network adapters.
    pub netvsc: usize,
    /// How many are PCI functions passed through. None of them: the host offers no virtual function.
    pub pci_passthrough: usize,
    /// How many devices there are of each `class_id`.
    pub classes: BTreeMap<String, usize>,
    /// How many PCI functions have been handed to the kernel, of those passed through.
    pub pci_bound: usize,
    /// Whether this machine's RDMA adapter is the old paravirtual one, which no OFED can drive.
    pub network_direct: bool,
}

/// Looks at the VMBus; none when there is none, so this is not a Hyper-V guest.
pub fn read(host: &Host) -> Option<Vmbus> {
    let root = &host.root;
    let devices = root.list(DEVICES);
    if devices.is_empty() {
        return None;
    }
    let mut classes = BTreeMap::new();
    for device in &devices {
        if let Some(class) = root.attribute(&format!("{DEVICES}/{device}/class_id")) {
            *classes.entry(class_id(&class)).or_default() += 1;
        }
    }
    let count = |wanted: &str| classes.get(wanted).copied().unwrap_or_default();
    let driver_at_work =
        || {
            root.exists("/dev/hvnd_rdma")
                || root.list("/sys/module").iter().any(|module| module.starts_with(NETWORK_DIRECT_MODULE))
                || root.read_text("/proc/modules").ok().flatten().is_some_and(|modules| {
                    modules.lines().any(|line| line.starts_with(NETWORK_DIRECT_MODULE))
                })
        };
    Some(Vmbus {
        devices: devices.len(),
        netvsc: count(NETVSC),
        pci_passthrough: count(PCI_PASSTHROUGH),
        pci_bound: root.list(HV_PCI).iter().filter(|name| devices.contains(name)).count(),
        network_direct: count(NETWORK_DIRECT) > 0 || driver_at_work(),
        classes,
    })
}

/// A `class_id` as sysfs writes it, `{f8615163-…}`, without its braces and in lower case.
fn class_id(text: &str) -> String {
    text.trim().trim_matches(['{', '}']).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;
    use proptest::prelude::*;

    #[test]
    fn a_class_id_loses_its_braces_and_case() {
        assert_eq!(class_id("{F8615163-DF3E-46C5-913F-F2D2F965ED0E}\n"), NETVSC);
        assert_eq!(class_id(NETVSC), NETVSC);
    }

    #[test]
    fn an_empty_bus_is_no_bus() {
        let (dir, host) = host_with(&[]);
        assert_eq!(read(&host), None);
        std::fs::create_dir_all(dir.path().join("sys/bus/vmbus/devices")).unwrap();
        assert_eq!(read(&host), None);
    }

    #[test]
    fn network_direct_is_known_by_its_device_or_its_driver() {
        let disk = ("sys/bus/vmbus/devices/one/class_id", "{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}\n");
        let is_legacy = |file: (&str, &str)| read(&host_with(&[disk, file]).1).unwrap().network_direct;
        let class = format!("{{{NETWORK_DIRECT}}}\n");
        assert!(is_legacy(("sys/bus/vmbus/devices/two/class_id", &class)));
        assert!(is_legacy(("sys/module/hv_network_direct/refcnt", "0\n")));
        assert!(is_legacy(("proc/modules", "hv_network_direct_144_0 1 0 - Live 0x0\n")));
        assert!(is_legacy(("dev/hvnd_rdma", "")));
        assert!(!is_legacy(("proc/modules", "hv_netvsc 1 0 - Live 0x0\n")));
    }

    proptest! {
        #[test]
        fn any_text_is_some_class(text in "\\PC*") {
            let _ = class_id(&text);
        }
    }
}
