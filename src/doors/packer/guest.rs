//! The machine that becomes the image, reached through Packer's communicator: shell commands and files, nothing else.
//!
//! The exit code that the communicator reports cannot be relied on: some lost connections look like success, and a
//! builder without a machine runs nothing at all. So every command prints a random word of this run around its
//! answer; `shell` has the format.

use super::protocol::{Broker, Caller, Finished, Piece};
use super::shell::{Answer, Ran, Splitter, command, decoded, framed};
use super::ui::Ui;
use super::wanted::Wanted;
use crate::host::cancel::Cancel;
use crate::outcome::Reason;
use anyhow::Result;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many bytes of other programs' standard error are kept for a message.
const MAX_NOISE: usize = 2 << 10;
/// The script that root runs next, in the run's folder.
pub(super) const STEP: &str = "step";
/// The file with the template's own command for running a script as root.
pub(super) const WAY: &str = "way";
/// Between two attempts to reach a guest that is away.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// A guest that was reached.
pub(super) struct Guest<'r> {
    pub(super) caller: &'r Caller,
    pub(super) broker: &'r Arc<Broker>,
    pub(super) cancel: Cancel,
    pub(super) ui: &'r Ui,
    pub(super) wanted: &'r Wanted,
    word: String,
    user_is_root: bool,
    /// How many scripts were put there for root.
    steps: AtomicUsize,
}

/// Who runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The user the communicator logs in as.
    User,
    /// root.
    Root,
}

/// How one attempt at a command ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It ran to its end.
    Ended(Ran),
    /// Its end was not seen: the connection is lost, or not yet made.
    Lost(String),
    /// The communicator reports that it ran, and it printed nothing at all.
    Mute(String),
}

/// What the guest says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    /// Its architecture, as `uname -m` has it.
    pub(super) arch: String,
    /// The kernel that runs.
    pub(super) kernel: String,
}

impl<'r> Guest<'r> {
    /// Connects for the first time: finds out the guest's architecture, kernel and user.
    pub(super) fn meet(
        caller: &'r Caller,
        broker: &'r Arc<Broker>,
        cancel: Cancel,
        ui: &'r Ui,
        wanted: &'r Wanted,
    ) -> Result<(Self, Machine)> {
        let steps = AtomicUsize::new(0);
        let mut guest =
            Self { caller, broker, cancel, ui, wanted, word: new_word(), user_is_root: false, steps };
        let probe = "echo \"uid=$(id -u)\"; echo \"arch=$(uname -m)\"; echo \"kernel=$(uname -r)\"; [ -e /proc/self/mounts ] && echo proc=yes";
        let deadline = Instant::now() + wanted.reconnect_timeout;
        let ran = loop {
            match guest.attempt(As::User, probe, &mut |_| {})? {
                Attempt::Ended(ran) => break ran,
                // It may be on its way back from a reboot that an earlier provisioner asked for.
                Attempt::Lost(how) => guest.wait_for_it(deadline, &how)?,
                Attempt::Mute(how) => {
                    return Err(Reason::GuestUnreachable.error(format!(
                        "the communicator runs no commands ({how}); a builder without a machine, such as `file`, or \
                         `communicator = \"none\"`, cannot be provisioned"
                    )));
                }
            }
        };
        let value = |name: &str| {
            let line = ran.out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        guest.user_is_root = value("uid") == "0";
        if value("proc") != "yes" {
            return Err(Reason::GuestFailed.error(
                "the guest has no /proc, and package managers need it; a builder that works in a chroot mounts it by its \
                 `chroot_mounts`, whose default has it",
            ));
        }
        let machine = Machine { arch: value("arch"), kernel: value("kernel") };
        Ok((guest, machine))
    }

    /// Runs a shell script to its end, again when the connection is lost meanwhile: a script must bear that.
    pub(super) fn run(&self, who: As, script: &str) -> Result<Ran> {
        let deadline = Instant::now() + self.wanted.reconnect_timeout;
        loop {
            match self.attempt(who, script, &mut |_| {})? {
                Attempt::Ended(ran) => return Ok(ran),
                Attempt::Lost(how) | Attempt::Mute(how) => self.wait_for_it(deadline, &how)?,
            }
        }
    }

    /// Runs a shell script that must end well; the error tells what it said.
    pub(super) fn must(&self, who: As, script: &str, doing: &str) -> Result<String> {
        let ran = self.run(who, script)?;
        if ran.code == 0 {
            return Ok(ran.out);
        }
        let complaint = ran.complaint.trim().replace('\n', " | ");
        let reason = if complaint.contains("No space left") { Reason::NoSpace } else { Reason::GuestFailed };
        Err(reason.error(format!("{doing} in the guest ended with {} and said: {complaint}", ran.code)))
    }

    /// Waits a moment before the next attempt, or gives up.
    pub(super) fn wait_for_it(&self, deadline: Instant, how: &str) -> Result<()> {
        if Instant::now() >= deadline {
            let patience = self.wanted.reconnect_timeout.as_secs();
            return Err(Reason::GuestUnreachable
                .error(format!("the guest was not reached again within {patience} s ({how})")));
        }
        self.cancel.wait(BETWEEN_ATTEMPTS)
    }

    /// Runs a shell script once. `on_line` hears each line of its standard output when it is whole.
    pub(super) fn attempt(&self, who: As, script: &str, on_line: &mut dyn FnMut(&str)) -> Result<Attempt> {
        self.cancel.check()?;
        let as_root = (who == As::Root).then(|| format!("{}-root", self.word));
        let script = match &as_root {
            None => script.to_owned(),
            Some(word) => self.step(&framed(word, script)),
        };
        let mut answer = Answer::awaiting(self.word.clone());
        let mut roots = as_root.map(Answer::awaiting);
        let (mut out, mut noise) = (Splitter::default(), Vec::new());
        let mut on_any_line = |line: &str| match &mut roots {
            Some(roots) => {
                roots.take(line, on_line);
                answer.take(line, &mut |_| {});
            }
            None => answer.take(line, on_line),
        };
        let command = command(&framed(&self.word, &script));
        let ended = self.caller.run(self.broker, &self.cancel, &command, |piece| match piece {
            Piece::Out(bytes) => out.take(bytes, &mut on_any_line),
            // The script's own standard error is inside the frame.
            Piece::Err(bytes) => {
                noise.extend_from_slice(bytes);
                let excess = noise.len().saturating_sub(MAX_NOISE);
                noise.drain(..excess);
            }
        });
        self.cancel.check()?;
        let lost = match ended {
            Err(how) => return Ok(Attempt::Lost(how)),
            Ok(Finished::Disconnected) => Attempt::Lost("the connection was lost".to_owned()),
            Ok(Finished::Code(_)) => Attempt::Mute(match String::from_utf8_lossy(&noise).trim() {
                "" => "it answered nothing".to_owned(),
                noise => format!("it answered nothing, and said `{noise}`"),
            }),
        };
        let Some(ran) = answer.end() else { return Ok(lost) };
        let Some(roots) = roots else { return Ok(Attempt::Ended(ran)) };
        match roots.end() {
            Some(ran) => Ok(Attempt::Ended(ran)),
            None if ran.complaint.contains("No space left") => {
                Err(Reason::NoSpace.error(format!("putting a script into the guest: {}", ran.complaint)))
            }
            None => Err(not_root(&format!("{} {}", ran.out, ran.complaint))),
        }
    }

    /// A script for the user that starts the given script as root. The given script is written to a file, as the
    /// shell provisioner does it, and renamed over the earlier one, because a shell may still be reading that.
    fn step(&self, script: &str) -> String {
        let at = |name: &str| format!("{}/{name}", self.folder());
        let (step, new) = (at(STEP), at(&format!("{STEP}.{}", self.steps.fetch_add(1, Ordering::Relaxed))));
        let run = match (&self.wanted.execute_command, self.user_is_root) {
            (Some(_), _) => format!("/bin/sh {}", at(WAY)),
            (None, true) => format!("/bin/sh {step}"),
            (None, false) => format!("sudo -n /bin/sh {step}"),
        };
        let put = decoded(&format!("#!/bin/sh\n{script}"));
        format!("umask 077\n{put} >{new} && chmod 700 {new} && mv -f {new} {step} || exit 74\n{run}")
    }

    /// The path of this run's folder on the guest: one word of shell, as the template was checked for it.
    pub(super) fn folder(&self) -> String {
        format!("{}/{}", self.wanted.remote_folder, self.word)
    }
}

pub(super) fn not_root(said: &str) -> anyhow::Error {
    Reason::NotRoot.error(format!(
        "the user of the communicator cannot become root in the guest: it said `{}`; log in as root, allow sudo without a \
         password, or set `execute_command`",
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    ))
}

/// The word need not be secret, only different for each run.
fn new_word() -> String {
    format!("ofedctl-{:016x}", RandomState::new().build_hasher().finish())
}
