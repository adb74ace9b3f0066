//! The step after the packages: makes those edits of the plan that are not made yet, and records each in the journal.

pub mod labels;
mod leftovers;

pub use leftovers::{leftovers, tidy};

use crate::edits::{Action, Depth, Edit, due, initramfs};
use crate::host::Host;
use crate::host::run::Cmd;
use crate::ledger::Journal;
use crate::packages::Manager;
use anyhow::Result;

/// Makes the edits that are not made yet. Returns their number.
pub fn configure(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    edits: &[Edit],
    sealed: bool,
) -> Result<usize> {
    let installed = manager.installed(host)?;
    journal.plan(edits)?;
    let mut made = 0;
    for edit in edits {
        host.cancel.check()?;
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

/// Whether the running kernel has the modules.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The running kernel has all of them.
    All,
    /// The modules are loaded only after a reboot, for example because another kernel was installed.
    NotAll,
    /// The kernel accepts only modules signed with a key that it trusts, also after a reboot. Holds modprobe's
    /// message.
    Refused(String),
}

/// modprobe's messages when the kernel demands a signature (kmod and errno(3): `EKEYREJECTED`, `ENOKEY`).
const REFUSALS: [&str; 3] =
    ["Key was rejected by service", "Required key not available", "module with unavailable key is rejected"];

/// Loads the modules into the running kernel, which baking never does.
pub fn load_modules(host: &Host, modules: &[String]) -> Result<Loaded> {
    let loaded = host.run(&Cmd::new("modprobe").arg("--all").args(modules))?;
    if loaded.code != 0 {
        host.events.warn(format!("modprobe said: {}", loaded.tail));
    }
    Ok(judge(loaded.code, loaded.tail))
}

fn judge(code: i32, said: String) -> Loaded {
    match code {
        0 => Loaded::All,
        _ if REFUSALS.iter().any(|refusal| said.contains(refusal)) => Loaded::Refused(said),
        _ => Loaded::NotAll,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_does_not_help_where_the_kernel_wants_a_signature() {
        let rejected = "modprobe: ERROR: could not insert 'mlx5_core': Key was rejected by service";
        assert_eq!(judge(1, rejected.to_owned()), Loaded::Refused(rejected.to_owned()));
        let wanted = "modprobe: ERROR: could not insert 'mlx5_core': Required key not available";
        assert_eq!(judge(1, wanted.to_owned()), Loaded::Refused(wanted.to_owned()));
        assert_eq!(judge(1, "modprobe: FATAL: Module mlx5_core not found".to_owned()), Loaded::NotAll);
        assert_eq!(judge(0, String::new()), Loaded::All);
    }
}
