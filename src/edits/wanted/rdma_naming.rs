//! Stable names for RDMA devices.
//!
//! rdma-core renames them after their PCI address, which is another on every VM size and, for Accelerated Networking,
//! on every VM (`rdma_rename` with `NAME_FALLBACK`, linux-rdma/rdma-core kernel-boot). A rule file of the same name
//! under `/etc` takes the place of that one. Azure's HPC images name them `mlx5_ibN` and `mlx5_anN`, by a service that
//! runs once after boot (Azure/azhpc-images, `install_azure_persistent_rdma_naming.sh`); the rules here give the
//! same names when a device appears, however late it comes, for Azure puts each InfiniBand function in a PCI
//! domain of its own, counted from 0101 in hexadecimal. `ConnectX-3` keeps its kernel's letters, `mlx4_ib0`, and is found in
//! domains of any number (OpenLogic/AzureBuildCentOS issue 92: 225e).
//!
//! What else names devices in an image is left in charge, because two services that rename the same device end with
//! the names of neither; or it is switched off, where the settings say so.

use crate::edits::Edit;
use crate::facts::naming::{Naming, REPLACED};
use crate::settings::{RdmaNames, Settings};

const RULES: &str = "/etc/udev/rules.d/60-rdma-persistent-naming.rules";
/// The first PCI domain of an InfiniBand function, and the number of domains with rules: twice the most functions that
/// any size has.
const FIRST_DOMAIN: usize = 0x0101;
const DOMAINS: usize = 16;

/// The edits that set the names the settings ask for, and disable other programs that name devices.
pub(super) fn edits(settings: &Settings, others: &[Naming]) -> Vec<Edit> {
    let rules = rules(settings.rdma_names);
    if others.is_empty() {
        return rules.into_iter().collect();
    }
    if !settings.replace_names {
        return Vec::new();
    }
    let Some(rules) = rules else { return Vec::new() };
    let others = others.iter().filter(|other| other.name() != RULES).map(out_of_action);
    others.chain([rules]).collect()
}

/// The plan's remark on other programs that name devices; none if there are none, or if the settings want no names.
pub fn said_of(settings: &Settings, others: &[Naming]) -> Option<String> {
    if others.is_empty() || settings.rdma_names == RdmaNames::Distribution {
        return None;
    }
    let names: Vec<&str> = others.iter().map(Naming::name).collect();
    let names = names.join(", ");
    Some(if settings.replace_names {
        format!("RDMA devices were named by {names}, which this program's rules replace")
    } else {
        format!("RDMA devices are named by {names}, which stays in charge (`replace_names` would replace it)")
    })
}

/// Disables another program that names devices. A file in `/etc` overrides one of the same name elsewhere (udev(7)). A
/// service is kept from starting as long as the rules that replace it exist, so that it starts again when they are
/// removed.
fn out_of_action(other: &Naming) -> Edit {
    match other {
        Naming::Rules { path } => {
            let name = path.rsplit('/').next().unwrap_or(path);
            let title = format!("{REPLACED}: see 60-rdma-persistent-naming.rules.");
            let why = format!("put {path} out of action");
            Edit::file_of_lines(&format!("/etc/udev/rules.d/{name}"), [title.as_str()], &why)
        }
        Naming::Service { unit } => Edit::file_of_lines(
            &format!("/etc/systemd/system/{unit}.d/ofedctl.conf"),
            [
                "# Made by ofedctl: udev's rules name RDMA devices.",
                "[Unit]",
                &format!("ConditionPathExists=!{RULES}"),
            ],
            &format!("put {unit} out of action"),
        ),
    }
}

/// The rules; none if the distribution's own rules apply.
fn rules(names: RdmaNames) -> Option<Edit> {
    let begin = [
        "# Made by ofedctl, in place of rdma-core's file of the same name.",
        "ACTION!=\"add\", GOTO=\"ofedctl_end\"",
        "SUBSYSTEM!=\"infiniband\", GOTO=\"ofedctl_end\"",
        "# Not after the PCI address.",
        "PROGRAM==\"rdma_rename %k NAME_KERNEL\"",
    ];
    let end = "LABEL=\"ofedctl_end\"";
    let (more, why) = match names {
        RdmaNames::Distribution => return None,
        RdmaNames::Kernel => (Vec::new(), "let RDMA devices keep the kernel's names (mlx5_0)"),
        RdmaNames::Azure => (azure(), "name RDMA devices as Azure's HPC images do (mlx5_ib0, mlx5_an0)"),
    };
    let lines = begin.into_iter().chain(more.iter().map(String::as_str)).chain([end]);
    Some(Edit::file_of_lines(RULES, lines, why))
}

/// The PCI class tells InfiniBand from Ethernet; the same device number occurs as both.
fn azure() -> Vec<String> {
    const INFINIBAND: &str = "ATTRS{vendor}==\"0x15b3\", ATTRS{class}==\"0x020700\"";
    const ETHERNET: &str = "ATTRS{vendor}==\"0x15b3\", ATTRS{class}==\"0x020000\"";
    let rename = |name: String| format!("PROGRAM==\"rdma_rename %k NAME_FIXED {name}\"");
    let domains: Vec<String> =
        (0..DOMAINS).map(|index| format!("{:04x}:00:00.0", FIRST_DOMAIN + index)).collect();
    let mut lines = vec!["# InfiniBand: by the PCI domain that Azure puts the function in.".to_owned()];
    lines.extend(domains.iter().enumerate().map(|(index, domain)| {
        format!("KERNELS==\"{domain}\", {INFINIBAND}, {}", rename(format!("mlx5_ib{index}")))
    }));
    lines.push(format!("KERNELS==\"{}\", GOTO=\"ofedctl_end\"", domains.join("|")));
    lines.push("# A function elsewhere. A second one is refused the name and keeps the kernel's.".to_owned());
    lines.push(format!("DRIVERS==\"mlx5_core\", {INFINIBAND}, {}", rename("mlx5_ib0".to_owned())));
    lines.push("# Accelerated Networking.".to_owned());
    lines.push(format!("DRIVERS==\"mlx5_core\", {ETHERNET}, {}", rename("mlx5_an0".to_owned())));
    lines.push("# ConnectX-3: its InfiniBand may be of any PCI class, so its first port tells.".to_owned());
    for (layer, name) in [("InfiniBand", "mlx4_ib0"), ("Ethernet", "mlx4_an0")] {
        let port = format!("ATTR{{ports/1/link_layer}}==\"{layer}\"");
        lines.push(format!("DRIVERS==\"mlx4_core\", {port}, {}", rename(name.to_owned())));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: RdmaNames) -> String {
        match rules(names) {
            Some(Edit::WriteFile { content, .. }) => content,
            _ => String::new(),
        }
    }

    #[test]
    fn each_function_of_a_size_with_many_has_its_name() {
        let azure = text(RdmaNames::Azure);
        for (domain, name) in [("0101", "mlx5_ib0"), ("0108", "mlx5_ib7"), ("0110", "mlx5_ib15")] {
            let line = azure.lines().find(|line| line.contains(&format!("\"{domain}:00:00.0\""))).unwrap();
            assert!(line.contains(&format!("NAME_FIXED {name}\"")) && line.contains("0x020700"), "{line}");
        }
        for name in ["mlx4_ib0", "mlx4_an0"] {
            assert!(azure.lines().any(|line| line.contains("mlx4_core") && line.contains(name)), "{azure}");
        }
        assert!(!text(RdmaNames::Kernel).contains("NAME_FIXED"));
        assert_eq!(text(RdmaNames::Distribution), "");
    }

    #[test]
    fn others_that_name_devices_are_left_in_charge_or_put_out_of_action() {
        let others = [
            Naming::Rules { path: "/usr/lib/udev/rules.d/60-ib.rules".to_owned() },
            Naming::Rules { path: RULES.to_owned() },
            Naming::Service { unit: "x.service".to_owned() },
        ];
        let paths = |settings: &Settings| {
            let edits = edits(settings, &others);
            edits.iter().filter_map(|edit| edit.path().map(str::to_owned)).collect::<Vec<_>>()
        };
        let stays = Settings::default();
        assert_eq!(paths(&stays), Vec::<String>::new());
        assert!(said_of(&stays, &others).unwrap().contains("60-ib.rules") && said_of(&stays, &[]).is_none());
        let replaced = Settings { replace_names: true, ..stays };
        let dropin = "/etc/systemd/system/x.service.d/ofedctl.conf";
        assert_eq!(paths(&replaced), ["/etc/udev/rules.d/60-ib.rules", dropin, RULES]);
        let distributions = Settings { rdma_names: RdmaNames::Distribution, ..replaced };
        assert!(paths(&distributions).is_empty() && said_of(&distributions, &others).is_none());
    }

    #[test]
    fn every_way_through_the_rules_ends_at_their_end() {
        for names in [RdmaNames::Azure, RdmaNames::Kernel] {
            let text = text(names);
            assert!(text.ends_with("LABEL=\"ofedctl_end\"\n"));
            assert!(text.matches("GOTO=").count() == text.matches("GOTO=\"ofedctl_end\"").count());
        }
    }
}
