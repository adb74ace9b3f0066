//! Tests of the journal and its undo, on roots with a few files.

use super::*;
use crate::host::cancel::Cancel;
use crate::host::testing::on_an_empty_root;
use crate::ledger::change::{SAVED_DIR, digest};
use crate::outcome::Reason;

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
    first.note_packages(&versions("1"), true).unwrap();
    std::mem::forget(first);
    let mut second = Journal::begin(&host, recover(&host).unwrap()).unwrap();
    let before = second.note_packages(&versions("2"), false).unwrap();
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
        assert_eq!(Reason::from_error(&error), Reason::LedgerUnreadable, "{text}");
        assert_eq!(host.root.read_text(JOURNAL).unwrap().unwrap(), text);
    }
}

/// A run that is killed after its edits.
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
fn an_edit_through_a_link_changes_its_target_and_the_link_stays_a_link() {
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
    let old = change::save(&host.root, &host.root.content("/etc/waagent.conf").unwrap().unwrap()).unwrap();
    let change =
        serde_json::json!({"path": "/etc/waagent.conf", "before": old, "folders": [], "temporary": false});
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
