//! The edits around a vendor's driver: its service, the kernels' initramfs images, pins, and the HPC images' list of
//! components.

use super::{Subject, hold};
use crate::edits::Edit;
use crate::packages::{Manager, VendorGuard};
use crate::target::{Distro, Family};

const UNIT: &str = "openibd.service";

/// The edits around a vendor's driver. `left_out` are names of further packages in its repository that must not be
/// installed; `components` are its names in the HPC images' list.
pub fn vendors(subject: &Subject, left_out: &[&str], components: Vec<Edit>) -> Vec<Edit> {
    let target = subject.target;
    let mut edits = vec![
        openibd(&target.distro),
        Edit::EnableUnit {
            unit: UNIT.to_owned(),
            why: "load the vendor's modules at boot; it is not started now".to_owned(),
        },
    ];
    edits.extend(Manager::for_target(target).map(|manager| guard(manager, left_out)));
    if target.distro.family() == Family::Suse {
        edits.push(unsupported_modules());
    }
    edits.extend(components);
    let module = format!("{}_core", target.nic.map_or("mlx5", crate::target::Nic::kernel_driver));
    edits.extend(target.kernels.iter().map(|kernel| Edit::RefreshInitramfs {
        kernel: kernel.clone(),
        module: module.clone(),
        why: "let it load the vendor's adapter modules, where it loads any".to_owned(),
    }));
    edits
}

/// As Azure's HPC images have it (Azure/azhpc-images), and before the VM agent, which looks for interfaces only once
/// (Azure/WALinuxAgent, azurelinuxagent/daemon).
fn openibd(distro: &Distro) -> Edit {
    let mut lines = vec![
        "# Made by ofedctl: adapters arrive late on Azure, and the VM agent addresses what is there when it starts.",
        "[Unit]",
        "Wants=systemd-udev-settle.service",
        "After=systemd-udev-settle.service",
        "Before=walinuxagent.service waagent.service",
        "",
        "[Service]",
        "TimeoutStartSec=180",
    ];
    if oneshot_may_restart(distro) {
        lines.extend(["Restart=on-failure", "RestartSec=5"]);
    }
    Edit::file_of_lines(
        "/etc/systemd/system/openibd.service.d/ofedctl.conf",
        lines,
        "order the vendor's service around late adapters",
    )
}

/// systemd refuses a unit of `Type=oneshot` with `Restart=on-failure` before its version 244 (its NEWS).
fn oneshot_may_restart(distro: &Distro) -> bool {
    let major = distro.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0_u32);
    match distro.family() {
        Family::Debian if distro.id == "ubuntu" => major >= 20,
        Family::Debian => major >= 11,
        Family::Rhel => major >= 9,
        Family::Azure => true,
        Family::Suse | Family::Other => false,
    }
}

/// SLES refuses modules that SUSE does not support, such as those built here, unless this file allows them. It
/// overrides the one of the same name in `/lib/modprobe.d` (SUSE/suse-module-tools; SLES Administration Guide, "Kernel
/// module management").
fn unsupported_modules() -> Edit {
    Edit::file_of_lines(
        "/etc/modprobe.d/10-unsupported-modules.conf",
        ["# Made by ofedctl: the vendor's modules are built on the machine.", "allow_unsupported_modules 1"],
        "let SLES load modules that SUSE does not support",
    )
}

/// The edit that keeps the distribution's RDMA packages from replacing the vendor's, and keeps out the packages that
/// were left out.
fn guard(manager: Manager, left_out: &[&str]) -> Edit {
    const WHY: &str = "keep the vendor's RDMA packages when the distribution has newer ones";
    match manager.vendor_guard() {
        VendorGuard::File { path, content } => {
            Edit::WriteFile { path: path.to_owned(), content, why: WHY.to_owned() }
        }
        VendorGuard::HoldBack(names) => hold::edit(manager, "rdma", &[names, left_out].concat(), WHY),
    }
}

/// The edit that sets a component in the list of Azure's HPC images; without a version, to the installed OFED release.
pub fn component(component: &str, version: Option<&str>) -> Edit {
    Edit::SetComponent {
        path: "/opt/azurehpc/component_versions.txt".to_owned(),
        component: component.to_owned(),
        version: version.map(str::to_owned),
        why: format!("name the {component} version where Azure's HPC images do"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_systemd_is_not_given_what_it_refuses() {
        let restarts = |distro: &str| oneshot_may_restart(&distro.parse().unwrap());
        assert!(
            ["ubuntu20.04", "ubuntu22.04", "debian12", "rhel9.4", "rocky9", "azurelinux3.0"].map(restarts)
                == [true; 6]
        );
        assert!(["ubuntu18.04", "rhel8.6", "centos7.9", "sles15.4"].map(restarts) == [false; 4]);
    }
}
