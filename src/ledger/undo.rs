//! Taking edits back: those of a driver that is taken out, and those that a later plan does not ask for any more.

use super::journal::{self, Change};
use crate::edits::Edit;
use crate::facts::ofed;
use crate::host::Host;
use crate::packages::Manager;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// How a changed file is now.
enum Now {
    AsBefore,
    AsEdited,
    ChangedSince(Vec<u8>),
}

/// Takes recorded edits back. What somebody has changed since stays as it is; returns how many of those there are.
pub fn take_back(host: &Host, edits: &[Edit], changes: &[Change]) -> Result<usize> {
    let mut kept = 0;
    for change in changes.iter().rev() {
        let of_this: Vec<&Edit> = edits.iter().filter(|edit| edit.path() == Some(&change.path)).collect();
        let before = journal::saved(&host.root, change)?;
        match now(host, &of_this, change, before.as_deref())? {
            // Whoever put it back, dpkg for example, did not know of the folders.
            Now::AsBefore => journal::remove_folders(&host.root, change),
            Now::AsEdited => journal::undo(&host.root, std::slice::from_ref(change))?,
            Now::ChangedSince(mut text) => {
                let mut reverted = false;
                for edit in of_this.iter().rev() {
                    if let Some(without) = edit.revert(&text, before.as_deref()) {
                        (text, reverted) = (without, true);
                    }
                }
                let as_before =
                    before.as_deref() == Some(&text) || before.is_none() && text.trim_ascii() == b"{}";
                if reverted && as_before {
                    journal::undo(&host.root, std::slice::from_ref(change))?;
                } else if reverted {
                    host.root.rewrite(&change.path, text)?;
                } else {
                    host.events.warn(format!("`{}` was changed since; it stays as it is", change.path));
                    kept += 1;
                }
            }
        }
    }
    Ok(kept)
}

fn now(host: &Host, edits: &[&Edit], change: &Change, before: Option<&[u8]>) -> Result<Now> {
    if let Some(to) = &change.link {
        return Ok(match host.root.link_target(&change.path) {
            Some(target) if target == Path::new(to) => Now::AsEdited,
            Some(_) => Now::ChangedSince(Vec::new()),
            None if host.root.exists(&change.path) => Now::ChangedSince(Vec::new()),
            None => Now::AsBefore,
        });
    }
    let current = host.root.read(&change.path)?;
    if current.as_deref() == before {
        return Ok(Now::AsBefore);
    }
    let says = ofed::read(host).and_then(|ofed| ofed.version);
    let mut edited = before.map(<[u8]>::to_vec);
    for edit in edits {
        if let Some(next) = edit.apply(edited.as_deref(), says.as_deref()) {
            edited = Some(next);
        }
    }
    Ok(match current {
        Some(current) if edited.as_ref() != Some(&current) => Now::ChangedSince(current),
        Some(_) => Now::AsEdited,
        None => Now::ChangedSince(Vec::new()),
    })
}

/// Takes back, of several edits of one file, those that a later plan does not ask for any more, and leaves the others.
pub fn let_others_be(host: &Host, edits: &[Edit], wanted: &[Edit], change: &Change) -> Result<()> {
    let of_this = |edit: &&Edit| edit.path() == Some(&change.path);
    let retired: Vec<&Edit> = edits.iter().filter(of_this).filter(|edit| !wanted.contains(edit)).collect();
    let Some(current) = host.root.read(&change.path)?.filter(|_| !retired.is_empty()) else { return Ok(()) };
    let before = journal::saved(&host.root, change)?;
    let says = ofed::read(host).and_then(|ofed| ofed.version);
    let mut text = current.clone();
    for edit in retired.iter().rev() {
        text = edit.revert(&text, before.as_deref()).unwrap_or(text);
    }
    for edit in wanted.iter().filter(of_this) {
        text = edit.apply(Some(&text), says.as_deref()).unwrap_or(text);
    }
    if text == current { Ok(()) } else { host.root.rewrite(&change.path, text) }
}

/// Lets go of packages that are on hold because of us. Those that are gone or free by now need nothing.
pub fn let_go(host: &Host, manager: Manager, ours: &BTreeSet<String>, sealed: bool) -> Result<usize> {
    let installed = manager.installed(host)?;
    let held: Vec<String> = ours.intersection(&installed.held).cloned().collect();
    if !held.is_empty() {
        manager.hold(host, &held, false, sealed)?;
    }
    Ok(held.len())
}
