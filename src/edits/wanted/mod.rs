//! The edits that a plan contains, and the modules that every driver must provide.

mod build_order;
mod hold;
mod interface_naming;
mod limits;
mod rdma_naming;
mod unmanaged;
mod vendor;

pub use interface_naming::goes_before_ours;
pub use rdma_naming::said_of as said_of_names;
pub use vendor::{component, vendors};

use super::Edit;
use crate::facts::naming::Naming;
use crate::facts::surroundings::Surroundings;
use crate::facts::waagent::Addressing;
use crate::packages::Manager;
use crate::settings::{NewKernels, Settings};
use crate::target::{Nic, Target};

/// The adapter's own modules, and those that give programs verbs, management datagrams, the connection
/// manager and, when wanted, IP over InfiniBand.
pub fn modules(nic: Option<Nic>, settings: &Settings) -> Vec<String> {
    let adapter = match nic.map_or("mlx5", Nic::kernel_driver) {
        "mlx4" => ["mlx4_core", "mlx4_ib"],
        _ => ["mlx5_core", "mlx5_ib"],
    };
    adapter.into_iter().chain(boot_modules(settings)).map(str::to_owned).collect()
}

/// Modules that are not loaded automatically by any driver. The VM agent needs them before it starts
/// (Azure/azhpc-images, Microsoft/lisa#3131).
fn boot_modules(settings: &Settings) -> Vec<&'static str> {
    let mut modules = vec!["ib_uverbs", "ib_umad", "rdma_ucm"];
    if settings.ipoib {
        modules.push("ib_ipoib");
    }
    modules
}

/// The driver and the target for which edits are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// The target.
    pub target: &'a Target,
    /// The driver's version; none for the distribution's own.
    pub version: Option<&'a str>,
    /// Other programs in the root that name RDMA devices.
    pub naming: &'a [Naming],
    /// How the VM agent in the root gives `IPoIB` interfaces addresses, if there is one.
    pub agent: Option<&'a Addressing>,
    /// What else names and manages interfaces, where there is a root.
    pub surroundings: Option<&'a Surroundings>,
}

/// The edits around a driver that is there already: all except those about its installation.
pub fn edits_around(subject: &Subject, by_dkms: bool, of_driver: Vec<Edit>) -> Vec<Edit> {
    // The list of components was written by whoever installed the driver.
    let of_driver = of_driver.into_iter().filter(|edit| !matches!(edit, Edit::SetComponent { .. })).collect();
    edits(subject, by_dkms, of_driver)
}

/// The edits around the packages: those for every driver, those for drivers whose modules DKMS builds, and `of_driver`,
/// which are specific to this driver.
pub fn edits(subject: &Subject, by_dkms: bool, of_driver: Vec<Edit>) -> Vec<Edit> {
    let settings = subject.settings;
    let mut edits = if by_dkms { build_order::edits(subject.target) } else { Vec::new() };
    edits.push(modules_at_boot(settings));
    edits.extend(limits::edits(settings));
    edits.extend(rdma_naming::edits(settings, subject.naming));
    let around = subject.surroundings;
    edits.extend(interface_naming::edits(settings, subject.agent, around.map(|around| &around.naming)));
    edits.extend(unmanaged::edits(settings, around.map(|around| &around.managers)));
    edits.push(Edit::SetKey {
        path: "/etc/waagent.conf".to_owned(),
        key: "OS.EnableRDMA".to_owned(),
        value: "y".to_owned(),
        why: "let the VM agent address the InfiniBand interfaces".to_owned(),
    });
    edits.extend(of_driver);
    match settings.of_new_kernels() {
        NewKernels::Hold => edits.extend(kernel_hold(subject.target)),
        NewKernels::Rebuild if by_dkms => edits.push(dkms_at_boot()),
        NewKernels::Rebuild | NewKernels::Leave => {}
    }
    edits
}

fn modules_at_boot(settings: &Settings) -> Edit {
    let title = ["# Made by ofedctl: InfiniBand modules that nothing loads by itself."];
    Edit::file_of_lines(
        "/etc/modules-load.d/ofedctl.conf",
        title.into_iter().chain(boot_modules(settings)),
        "load the InfiniBand modules at boot",
    )
}

/// DKMS builds when the headers of a kernel are installed. Where they come after the kernel, or that build was cut off, its
/// unit does so at the next boot; Debian's package has none, and DKMS 3 of Fedora does.
fn dkms_at_boot() -> Edit {
    Edit::EnableUnit {
        unit: "dkms.service".to_owned(),
        why: "build the driver for a new kernel at its first boot".to_owned(),
    }
}

/// The edit that keeps the kernels from being upgraded, if the distribution's package manager is known.
fn kernel_hold(target: &Target) -> Option<Edit> {
    let manager = Manager::for_target(target)?;
    Some(hold::edit(
        manager,
        "kernel",
        manager.kernel_packages(),
        "keep the kernels that the modules are for",
    ))
}
