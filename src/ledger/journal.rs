//! What a run has changed so far, written down before it acts, so that any later run can undo it.
//!
//! The journal lives at [`JOURNAL`] while a run is at work and is removed when it ends. Old files are kept by digest
//! under `/var/lib/ofedctl/saved`; those of lasting changes stay there, for `uninstall`.

use super::change::{self, Change};
use super::document;
use super::undo::undo;
use crate::edits::{self, Edit};
use crate::events::Step;
use crate::host::Host;
use crate::host::fs::{Content, Root};
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

/// The journal of the run at work.
pub const JOURNAL: &str = "/var/lib/ofedctl/journal.json";
/// The number of the form it is written in. Form 1 has no edits, and does not say what was written.
const FORM: u64 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    schema_version: u64,
    started: String,
    step: String,
    changes: Vec<Change>,
    /// The edits that the run makes: what is needed to take them out of files that somebody changes meanwhile.
    #[serde(default)]
    edits: Option<Vec<Edit>>,
    /// What was installed before the first package was touched; kept over runs until one ends well, so that
    /// the receipt knows every package that came, whichever run it came with.
    packages_before: Option<BTreeMap<String, String>>,
    /// Packages that were about to be put on hold; kept over runs like those installed before.
    #[serde(default)]
    held: BTreeSet<String>,
    /// What vendors' installers had left in the folders for temporary files before the first of these runs.
    #[serde(default)]
    leftovers_before: Option<BTreeSet<String>>,
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

/// The journal of this run. Dropped without [`Journal::commit`], it undoes every change.
#[derive(Debug)]
pub struct Journal<'h> {
    host: &'h Host,
    record: Record,
    open: bool,
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
fn close(root: &Root, record: &Record) -> Result<()> {
    let touched = record.packages_before.is_some() || !record.held.is_empty();
    if touched { save(root, record) } else { root.remove_file_synced(JOURNAL) }
}

fn save(root: &Root, record: &Record) -> Result<()> {
    let text = serde_json::to_string_pretty(record).context("cannot write the journal")?;
    root.write_text(JOURNAL, &text).with_reason(Reason::Internal, || "cannot keep the journal".to_owned())
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
        let (mode, uid, gid) = match (&old, temporary) {
            (Some(old), false) => (old.mode, old.uid, old.gid),
            _ => (mode, 0, 0),
        };
        root.write(&place.path, &Content { bytes: bytes.to_vec(), mode, uid, gid })
    }

    /// Ends the run well: undoes temporary changes and returns the lasting ones, for the receipt.
    ///
    /// `publish` writes that receipt; only then is the journal gone, so that a run that dies between the
    /// two is undone and not half-remembered.
    pub fn commit(mut self, publish: impl FnOnce(&[Change]) -> Result<()>) -> Result<()> {
        let (temporary, lasting): (Vec<_>, Vec<_>) =
            self.record.changes.iter().cloned().partition(|c| c.temporary);
        undo(self.host, self.record.edits.as_deref(), &temporary)?;
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

#[cfg(test)]
mod tests {
    use super::change::{SAVED_DIR, digest};
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
        undo(&host, Some(&[]), &lasting).unwrap();
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
        journal.expect_lines("/etc/waagent.conf", &["* soft memlock unlimited"]).unwrap();
        host.root.write_text("/etc/waagent.conf", "old\n*  soft memlock\tunlimited\n").unwrap();
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
    fn a_journal_that_is_not_understood_stops_the_next_run_and_stays() {
        let (_dir, host) = host();
        for text in ["{\"half\":", "{\"schema_version\": 3}", "[]", ""] {
            host.root.write_text(JOURNAL, text).unwrap();
            let error = recover(&host).unwrap_err();
            assert_eq!(Reason::of(&error), Reason::LedgerUnreadable, "{text}");
            assert_eq!(host.root.read_text(JOURNAL).unwrap().unwrap(), text);
        }
    }

    /// A run that edits, and is killed.
    fn killed(host: &Host) {
        let mut journal = Journal::begin(host, None).unwrap();
        let key = "K".to_owned();
        let (path, why) = ("/etc/waagent.conf".to_owned(), String::new());
        let set = Edit::SetKey { path, key, value: "y".to_owned(), why };
        journal.plan(std::slice::from_ref(&set)).unwrap();
        let old = host.root.read("/etc/waagent.conf").unwrap();
        journal.write("/etc/waagent.conf", &set.apply(old.as_deref(), None).unwrap()).unwrap();
        journal.write_temporary("/usr/sbin/policy-rc.d", b"exit 101\n").unwrap();
        journal.expect_lines("/etc/limits.conf", &["* soft memlock unlimited"]).unwrap();
        std::mem::forget(journal);
    }

    #[test]
    fn a_line_that_an_admin_added_after_a_crash_survives_recovery() {
        let (_dir, host) = host();
        host.root.write_text("/etc/waagent.conf", "# K=n\nA=1\n").unwrap();
        host.root.write_text("/etc/limits.conf", "x\n").unwrap();
        killed(&host);
        host.root.write_text("/etc/waagent.conf", "K=y\nA=1\nAdmins=line\n").unwrap();
        host.root.write_text("/usr/sbin/policy-rc.d", "exit 0\n").unwrap();
        host.root.write_text("/etc/limits.conf", "x\n* soft memlock unlimited\nadmins\n").unwrap();
        recover(&host).unwrap().unwrap();
        let now = |path: &str| host.root.read_text(path).unwrap().unwrap();
        assert_eq!(now("/etc/waagent.conf"), "# K=n\nA=1\nAdmins=line\n");
        assert_eq!(now("/usr/sbin/policy-rc.d"), "exit 0\n");
        assert_eq!(now("/etc/limits.conf"), "x\nadmins\n");
    }

    #[test]
    fn a_second_edit_saves_nothing_of_ours_as_the_original() {
        let (_dir, host) = host();
        let mut journal = Journal::begin(&host, None).unwrap();
        journal.write("/etc/waagent.conf", b"once\n").unwrap();
        journal.write("/etc/waagent.conf", b"twice\n").unwrap();
        journal.write_temporary("/etc/waagent.conf", b"thrice\n").unwrap();
        assert_eq!(host.root.list(SAVED_DIR), [digest(b"old\n")]);
        drop(journal);
        assert_untouched(&host);
    }

    #[test]
    fn a_link_is_edited_where_it_leads_and_is_still_a_link_afterwards() {
        let (dir, host) = host();
        std::fs::remove_file(dir.path().join("etc/waagent.conf")).unwrap();
        host.root.write_text("/etc/site/waagent.conf", "old\n").unwrap();
        host.root.make_link("/etc/waagent.conf", "site/waagent.conf".as_ref()).unwrap();
        let mut journal = Journal::begin(&host, None).unwrap();
        journal.write("/etc/waagent.conf", b"new\n").unwrap();
        let there = || {
            assert_eq!(host.root.link_target("/etc/waagent.conf").unwrap(), Path::new("site/waagent.conf"));
            host.root.read_text("/etc/site/waagent.conf").unwrap().unwrap()
        };
        assert_eq!(there(), "new\n");
        drop(journal);
        assert_eq!(there(), "old\n");
    }

    #[test]
    fn a_journal_of_the_first_form_is_undone_and_what_it_cannot_tell_apart_is_set_aside() {
        let (_dir, host) = host();
        let old =
            change::save(&host.root, &host.root.content("/etc/waagent.conf").unwrap().unwrap()).unwrap();
        let change = serde_json::json!({"path": "/etc/waagent.conf", "before": old, "folders": [], "temporary": false});
        let record = serde_json::json!({
            "schema_version": 1, "started": "2026-01-01T00:00:00Z", "step": "configure", "changes": [change],
            "packages_before": null, "held": []
        });
        host.root.write_text(JOURNAL, &record.to_string()).unwrap();
        host.root.write_text("/etc/waagent.conf", "new\nadmins\n").unwrap();
        recover(&host).unwrap().unwrap();
        assert_untouched(&host);
        let aside = host.root.read_text("/var/lib/ofedctl/set-aside/etc_waagent.conf").unwrap().unwrap();
        assert_eq!(aside, "new\nadmins\n");
    }
}
