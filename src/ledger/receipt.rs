//! The receipt: what is installed and from what, so that later runs, users and `uninstall` know.

use super::change::{Change, SAVED_DIR};
use super::document;
use crate::host::fs::Root;
use crate::plan_document::Plan;
use crate::trust::VendorFile;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where it is kept, inside the root.
pub const RECEIPT: &str = "/var/lib/ofedctl/receipt.json";
/// The number of the form it is written in.
const FORM: u64 = 1;

/// One thing that was looked at after the work, and how it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked, e.g. `module mlx5_ib for 6.1.0-31-amd64`.
    pub name: String,
    /// Whether it is as planned.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What kind of thing was looked at. For the run alone; a document tells it by the name.
    #[serde(skip)]
    pub subject: Subject,
}

/// What kind of thing a check looked at: what failed decides for which reason a run ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subject {
    /// What was installed, planned or found on the machine.
    #[default]
    Installation,
    /// A service of the running system, which may be the cause of what else is missing.
    Service,
}

impl Check {
    /// A check of what was installed.
    pub fn new(name: impl Into<String>, ok: bool, found: impl Into<String>) -> Self {
        Self { name: name.into(), ok, found: found.into(), subject: Subject::Installation }
    }

    /// The same of a service.
    #[must_use]
    pub fn of_service(self) -> Self {
        Self { subject: Subject::Service, ..self }
    }
}

/// What was done to a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of this document's form.
    pub schema_version: u32,
    /// The program that wrote it, e.g. `ofedctl 0.1.0`.
    pub made_by: String,
    /// The door it came through, e.g. `shell`.
    pub door: String,
    /// The VM it was made on, where one is known. None in an image baked elsewhere.
    pub vm_id: Option<String>,
    /// When the run began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub finished: String,
    /// Digest of all that the plan was made from.
    pub question: String,
    /// The plan that was carried out.
    pub plan: Plan,
    /// The bundle the files came from, as `sha256:…`.
    pub bundle: Option<String>,
    /// The vendor's file among them, and what vouched for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_file: Option<VendorFile>,
    /// Versions of the planned packages and of all those that came with them.
    pub packages: BTreeMap<String, String>,
    /// Those of them that were not there before at all.
    pub added: BTreeSet<String>,
    /// Versions of packages that were there before, and that came in another version or had to go.
    #[serde(default)]
    pub replaced: BTreeMap<String, String>,
    /// The files that were edited, with what was there before.
    pub changes: Vec<Change>,
    /// The packages that were put on hold.
    #[serde(default)]
    pub held: BTreeSet<String>,
    /// What was checked at the end.
    pub checks: Vec<Check>,
}

impl Receipt {
    /// Reads a root's receipt; none when there is none. One that this version can't read is an error.
    pub fn load(root: &Root) -> Result<Option<Self>> {
        // There is no older form yet.
        document::read(root, RECEIPT, FORM, |_, value| value)
    }

    /// Writes it into the root.
    pub fn save(&self, root: &Root) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the receipt")?;
        root.write_text(RECEIPT, &(text + "\n"))
    }

    /// Removes copies of old files that no change of this receipt needs.
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

    /// Takes over what an earlier receipt knows of files and packages that this run found already in place. Of the
    /// packages those count that are still installed, with the version they have now.
    pub fn continue_from(&mut self, earlier: &Self, installed: &BTreeMap<String, String>) {
        let mut changes = earlier.changes.clone();
        for change in std::mem::take(&mut self.changes) {
            // The oldest copy of a file is the one to put back.
            match changes.iter_mut().find(|known| known.path == change.path) {
                Some(known) => known.continue_with(change),
                None => changes.push(change),
            }
        }
        self.changes = changes;
        self.plan.keep_rebuilds_of(&earlier.plan);
        self.added.extend(earlier.added.iter().cloned());
        self.held.extend(earlier.held.iter().cloned());
        // The oldest version is the one that was there before; what an earlier run added was not.
        self.replaced.retain(|name, _| !earlier.added.contains(name));
        self.replaced.extend(earlier.replaced.clone());
        for name in earlier.packages.keys() {
            if let Some(version) = installed.get(name) {
                self.packages.insert(name.clone(), version.clone());
            }
        }
    }
}
