//! The one undo. It serves a run that failed or was killed, edits that a later plan does not ask for any more, and the
//! removal of a driver. It compares before it writes. A file that still holds what this program wrote gets its old
//! content back. From a file that somebody has changed since, only the text that an edit added is removed; where the
//! two cannot be told apart, the file stays as it is.

use super::change::{Before, Change, digest};
use super::receipt::Receipt;
use crate::edits::Edit;
use crate::facts::ofed;
use crate::host::Host;
use crate::host::fs::Content;
use crate::packages::Manager;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// The folder to which a file's present content is copied before the undo of an old version's journal restores its old
/// content.
const SET_ASIDE: &str = "/var/lib/ofedctl/set-aside";

/// The present state of a file that a run changed.
#[derive(Debug, PartialEq, Eq)]
enum Now {
    AsBefore,
    AsEdited,
    /// Somebody has changed its text since; this is the present text.
    Changed(Vec<u8>),
    /// It no longer exists, or is not a file any more.
    Another,
}

/// The edits that a run was going to make. None where an old version did not record them.
pub(super) type Known<'a> = Option<&'a [Edit]>;

/// Undoes recorded changes, the last first. Returns how many had to stay because somebody has changed the file since.
pub(super) fn undo(host: &Host, edits: Known, changes: &[Change]) -> Result<usize> {
    let mut kept = 0;
    for change in changes.iter().rev() {
        if !undo_one(host, edits, change)? {
            kept += 1;
        }
    }
    Ok(kept)
}

fn undo_one(host: &Host, edits: Known, change: &Change) -> Result<bool> {
    // A run that was killed while it wrote the file; this one may not write it at all.
    host.root.remove_half_written(&change.path)?;
    let of_this: Vec<&Edit> = edits.unwrap_or_default().iter().filter(|edit| change.is_of(edit)).collect();
    let before = match change.before(&host.root)? {
        Before::Nothing => None,
        Before::Bytes(bytes) => Some(bytes),
        Before::Lost => {
            host.events.warn(format!("the old content of `{}` is lost; it stays as it is", change.path));
            return Ok(false);
        }
    };
    match compare(host, &of_this, change, before.as_deref())? {
        // Another program, such as dpkg, may have restored the file; it did not remove the folders.
        Now::AsBefore => change.remove_folders(&host.root),
        Now::AsEdited => put_back(host, change, before)?,
        Now::Changed(text) => match without_ours(&of_this, change, &text, before.as_deref()) {
            Some(without) if is_as_before(&without, before.as_deref()) => put_back(host, change, before)?,
            Some(without) => host.root.rewrite(&change.path, without)?,
            None if edits.is_none() => {
                set_aside(host, change, &text)?;
                put_back(host, change, before)?;
            }
            None => return Ok(stays(host, change)),
        },
        Now::Another => return Ok(stays(host, change)),
    }
    Ok(true)
}

fn stays(host: &Host, change: &Change) -> bool {
    host.events.warn(format!("`{}` was changed since; it stays as it is", change.path));
    false
}

/// Whether a text equals the earlier content. A list of components without an entry (`{}`) counts as no file.
fn is_as_before(text: &[u8], before: Option<&[u8]>) -> bool {
    before.map_or(text.trim_ascii() == b"{}", |before| before == text)
}

fn compare(host: &Host, edits: &[&Edit], change: &Change, before: Option<&[u8]>) -> Result<Now> {
    let root = &host.root;
    let target = root.link_target(&change.path);
    if let Some(to) = &change.link {
        return Ok(match target {
            Some(target) if target == Path::new(to) => Now::AsEdited,
            None if !root.exists(&change.path) => Now::AsBefore,
            _ => Now::Another,
        });
    }
    // The edit was made in a regular file; writing through a link that replaced it would change the link's target.
    if target.is_some() {
        return Ok(Now::Another);
    }
    let Some(current) = root.read(&change.path)? else {
        return Ok(if before.is_none() && !root.exists(&change.path) { Now::AsBefore } else { Now::Another });
    };
    if before == Some(&current) {
        return Ok(Now::AsBefore);
    }
    // A file that another program left during the run has no digest that this program recorded.
    let is_leftover =
        change.temporary && change.before.is_none() && change.wrote.is_empty() && change.lines.is_empty();
    if is_leftover || change.wrote.contains(&digest(&current)) {
        return Ok(Now::AsEdited);
    }
    if change.wrote.is_empty() && edited(host, edits, before).as_ref() == Some(&current) {
        return Ok(Now::AsEdited);
    }
    Ok(Now::Changed(current))
}

/// The old content with the edits applied. Journals of schema version 1 do not record what was written, so it is
/// computed.
fn edited(host: &Host, edits: &[&Edit], before: Option<&[u8]>) -> Option<Vec<u8>> {
    let says = ofed::read(host).and_then(|ofed| ofed.version);
    let mut edited = before.map(<[u8]>::to_vec);
    for edit in edits {
        edited = edit.apply(edited.as_deref(), says.as_deref()).or(edited);
    }
    edited
}

/// The present text of a file without what this program added; none where the two cannot be told apart.
fn without_ours(edits: &[&Edit], change: &Change, text: &[u8], before: Option<&[u8]>) -> Option<Vec<u8>> {
    if !change.lines.is_empty() {
        return Some(without_lines(text, before.unwrap_or_default(), &change.lines));
    }
    let mut left = None;
    for edit in edits.iter().rev() {
        left = edit.revert(left.as_deref().unwrap_or(text), before).or(left);
    }
    left
}

/// Removes the lines that another program added, but not equal lines that were there before. White space is ignored.
fn without_lines(text: &[u8], before: &[u8], lines: &[String]) -> Vec<u8> {
    let words = |line: &[u8]| -> Vec<Vec<u8>> {
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.map(<[u8]>::to_vec).collect()
    };
    let theirs: Vec<_> = lines.iter().map(|line| words(line.as_bytes())).collect();
    let mut of_before: Vec<_> = before.split(|byte| *byte == b'\n').map(words).collect();
    let mut left = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line_words = words(line);
        if theirs.contains(&line_words) {
            match of_before.iter().position(|known| *known == line_words) {
                Some(at) => drop(of_before.swap_remove(at)),
                None => continue,
            }
        }
        left.extend_from_slice(line);
    }
    left
}

fn put_back(host: &Host, change: &Change, before: Option<Vec<u8>>) -> Result<()> {
    let root = &host.root;
    match (&change.before, before) {
        (Some(saved), Some(bytes)) => {
            // An edit keeps permissions and owner. If they differ from those of the old file, somebody has changed them
            // on purpose.
            let now = root.content(&change.path)?.filter(|_| !change.temporary);
            let (mode, uid, gid) =
                now.map_or((saved.mode, saved.uid, saved.gid), |now| (now.mode, now.uid, now.gid));
            root.write(&change.path, &Content { bytes, mode, uid, gid })?;
        }
        _ => root.remove_file(&change.path)?,
    }
    change.remove_folders(root);
    Ok(())
}

fn set_aside(host: &Host, change: &Change, text: &[u8]) -> Result<()> {
    let copy = format!("{SET_ASIDE}/{}", change.path.trim_start_matches('/').replace('/', "_"));
    host.root.make_dirs(SET_ASIDE, 0o700)?;
    host.root.write(&copy, &Content { bytes: text.to_vec(), mode: 0o600, uid: 0, gid: 0 })?;
    host.events.warn(format!(
        "an older version did not note what it wrote into `{}`: its old content is back, and what it held is in `{copy}`",
        change.path
    ));
    Ok(())
}

/// Undoes every change that a receipt records. Returns how many had to stay.
pub fn undo_receipt(host: &Host, receipt: &Receipt) -> Result<usize> {
    undo(host, Some(&receipt.plan.edits), &receipt.changes)
}

/// Undoes those changes in a receipt that a later plan does not ask for any more: neither by an edit nor as `is_kept` says.
/// If the run dies before the new
/// receipt is written, the next run does it again.
pub fn retire(
    host: &Host,
    earlier: &mut Receipt,
    wanted: &[Edit],
    is_kept: impl Fn(&Change) -> bool,
) -> Result<()> {
    let asked_for = |change: &Change| {
        if is_kept(change) {
            return true;
        }
        let name = change.path.rsplit('/').next().filter(|_| change.link.is_some());
        wanted.iter().any(|edit| match edit {
            Edit::EnableUnit { unit, .. } => name == Some(unit),
            edit => change.is_of(edit),
        })
    };
    let (mut kept, retired): (Vec<_>, Vec<_>) =
        std::mem::take(&mut earlier.changes).into_iter().partition(asked_for);
    for change in &mut kept {
        retire_some(host, &earlier.plan.edits, wanted, change)?;
    }
    earlier.changes = kept;
    undo(host, Some(&earlier.plan.edits), &retired).map(drop)
}

/// Undoes, of several edits in one file, those that a later plan does not ask for any more, and leaves the others.
fn retire_some(host: &Host, edits: &[Edit], wanted: &[Edit], change: &mut Change) -> Result<()> {
    let retired: Vec<&Edit> =
        edits.iter().filter(|edit| change.is_of(edit) && !wanted.contains(edit)).collect();
    let Some(current) = host.root.read(&change.path)?.filter(|_| !retired.is_empty()) else { return Ok(()) };
    let before = match change.before(&host.root)? {
        Before::Bytes(bytes) => Some(bytes),
        Before::Nothing | Before::Lost => None,
    };
    let says = ofed::read(host).and_then(|ofed| ofed.version);
    let mut text = current.clone();
    for edit in retired.iter().rev() {
        text = edit.revert(&text, before.as_deref()).unwrap_or(text);
    }
    for edit in wanted.iter().filter(|edit| change.is_of(edit)) {
        text = edit.apply(Some(&text), says.as_deref()).unwrap_or(text);
    }
    if text == current {
        return Ok(());
    }
    change.note(&text);
    host.root.rewrite(&change.path, text)
}

/// Releases the packages that this program put on hold. Returns how many were still on hold.
pub fn release_holds(host: &Host, manager: Manager, ours: &BTreeSet<String>, sealed: bool) -> Result<usize> {
    let installed = manager.installed(host)?;
    let held: Vec<String> = ours.intersection(&installed.held).cloned().collect();
    if !held.is_empty() {
        manager.hold(host, &held, false, sealed)?;
    }
    Ok(held.len())
}
