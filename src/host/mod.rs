//! The machine, or the unpacked image, that a run works on. Only this module accesses files, processes, the clock and
//! signals.
//!
//! A [`Host`] is passed by reference to whatever touches the system. Its root may be `/` or any folder; no
//! function above this floor opens a path of the target or starts a program by itself.

mod authorities;
pub mod cancel;
pub mod conversation;
mod detach;
pub mod download;
pub mod fault;
pub mod fs;
pub mod http;
pub mod lock;
mod log;
pub mod owner;
pub mod private_folder;
pub mod process;
pub mod registry;
mod resolve;
pub mod room;
pub mod run;
pub mod sandbox;
pub mod temp;
pub mod unpack;

use crate::events::Events;
use crate::outcome::{Cause, Reason, WithCause};
use anyhow::{Context, Result};
use cancel::Cancel;
use fs::Root;
use log::Log;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder of this program's state, inside the root.
pub const STATE_DIR: &str = "/var/lib/ofedctl";
/// The log to which every entry point appends. It is the path of the published `InfiniBandDriverLinux` extension.
pub const LOG_FILE: &str = "/var/log/azure/ib-vmext-status";
/// The folder with the full output of child programs.
pub const CHILD_LOG_DIR: &str = "/var/log/azure/ofedctl";

/// Reads a text file of this machine, not of the root, that the user names.
pub fn read_here(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .with_cause(Cause::FileUnreadable, || format!("cannot read `{}`", path.display()))
}

/// A variable of the environment this program was started in, unless it is empty.
pub fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Writes a text file of this machine that the user names.
pub fn write_here(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// This program's own file: its content, and where it is.
pub fn this_program() -> Result<(Vec<u8>, PathBuf)> {
    let path = std::env::current_exe().context("cannot find this program's own file")?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok((bytes, path))
}

/// Whether a file's name ends in a dot and this, with something before them.
pub fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

/// Bytes as lower-case hex, the form digests are written in.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Sixteen hexadecimal digits that no other call has had, for the name of a run.
pub fn random_id() -> String {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 8];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        // A name that is only likely to be new is better than no run.
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        bytes.copy_from_slice(&now.to_le_bytes()[..8]);
    }
    hex(&bytes)
}

/// A system that a run works on, together with the run's events and cancellation.
#[derive(Debug)]
pub struct Host {
    /// Its files.
    pub root: Root,
    /// The messages of the run.
    pub events: Events,
    /// When the run must end.
    pub cancel: Cancel,
    log: Log,
}

impl Host {
    /// Opens a root. `path` must be a folder that exists.
    pub fn open(path: &Path, events: Events, cancel: Cancel) -> Result<Self> {
        Ok(Self { root: Root::open(path)?, events, cancel, log: Log::default() })
    }

    /// Whether this is the running system and not an image's root.
    pub fn is_running_system(&self) -> bool {
        self.root.is_slash()
    }

    /// Fails unless this process may change the system and run programs inside its root.
    pub fn require_superuser(&self) -> Result<()> {
        if nix::unistd::geteuid().is_root() {
            return Ok(());
        }
        Err(Reason::NotRoot.error(format!("working inside `{}` needs root", self.root.path().display())))
    }

    /// The user id of this process.
    pub fn user(&self) -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    /// Fails if the folder holds no Linux distribution, before anything is written into it.
    pub fn require_distribution(&self) -> Result<()> {
        if ["/etc/os-release", "/usr/lib/os-release"].iter().any(|path| self.root.exists(path)) {
            return Ok(());
        }
        Err(Reason::BadRoot.error(format!("`{}` holds no os-release", self.root.path().display())))
    }

    /// The same host with a deadline of `limit` from now.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.cancel = self.cancel.within(limit);
        self
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::events::Events;
    use crate::host::Host;
    use crate::host::cancel::Cancel;

    /// A host on a new empty root, which exists as long as the returned folder.
    pub(crate) fn on_an_empty_root(cancel: Cancel) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::open(dir.path(), Events::silent(), cancel).unwrap();
        (dir, host)
    }
}
