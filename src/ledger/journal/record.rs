//! The journal as a document: what a run writes into it, and how the next run recovers from a journal that it finds.

use super::super::change::Change;
use super::super::document;
use super::super::undo::undo;
use crate::edits::Edit;
use crate::host::Host;
use crate::host::fs::Root;
use crate::outcome::{Reason, WithReason};
use crate::packages::accounts::Accounts;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Path of the current run's journal inside the root.
pub const JOURNAL: &str = "/var/lib/ofedctl/journal.json";
/// The schema version in which this program writes it. Version 1 has no edits and no digests of what was written.
pub(super) const FORM: u64 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) schema_version: u64,
    pub(super) started: String,
    pub(super) step: String,
    pub(super) changes: Vec<Change>,
    /// The edits that the run makes. The undo needs them to remove an edit from a file that somebody else has changed
    /// meanwhile.
    #[serde(default)]
    pub(super) edits: Option<Vec<Edit>>,
    /// What was installed before the first package changed. It is kept from run to run until one succeeds, so that the
    /// receipt lists every added package, whichever run installed it.
    pub(super) packages_before: Option<BTreeMap<String, String>>,
    /// Whether the first of these runs found a driver of somebody else and let it stay.
    #[serde(default)]
    pub(super) others_driver: bool,
    /// Packages that were about to be put on hold; kept from run to run in the same way.
    #[serde(default)]
    pub(super) held: BTreeSet<String>,
    /// The users and groups before the package manager began; after a killed run those before that one.
    #[serde(default)]
    pub(super) accounts_before: Option<Accounts>,
    /// Files that vendors' installers had left in folders for temporary files before the first of these runs.
    #[serde(default)]
    pub(super) leftovers_before: Option<BTreeSet<String>>,
}

/// What the journal tells about an earlier run that failed or was killed.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// The versions that were installed before it, if it had begun to install.
    pub packages_before: Option<BTreeMap<String, String>>,
    /// Whether it found a driver of somebody else and let it stay.
    pub others_driver: bool,
    /// The packages that it put on hold, or was about to.
    pub held: BTreeSet<String>,
    /// The users and groups before it, if it recorded that.
    pub accounts_before: Option<Accounts>,
    /// Files that vendors' installers had left before it, if it recorded that.
    pub leftovers_before: Option<BTreeSet<String>>,
}

/// What was installed before the first package changed.
#[derive(Debug, PartialEq, Eq)]
pub struct PackagesBefore {
    /// Versions by name.
    pub versions: BTreeMap<String, String>,
    /// Whether an earlier run recorded it. That run may have installed some packages since.
    pub noted_earlier: bool,
}

/// Reads the journal of a run that failed or was killed, if there is one. Changes nothing.
fn read(root: &Root) -> Result<Option<Record>> {
    document::read(root, JOURNAL, FORM, |_, mut value| {
        // The fields that version 2 adds are optional: for a version 1 journal they cannot be found out any more.
        value["schema_version"] = FORM.into();
        value
    })
}

/// Fails where a run left a journal that this version cannot read.
pub fn require_readable(host: &Host) -> Result<()> {
    read(&host.root).map(drop)
}

/// Undoes the edits of a run that failed or was killed. None when there was no such run.
pub fn recover(host: &Host) -> Result<Option<Unfinished>> {
    let Some(mut record) = read(&host.root)? else { return Ok(None) };
    host.events
        .warn(format!("the run started at {} did not end well, in step {}", record.started, record.step));
    undo(host, record.edits.as_deref(), &record.changes)?;
    record.changes.clear();
    close(&host.root, &record)?;
    let Record { packages_before, others_driver, held, accounts_before, leftovers_before, .. } = record;
    Ok(Some(Unfinished { packages_before, others_driver, held, accounts_before, leftovers_before }))
}

/// Removes a journal whose changes are undone, unless a package manager was at work: the next run finishes that work.
pub(super) fn close(root: &Root, record: &Record) -> Result<()> {
    let touched =
        record.packages_before.is_some() || record.accounts_before.is_some() || !record.held.is_empty();
    if touched { save(root, record) } else { root.remove_file_synced(JOURNAL) }
}

pub(super) fn save(root: &Root, record: &Record) -> Result<()> {
    let text = serde_json::to_string_pretty(record).context("cannot write the journal")?;
    root.write_text(JOURNAL, &text).with_reason(Reason::Internal, || "cannot keep the journal".to_owned())
}
