//! Files that earlier versions wrote stay readable: the receipt of a bake of Debian 12 by version 0.1.0, and the
//! journal of another such bake that was killed while it edited files.

use super::*;
use crate::edits::Edit;
use crate::host::Host;
use crate::host::cancel::Cancel;
use crate::host::testing::on_an_empty_root;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ledger/form1");
const AGENT: &str = "/etc/waagent.conf";
const AGENT_BEFORE: &str = "# OS.EnableRDMA=y\nResourceDisk.Format=n\n";

fn fixture(name: &str) -> String {
    std::fs::read_to_string(format!("{FIXTURES}/{name}")).unwrap()
}

/// A root that holds these fixtures, their saved files, and the edits of their plan.
fn edited_by_an_old_version(ledger: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let (dir, host) = on_an_empty_root(Cancel::never());
    for (path, name) in ledger {
        host.root.write_text(path, &fixture(name)).unwrap();
    }
    for saved in std::fs::read_dir(format!("{FIXTURES}/saved")).unwrap() {
        let name = saved.unwrap().file_name().into_string().unwrap();
        host.root.write_text(&format!("{SAVED_DIR}/{name}"), &fixture(&format!("saved/{name}"))).unwrap();
    }
    host.root.write_text(AGENT, AGENT_BEFORE).unwrap();
    let receipt: Receipt = serde_json::from_str(&fixture("receipt.json")).unwrap();
    for edit in &receipt.plan.edits {
        let Some(path) = edit.path() else { continue };
        let now = host.root.read(path).unwrap();
        let edited = edit.apply(now.as_deref(), None).unwrap();
        host.root.write_text(path, &String::from_utf8(edited).unwrap()).unwrap();
    }
    (dir, host)
}

#[test]
fn a_bake_by_an_old_version_is_undone() {
    let (_dir, host) = edited_by_an_old_version(&[(RECEIPT, "receipt.json")]);
    let receipt = Receipt::load(&host.root).unwrap().unwrap();
    assert_eq!((receipt.changes.len(), receipt.added.len(), receipt.held.len()), (4, 15, 2));
    assert_eq!(undo_receipt(&host, &receipt).unwrap(), 0);
    assert_eq!(host.root.read_text(AGENT).unwrap().unwrap(), AGENT_BEFORE);
    for edit in receipt.plan.edits.iter().filter_map(Edit::path).filter(|path| *path != AGENT) {
        assert!(!host.root.exists(edit), "{edit}");
    }
}

#[test]
fn an_admins_line_survives_when_a_bake_by_an_old_version_is_undone() {
    let (_dir, host) = edited_by_an_old_version(&[(RECEIPT, "receipt.json")]);
    host.root.write_text(AGENT, "OS.EnableRDMA=y\nResourceDisk.Format=n\nAdmins=line\n").unwrap();
    let receipt = Receipt::load(&host.root).unwrap().unwrap();
    assert_eq!(undo_receipt(&host, &receipt).unwrap(), 0);
    assert_eq!(host.root.read_text(AGENT).unwrap().unwrap(), format!("{AGENT_BEFORE}Admins=line\n"));
}

#[test]
fn a_later_plan_removes_only_lines_of_this_program_and_leaves_an_admins_line() {
    let (_dir, host) = edited_by_an_old_version(&[(RECEIPT, "receipt.json")]);
    host.root.write_text(AGENT, "OS.EnableRDMA=y\nResourceDisk.Format=n\nAdmins=line\n").unwrap();
    let mut receipt = Receipt::load(&host.root).unwrap().unwrap();
    let wanted: Vec<Edit> =
        receipt.plan.edits.iter().filter(|edit| edit.path() != Some(AGENT)).cloned().collect();
    retire(&host, &mut receipt, &wanted, |_| false).unwrap();
    assert_eq!(host.root.read_text(AGENT).unwrap().unwrap(), format!("{AGENT_BEFORE}Admins=line\n"));
    assert_eq!(receipt.changes.len(), 3);
    assert!(host.root.exists("/etc/modules-load.d/ofedctl.conf"));
}

#[test]
fn a_killed_bake_of_an_old_version_is_recovered() {
    let (_dir, host) = edited_by_an_old_version(&[(JOURNAL, "journal.json")]);
    let unfinished = recover(&host).unwrap().unwrap();
    assert_eq!(unfinished.packages_before.unwrap().len(), 122);
    assert_eq!(host.root.read_text(AGENT).unwrap().unwrap(), AGENT_BEFORE);
    assert!(!host.root.exists("/etc/modules-load.d/ofedctl.conf"));
    // The run had begun to install packages, so the journal stays for the next run.
    assert!(recover(&host).unwrap().is_some());
}

#[test]
fn a_file_that_somebody_deleted_or_replaced_by_a_link_is_left_alone() {
    let (_dir, host) = edited_by_an_old_version(&[(RECEIPT, "receipt.json")]);
    host.root.remove_file(AGENT).unwrap();
    let rules = "/etc/udev/rules.d/60-rdma-persistent-naming.rules";
    host.root.remove_file(rules).unwrap();
    host.root.make_link(rules, "/dev/null".as_ref()).unwrap();
    let receipt = Receipt::load(&host.root).unwrap().unwrap();
    assert_eq!(undo_receipt(&host, &receipt).unwrap(), 2);
    assert!(!host.root.exists(AGENT));
    assert_eq!(host.root.link_target(rules).unwrap(), std::path::Path::new("/dev/null"));
}

#[test]
fn forget_renames_ledger_files_whatever_they_hold() {
    let (dir, host) = on_an_empty_root(Cancel::never());
    assert!(forget(&host.root).unwrap().is_empty());
    host.root.write_text(RECEIPT, "{half").unwrap();
    std::fs::create_dir(dir.path().join(&JOURNAL[1..])).unwrap();
    assert_eq!(forget(&host.root).unwrap(), [format!("{RECEIPT}.forgotten")]);
    assert_eq!(host.root.list("/var/lib/ofedctl"), ["receipt.json.forgotten"]);
}
