//! What a run has changed so far, written down before it acts, so that any later run can undo it.
//!
//! The journal lives at [`JOURNAL`] while a run is at work and is removed when it ends. Old files are kept by digest
//! under `/var/lib/ofedctl/saved`; those of lasting changes stay there, for `uninstall`.

mod record;
#[cfg(test)]
mod tests;

pub use record::{JOURNAL, PackagesBefore, Unfinished, recover, require_readable};

use super::change::{self, Change};
use super::undo::undo;
use crate::edits::{self, Edit};
use crate::events::Step;
use crate::host::Host;
use crate::host::fault::{self, Point};
use crate::host::fs::Content;
use anyhow::Result;
use record::{FORM, Record, close, save};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

/// The journal of this run. Dropped without [`Journal::commit`], it undoes every change.
#[derive(Debug)]
pub struct Journal<'h> {
    host: &'h Host,
    record: Record,
    open: bool,
}

impl<'h> Journal<'h> {
    /// Begins the journal of a run, which takes over what [`recover`] told of an earlier one.
    pub fn begin(host: &'h Host, unfinished: Option<Unfinished>) -> Result<Self> {
        let Unfinished { packages_before, held, leftovers_before } = unfinished.unwrap_or_default();
        let record = Record {
            schema_version: FORM,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            step: Step::Stage.name().to_owned(),
            changes: Vec::new(),
            edits: Some(Vec::new()),
            packages_before,
            held,
            leftovers_before,
        };
        save(&host.root, &record)?;
        fault::reached(Point::JournalBegun);
        Ok(Self { host, record, open: true })
    }

    /// Notes the edits that this run makes, before the first of them.
    pub fn plan(&mut self, edits: &[Edit]) -> Result<()> {
        self.record.edits = Some(edits.to_vec());
        self.save()
    }

    /// Notes what vendors' installers have left so far, unless an earlier run that did not end well did. Returns what was
    /// noted first.
    pub fn note_leftovers(&mut self, now: Vec<String>) -> Result<BTreeSet<String>> {
        if self.record.leftovers_before.is_none() {
            self.record.leftovers_before = Some(now.into_iter().collect());
            self.save()?;
        }
        Ok(self.record.leftovers_before.clone().unwrap_or_default())
    }

    /// Notes what is installed before packages are touched, unless an earlier run that did not end well did.
    pub fn note_packages(&mut self, now: &BTreeMap<String, String>) -> Result<PackagesBefore> {
        if let Some(versions) = self.record.packages_before.clone() {
            return Ok(PackagesBefore { versions, noted_earlier: true });
        }
        self.record.packages_before = Some(now.clone());
        self.save()?;
        fault::reached(Point::PackagesNoted);
        Ok(PackagesBefore { versions: now.clone(), noted_earlier: false })
    }

    /// Notes which step is at work from now on.
    pub fn enter(&mut self, step: Step) -> Result<()> {
        self.host.events.enter(step);
        step.name().clone_into(&mut self.record.step);
        self.save()
    }

    /// Writes a file that stays. The old one's permissions and owner are kept. Of a symbolic link, the file it leads to is
    /// written.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace(path, bytes, 0o644, false)
    }

    /// Writes an executable file that is gone again when the run ends, however it ends.
    pub fn write_temporary(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace(path, bytes, 0o755, true)
    }

    /// Makes a link that stays, where there is nothing yet.
    pub fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.record(Change { link: Some(to.to_owned()), ..Change::at(&self.host.root, path) })?;
        let (folder, _) = path.rsplit_once('/').unwrap_or(("/", path));
        self.host.root.make_dirs(folder, 0o755)?;
        self.host.root.make_link(path, Path::new(to))
    }

    /// Notes a file that another program makes on the way; what is left of it is gone when the run ends, however it
    /// ends. One that is there already is somebody else's and stays.
    pub fn expect_temporary(&mut self, path: &str) -> Result<()> {
        if self.host.root.exists(path) {
            return Ok(());
        }
        self.record(Change { temporary: true, ..Change::at(&self.host.root, path) })
    }

    /// Notes lines that another program adds to a file on the way. They are gone when the run ends, however it ends, but
    /// for those that were there before.
    pub fn expect_lines(&mut self, path: &str, lines: &[&str]) -> Result<()> {
        let root = &self.host.root;
        let place = edits::place(root, path)?;
        if self.record.changes.iter().any(|change| change.path == place.path) {
            return Ok(());
        }
        let before = root.content(&place.path)?.map(|old| change::save(root, &old)).transpose()?;
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self.record(Change {
            through: place.through,
            before,
            lines,
            temporary: true,
            ..Change::at(root, &place.path)
        })
    }

    /// Notes packages before they are put on hold. Unlike files they stay so when the run does not end well: packages
    /// are for the next run to finish.
    pub fn note_held(&mut self, packages: &[String]) -> Result<()> {
        self.record.held.extend(packages.iter().cloned());
        self.save()
    }

    /// What was installed before the first package was touched; none when none was.
    pub fn packages_before(&self) -> Option<&BTreeMap<String, String>> {
        self.record.packages_before.as_ref()
    }

    /// The packages that were put on hold, by this run or by those before it that did not end well.
    pub fn held(&self) -> &BTreeSet<String> {
        &self.record.held
    }

    fn record(&mut self, change: Change) -> Result<()> {
        self.record.changes.push(change);
        self.save()
    }

    fn replace(&mut self, path: &str, bytes: &[u8], mode: u32, temporary: bool) -> Result<()> {
        let root = &self.host.root;
        let place = edits::place(root, path)?;
        let old = root.content(&place.path)?;
        // Of a file that is edited twice, the first content is the one to put back.
        if let Some(known) = self.record.changes.iter_mut().find(|change| change.path == place.path) {
            known.note(bytes);
            known.temporary &= temporary;
        } else {
            let before = old.as_ref().map(|old| change::save(root, old)).transpose()?;
            let mut change =
                Change { through: place.through, before, temporary, ..Change::at(root, &place.path) };
            change.note(bytes);
            self.record.changes.push(change);
        }
        self.save()?;
        fault::reached(Point::EditNoted);
        let (mode, uid, gid) = match (&old, temporary) {
            (Some(old), false) => (old.mode, old.uid, old.gid),
            _ => (mode, 0, 0),
        };
        root.write(&place.path, &Content { bytes: bytes.to_vec(), mode, uid, gid })?;
        fault::reached(Point::EditMade);
        Ok(())
    }

    /// Ends the run well: undoes temporary changes and returns the lasting ones, for the receipt.
    ///
    /// `publish` writes that receipt; only then is the journal gone, so that a run that dies between the
    /// two is undone and not half-remembered.
    pub fn commit(mut self, publish: impl FnOnce(&[Change]) -> Result<()>) -> Result<()> {
        let (temporary, lasting): (Vec<_>, Vec<_>) =
            self.record.changes.iter().cloned().partition(|c| c.temporary);
        undo(self.host, self.record.edits.as_deref(), &temporary)?;
        fault::reached(Point::TemporaryUndone);
        self.record.changes = lasting;
        publish(&self.record.changes)?;
        self.open = false;
        self.host.root.remove_file_synced(JOURNAL)
    }

    fn save(&self) -> Result<()> {
        save(&self.host.root, &self.record)
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let changes = std::mem::take(&mut self.record.changes);
        let undone = undo(self.host, self.record.edits.as_deref(), &changes)
            .and_then(|_| close(&self.host.root, &self.record));
        match undone {
            Ok(()) if changes.is_empty() => {}
            Ok(()) => self.host.events.info(format!("undid {} edits", changes.len())),
            Err(error) => {
                self.host.events.error(format!("could not undo every edit; the next run will: {error:#}"));
            }
        }
    }
}
