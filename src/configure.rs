//! The step after the packages: makes the plan's edits, each journalled and only where it is not yet made.

use crate::edit::Edit;
use crate::host::Host;
use crate::host::journal::Journal;
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

/// Loads the modules into the running kernel, which baking never does. Says whether it has them all now; a kernel
/// that was replaced since it booted, for example, needs a reboot first.
pub fn load_modules(host: &Host, modules: &[String]) -> Result<bool> {
    let loaded = host.run(&Cmd::new("modprobe").arg("--all").args(modules))?;
    if loaded.code != 0 {
        host.events.warn(format!("modprobe said: {}", loaded.tail));
    }
    Ok(loaded.code == 0)
}
