//! The files of udev's rules and of systemd's network settings in a root. Several facts are in them: what names RDMA
//! devices, what names and configures the network interfaces of InfiniBand ports, and what keeps managers of networks off
//! Azure's virtual functions. A machine has a hundred such files, and nearly every boot finds them unchanged, so what they
//! say is remembered.

use super::interface_naming::{self, Named};
use super::naming::{self, Naming};
use super::network_managers::{self, Configured};
use crate::host::{Host, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// The beginning of a file of this program.
pub const OURS: &str = "# Made by ofedctl";
/// The folder of an administrator's rules.
pub const RULES_OF_ADMIN: &str = "/etc/udev/rules.d";
/// The folders of udev's rules; a file in an earlier one overrides one of the same name in a later one (udev(7)).
const RULES: [&str; 5] = [
    RULES_OF_ADMIN,
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];
/// The folders of systemd's network settings, which override each other in the same way (systemd.network(5)).
const NETWORK: [&str; 5] = [
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
];

/// A file that counts: none of the same name overrides it.
#[derive(Debug)]
pub(super) struct RuleFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl RuleFile {
    pub(super) fn is_rules(&self) -> bool {
        is_a(&self.path, "rules")
    }

    pub(super) fn is_link(&self) -> bool {
        is_a(&self.path, "link")
    }

    pub(super) fn is_network(&self) -> bool {
        is_a(&self.path, "network")
    }

    pub(super) fn is_ours(&self) -> bool {
        self.text.starts_with(OURS)
    }
}

/// Whether a file is one of a kind, which is the end of its name.
pub(super) fn is_a(path: &str, kind: &str) -> bool {
    Path::new(path).extension().and_then(OsStr::to_str) == Some(kind)
}

/// What the files say, and by what one knows that none of them has changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleFindings {
    /// A digest of the names, sizes, numbers and times of all files; none where these would not tell.
    pub stamp: Option<String>,
    /// Those that name RDMA devices.
    pub rules: Vec<Naming>,
    /// Those that name the network interfaces of InfiniBand ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Named>,
    /// Those by which systemd-networkd configures such an interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configured: Vec<Configured>,
    /// One that keeps managers of networks off Azure's virtual functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_off: Option<String>,
}

/// Reads the files, unless they are as they were when `known` was found.
pub fn read(host: &Host, known: Option<RuleFindings>) -> RuleFindings {
    let stamp = stamp(host);
    if let Some(known) = known.filter(|known| stamp.is_some() && known.stamp == stamp) {
        return known;
    }
    let files = files(host);
    RuleFindings {
        stamp,
        rules: naming::in_files(&files),
        interfaces: interface_naming::in_files(&files),
        configured: network_managers::configured_in_files(&files),
        keeps_off: network_managers::kept_off_in_files(&files),
    }
}

/// The files that count: rules, then network settings, each kind in the order of its names.
fn files(host: &Host) -> Vec<RuleFile> {
    [RULES.as_slice(), NETWORK.as_slice()].into_iter().flat_map(|folders| files_in(host, folders)).collect()
}

fn files_in(host: &Host, folders: &[&str]) -> Vec<RuleFile> {
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for folder in folders {
        for name in host.root.list(folder).into_iter().filter(|name| is_read(name)) {
            by_name.entry(name.clone()).or_insert_with(|| format!("{folder}/{name}"));
        }
    }
    let read = |path: String| {
        let text = host.root.read_text(&path).ok().flatten()?;
        Some(RuleFile { path, text })
    };
    by_name.into_values().filter_map(read).collect()
}

fn is_read(name: &str) -> bool {
    ["rules", "link", "network"].iter().any(|kind| is_a(name, kind))
}

/// None where a link may lead to a file whose change would not show.
fn stamp(host: &Host) -> Option<String> {
    let mut all = Vec::new();
    for folder in RULES.into_iter().chain(NETWORK) {
        for entry in host.root.entries(folder).into_iter().filter(|entry| is_read(&entry.name)) {
            let is_off = || {
                let target = host.root.link_target(&format!("{folder}/{}", entry.name));
                target.is_some_and(|target| target == Path::new("/dev/null"))
            };
            if entry.is_link && !is_off() {
                return None;
            }
            all.push((folder, entry));
        }
    }
    Some(hex(&Sha256::digest(format!("{all:?}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;

    const RENAMES: &str = "SUBSYSTEM==\"infiniband\", PROGRAM=\"rdma_rename %k NAME_FIXED mlx5_ib0\"\n";

    #[test]
    fn files_that_changed_are_read_again_and_others_are_not() {
        let (dir, host) = host_with(&[("etc/udev/rules.d/60-ib.rules", RENAMES)]);
        let folder = dir.path().join("etc/udev/rules.d");
        let seen = read(&host, None);
        assert!(seen.stamp.is_some() && seen.rules.len() == 1);
        // What is remembered counts as long as nothing has changed.
        let remembered = RuleFindings { rules: Vec::new(), ..seen.clone() };
        assert_eq!(read(&host, Some(remembered.clone())), remembered);
        let changes: [(&str, &dyn Fn()); 4] = [
            ("another file", &|| std::fs::write(folder.join("70-more.rules"), "").unwrap()),
            ("a rewritten file", &|| std::fs::write(folder.join("60-ib.rules"), RENAMES).unwrap()),
            ("a replaced file", &|| {
                std::fs::write(folder.join("new"), RENAMES).unwrap();
                std::fs::rename(folder.join("new"), folder.join("60-ib.rules")).unwrap();
            }),
            ("a file switched off", &|| {
                std::os::unix::fs::symlink("/dev/null", folder.join("80-off.rules")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let before = read(&host, None);
            change();
            let stale = RuleFindings { rules: Vec::new(), ..before };
            assert_eq!(read(&host, Some(stale)).rules.len(), 1, "{what}");
        }
        // The target of a link may change unseen.
        std::os::unix::fs::symlink("/srv/site.rules", folder.join("90-site.rules")).unwrap();
        assert_eq!(read(&host, None).stamp, None);
        assert_eq!(read(&host, Some(RuleFindings::default())).rules.len(), 1);
    }

    #[test]
    fn a_file_counts_once_and_only_where_none_of_its_name_overrides_it() {
        let (dir, host) = host_with(&[("usr/lib/udev/rules.d/60-ib.rules", RENAMES)]);
        let found = || read(&host, None).rules.iter().map(|it| it.name().to_owned()).collect::<Vec<_>>();
        // Where /lib and /usr/lib are one folder.
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        assert_eq!(found(), ["/usr/lib/udev/rules.d/60-ib.rules"]);
        let etc = dir.path().join("etc/udev/rules.d");
        std::fs::create_dir_all(&etc).unwrap();
        std::os::unix::fs::symlink("/dev/null", etc.join("60-ib.rules")).unwrap();
        assert!(found().is_empty());
    }
}
