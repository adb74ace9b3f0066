//! Reads dpkg's database: the state of each package, and what a killed transaction needs for its completion.
//!
//! The states, and the flag `reinstreq`, are those of dpkg(1), "PACKAGE STATES" and "PACKAGE FLAGS".

use super::super::Installed;
use crate::host::fs::Root;
use anyhow::Result;
use std::collections::BTreeMap;

/// dpkg's database of packages.
pub(super) const STATUS: &str = "/var/lib/dpkg/status";
/// Updates since dpkg last wrote [`STATUS`] as a whole: files whose names are numbers, in their order.
const UPDATES: &str = "/var/lib/dpkg/updates";
/// Triggers that dpkg has not yet given to the packages that wait for them.
const TRIGGERS: &str = "/var/lib/dpkg/triggers/Unincorp";

/// What dpkg knows of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) want: String,
    pub(super) flag: String,
    pub(super) state: String,
    pub(super) version: Option<String>,
    pub(super) arch: Option<String>,
    /// Whether a settings file of it is noted as being put in place at this moment. dpkg notes the file's digest
    /// afterwards; where it is stopped in between, it finds the file in place the next time and leaves the note.
    pub(super) is_amid_settings: bool,
}

/// By name and, as two may have one name, architecture.
pub(super) type Entries = BTreeMap<(String, String), Entry>;

/// What completes a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// `dpkg --configure`, which runs triggers, too.
    Configuring,
    /// Unpacking its file again: dpkg neither configures nor removes a package that was not completely unpacked.
    Unpacking,
    /// Removing it, because its removal was interrupted.
    Removing,
}

impl Entry {
    /// dpkg's own table of states.
    pub(super) fn needs(&self) -> Needs {
        let leaves = matches!(self.want.as_str(), "deinstall" | "purge");
        match (self.flag.as_str(), self.state.as_str()) {
            (_, "not-installed" | "config-files") => Needs::Nothing,
            (_, "half-installed") | ("reinstreq", _) if leaves => Needs::Removing,
            (_, "half-installed") | ("reinstreq", _) => Needs::Unpacking,
            (_, "installed") => Needs::Nothing,
            // Half-configured is also how a removal begins.
            (_, "half-configured") if leaves => Needs::Removing,
            (_, "unpacked" | "half-configured" | "triggers-awaited" | "triggers-pending") => {
                Needs::Configuring
            }
            // A state that dpkg does not have yet is for dpkg to deal with.
            _ => Needs::Configuring,
        }
    }
}

/// Every package that dpkg knows of.
pub(super) fn read(root: &Root) -> Result<Entries> {
    read_with(root, &root.list(UPDATES))
}

fn read_with(root: &Root, updates: &[String]) -> Result<Entries> {
    let mut entries: Entries = root.read_text(STATUS)?.map(|text| parse(&text)).unwrap_or_default();
    // dpkg takes a file with another name for one that it had not finished.
    let is_finished = |name: &&String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    for name in updates.iter().filter(is_finished) {
        let text = root.read_text(&format!("{UPDATES}/{name}"))?.unwrap_or_default();
        for ((name, arch), entry) in parse(&text) {
            // One that names no architecture is the only one of its name.
            entries.retain(|(known, known_arch), _| {
                known != &name || !(arch.is_empty() || known_arch.is_empty())
            });
            entries.insert((name, arch), entry);
        }
    }
    Ok(entries)
}

/// What dpkg's database says is installed.
pub(super) fn installed(root: &Root) -> Result<Installed> {
    let updates = root.list(UPDATES);
    let mut installed = counted(read_with(root, &updates)?);
    let waits = |path: &str| root.read_text(path).is_ok_and(|text| text.is_some_and(|it| !it.is_empty()));
    if installed.broken.is_empty() && (!updates.is_empty() || waits(TRIGGERS)) {
        installed.broken.push("dpkg".to_owned());
    }
    Ok(installed)
}

fn counted(entries: Entries) -> Installed {
    let mut installed = Installed::default();
    for ((name, _), entry) in entries {
        if entry.needs() != Needs::Nothing {
            installed.remains.insert(name.clone());
            installed.broken.push(name);
            continue;
        }
        match (entry.state.as_str(), entry.version) {
            ("installed", Some(version)) => {
                if entry.want == "hold" {
                    installed.held.insert(name.clone());
                }
                installed.versions.insert(name, version);
            }
            ("config-files", _) => drop(installed.remains.insert(name)),
            _ => {}
        }
    }
    installed
}

pub(super) fn parse(text: &str) -> Entries {
    let mut entries = Entries::new();
    for stanza in text.split("\n\n") {
        let (mut name, mut entry) = (None, Entry::default());
        for line in stanza.lines() {
            // Continuation lines of long fields begin with a space and never match.
            if let Some(value) = line.strip_prefix("Package: ") {
                name = Some(value.trim().to_owned());
            } else if let Some(value) = line.strip_prefix("Version: ") {
                entry.version = Some(value.trim().to_owned());
            } else if let Some(value) = line.strip_prefix("Architecture: ") {
                entry.arch = Some(value.trim().to_owned());
            } else if let Some(value) = line.strip_prefix("Status: ") {
                let mut words = value.split_whitespace().map(str::to_owned);
                let mut word = || words.next().unwrap_or_default();
                (entry.want, entry.flag, entry.state) = (word(), word(), word());
            } else if line.starts_with(" /") && line.ends_with(" newconffile") {
                entry.is_amid_settings = true;
            }
        }
        if let Some(name) = name.filter(|_| !entry.state.is_empty()) {
            entries.insert((name, entry.arch.clone().unwrap_or_default()), entry);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
Package: rdma-core
Status: install ok installed
Architecture: amd64
Version: 44.0-2
Description: RDMA core userspace infrastructure and documentation
 Version: not this one

Package: old
Status: deinstall ok config-files
Version: 1

Package: torn
Status: install reinstreq half-installed
Version: 2

Package: linux-image-azure
Status: hold ok installed
Version: 3
Conffiles:
 /etc/kernel/a 0123456789abcdef0123456789abcdef
 /etc/kernel/b newconffile
";

    #[test]
    fn only_complete_packages_count_and_torn_ones_are_named() {
        let entries = parse(SAMPLE);
        let amid: Vec<_> = entries.iter().filter(|(_, entry)| entry.is_amid_settings).collect();
        assert!(amid.len() == 1 && amid[0].0.0 == "linux-image-azure", "{amid:?}");
        let installed = counted(entries);
        assert_eq!(
            installed.versions.into_iter().collect::<Vec<_>>(),
            [("linux-image-azure".into(), "3".into()), ("rdma-core".into(), "44.0-2".into())]
        );
        assert_eq!(installed.held.into_iter().collect::<Vec<_>>(), ["linux-image-azure"]);
        assert_eq!(installed.broken, ["torn"]);
        assert_eq!(installed.remains.into_iter().collect::<Vec<_>>(), ["old", "torn"]);
    }

    /// dpkg(1): every state, with and without the flag, as a killed dpkg leaves them.
    #[test]
    fn each_state_of_dpkg_is_mended_its_own_way() {
        let table = [
            ("install ok not-installed", Needs::Nothing),
            ("deinstall ok config-files", Needs::Nothing),
            ("install ok installed", Needs::Nothing),
            ("install ok half-installed", Needs::Unpacking),
            ("install reinstreq half-installed", Needs::Unpacking),
            ("install reinstreq unpacked", Needs::Unpacking),
            ("install reinstreq installed", Needs::Unpacking),
            ("install ok unpacked", Needs::Configuring),
            ("install ok half-configured", Needs::Configuring),
            ("install ok triggers-awaited", Needs::Configuring),
            ("install ok triggers-pending", Needs::Configuring),
            ("deinstall ok half-configured", Needs::Removing),
            ("purge ok half-installed", Needs::Removing),
            ("purge reinstreq half-installed", Needs::Removing),
        ];
        for (status, needs) in table {
            let entries = parse(&format!("Package: x\nStatus: {status}\n"));
            assert_eq!(entries.values().next().unwrap().needs(), needs, "{status}");
        }
    }

    #[test]
    fn what_a_killed_dpkg_had_not_merged_yet_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.write_text(STATUS, SAMPLE).unwrap();
        root.write_text(
            "/var/lib/dpkg/updates/0000",
            "Package: rdma-core\nStatus: install ok installed\nArchitecture: amd64\nVersion: 45\n",
        )
        .unwrap();
        root.write_text(
            "/var/lib/dpkg/updates/0001",
            "Package: rdma-core\nStatus: install reinstreq unpacked\nArchitecture: amd64\nVersion: 45\n",
        )
        .unwrap();
        root.write_text("/var/lib/dpkg/updates/tmp.i", "Package: half\nStat").unwrap();
        let found = installed(&root).unwrap();
        assert_eq!(found.broken, ["rdma-core", "torn"]);
        assert!(!found.versions.contains_key("rdma-core"));
    }

    #[test]
    fn triggers_that_nobody_has_run_are_work_to_finish() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.write_text(STATUS, "Package: x\nStatus: install ok installed\nVersion: 1\n").unwrap();
        root.write_text(TRIGGERS, "").unwrap();
        assert!(installed(&root).unwrap().broken.is_empty());
        root.write_text(TRIGGERS, "ldconfig libc6\n").unwrap();
        assert_eq!(installed(&root).unwrap().broken, ["dpkg"]);
    }

    proptest::proptest! {
        #[test]
        fn no_database_makes_the_reader_panic(text in "(Package: |Status: |Version: |[a-z \n]){0,60}") {
            counted(parse(&text));
        }
    }
}
