//! Finds other programs that name RDMA devices in a root: udev rules of an administrator or image builder, or a
//! service.
//!
//! Seen in the field: a rule by the board's number (`60-ib.rules` of OpenLogic/AzureBuildCentOS), rules by the PCI address
//! (`99-rdma-persistent-naming.rules`, `70-persistent-net.rules`), and the service of Azure's HPC images
//! (Azure/azhpc-images, `install_azure_persistent_rdma_naming.sh`) with the one that restarts it.

use super::interface_naming::{self, Named};
use super::network_managers;
use crate::host::{Host, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The folders of udev rules; earlier ones override files of the same name in later ones (udev(7)).
const RULES: [&str; 4] =
    ["/etc/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
/// rdma-core's own rules outside `/etc`: the distribution's, which every root has.
const DISTRIBUTIONS: &str = "60-rdma-persistent-naming.rules";
/// The folders of units.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The services that name devices after boot, and the one that monitors the names.
const SERVICES: [&str; 2] =
    ["azure_persistent_rdma_naming.service", "azure_persistent_rdma_naming_monitor.service"];
/// The beginning of a file of this program.
const OURS: &str = "# Made by ofedctl";
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

/// What the files of udev's rules and of systemd's network settings say, and by what one knows that none of them has
/// changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Seen {
    /// A digest of the names, sizes, numbers and times of all files; none where these would not tell.
    pub stamp: Option<String>,
    /// Those that name RDMA devices.
    pub rules: Vec<Naming>,
    /// Those that name the network interfaces of InfiniBand ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Named>,
    /// One that keeps managers of networks off Azure's virtual functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_off: Option<String>,
}

/// Finds programs that name RDMA devices, beside the distribution's rdma-core and this program.
pub fn find(host: &Host, rules: &Seen) -> Vec<Naming> {
    let is_file = |folder: &str, unit: &str| {
        host.root.metadata(&format!("{folder}/{unit}")).is_some_and(|metadata| metadata.is_file())
    };
    let services = SERVICES.iter().filter(|unit| UNITS.iter().any(|folder| is_file(folder, unit)));
    let services = services.map(|unit| Naming::Service { unit: (*unit).to_owned() });
    rules.rules.iter().cloned().chain(services).collect()
}

/// Looks through the files of rules, unless they are as they were when `known` was found. A machine has a hundred of
/// them, and nearly every boot finds them unchanged.
pub fn find_rules(host: &Host, known: Option<Seen>) -> Seen {
    let stamp = stamp(host);
    match known.filter(|known| stamp.is_some() && known.stamp == stamp) {
        Some(known) => known,
        None => Seen {
            stamp,
            rules: rules(host),
            interfaces: interface_naming::files(host),
            keeps_off: network_managers::kept_off_by_files(host),
        },
    }
}

/// None where a link may lead to a file whose change would not show.
fn stamp(host: &Host) -> Option<String> {
    let mut all = Vec::new();
    for folder in RULES.into_iter().chain(interface_naming::LINKS) {
        for entry in host.root.entries(folder).into_iter().filter(|entry| is_read(&entry.name)) {
            let is_off = || {
                let target = host.root.link_target(&format!("{folder}/{}", entry.name));
                target.is_some_and(|target| target == std::path::Path::new("/dev/null"))
            };
            if entry.is_link && !is_off() {
                return None;
            }
            all.push((folder, entry));
        }
    }
    Some(hex(&Sha256::digest(format!("{all:?}"))))
}

/// Whether it is a file of rules or of systemd's network settings.
fn is_read(name: &str) -> bool {
    let end = std::path::Path::new(name).extension().and_then(std::ffi::OsStr::to_str);
    matches!(end, Some("rules" | "link" | "network"))
}

fn is_rules(name: &str) -> bool {
    std::path::Path::new(name).extension().is_some_and(|extension| extension == "rules")
}

fn rules(host: &Host) -> Vec<Naming> {
    let mut seen = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for folder in RULES {
        for name in host.root.list(folder) {
            // One of the same name goes before it.
            if !is_rules(&name) || !seen.insert(name.clone()) {
                continue;
            }
            let path = format!("{folder}/{name}");
            if name == DISTRIBUTIONS && folder != RULES[0] {
                continue;
            }
            let text = host.root.read_text(&path).ok().flatten().unwrap_or_default();
            if text.starts_with(REPLACED) || (!text.starts_with(OURS) && names_devices(&text)) {
                found.push(Naming::Rules { path });
            }
        }
    }
    found
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
    use crate::facts::tests::host_with;

    #[test]
    fn what_names_devices_is_found_and_what_only_speaks_of_them_is_not() {
        let renames =
            "ACTION==\"add\", SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n";
        let found = |path: &str, text: &str| {
            let (_dir, host) = host_with(&[(path, text)]);
            let found = find(&host, &find_rules(&host, None));
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
    #[test]
    fn rules_that_changed_are_read_again_and_others_are_not() {
        let renames = "SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n";
        let (dir, host) = host_with(&[("etc/udev/rules.d/60-ib.rules", renames)]);
        let folder = dir.path().join("etc/udev/rules.d");
        let seen = find_rules(&host, None);
        assert!(seen.stamp.is_some() && seen.rules.len() == 1);
        // What is remembered counts as long as nothing has changed.
        let remembered = Seen { rules: Vec::new(), ..seen.clone() };
        assert_eq!(find_rules(&host, Some(remembered.clone())), remembered);
        let changes: [(&str, &dyn Fn()); 4] = [
            ("another file", &|| std::fs::write(folder.join("70-more.rules"), "").unwrap()),
            ("a rewritten file", &|| std::fs::write(folder.join("60-ib.rules"), renames).unwrap()),
            ("a replaced file", &|| {
                std::fs::write(folder.join("new"), renames).unwrap();
                std::fs::rename(folder.join("new"), folder.join("60-ib.rules")).unwrap();
            }),
            ("a file switched off", &|| {
                std::os::unix::fs::symlink("/dev/null", folder.join("80-off.rules")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let before = find_rules(&host, None);
            change();
            let stale = Seen { rules: Vec::new(), ..before };
            assert_eq!(find_rules(&host, Some(stale)).rules.len(), 1, "{what}");
        }
        // The target of a link may change unseen.
        std::os::unix::fs::symlink("/srv/site.rules", folder.join("90-site.rules")).unwrap();
        assert_eq!(find_rules(&host, None).stamp, None);
        assert_eq!(find_rules(&host, Some(Seen::default())).rules.len(), 1);
    }
}
