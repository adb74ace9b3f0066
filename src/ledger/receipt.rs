//! The receipt: the record of an installation. It tells later runs, users and `uninstall` what was installed and from
//! which files.

use super::change::{Change, SAVED_DIR};
use super::document;
use super::run_record::StepTime;
use crate::facts::rule_findings::RuleFindings;
use crate::host::fs::Root;
use crate::plan_document::Plan;
use crate::trust::VendorFile;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Path of the receipt inside the root.
pub const RECEIPT: &str = "/var/lib/ofedctl/receipt.json";
/// The schema version in which this program writes it.
const FORM: u64 = 1;

/// One check made after the installation, with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Check {
    /// What was checked, e.g. `module mlx5_ib for 6.1.0-31-amd64`.
    pub name: String,
    /// Whether the result is as planned.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// The kind of thing that was checked. It is not written down: in a document the name tells it.
    #[serde(skip)]
    pub subject: Subject,
}

/// The kind of thing that was checked. The kind of a failed check decides the reason with which a run ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subject {
    /// A package, module or file that was installed, planned or found on the machine.
    #[default]
    Installation,
    /// A service of the running system. A failed service may be why other checks fail.
    Service,
}

impl Check {
    /// A check of what was installed.
    pub fn new(name: impl Into<String>, ok: bool, found: impl Into<String>) -> Self {
        Self { name: name.into(), ok, found: found.into(), subject: Subject::Installation }
    }

    /// A check of a service.
    #[must_use]
    pub fn of_service(self) -> Self {
        Self { subject: Subject::Service, ..self }
    }
}

/// The record of what one run did to a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// Schema version of this document.
    pub schema_version: u32,
    /// The program that wrote it, e.g. `ofedctl 0.1.0`.
    pub made_by: String,
    /// The entry point through which the run was started, e.g. `shell`.
    pub door: String,
    /// The id of the VM on which the run took place, where known. None in an image that was baked elsewhere.
    pub vm_id: Option<String>,
    /// When the run began, RFC 3339.
    pub started: String,
    /// When the run ended, RFC 3339.
    pub finished: String,
    /// Digest of all input from which the plan was made.
    pub question: String,
    /// The plan that was carried out.
    pub plan: Plan,
    /// Digest of the cache bundle that the files came from, as `sha256:…`.
    pub bundle: Option<String>,
    /// When that bundle was published, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_made: Option<String>,
    /// The vendor's file in that bundle, and how it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_file: Option<VendorFile>,
    /// Versions of the planned packages and of all packages that were installed as their dependencies.
    pub packages: BTreeMap<String, String>,
    /// Those of `packages` that were not installed before the run in any version.
    pub added: BTreeSet<String>,
    /// Earlier versions of packages that the run upgraded, downgraded or removed.
    #[serde(default)]
    pub replaced: BTreeMap<String, String>,
    /// The files that were edited, each with its earlier content.
    pub changes: Vec<Change>,
    /// The packages that were put on hold.
    #[serde(default)]
    pub held: BTreeSet<String>,
    /// What was checked at the end.
    pub checks: Vec<Check>,
    /// The run's name in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The steps of the run up to this record, with their times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTime>,
    /// What the files of udev's rules and of systemd's network settings say, and by what the next run knows that none has
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_files: Option<RuleFindings>,
}

impl Receipt {
    /// Reads a root's receipt; none when there is no receipt. A receipt that this version cannot read is an error.
    pub fn load(root: &Root) -> Result<Option<Self>> {
        // There is no older schema version yet.
        document::read(root, RECEIPT, FORM, |_, value| value)
    }

    /// Writes it into the root.
    pub fn save(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the receipt")?;
        root.write_text(RECEIPT, &(text + "\n"))
    }

    /// Removes saved copies that no change in this receipt needs any more.
    pub fn sweep_saved(&self, root: &Root) -> Result<()> {
        let needed = |name: &String| {
            self.changes
                .iter()
                .any(|change| change.before.as_ref().is_some_and(|saved| saved.sha256 == *name))
        };
        for name in root.list(SAVED_DIR).iter().filter(|name| !needed(name)) {
            root.remove_file(&format!("{SAVED_DIR}/{name}"))?;
        }
        root.remove_empty_dir(SAVED_DIR);
        Ok(())
    }

    /// Adds the earlier receipt's records of files and packages that this run found already in place. Only packages
    /// that are still installed are added, with their present version.
    pub fn continue_from(&mut self, earlier: &Self, installed: &BTreeMap<String, String>) {
        let mut changes = earlier.changes.clone();
        for change in std::mem::take(&mut self.changes) {
            // The undo restores the oldest copy of a file.
            match changes.iter_mut().find(|known| known.path == change.path) {
                Some(known) => known.continue_with(change),
                None => changes.push(change),
            }
        }
        self.changes = changes;
        self.plan.keep_rebuilds_of(&earlier.plan);
        self.added.extend(earlier.added.iter().cloned());
        self.held.extend(earlier.held.iter().cloned());
        // The undo restores the oldest version. A package that an earlier run added has no older version.
        self.replaced.retain(|name, _| !earlier.added.contains(name));
        self.replaced.extend(earlier.replaced.clone());
        for name in earlier.packages.keys() {
            if let Some(version) = installed.get(name) {
                self.packages.insert(name.clone(), version.clone());
            }
        }
    }
}
