//! The machine that becomes the image, reached through Packer's communicator: shell commands and files, nothing else.
//!
//! What the communicator says of a command's end is not enough: it takes some lost connections for success, and a
//! builder without a machine runs nothing at all. So every command ends by saying a word that only this run knows.

use super::attributes::Wanted;
use super::protocol::{Broker, Caller, Finished, Piece};
use super::ui::Ui;
use crate::host::cancel::Cancel;
use crate::outcome::Reason;
use anyhow::Result;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is kept of a command's standard output: the largest is a plan or a receipt in JSON.
const MAX_OUTPUT: usize = 4 << 20;
/// What is kept of its standard error, for a message.
const MAX_COMPLAINT: usize = 2 << 10;
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
}

/// Who runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The user the communicator logs in as.
    User,
    /// root.
    Root,
}

/// How a command on the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) complaint: String,
}

/// How one attempt at a command ended.
#[derive(Debug)]
pub(super) enum Attempt {
    /// It ran to its end.
    Ended(Ran),
    /// It did not say its word: the connection is lost, or was never there.
    Lost(String),
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
    /// Looks who is there, and whether root can be had.
    pub(super) fn meet(
        caller: &'r Caller,
        broker: &'r Arc<Broker>,
        cancel: Cancel,
        ui: &'r Ui,
        wanted: &'r Wanted,
    ) -> Result<(Self, Machine)> {
        let mut guest = Self { caller, broker, cancel, ui, wanted, word: new_word(), user_is_root: false };
        let probe = "echo \"uid=$(id -u)\"; echo \"arch=$(uname -m)\"; echo \"kernel=$(uname -r)\"";
        let ran = match guest.attempt(As::User, probe, &mut |_| {})? {
            Attempt::Ended(ran) => ran,
            Attempt::Lost(how) => {
                return Err(Reason::GuestUnreachable.error(format!(
                    "the communicator runs no commands ({how}); a builder without a machine, such as `file`, or \
                     `communicator = \"none\"`, cannot be provisioned"
                )));
            }
        };
        let value = |name: &str| {
            let line = ran.out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        guest.user_is_root = value("uid") == "0";
        let machine = Machine { arch: value("arch"), kernel: value("kernel") };
        let uid = guest.run(As::Root, "id -u")?;
        if uid.out.trim() == "0" {
            return Ok((guest, machine));
        }
        let said = if uid.complaint.is_empty() { uid.out } else { uid.complaint };
        Err(Reason::NotRoot.error(format!(
            "the user of the communicator cannot become root in the guest: it said `{}`; log in as root, allow sudo \
             without a password, or set `execute_command`",
            said.trim()
        )))
    }

    /// The word of this run, which also names its folder.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// Runs a shell script to its end, again when the connection is lost meanwhile: a script must bear that.
    pub(super) fn run(&self, who: As, script: &str) -> Result<Ran> {
        let deadline = Instant::now() + self.wanted.reconnect_timeout;
        loop {
            match self.attempt(who, script, &mut |_| {})? {
                Attempt::Ended(ran) => return Ok(ran),
                Attempt::Lost(how) => self.wait_for_it(deadline, &how)?,
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
        let until = Instant::now() + BETWEEN_ATTEMPTS;
        while Instant::now() < until {
            self.cancel.check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Runs a shell script once. `on_line` hears each line of its standard output when it is whole.
    pub(super) fn attempt(&self, who: As, script: &str, on_line: &mut dyn FnMut(&[u8])) -> Result<Attempt> {
        self.cancel.check()?;
        let script = quoted(script);
        let own_way = if who == As::Root { self.wanted.as_root(&script) } else { None };
        let command = own_way.unwrap_or_else(|| match who {
            As::Root if !self.user_is_root => format!("sudo -n sh -c {script}"),
            _ => format!("sh -c {script}"),
        });
        // Whatever shell the user has, it is sh that says the word.
        let word = &self.word;
        let command = format!("sh -c {}", quoted(&format!("{command}; printf '\\n%s %s\\n' {word} $?")));
        let mut output = Output::default();
        let ended = self.caller.run(self.broker, &self.cancel, &command, |piece| match piece {
            Piece::Out(bytes) => output.take(bytes, on_line),
            Piece::Err(bytes) => {
                output.complaint.extend_from_slice(bytes);
                let excess = output.complaint.len().saturating_sub(MAX_COMPLAINT);
                output.complaint.drain(..excess);
            }
        });
        self.cancel.check()?;
        Ok(match (ended, output.end(word)) {
            (Err(how), _) => Attempt::Lost(how),
            (Ok(Finished::Disconnected), _) => Attempt::Lost("the connection was lost".to_owned()),
            (Ok(Finished::Code(_)), Some(ran)) => Attempt::Ended(ran),
            (Ok(Finished::Code(_)), None) => Attempt::Lost("it answered nothing".to_owned()),
        })
    }
}

/// A command's output as it comes.
#[derive(Debug, Default)]
struct Output {
    out: Vec<u8>,
    /// Where the line that is not whole yet begins.
    line: usize,
    complaint: Vec<u8>,
}

impl Output {
    fn take(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&[u8])) {
        self.out.extend_from_slice(bytes);
        while let Some(end) = self.out[self.line..].iter().position(|byte| *byte == b'\n') {
            let end = self.line + end;
            on_line(&self.out[self.line..end]);
            self.line = end + 1;
        }
        // The word is at the end; what is too much goes from the front.
        let excess = self.out.len().saturating_sub(MAX_OUTPUT);
        self.out.drain(..excess);
        self.line = self.line.saturating_sub(excess);
    }

    /// What came before the word, if it came.
    fn end(self, word: &str) -> Option<Ran> {
        let text = String::from_utf8_lossy(&self.out);
        let (out, code) = text.rsplit_once(&format!("\n{word} "))?;
        let code = code.trim().parse().ok()?;
        let complaint = String::from_utf8_lossy(&self.complaint).into_owned();
        Some(Ran { code, out: out.to_owned(), complaint })
    }
}

/// One word of shell, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Several words, each quoted.
pub(super) fn quoted_words<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// Not secret, only never the same.
fn new_word() -> String {
    format!("ofedctl-{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_comes_out_of_a_shell_as_it_was() {
        for text in ["", "a b", "it's", "$HOME `id` \"x\" \\ \n;&|", "''"] {
            let script = format!("printf %s {}", quoted(text));
            let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(ran.stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_command_has_ended_when_it_said_its_word() {
        let mut lines = Vec::new();
        let mut output = Output::default();
        for piece in ["one\ntw", "o\n\nofedctl-1 ", "7\n"] {
            output.take(piece.as_bytes(), &mut |line| lines.push(String::from_utf8(line.to_vec()).unwrap()));
        }
        let ran = output.end("ofedctl-1").unwrap();
        assert_eq!((ran.code, ran.out.as_str()), (7, "one\ntwo\n"));
        assert_eq!(lines, ["one", "two", "", "ofedctl-1 7"]);
        for cut in ["", "one\n", "one\nofedctl-1", "\nofedctl-1 ", "\nofedctl-2 0\n"] {
            let mut output = Output::default();
            output.take(cut.as_bytes(), &mut |_| {});
            assert_eq!(output.end("ofedctl-1"), None, "{cut:?}");
        }
    }

    #[test]
    fn endless_output_costs_no_memory() {
        let mut output = Output::default();
        for _ in 0..3 {
            output.take(&vec![b'x'; MAX_OUTPUT], &mut |_| {});
        }
        assert_eq!(output.out.len(), MAX_OUTPUT);
        output.take(b"\nofedctl-1 0\n", &mut |_| {});
        assert_eq!(output.end("ofedctl-1").unwrap().code, 0);
    }
}
