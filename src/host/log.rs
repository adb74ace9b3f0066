//! The log of a run inside the root: its messages, and the output of child programs. It is a help, and a disk that takes
//! none is no reason to leave a machine without its driver.

use super::{CHILD_LOG_DIR, Host, LOG_FILE, room};
use crate::outcome::Reason;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// Where less than this is free, a child's output is not kept: more than any but a build prints.
const LITTLE_ROOM: u64 = 4 << 20;
const MAKING: &str = "cannot make a log for a child program";

/// Whether a run has one, and whether it is whole.
#[derive(Debug, Default)]
pub(super) struct Log {
    is_open: AtomicBool,
    /// Why something is missing in it; the first reason counts.
    trouble: Arc<OnceLock<String>>,
}

impl Host {
    /// Starts the log of the run inside the root. A second call does nothing.
    pub fn open_log(&self) -> Result<()> {
        if self.log.is_open.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.root.make_dirs(CHILD_LOG_DIR, 0o755)?;
        let mut file = self.root.append(LOG_FILE, 0o644)?;
        let trouble = Arc::clone(&self.log.trouble);
        self.events.attach(Box::new(move |event| {
            // A full disk must not end the run here: it could still undo its work.
            if let Some(line) = event.log_line()
                && let Err(error) = writeln!(file, "{line}")
            {
                trouble.get_or_init(|| error.to_string());
            }
        }));
        self.log.is_open.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The same, where the disk takes a log.
    pub fn open_log_if_possible(&self) -> Result<()> {
        match self.open_log() {
            Err(error) if Reason::from_error(&error).is_of_disk() => {
                self.note_log_trouble(&error);
                Ok(())
            }
            opened => opened,
        }
    }

    /// Why the log of this run is not whole, where something of it could not be written.
    pub fn log_trouble(&self) -> Option<&str> {
        self.log.trouble.get().map(String::as_str)
    }

    fn note_log_trouble(&self, why: &anyhow::Error) {
        self.log.trouble.get_or_init(|| format!("{why:#}"));
    }

    /// The file for a child's output: in the root's log folder if this run has a log there, else a temporary file. What is
    /// written to a full disk fails the child that writes it, and its output is no reason to leave a machine without its
    /// driver: so it is also a temporary one where the disk of the log has little room.
    pub(super) fn child_output(&self, name: &str) -> Result<(File, Option<String>)> {
        if self.log.is_open.load(Ordering::Relaxed) {
            match self.child_log(name) {
                Ok((file, log)) => return Ok((file, Some(log))),
                Err(error) => self.note_log_trouble(&error),
            }
        }
        Ok((tempfile::tempfile().context(MAKING)?, None))
    }

    fn child_log(&self, name: &str) -> Result<(File, String)> {
        if room::free_for(&self.root, CHILD_LOG_DIR)? < LITTLE_ROOM {
            bail!("the file system of `{CHILD_LOG_DIR}` is almost full");
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace([':', '.'], "");
        let log = format!("{CHILD_LOG_DIR}/{time}-{}-{name}.log", self.events.step().name());
        self.root.append(&log, 0o600)?;
        // The child appends to the file, and this program reads it afterwards.
        let (_folder, pinned) = self.root.pin(&log)?;
        let file = File::options().read(true).append(true).open(pinned).context(MAKING)?;
        Ok((file, log))
    }
}
