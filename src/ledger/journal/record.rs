//! The journal as a document: what a run writes down, and what the next one makes of a journal that it finds.

use super::super::change::Change;
use super::super::document;
use super::super::undo::undo;
use crate::edits::Edit;
use crate::host::Host;
use crate::host::fs::Root;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The journal of the run at work.
pub const JOURNAL: &str = "/var/lib/ofedctl/journal.json";
/// The number of the form it is written in. Form 1 has no edits, and does not say what was written.
pub(super) const FORM: u64 = 2;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) schema_version: u64,
    pub(super) started: String,
    pub(super) step: String,
    pub(super) changes: Vec<Change>,
    /// The edits that the run makes: what is needed to take them out of files that somebody changes meanwhile.
    #[serde(default)]
    pub(super) edits: Option<Vec<Edit>>,
    /// What was installed before the first package was touched; kept over runs until one ends well, so that
    /// the receipt knows every package that came, whichever run it came with.
    pub(super) packages_before: Option<BTreeMap<String, String>>,
    /// Packages that were about to be put on hold; kept over runs like those installed before.
    #[serde(default)]
    pub(super) held: BTreeSet<String>,
    /// What vendors' installers had left in the folders for temporary files before the first of these runs.
    #[serde(default)]
    pub(super) leftovers_before: Option<BTreeSet<String>>,
}

/// What is known of a run that did not end well.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// The versions that were installed before it, when it had begun to install.
    pub packages_before: Option<BTreeMap<String, String>>,
    /// The packages that it put on hold, or was about to.
    pub held: BTreeSet<String>,
    /// What vendors' installers had left before it, where it noted that.
    pub leftovers_before: Option<BTreeSet<String>>,
}

/// What was installed before the first package was touched.
#[derive(Debug, PartialEq, Eq)]
pub struct PackagesBefore {
    /// Versions by name.
    pub versions: BTreeMap<String, String>,
    /// An earlier run noted it, and may have installed a part since.
    pub noted_earlier: bool,
}

/// Reads the journal of a run that did not end well, if there is one. Changes nothing.
fn read(root: &Root) -> Result<Option<Record>> {
    document::read(root, JOURNAL, FORM, |_, mut value| {
        // What form 2 says beside is optional, for form 1 can't be told it any more.
        value["schema_version"] = FORM.into();
        value
    })
}

/// Fails where a run left a journal that this version can't read.
pub fn require_readable(host: &Host) -> Result<()> {
    read(&host.root).map(drop)
}

/// Undoes what a run that did not end well has left. None when there was no such run.
pub fn recover(host: &Host) -> Result<Option<Unfinished>> {
    let Some(mut record) = read(&host.root)? else { return Ok(None) };
    host.events
        .warn(format!("the run started at {} did not end well, in step {}", record.started, record.step));
    undo(host, record.edits.as_deref(), &record.changes)?;
    record.changes.clear();
    close(&host.root, &record)?;
    let Record { packages_before, held, leftovers_before, .. } = record;
    Ok(Some(Unfinished { packages_before, held, leftovers_before }))
}

/// Drops a journal whose changes are undone, unless packages were touched: those are for the next run to finish.
pub(super) fn close(root: &Root, record: &Record) -> Result<()> {
    let touched = record.packages_before.is_some() || !record.held.is_empty();
    if touched { save(root, record) } else { root.remove_file_synced(JOURNAL) }
}

pub(super) fn save(root: &Root, record: &Record) -> Result<()> {
    let text = serde_json::to_string_pretty(record).context("cannot write the journal")?;
    root.write_text(JOURNAL, &text).with_reason(Reason::Internal, || "cannot keep the journal".to_owned())
}
