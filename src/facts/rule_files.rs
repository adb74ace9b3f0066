//! The files of udev's rules and of systemd's network settings in a root: those that count, and by what one knows that none
//! of them has changed.

use crate::host::{Host, hex};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

/// The beginning of a file of this program.
pub(super) const OURS: &str = "# Made by ofedctl";
/// The folder of an administrator's rules.
pub(super) const RULES_OF_ADMIN: &str = "/etc/udev/rules.d";
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

/// The files that count: rules, then network settings, each kind in the order of its names.
pub(super) fn files(host: &Host) -> Vec<RuleFile> {
    [RULES, NETWORK].into_iter().flat_map(|folders| files_in(host, folders)).collect()
}

/// Those folders that are no other of them under a second name: where `/lib` is a link, it leads to `/usr/lib`.
fn distinct(host: &Host, folders: [&'static str; 5]) -> impl Iterator<Item = &'static str> {
    let is_merged = host.root.link_target("/lib").is_some();
    folders.into_iter().filter(move |folder| !(is_merged && folder.starts_with("/lib/")))
}

fn files_in(host: &Host, folders: [&'static str; 5]) -> Vec<RuleFile> {
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for folder in distinct(host, folders) {
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

/// A digest of the names, sizes, numbers and times of all files. None where a link may lead to a file whose change would not
/// show.
pub(super) fn stamp(host: &Host) -> Option<String> {
    let mut all = Vec::new();
    for folder in distinct(host, RULES).chain(distinct(host, NETWORK)) {
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
