//! The journal: what the current run has changed so far. Each change is written down before it is made, so that any
//! later run can undo it. The journal lies at [`JOURNAL`] while a run works and is removed when the run ends. Copies of
//! the old files lie in `/var/lib/ofedctl/saved`, named by digest; copies of files with lasting changes stay there for
//! `uninstall`.

mod record;
#[cfg(test)]
mod tests;

pub use record::{JOURNAL, PackagesBefore, Unfinished, recover, require_readable};

use super::change::{self, Change};
use super::undo::undo;
use crate::amounts::count;
use crate::edits::{self, Edit};
use crate::events::Step;
use crate::host::Host;
use crate::host::fault::{self, Point};
use crate::host::fs::Content;
use crate::packages::accounts::{self, Accounts};
use anyhow::Result;
use record::{FORM, Record, close, save};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The journal of this run. Dropped without [`Journal::commit`], it undoes every change.
#[derive(Debug)]
pub struct Journal<'h> {
    host: &'h Host,
    record: Record,
    /// Whether an earlier run did not end well and its users and groups were not looked at yet.
    is_after_killed: bool,
    open: bool,
}

impl<'h> Journal<'h> {
    /// Begins the journal of a run. `unfinished` is what [`recover`] returned of an earlier run.
    pub fn begin(host: &'h Host, unfinished: Option<Unfinished>) -> Result<Self> {
        let is_after_killed = unfinished.is_some();
        let Unfinished { packages_before, others_driver, held, accounts_before, leftovers_before } =
            unfinished.unwrap_or_default();
        let record = Record {
            schema_version: FORM,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            step: Step::Stage.name().to_owned(),
            changes: Vec::new(),
            edits: Some(Vec::new()),
            packages_before,
            others_driver,
            held,
            accounts_before,
            leftovers_before,
        };
        save(&host.root, &record)?;
        fault::reached(Point::JournalBegun);
        Ok(Self { host, record, is_after_killed, open: true })
    }

    /// Records the edits that this run will make, before the first of them.
    pub fn plan(&mut self, edits: &[Edit]) -> Result<()> {
        self.record.edits = Some(edits.to_vec());
        self.save()
    }

    /// Records which files vendors' installers have left in folders for temporary files, unless an earlier failed run
    /// did. Returns the first such record.
    pub fn note_leftovers(&mut self, now: Vec<String>) -> Result<BTreeSet<String>> {
        if self.record.leftovers_before.is_none() {
            self.record.leftovers_before = Some(now.into_iter().collect());
            self.save()?;
        }
        Ok(self.record.leftovers_before.clone().unwrap_or_default())
    }

    /// Records what is installed before the first package changes, and whether a driver of somebody else is there and
    /// stays, unless an earlier failed run did.
    pub fn note_packages(
        &mut self,
        now: &BTreeMap<String, String>,
        others_driver: bool,
    ) -> Result<PackagesBefore> {
        if let Some(versions) = self.record.packages_before.clone() {
            return Ok(PackagesBefore { versions, noted_earlier: true });
        }
        self.record.packages_before = Some(now.clone());
        self.record.others_driver = others_driver;
        self.save()?;
        fault::reached(Point::PackagesNoted);
        Ok(PackagesBefore { versions: now.clone(), noted_earlier: false })
    }

    /// Records the users and groups before a package manager changes them. After a killed run, what that left half-done
    /// of them is finished first.
    pub fn note_accounts(&mut self, patience: Duration, sealed: bool) -> Result<()> {
        if std::mem::take(&mut self.is_after_killed) {
            accounts::heal(self.host, self.record.accounts_before.as_ref(), patience, sealed)?;
        }
        let now = Accounts::read(&self.host.root)?;
        if self.record.accounts_before.as_ref() == Some(&now) {
            return Ok(());
        }
        self.record.accounts_before = Some(now);
        self.save()
    }

    /// Records which step is running from now on.
    pub fn enter(&mut self, step: Step) -> Result<()> {
        self.host.events.enter(step);
        step.name().clone_into(&mut self.record.step);
        self.save()
    }

    /// Writes a file that stays after the run. Permissions and owner of an existing file are kept. If the path is a
    /// symbolic link, its target is written.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace(path, bytes, 0o644, false)
    }

    /// Writes an executable file that is removed when the run ends, however it ends.
    pub fn write_temporary(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace(path, bytes, 0o755, true)
    }

    /// Creates a link that stays after the run, where nothing exists yet.
    pub fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.record(Change { link: Some(to.to_owned()), ..Change::at(&self.host.root, path) })?;
        let (folder, _) = path.rsplit_once('/').unwrap_or(("/", path));
        self.host.root.make_dirs(folder, 0o755)?;
        self.host.root.make_link(path, Path::new(to))
    }

    /// Records a file that another program will create during the run. If it is left over, it is removed when the run
    /// ends, however it ends. A file that exists already belongs to somebody else and stays.
    pub fn expect_temporary(&mut self, path: &str) -> Result<()> {
        if self.host.root.exists(path) {
            return Ok(());
        }
        self.record(Change { temporary: true, ..Change::at(&self.host.root, path) })
    }

    /// Records lines that another program will add to a file during the run. They are removed when the run ends,
    /// however it ends, except those that were there before.
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

    /// Records packages before they are put on hold. Unlike edits, holds are not undone when the run fails: the next
    /// run finishes the work on packages.
    pub fn note_held(&mut self, packages: &[String]) -> Result<()> {
        self.record.held.extend(packages.iter().cloned());
        self.save()
    }

    /// What was installed before the first package changed; none when no package has changed.
    pub fn packages_before(&self) -> Option<&BTreeMap<String, String>> {
        self.record.packages_before.as_ref()
    }

    /// The packages that were put on hold, by this run or by failed runs before it.
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
        // If a file is edited twice, the undo restores its first content.
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

    /// Ends a successful run: undoes the temporary changes and passes the lasting ones to `publish`. `publish` writes
    /// the receipt. The journal is removed only after that, so that a run that dies between the two is undone and never
    /// half recorded.
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
            Ok(()) => self.host.events.info(format!("undid {}", count(changes.len(), "edit"))),
            Err(error) => {
                self.host.events.error(format!("could not undo every edit; the next run will: {error:#}"));
            }
        }
    }
}
