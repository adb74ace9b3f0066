//! The edits that a plan asks for, and the modules that every driver is proven by.

mod build_order;
mod hold;
mod rdma_naming;
mod vendor;

pub use vendor::{component, vendors};

use super::Edit;
use crate::packages::Manager;
use crate::settings::Settings;
use crate::target::{Family, Nic, Target};

/// The adapter's own modules, and those that give programs verbs, management datagrams, the connection
/// manager and, when wanted, IP over InfiniBand.
pub fn modules(nic: Option<Nic>, settings: &Settings) -> Vec<String> {
    let adapter = match nic.map_or("mlx5", Nic::kernel_driver) {
        "mlx4" => ["mlx4_core", "mlx4_ib"],
        _ => ["mlx5_core", "mlx5_ib"],
    };
    adapter.into_iter().chain(boot_modules(settings)).map(str::to_owned).collect()
}

/// What nothing loads by itself, with a vendor's driver as with the distribution's own. The VM agent wants them before
/// it starts (Azure/azhpc-images, Microsoft/lisa#3131).
fn boot_modules(settings: &Settings) -> Vec<&'static str> {
    let mut modules = vec!["ib_uverbs", "ib_umad", "rdma_ucm"];
    if settings.ipoib {
        modules.push("ib_ipoib");
    }
    modules
}

/// What one driver is for one target.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// What it is for.
    pub target: &'a Target,
    /// The driver's version; none for the distribution's own.
    pub version: Option<&'a str>,
}

/// The edits around the packages: those that every driver needs, those that one needs whose modules are left to DKMS,
/// and `of_driver` that this one needs.
pub fn edits(subject: &Subject, by_dkms: bool, of_driver: Vec<Edit>) -> Vec<Edit> {
    let settings = subject.settings;
    let mut edits = if by_dkms { build_order::edits(subject.target) } else { Vec::new() };
    edits.push(modules_at_boot(settings));
    if settings.memlock {
        edits.extend(memlock(subject.target.distro.family()));
    }
    edits.extend(rdma_naming::rules(settings.rdma_names));
    edits.push(Edit::SetKey {
        path: "/etc/waagent.conf".to_owned(),
        key: "OS.EnableRDMA".to_owned(),
        value: "y".to_owned(),
        why: "let the VM agent address the InfiniBand interfaces".to_owned(),
    });
    edits.extend(of_driver);
    if settings.kernel_hold {
        edits.extend(kernel_hold(subject.target));
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

fn memlock(family: Family) -> Vec<Edit> {
    let mut edits = vec![Edit::file_of_lines(
        "/etc/security/limits.d/90-ofedctl.conf",
        [
            "# Made by ofedctl: RDMA programs register memory, which locks it.",
            "* soft memlock unlimited",
            "* hard memlock unlimited",
            "root soft memlock unlimited",
            "root hard memlock unlimited",
        ],
        "let RDMA programs lock memory",
    )];
    if family == Family::Rhel {
        // As Azure's HPC images do there: what a service starts, such as a batch scheduler's jobs, has no login.
        edits.push(Edit::file_of_lines(
            "/etc/systemd/system.conf.d/90-ofedctl.conf",
            [
                "# Made by ofedctl: RDMA programs that a service starts register memory, too.",
                "[Manager]",
                "DefaultLimitMEMLOCK=infinity",
            ],
            "let RDMA programs of services lock memory",
        ));
    }
    edits
}

/// What keeps the kernels as they are, where the distribution's package manager is known.
fn kernel_hold(target: &Target) -> Option<Edit> {
    let manager = Manager::for_target(target)?;
    Some(hold::edit(
        manager,
        "kernel",
        manager.kernel_packages(),
        "keep the kernels that the modules are for",
    ))
}
