//! The step after the packages: makes the plan's edits, each journalled and only where it is not yet made.

pub mod labels;
mod leftovers;
mod revert;

pub use leftovers::{leftovers, tidy};
pub use revert::{let_go, let_others_be, take_back};

use crate::edit::Edit;
use crate::edits::{Action, Depth, due, initramfs};
use crate::host::Host;
use crate::host::journal::Journal;
use crate::host::run::Cmd;
use crate::packages::Manager;
use anyhow::Result;

/// What `mlnxofedinstall` appends limits on locked memory to, unasked; the setting `memlock` is for that.
pub const LIMITS: &str = "/etc/security/limits.conf";

/// Makes the edits that are still to be made. Returns how many those were.
pub fn configure(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    edits: &[Edit],
    sealed: bool,
) -> Result<usize> {
    let installed = manager.installed(host)?;
    let mut made = 0;
    for edit in edits {
        host.stop.check()?;
        let actions = due(host, edit, &installed, Depth::All { sealed })?;
        if !actions.is_empty() {
            host.events.info(format!("{}: {}", edit.subject(), edit.why()));
            made += 1;
        }
        for action in actions {
            make(host, journal, manager, action, sealed)?;
        }
    }
    Ok(made)
}

fn make(host: &Host, journal: &mut Journal, manager: Manager, action: Action, sealed: bool) -> Result<()> {
    match action {
        Action::Write { path, bytes } => journal.write(&path, &bytes),
        Action::Link { path, to } => journal.link(&path, &to),
        Action::Hold(names) => {
            journal.note_held(&names)?;
            manager.hold(host, &names, true, sealed)
        }
        Action::Refresh { kernel, .. } => {
            let Some(initramfs) = initramfs::find(host, &kernel) else { return Ok(()) };
            for path in initramfs.leftovers() {
                journal.expect_temporary(&path)?;
            }
            initramfs.refresh(host, sealed)
        }
    }
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
