//! Detection on captured machines: one row per tree in `tests/fixtures/hosts`.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests, too")]

use ofedctl::events::Events;
use ofedctl::facts::azure;
use ofedctl::facts::pci::{self, PciKind};
use ofedctl::facts::secure_boot::{self, SecureBoot};
use ofedctl::facts::vm_size::{self, SizeVerdict};
use ofedctl::facts::waagent::{self, EnableRdma};
use ofedctl::facts::{compute, ofed, rdma, vmbus};
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::target::Nic;
use std::path::Path;

/// What is expected of a size.
#[derive(Debug, PartialEq)]
enum Size {
    /// InfiniBand, so many adapters of this generation.
    Ib(u32, Nic),
    LegacyNd,
    NotRdma,
    /// Nobody says which size it is.
    Unknown,
}

/// One machine.
struct Row {
    name: &'static str,
    vmbus: bool,
    infiniband: usize,
    accelerated: usize,
    mana: usize,
    /// Verbs devices that are InfiniBand, and that are not.
    verbs: (usize, usize),
    size: Size,
    /// What the PCI device number alone says.
    generation: Option<Nic>,
    secure_boot: SecureBoot,
}

const fn row(name: &'static str, size: Size, secure_boot: SecureBoot) -> Row {
    Row {
        name,
        vmbus: true,
        infiniband: 0,
        accelerated: 0,
        mana: 0,
        verbs: (0, 0),
        size,
        generation: None,
        secure_boot,
    }
}

#[rustfmt::skip]
const MACHINES: &[Row] = &[
    Row { infiniband: 1, mana: 1, ..row("azurelinux3", Size::Ib(1, Nic::Cx7), SecureBoot::On) },
    Row { infiniband: 1, generation: Some(Nic::Cx5), ..row("centos7.6", Size::Unknown, SecureBoot::Absent) },
    Row { vmbus: false, ..row("container", Size::Unknown, SecureBoot::Unknown) },
    Row { accelerated: 1, verbs: (0, 1), ..row("d4s_v5-an-vf", Size::NotRdma, SecureBoot::On) },
    Row { infiniband: 4, mana: 1, verbs: (1, 0), ..row("gb200-aarch64", Size::Ib(4, Nic::Cx7), SecureBoot::Off) },
    row("h16r", Size::LegacyNd, SecureBoot::Absent),
    Row { infiniband: 1, accelerated: 1, verbs: (1, 1), generation: Some(Nic::Cx6),
        ..row("hb120rs_v3-ubuntu20.04", Size::Ib(1, Nic::Cx6), SecureBoot::Off) },
    Row { infiniband: 1, accelerated: 1, verbs: (1, 0),
        ..row("hb176rs_v4-alma8-gen2", Size::Ib(1, Nic::Cx7), SecureBoot::Off) },
    Row { infiniband: 4, mana: 1, verbs: (4, 1),
        ..row("hb368rs_v5-ubuntu22.04", Size::Ib(4, Nic::Cx7), SecureBoot::Off) },
    Row { infiniband: 1, accelerated: 1, verbs: (1, 1), generation: Some(Nic::Cx6),
        ..row("hpc-image", Size::Ib(1, Nic::Cx6), SecureBoot::Off) },
    Row { vmbus: false, ..row("kvm-plain", Size::Unknown, SecureBoot::Absent) },
    Row { infiniband: 1, verbs: (1, 0), generation: Some(Nic::Cx3Pro),
        ..row("nc24rs_v3-ubuntu18.04", Size::Ib(1, Nic::Cx3Pro), SecureBoot::Absent) },
    Row { infiniband: 1, verbs: (1, 0), generation: Some(Nic::Cx5),
        ..row("nd40rs_v2", Size::Ib(1, Nic::Cx5), SecureBoot::Absent) },
    Row { accelerated: 1, verbs: (0, 1), ..row("nd96is_h200_v5", Size::NotRdma, SecureBoot::Off) },
    Row { infiniband: 8, accelerated: 1,
        ..row("nd96isr_h100_v5-ubuntu22.04", Size::Ib(8, Nic::Cx7), SecureBoot::Off) },
    Row { infiniband: 1, accelerated: 1, generation: Some(Nic::Cx5),
        ..row("rhel8.2", Size::Ib(1, Nic::Cx5), SecureBoot::Off) },
    Row { infiniband: 1, verbs: (1, 0), generation: Some(Nic::Cx6),
        ..row("sles15", Size::Ib(1, Nic::Cx6), SecureBoot::Off) },
];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hosts")
}

fn open(name: &str) -> Host {
    Host::open(&folder().join(name), Events::silent(), Cancel::never()).unwrap()
}

#[test]
fn every_machine_is_known_for_what_it_is() {
    for row in MACHINES {
        let (name, host) = (row.name, open(row.name));
        let bus = vmbus::read(&host);
        assert_eq!(bus.is_some(), row.vmbus, "{name}");
        assert_eq!(bus.is_some_and(|bus| bus.network_direct), row.size == Size::LegacyNd, "{name}");

        let functions = pci::read(&host);
        let count = |kind| functions.iter().filter(|function| function.kind == kind).count();
        assert_eq!(pci::infiniband(&functions).count(), row.infiniband, "{name}");
        assert_eq!(count(PciKind::AcceleratedNetworking), row.accelerated, "{name}");
        assert_eq!(count(PciKind::Mana), row.mana, "{name}");
        assert!(functions.iter().all(|function| function.driver.is_some()), "{name}: {functions:?}");
        for function in pci::infiniband(&functions) {
            assert_eq!(function.generation, row.generation, "{name}");
        }

        let devices = rdma::devices(&host);
        let infiniband = devices.iter().filter(|device| device.is_infiniband()).count();
        assert_eq!((infiniband, devices.len() - infiniband), row.verbs, "{name}");
        for device in devices {
            let function =
                functions.iter().find(|f| Some(&f.address) == device.pci_address.as_ref()).unwrap();
            assert_eq!(device.is_infiniband(), function.kind == PciKind::InfiniBand, "{name}");
            assert_eq!(device.driver, function.driver, "{name}");
        }

        let compute = compute::size_of(&host, None);
        let verdict = compute.vm_size.as_deref().map(vm_size::verdict);
        let size = match &verdict {
            Some(SizeVerdict::Rdma(size)) => Size::Ib(size.hcas.unwrap(), size.nic.unwrap()),
            Some(SizeVerdict::LegacyNd { .. }) => Size::LegacyNd,
            Some(SizeVerdict::NotRdma) => Size::NotRdma,
            None => Size::Unknown,
        };
        assert_eq!(size, row.size, "{name}");
        if let Size::Ib(hcas, nic) = size {
            assert_eq!(hcas as usize, row.infiniband, "{name}: expected and found adapters differ");
            assert!(row.generation.is_none_or(|generation| generation == nic), "{name}");
        }
        assert_eq!(secure_boot::read(&host), row.secure_boot, "{name}");
        assert_eq!(azure::is_azure(&host), row.vmbus, "{name}");
    }
}

#[test]
fn every_tree_has_its_row() {
    let mut trees: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    trees.sort();
    let rows: Vec<&str> = MACHINES.iter().map(|row| row.name).collect();
    assert_eq!(trees, rows);
}

#[test]
fn infiniband_functions_come_in_the_order_of_their_domains() {
    let functions = pci::read(&open("nd96isr_h100_v5-ubuntu22.04"));
    let addresses: Vec<&str> = pci::infiniband(&functions).map(|f| f.address.as_str()).collect();
    assert_eq!(addresses, (1..=8).map(|n| format!("010{n}:00:00.0")).collect::<Vec<_>>());
}

#[test]
fn an_hpc_image_is_known_with_the_driver_it_carries() {
    let host = open("hpc-image");
    let kernel = "5.15.0-1089-azure";
    let image = azure::hpc_image(&host).unwrap();
    let driver = ofed::read(&host).unwrap();
    assert_eq!((image.ofed.as_deref(), image.doca.as_deref()), (Some("25.10-1.7.1"), Some("3.2.1")));
    assert_eq!(driver.release.as_deref(), Some("OFED-internal-25.10-1.7.1"));
    assert_eq!((driver.version, driver.doca_host), (image.ofed, image.doca));
    assert!(driver.openibd && driver.built_for.as_deref() == Some(kernel));
    let module = ofed::kernel_module(&host, kernel, "mlx5_core");
    assert!(module.is_vendors() && module.vendor_file.as_deref() == Some("updates/dkms/mlx5_core.ko"));
    let loaded = rdma::modules(&host);
    let core = loaded.iter().find(|module| module.name == "mlx5_core").unwrap();
    assert_eq!(core.version.as_deref(), Some("25.10-1.7.1"));

    for plain in ["hb120rs_v3-ubuntu20.04", "azurelinux3", "container"] {
        let host = open(plain);
        assert_eq!((azure::hpc_image(&host), ofed::read(&host)), (None, None), "{plain}");
    }
}

#[test]
fn inbox_modules_are_the_kernels_own() {
    for (name, kernel, module) in [
        ("hb120rs_v3-ubuntu20.04", "5.15.0-1064-azure", "mlx5_core"),
        ("nc24rs_v3-ubuntu18.04", "5.4.0-1109-azure", "mlx4_core"),
        ("centos7.6", "3.10.0-957.27.2.el7.x86_64", "mlx5_core"),
        ("azurelinux3", "6.6.57.1-7.azl3", "mlx5_core"),
    ] {
        let host = open(name);
        let found = ofed::kernel_module(&host, kernel, module);
        assert!(found.chosen_file.is_some() && !found.is_vendors() && found.vendor_file.is_none(), "{name}");
        assert!(!rdma::is_built_in(&host, kernel, module), "{name}");
        assert!(rdma::is_built_in(&host, kernel, "hv_vmbus"), "{name}");
    }
}

#[test]
fn the_agent_and_its_rdma_setting_are_found_on_every_distribution() {
    for (name, version, setting) in [
        ("hb120rs_v3-ubuntu20.04", "2.2.46", EnableRdma::Commented),
        ("nd40rs_v2", "2.7.0.6", EnableRdma::Commented),
        ("centos7.6", "2.2.45", EnableRdma::Commented),
        ("rhel8.2", "2.2.46", EnableRdma::Commented),
        ("sles15", "2.2.49.2", EnableRdma::On),
        ("azurelinux3", "2.11.1.4", EnableRdma::Missing),
        ("hpc-image", "2.15.0.1", EnableRdma::On),
    ] {
        let agent = waagent::read(&open(name), &[]).unwrap();
        assert_eq!((agent.version.as_deref(), agent.enable_rdma), (Some(version), Some(setting)), "{name}");
    }
    assert_eq!(waagent::read(&open("container"), &[]), None);
}

#[test]
fn the_image_is_told_where_the_platform_tells_it() {
    let compute = compute::size_of(&open("hpc-image"), None);
    let image = (compute.publisher.as_deref(), compute.offer.as_deref(), compute.sku.as_deref());
    assert_eq!(image, (Some("microsoft-dsvm"), Some("ubuntu-hpc"), Some("2204")));
    assert!(compute.vm_id.is_some());
}
