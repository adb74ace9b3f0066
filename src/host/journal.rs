//! What a run has changed so far, written down before it acts, so that any later run can undo it.
//!
//! The journal lives at [`JOURNAL`] while a run is at work and is removed when it ends. Old files are kept by
//! digest under [`SAVED_DIR`]; those of lasting changes stay there, for `uninstall`.

use super::fs::{Content, Root};
use super::{Host, STATE_DIR};
use crate::events::Step;
use crate::outcome::{Because, Reason};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::SystemTime;

/// The journal of the run at work.
pub const JOURNAL: &str = "/var/lib/ofedctl/journal.json";
/// The files that were there before.
pub const SAVED_DIR: &str = "/var/lib/ofedctl/saved";

/// One file that was made or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The file, inside the root.
    pub path: String,
    /// What was there before; none when there was no file.
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
}

/// The journal of this run. Dropped without [`Journal::commit`], it undoes every change.
#[derive(Debug)]
pub struct Journal<'h> {
    host: &'h Host,
    record: Record,
    open: bool,
}

/// Undoes what a run that died has left. Returns the step it died in.
pub fn recover(host: &Host) -> Result<Option<String>> {
    let Some(text) = host.root.read_text(JOURNAL)? else { return Ok(None) };
    let record: Record = match serde_json::from_str(&text) {
        Ok(record) => record,
        // Journals are renamed into place whole; a broken one was not written by us. Nothing can be undone by it.
        Err(error) => {
            host.events.warn(format!("`{JOURNAL}` cannot be read and is dropped: {error}"));
            host.root.remove_file(JOURNAL)?;
            return Ok(None);
        }
    };
    host.events.warn(format!(
        "a run started at {} died in step {}; undoing its half-work",
        record.started, record.step
    ));
    undo(&host.root, &record.changes)?;
    host.root.remove_file(JOURNAL)?;
    Ok(Some(record.step))
}

/// Puts back what was there before, last change first.
pub fn undo(root: &Root, changes: &[Change]) -> Result<()> {
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
        for folder in change.folders.iter().rev() {
            root.remove_empty_dir(folder);
        }
    }
    Ok(())
}

impl<'h> Journal<'h> {
    /// Begins the journal of a run. A journal of an earlier run must have been dealt with by [`recover`].
    pub fn begin(host: &'h Host) -> Result<Self> {
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let record =
            Record { schema_version: 1, started, step: Step::Stage.name().to_owned(), changes: Vec::new() };
        let journal = Self { host, record, open: true };
        journal.save()?;
        Ok(journal)
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

    fn replace(&mut self, path: &str, bytes: &[u8], mode: u32, temporary: bool) -> Result<()> {
        let root = &self.host.root;
        let old = root.content(path)?;
        let before = match &old {
            None => None,
            Some(old) => Some(keep(root, old)?),
        };
        let folders = missing_folders(root, path);
        self.record.changes.push(Change { path: path.to_owned(), before, folders, temporary });
        self.save()?;
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
        let text = serde_json::to_string_pretty(&self.record).context("cannot write the journal")?;
        self.host
            .root
            .write_text(JOURNAL, &text)
            .because(Reason::Internal, || "cannot keep the journal".to_owned())
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let undone =
            undo(&self.host.root, &self.record.changes).and_then(|()| self.host.root.remove_file(JOURNAL));
        match undone {
            Ok(()) if self.record.changes.is_empty() => {}
            Ok(()) => self.host.events.info(format!("undid {} edits", self.record.changes.len())),
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

/// Bytes as lower-case hex, the form digests are written in.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Events;
    use crate::host::stop::Stop;

    fn host() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/waagent.conf"), "old\n").unwrap();
        let host = Host::open(dir.path(), Events::silent(), Stop::never()).unwrap();
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
        let mut journal = Journal::begin(&host).unwrap();
        edit(&mut journal);
        drop(journal);
        assert_untouched(&host);
    }

    #[test]
    fn a_run_that_was_killed_is_undone_by_the_next() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host).unwrap();
        journal.enter(Step::Configure).unwrap();
        edit(&mut journal);
        std::mem::forget(journal);
        assert_eq!(recover(&host).unwrap().as_deref(), Some("configure"));
        assert_untouched(&host);
        assert_eq!(recover(&host).unwrap(), None);
    }

    #[test]
    fn a_run_that_ends_well_keeps_its_edits_and_drops_the_temporary_ones() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host).unwrap();
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
    fn a_broken_journal_does_not_stop_the_next_run() {
        let (_dir, host) = host();
        host.root.write_text(JOURNAL, "{\"half\":").unwrap();
        assert_eq!(recover(&host).unwrap(), None);
        assert!(!host.root.exists(JOURNAL));
    }
}
