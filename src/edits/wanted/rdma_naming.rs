//! What RDMA devices are called after every boot.
//!
//! rdma-core renames them after their PCI address, which is another on every VM size and, for Accelerated Networking,
//! on every VM (`rdma_rename` with `NAME_FALLBACK`, linux-rdma/rdma-core kernel-boot). A rule file of the same name
//! under `/etc` takes the place of that one. Azure's HPC images name them `mlx5_ibN` and `mlx5_anN`, by a service that
//! runs once after boot (Azure/azhpc-images, `install_azure_persistent_rdma_naming.sh`); the rules here give the
//! same names when a device appears, however late it comes, for Azure puts each InfiniBand function in a PCI
//! domain of its own, counted from 0101 in hexadecimal.

use crate::edits::Edit;
use crate::settings::RdmaNames;

const RULES: &str = "/etc/udev/rules.d/60-rdma-persistent-naming.rules";
/// The first PCI domain of an InfiniBand function, and how many sizes have at most, twice over.
const FIRST_DOMAIN: usize = 0x0101;
const DOMAINS: usize = 16;

/// The rules; none where the distribution's own hold.
pub(super) fn rules(names: RdmaNames) -> Option<Edit> {
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
        assert!(!text(RdmaNames::Kernel).contains("NAME_FIXED"));
        assert_eq!(text(RdmaNames::Distribution), "");
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
