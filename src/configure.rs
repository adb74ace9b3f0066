//! The step after the packages: makes the plan's edits, each journalled and only where it is not yet made, and takes
//! them back again.

pub mod labels;

use crate::edit::Edit;
use crate::host::Host;
use crate::host::journal::{self, Change, Journal};
use crate::host::run::Cmd;
use anyhow::Result;

/// Makes the edits that are still to be made. Returns the files that were changed.
pub fn configure(host: &Host, journal: &mut Journal, edits: &[Edit]) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for edit in edits {
        host.stop.check()?;
        let current = host.root.read_text(edit.path())?;
        if let Some(content) = edit.apply(current.as_deref()) {
            host.events.info(format!("{}: {}", edit.path(), edit.why()));
            journal.write(edit.path(), content.as_bytes())?;
            changed.push(edit.path().to_owned());
        }
    }
    Ok(changed)
}

/// Takes recorded edits back. A file that somebody has changed since stays as it is; returns how many those are.
pub fn take_back(host: &Host, edits: &[Edit], changes: &[Change]) -> Result<usize> {
    let mut kept = 0;
    for change in changes {
        let now = host.root.read_text(&change.path)?;
        let before = journal::saved_text(&host.root, change)?;
        let as_edited = edits
            .iter()
            .filter(|edit| edit.path() == change.path)
            .any(|edit| edit.apply(before.as_deref()).is_some_and(|edited| now.as_deref() == Some(&edited)));
        if as_edited {
            journal::undo(&host.root, std::slice::from_ref(change))?;
        } else if now != before {
            host.events.warn(format!("`{}` was changed since; it stays as it is", change.path));
            kept += 1;
        }
    }
    Ok(kept)
}

/// Loads the modules into the running kernel, which baking never does. Says whether it has them all now; a kernel
/// that was replaced since it booted, for example, needs a reboot first.
pub fn load_modules(host: &Host, modules: &[String]) -> Result<bool> {
    let loaded = host.run(&Cmd::new("modprobe").arg("--all").args(modules))?;
    if loaded.code != 0 {
        host.events.warn(format!("modprobe said: {}", loaded.tail));
    }
    Ok(loaded.code == 0)
}
