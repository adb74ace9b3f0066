//! PCI network functions of the two vendors that matter here: NVIDIA (Mellanox) and Microsoft.
//!
//! Whether a function is InfiniBand is decided by its PCI class. The device id does not tell: 1004, 1018, 101a and
//! 101e are InfiniBand on HPC sizes and Ethernet (Accelerated Networking) on all others. Sources: pci.ids;
//! Azure/azhpc-images, the topology files (`class="0x020700"`); microsoft/lisa, the device type `infiniband`.

use crate::host::Host;
use crate::target::Nic;
use serde::{Deserialize, Serialize};
use std::fmt;

const DEVICES: &str = "/sys/bus/pci/devices";
const MELLANOX: u32 = 0x15b3;
const MICROSOFT: u32 = 0x1414;
/// The virtual function of Microsoft's own adapter, Ethernet only (Linux, the mana driver's gdma.h, `MANA_VF_DEVICE_ID`).
const MANA_VF: u32 = 0x00ba;
/// The virtual function of ConnectX-3 Pro: on `NC24rs_v3` its InfiniBand has class
/// 0280, "Network controller".
const CX3_PRO_VF: u32 = 0x1004;

/// What kind of network a PCI function reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PciKind {
    /// InfiniBand.
    InfiniBand,
    /// A Mellanox Ethernet function, as Accelerated Networking uses it.
    AcceleratedNetworking,
    /// Microsoft's adapter, Ethernet.
    Mana,
}

impl PciKind {
    /// The kind in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InfiniBand => "InfiniBand",
            Self::AcceleratedNetworking => "Accelerated Networking, Ethernet",
            Self::Mana => "MANA, Ethernet",
        }
    }
}

/// One network function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PciFunction {
    /// Its address, `0101:00:00.0`.
    pub address: String,
    /// The vendor's number, `15b3`.
    pub vendor: String,
    /// The device's number, `101e`.
    pub device: String,
    /// The kind of network.
    pub kind: PciKind,
    /// The kernel driver bound to it.
    pub driver: Option<String>,
    /// The adapter generation, where the device's number tells it.
    pub generation: Option<Nic>,
}

impl fmt::Display for PciFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{} ({})", self.address, self.vendor, self.device, self.kind.name())
    }
}

/// All network functions of the two vendors, in the order of their addresses. Azure derives the domain from the
/// device's VMBus identity, so this order is the same at every boot, unlike the order of arrival.
pub fn read(host: &Host) -> Vec<PciFunction> {
    let mut functions: Vec<PciFunction> =
        host.root.list(DEVICES).into_iter().filter_map(|address| function(host, address)).collect();
    functions.sort_by_cached_key(|function| (place(&function.address), function.address.clone()));
    functions
}

/// The InfiniBand functions.
pub fn infiniband(functions: &[PciFunction]) -> impl Iterator<Item = &PciFunction> {
    functions.iter().filter(|function| function.kind == PciKind::InfiniBand)
}

/// The generation of the InfiniBand functions, where their device numbers tell it and agree.
pub fn generation_of(functions: &[PciFunction]) -> Option<Nic> {
    let mut generations = infiniband(functions).map(|function| function.generation);
    let first = generations.next()??;
    generations.all(|generation| generation == Some(first)).then_some(first)
}

fn function(host: &Host, address: String) -> Option<PciFunction> {
    let number = |name| hex(&host.root.attribute(&format!("{DEVICES}/{address}/{name}"))?);
    let (vendor, device) = (number("vendor")?, number("device")?);
    let kind = kind(vendor, device, number("class")?)?;
    let driver = host.root.link_target(&format!("{DEVICES}/{address}/driver"));
    let driver = driver.and_then(|target| Some(target.file_name()?.to_str()?.to_owned()));
    Some(PciFunction {
        vendor: format!("{vendor:04x}"),
        device: format!("{device:04x}"),
        kind,
        driver,
        generation: if vendor == MELLANOX { generation(device) } else { None },
        address,
    })
}

/// The kind of a function; none for bridges, accelerators and other vendors. `class` is sysfs's 0xCCSSPP.
fn kind(vendor: u32, device: u32, class: u32) -> Option<PciKind> {
    match (vendor, class >> 8) {
        (MELLANOX, 0x0207) => Some(PciKind::InfiniBand),
        (MELLANOX, 0x0280) if device == CX3_PRO_VF => Some(PciKind::InfiniBand),
        (MELLANOX, 0x0200) => Some(PciKind::AcceleratedNetworking),
        (MICROSOFT, 0x0200) if device == MANA_VF => Some(PciKind::Mana),
        _ => None,
    }
}

/// The generation of a Mellanox device number (pci.ids). 101e is the virtual function of every generation from
/// ConnectX-6 Dx on, so it tells nothing; the VM size does.
const fn generation(device: u32) -> Option<Nic> {
    match device {
        CX3_PRO_VF | 0x1007 => Some(Nic::Cx3Pro),
        0x1017..=0x101a => Some(Nic::Cx5),
        0x101b | 0x101c => Some(Nic::Cx6),
        0x1021 => Some(Nic::Cx7),
        0x1023 => Some(Nic::Cx8),
        _ => None,
    }
}

/// A number as sysfs writes it, `0x15b3`.
fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// An address as numbers, for sorting: domain, bus, device, function.
fn place(address: &str) -> [Option<u32>; 4] {
    let mut parts = address.split([':', '.']).map(|part| u32::from_str_radix(part, 16).ok());
    std::array::from_fn(|_| parts.next().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_class_decides_and_not_the_device() {
        for device in [0x1004, 0x1014, 0x1018, 0x101a, 0x101c, 0x101e] {
            assert_eq!(kind(MELLANOX, device, 0x02_0700), Some(PciKind::InfiniBand), "{device:04x}");
            let ethernet = Some(PciKind::AcceleratedNetworking);
            assert_eq!(kind(MELLANOX, device, 0x02_0000), ethernet, "{device:04x}");
        }
        assert_eq!(kind(MELLANOX, 0x1004, 0x02_8000), Some(PciKind::InfiniBand));
        assert_eq!(kind(MELLANOX, 0x101e, 0x02_8000), None);
        assert_eq!(kind(MICROSOFT, 0x00ba, 0x02_0000), Some(PciKind::Mana));
        for (vendor, device, class, what) in [
            (MELLANOX, 0x1978, 0x06_0400, "a PCIe bridge"),
            (MELLANOX, 0xa2d6, 0x08_0100, "a BlueField DMA function"),
            (MICROSOFT, 0x5353, 0x03_0000, "Hyper-V's display"),
            (MICROSOFT, 0x00a9, 0x01_0802, "remote NVMe"),
            (0x8086, 0x7192, 0x06_0000, "a host bridge"),
            (0x8086, 0x10f0, 0x02_0700, "another vendor's fabric"),
        ] {
            assert_eq!(kind(vendor, device, class), None, "{what}");
        }
    }

    #[test]
    fn only_telling_numbers_name_a_generation() {
        let of = |device| generation(device).map(Nic::name);
        assert_eq!(of(0x1004), Some("cx3-pro"));
        assert_eq!((of(0x1018), of(0x101a)), (Some("cx5"), Some("cx5")));
        assert_eq!(of(0x101c), Some("cx6"));
        for silent in [0x1002, 0x1014, 0x1016, 0x101d, 0x101e, 0x101f, 0x1024] {
            assert_eq!(of(silent), None, "{silent:04x}");
        }
    }

    #[test]
    fn addresses_sort_by_number() {
        let mut addresses = ["10000:00:00.0", "0108:00:00.0", "0101:00:00.0", "9f31:00:02.0", "0101:00:10.0"];
        addresses.sort_by_key(|address| place(address));
        assert_eq!(
            addresses,
            ["0101:00:00.0", "0101:00:10.0", "0108:00:00.0", "9f31:00:02.0", "10000:00:00.0"]
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in "\\PC*") {
            let _ = (hex(&text), place(&text));
        }

        #[test]
        fn ethernet_and_bridges_are_never_infiniband(device: u16, class in 0u32..0x100_0000) {
            let told = kind(MELLANOX, u32::from(device), class);
            if told == Some(PciKind::InfiniBand) {
                prop_assert!(class >> 8 == 0x0207 || (class >> 8 == 0x0280 && device == 0x1004));
            }
        }
    }
}
