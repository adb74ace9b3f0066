//! What a run has changed so far, written down before it acts, so that any later run can undo it.
//!
//! The journal lives at [`JOURNAL`] while a run is at work and is removed when it ends. Old files are kept by
//! digest under [`SAVED_DIR`]; those of lasting changes stay there, for `uninstall`.

use crate::events::Step;
use crate::host::fs::{Content, Root};
use crate::host::{Host, STATE_DIR, hex};
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

/// The journal of the run at work.
pub const JOURNAL: &str = "/var/lib/ofedctl/journal.json";
/// The files that were there before.
pub const SAVED_DIR: &str = "/var/lib/ofedctl/saved";

/// One file that was made or replaced, or one link that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The file or link, inside the root.
    pub path: String,
    /// Where the link points; none for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What was there before; none when there was nothing.
    pub before: Option<Saved>,
    /// Folders that had to be made for it, outermost first.
    pub folders: Vec<String>,
    /// Undone at the end of the run, however it ends.
    pub temporary: bool,
}

/// An old file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// SHA-256 of its bytes in hex, which is also its name in [`SAVED_DIR`].
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema_version: u32,
    started: String,
    step: String,
    changes: Vec<Change>,
    /// What was installed before the first package was touched; kept over runs until one ends well, so that
    /// the receipt knows every package that came, whichever run it came with.
    packages_before: Option<BTreeMap<String, String>>,
    /// Packages that were about to be put on hold; kept over runs like those installed before.
    #[serde(default)]
    held: BTreeSet<String>,
}

/// What is known of a run that did not end well.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// The versions that were installed before it, when it had begun to install.
    pub packages_before: Option<BTreeMap<String, String>>,
    /// The packages that it put on hold, or was about to.
    pub held: BTreeSet<String>,
}

/// What was installed before the first package was touched.
#[derive(Debug, PartialEq, Eq)]
pub struct PackagesBefore {
    /// Versions by name.
    pub versions: BTreeMap<String, String>,
    /// An earlier run noted it, and may have installed a part since.
    pub noted_earlier: bool,
}

/// The journal of this run. Dropped without [`Journal::commit`], it undoes every change.
#[derive(Debug)]
pub struct Journal<'h> {
    host: &'h Host,
    record: Record,
    open: bool,
}

/// Undoes what a run that did not end well has left. None when there was no such run.
pub fn recover(host: &Host) -> Result<Option<Unfinished>> {
    let Some(text) = host.root.read_text(JOURNAL)? else { return Ok(None) };
    let mut record: Record = match serde_json::from_str(&text) {
        Ok(record) => record,
        // Journals are renamed into place whole; a broken one was not written by us. Nothing can be undone by it.
        Err(error) => {
            host.events.warn(format!("`{JOURNAL}` cannot be read and is dropped: {error}"));
            host.root.remove_file(JOURNAL)?;
            return Ok(None);
        }
    };
    host.events
        .warn(format!("the run started at {} did not end well, in step {}", record.started, record.step));
    undo(&host.root, &record.changes)?;
    record.changes.clear();
    close(&host.root, &record)?;
    Ok(Some(Unfinished { packages_before: record.packages_before, held: record.held }))
}

/// Drops a journal whose changes are undone, unless packages were touched: those are for the next run to finish.
fn close(root: &Root, record: &Record) -> Result<()> {
    let touched = record.packages_before.is_some() || !record.held.is_empty();
    if touched { save(root, record) } else { root.remove_file(JOURNAL) }
}

fn save(root: &Root, record: &Record) -> Result<()> {
    let text = serde_json::to_string_pretty(record).context("cannot write the journal")?;
    root.write_text(JOURNAL, &text).with_reason(Reason::Internal, || "cannot keep the journal".to_owned())
}

/// What a changed file held before; none when it was not there.
pub(super) fn saved(root: &Root, change: &Change) -> Result<Option<Vec<u8>>> {
    change.before.as_ref().map_or(Ok(None), |saved| root.read(&format!("{SAVED_DIR}/{}", saved.sha256)))
}

/// Puts back what was there before, last change first.
pub(super) fn undo(root: &Root, changes: &[Change]) -> Result<()> {
    for change in changes.iter().rev() {
        match &change.before {
            None => root.remove_file(&change.path)?,
            Some(saved) => {
                let kept = format!("{SAVED_DIR}/{}", saved.sha256);
                let bytes = root
                    .read(&kept)?
                    .with_context(|| format!("cannot put `{}` back: `{kept}` is gone", change.path))?;
                let content = Content { bytes, mode: saved.mode, uid: saved.uid, gid: saved.gid };
                root.write(&change.path, &content)?;
            }
        }
        remove_folders(root, change);
    }
    Ok(())
}

/// Removes the folders that were made for a file, unless something else is in them by now.
pub(super) fn remove_folders(root: &Root, change: &Change) {
    for folder in change.folders.iter().rev() {
        root.remove_empty_dir(folder);
    }
}

impl<'h> Journal<'h> {
    /// Begins the journal of a run, which takes over what [`recover`] told of an earlier one.
    pub fn begin(host: &'h Host, unfinished: Option<Unfinished>) -> Result<Self> {
        let Unfinished { packages_before, held } = unfinished.unwrap_or_default();
        let record = Record {
            schema_version: 1,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            step: Step::Stage.name().to_owned(),
            changes: Vec::new(),
            packages_before,
            held,
        };
        save(&host.root, &record)?;
        Ok(Self { host, record, open: true })
    }

    /// Notes what is installed before packages are touched, unless an earlier run that did not end well did.
    pub fn note_packages(&mut self, now: &BTreeMap<String, String>) -> Result<PackagesBefore> {
        if let Some(versions) = self.record.packages_before.clone() {
            return Ok(PackagesBefore { versions, noted_earlier: true });
        }
        self.record.packages_before = Some(now.clone());
        self.save()?;
        Ok(PackagesBefore { versions: now.clone(), noted_earlier: false })
    }

    /// Notes which step is at work from now on.
    pub fn enter(&mut self, step: Step) -> Result<()> {
        self.host.events.enter(step);
        step.name().clone_into(&mut self.record.step);
        self.save()
    }

    /// Writes a file that stays. The old one's permissions and owner are kept.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace(path, bytes, 0o644, false)
    }

    /// Writes an executable file that is gone again when the run ends, however it ends.
    pub fn write_temporary(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.replace(path, bytes, 0o755, true)
    }

    /// Makes a link that stays, where there is nothing yet.
    pub fn link(&mut self, path: &str, to: &str) -> Result<()> {
        self.record_new(path, Some(to.to_owned()), false)?;
        let (folder, _) = path.rsplit_once('/').unwrap_or(("/", path));
        self.host.root.make_dirs(folder, 0o755)?;
        self.host.root.make_link(path, Path::new(to))
    }

    /// Notes a file that another program makes on the way; what is left of it is gone when the run ends, however it
    /// ends. One that is there already is somebody else's and stays.
    pub fn expect_temporary(&mut self, path: &str) -> Result<()> {
        if self.host.root.exists(path) { Ok(()) } else { self.record_new(path, None, true) }
    }

    /// Notes a file that another program edits on the way; it is as it was when the run ends, however it ends.
    pub fn keep_as_it_is(&mut self, path: &str) -> Result<()> {
        let root = &self.host.root;
        let before = root.content(path)?.map(|old| keep(root, &old)).transpose()?;
        let folders = missing_folders(root, path);
        self.record.changes.push(Change {
            path: path.to_owned(),
            link: None,
            before,
            folders,
            temporary: true,
        });
        self.save()
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

    fn record_new(&mut self, path: &str, link: Option<String>, temporary: bool) -> Result<()> {
        let folders = missing_folders(&self.host.root, path);
        self.record.changes.push(Change { path: path.to_owned(), link, before: None, folders, temporary });
        self.save()
    }

    fn replace(&mut self, path: &str, bytes: &[u8], mode: u32, temporary: bool) -> Result<()> {
        let root = &self.host.root;
        let old = root.content(path)?;
        let before = match &old {
            None => None,
            Some(old) => Some(keep(root, old)?),
        };
        // Of a file that is edited twice, the first copy is the one to put back.
        let known = |change: &Change| change.path == path && change.temporary == temporary;
        if !self.record.changes.iter().any(known) {
            let folders = missing_folders(root, path);
            let path = path.to_owned();
            self.record.changes.push(Change { path, link: None, before, folders, temporary });
            self.save()?;
        }
        let (mode, uid, gid) = match (&old, temporary) {
            (Some(old), false) => (old.mode, old.uid, old.gid),
            _ => (mode, 0, 0),
        };
        root.write(path, &Content { bytes: bytes.to_vec(), mode, uid, gid })
    }

    /// Ends the run well: undoes temporary changes and returns the lasting ones, for the receipt.
    ///
    /// `publish` writes that receipt; only then is the journal gone, so that a run that dies between the
    /// two is undone and not half-remembered.
    pub fn commit(mut self, publish: impl FnOnce(&[Change]) -> Result<()>) -> Result<()> {
        let (temporary, lasting): (Vec<_>, Vec<_>) =
            self.record.changes.iter().cloned().partition(|c| c.temporary);
        undo(&self.host.root, &temporary)?;
        self.record.changes = lasting;
        publish(&self.record.changes)?;
        self.open = false;
        self.host.root.remove_file(JOURNAL)
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
        let undone = undo(&self.host.root, &changes).and_then(|()| close(&self.host.root, &self.record));
        match undone {
            Ok(()) if changes.is_empty() => {}
            Ok(()) => self.host.events.info(format!("undid {} edits", changes.len())),
            Err(error) => {
                self.host.events.error(format!("could not undo every edit; the next run will: {error:#}"));
            }
        }
    }
}

fn keep(root: &Root, old: &Content) -> Result<Saved> {
    let sha256 = hex(&Sha256::digest(&old.bytes));
    let kept = format!("{SAVED_DIR}/{sha256}");
    root.make_dirs(STATE_DIR, 0o755)?;
    // What was readable by few stays so.
    root.make_dirs(SAVED_DIR, 0o700)?;
    if !root.exists(&kept) {
        root.write(&kept, &Content { bytes: old.bytes.clone(), mode: 0o600, uid: 0, gid: 0 })?;
    }
    Ok(Saved { sha256, mode: old.mode, uid: old.uid, gid: old.gid })
}

fn missing_folders(root: &Root, path: &str) -> Vec<String> {
    let above = path.match_indices('/').skip(1).map(|(at, _)| path[..at].to_owned());
    above.filter(|folder| !root.exists(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    fn host() -> (tempfile::TempDir, Host) {
        let (dir, host) = on_an_empty_root(Cancel::never());
        host.root.write_text("/etc/waagent.conf", "old\n").unwrap();
        (dir, host)
    }

    fn edit(journal: &mut Journal) {
        journal.write("/etc/waagent.conf", b"new\n").unwrap();
        journal.write("/etc/security/limits.d/rdma.conf", b"limits\n").unwrap();
        journal.write_temporary("/usr/sbin/policy-rc.d", b"exit 101\n").unwrap();
    }

    fn assert_untouched(host: &Host) {
        assert_eq!(host.root.read_text("/etc/waagent.conf").unwrap().unwrap(), "old\n");
        assert_eq!(host.root.list("/etc"), ["waagent.conf"]);
        assert!(!host.root.exists("/usr") && !host.root.exists(JOURNAL));
    }

    #[test]
    fn a_run_that_fails_leaves_every_file_as_it_was() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host, None).unwrap();
        edit(&mut journal);
        drop(journal);
        assert_untouched(&host);
    }

    #[test]
    fn a_run_that_was_killed_is_undone_by_the_next() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host, None).unwrap();
        journal.enter(Step::Configure).unwrap();
        edit(&mut journal);
        std::mem::forget(journal);
        assert!(recover(&host).unwrap().is_some());
        assert_untouched(&host);
        assert!(recover(&host).unwrap().is_none());
    }

    #[test]
    fn a_run_that_ends_well_keeps_its_edits_and_drops_the_temporary_ones() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host, None).unwrap();
        edit(&mut journal);
        let mut lasting = Vec::new();
        journal
            .commit(|changes| {
                lasting = changes.to_vec();
                Ok(())
            })
            .unwrap();
        assert_eq!(host.root.read_text("/etc/waagent.conf").unwrap().unwrap(), "new\n");
        assert!(!host.root.exists("/usr") && !host.root.exists(JOURNAL));
        assert_eq!(lasting.len(), 2);
        undo(&host.root, &lasting).unwrap();
        assert_untouched(&host);
    }

    #[test]
    fn what_was_installed_before_the_first_of_several_killed_runs_is_remembered() {
        let (_dir, host) = host();
        let versions = |version: &str| BTreeMap::from([("libc6".to_owned(), version.to_owned())]);
        let mut first = Journal::begin(&host, None).unwrap();
        first.note_packages(&versions("1")).unwrap();
        std::mem::forget(first);
        let mut second = Journal::begin(&host, recover(&host).unwrap()).unwrap();
        let before = second.note_packages(&versions("2")).unwrap();
        assert_eq!(before, PackagesBefore { versions: versions("1"), noted_earlier: true });
        drop(second);
        let unfinished = recover(&host).unwrap().unwrap();
        assert_eq!(unfinished.packages_before, Some(versions("1")));
        Journal::begin(&host, Some(unfinished)).unwrap().commit(|_| Ok(())).unwrap();
        assert!(!host.root.exists(JOURNAL));
    }

    #[test]
    fn a_link_and_what_another_program_leaves_are_undone_too() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host, None).unwrap();
        journal
            .link("/etc/systemd/system/sysinit.target.wants/x.service", "/lib/systemd/system/x.service")
            .unwrap();
        journal.expect_temporary("/usr/half").unwrap();
        journal.expect_temporary("/etc/waagent.conf").unwrap();
        journal.keep_as_it_is("/etc/waagent.conf").unwrap();
        host.root.write_text("/etc/waagent.conf", "edited by an installer").unwrap();
        host.root.write_text("/usr/half", "half a file").unwrap();
        assert!(host.root.link_target("/etc/systemd/system/sysinit.target.wants/x.service").is_some());
        std::mem::forget(journal);
        assert!(recover(&host).unwrap().is_some());
        assert_untouched(&host);
    }

    #[test]
    fn a_file_that_is_edited_twice_gets_its_first_content_back() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host, None).unwrap();
        journal.write("/etc/waagent.conf", b"once\n").unwrap();
        journal.write("/etc/waagent.conf", b"twice\n").unwrap();
        assert_eq!(host.root.read_text("/etc/waagent.conf").unwrap().unwrap(), "twice\n");
        drop(journal);
        assert_untouched(&host);
    }

    #[test]
    fn packages_that_a_killed_run_held_are_known_to_the_next() {
        let (_dir, host) = host();
        let mut first = Journal::begin(&host, None).unwrap();
        first.note_held(&["linux-azure".to_owned()]).unwrap();
        std::mem::forget(first);
        let second = Journal::begin(&host, recover(&host).unwrap()).unwrap();
        assert_eq!(second.held().iter().collect::<Vec<_>>(), ["linux-azure"]);
        second.commit(|_| Ok(())).unwrap();
        assert!(!host.root.exists(JOURNAL));
    }

    #[test]
    fn a_broken_journal_does_not_stop_the_next_run() {
        let (_dir, host) = host();
        host.root.write_text(JOURNAL, "{\"half\":").unwrap();
        assert!(recover(&host).unwrap().is_none());
        assert!(!host.root.exists(JOURNAL));
    }
}
