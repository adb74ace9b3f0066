//! Finds other programs that name RDMA devices in a root: udev rules of an administrator or image builder, or a
//! service.
//!
//! Seen in the field: a rule by the board's number (`60-ib.rules` of OpenLogic/AzureBuildCentOS), rules by the PCI address
//! (`99-rdma-persistent-naming.rules`, `70-persistent-net.rules`), and the service of Azure's HPC images
//! (Azure/azhpc-images, `install_azure_persistent_rdma_naming.sh`) with the one that restarts it.

use super::rule_files::{RULES_OF_ADMIN, RuleFile};
use crate::host::Host;
use serde::{Deserialize, Serialize};

/// rdma-core's own rules outside `/etc`: the distribution's, which every root has.
const DISTRIBUTIONS: &str = "60-rdma-persistent-naming.rules";
/// Where systemd looks for units, the first wins (systemd.unit(5)).
pub(super) const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The services that name devices after boot, and the one that monitors the names.
const SERVICES: [&str; 2] =
    ["azure_persistent_rdma_naming.service", "azure_persistent_rdma_naming_monitor.service"];
/// The beginning of a file with which this program has replaced somebody's rules.
pub const REPLACED: &str = "# Made by ofedctl, in place of the image's own rules for RDMA devices";

/// A program that names RDMA devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Naming {
    /// A file of udev rules.
    Rules {
        /// The file.
        path: String,
    },
    /// A service that renames them once they are there.
    Service {
        /// The unit.
        unit: String,
    },
}

impl Naming {
    /// Its name for messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Rules { path } => path,
            Self::Service { unit } => unit,
        }
    }
}

/// Finds programs that name RDMA devices, beside the distribution's rdma-core and this program. `rules` are the files of rules
/// among them.
pub fn find(host: &Host, rules: &[Naming]) -> Vec<Naming> {
    let is_file = |folder: &str, unit: &str| {
        host.root.metadata(&format!("{folder}/{unit}")).is_some_and(|metadata| metadata.is_file())
    };
    let services = SERVICES.iter().filter(|unit| UNITS.iter().any(|folder| is_file(folder, unit)));
    let services = services.map(|unit| Naming::Service { unit: (*unit).to_owned() });
    rules.iter().cloned().chain(services).collect()
}

/// The files of rules that name RDMA devices.
pub(super) fn in_files(files: &[RuleFile]) -> Vec<Naming> {
    let is_distributions = |path: &str| {
        path.rsplit_once('/').is_some_and(|(folder, name)| name == DISTRIBUTIONS && folder != RULES_OF_ADMIN)
    };
    let names = |file: &&RuleFile| {
        // What was replaced is still there to be replaced.
        file.text.starts_with(REPLACED) || (!file.is_ours() && names_devices(&file.text))
    };
    let rules = files.iter().filter(|file| file.is_rules() && !is_distributions(&file.path));
    rules.filter(names).map(|file| Naming::Rules { path: file.path.clone() }).collect()
}

/// Whether a line that is no comment renames an RDMA device: by rdma-core's program, or by `rdma dev set`.
fn names_devices(rules: &str) -> bool {
    let rules = rules.to_ascii_lowercase();
    if !rules.contains("rdma") {
        return false;
    }
    let mut lines = rules.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.any(|line| line.contains("rdma_rename") || (line.contains("rdma dev set") && line.contains("name")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::rule_files::OURS;
    use crate::facts::rule_findings;
    use crate::facts::tests::host_with;

    #[test]
    fn what_names_devices_is_found_and_what_only_speaks_of_them_is_not() {
        let renames =
            "ACTION==\"add\", SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n";
        let found = |path: &str, text: &str| {
            let (_dir, host) = host_with(&[(path, text)]);
            let found = find(&host, &rule_findings::read(&host, None).rules);
            found.first().map(|naming| naming.name().to_owned())
        };
        assert_eq!(found("etc/udev/rules.d/60-ib.rules", renames).unwrap(), "/etc/udev/rules.d/60-ib.rules");
        assert_eq!(
            found("etc/udev/rules.d/60-rdma-persistent-naming.rules", renames).unwrap(),
            "/etc/udev/rules.d/60-rdma-persistent-naming.rules"
        );
        let service = "azure_persistent_rdma_naming.service";
        assert_eq!(found(&format!("etc/systemd/system/{service}"), "[Unit]\n").unwrap(), service);
        for (path, text) in [
            ("usr/lib/udev/rules.d/60-rdma-persistent-naming.rules", renames.to_owned()),
            ("etc/udev/rules.d/60-ib.rules", format!("#{renames}")),
            ("etc/udev/rules.d/60-ib.rules.off", renames.to_owned()),
            ("etc/udev/rules.d/60-rdma-persistent-naming.rules", format!("{OURS}.\n{renames}")),
            // xcat's: brings an interface up and names nothing.
            ("etc/udev/rules.d/60-ib.rules", "SUBSYSTEM==\"net\", RUN+=\"/sbin/ifup %k\"\n".to_owned()),
        ] {
            assert_eq!(found(path, &text), None, "{path} {text}");
        }
        // What was replaced is still there to be replaced.
        assert!(found("etc/udev/rules.d/60-ib.rules", &format!("{REPLACED}.\n")).is_some());
    }
}
