//! Child programs. Each is described as a value and runs with a clean environment, empty input, a deadline and a full
//! log.

use super::sandbox::{self, Sandbox};
use super::{Host, process};
use crate::outcome::Reason;
use crate::outcome::shown::without_colours;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::time::{Duration, Instant};

/// How long a child may continue after SIGTERM, so that dpkg can finish the current package.
const GRACE: Duration = Duration::from_secs(20);
/// How long the kernel may take to end killed processes.
const KILLING: Duration = Duration::from_secs(10);
/// The longest time from a signal or a deadline until all processes of a child are gone.
pub const STOPPING: Duration = Duration::from_secs(GRACE.as_secs() + KILLING.as_secs());
/// How often a waiting run checks whether it must stop.
const POLL: Duration = Duration::from_millis(100);
/// How often people are told that a child is still at work, in seconds.
const TELL: u64 = 2;
/// The number of output lines that an error quotes.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 64 << 10;
/// The longest line of a working child that people are told.
const LAST_BYTES: usize = 512;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: String,
    /// The name by which people know it, where that is another.
    called: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    inside: Option<Sandbox>,
    captured: bool,
    errors_too: bool,
    input: Option<Vec<u8>>,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The program and its arguments, as one would type them.
    pub command: String,
    /// The program's name as people know it.
    pub name: String,
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// Its standard output, when it was asked for.
    pub stdout: String,
    /// The end of its output, unchanged.
    pub output: String,
    /// The last lines of `output`, joined for a message.
    pub tail: String,
    /// The file with its whole output, inside the root.
    pub log: Option<String>,
}

impl Cmd {
    /// A program by name, found in the usual system folders.
    pub fn new(program: &str) -> Self {
        let program = program.to_owned();
        Self {
            program,
            called: None,
            args: Vec::new(),
            env: Vec::new(),
            inside: None,
            captured: false,
            errors_too: false,
            input: None,
        }
    }

    /// A script for the shell, which hands it the arguments as `$1` and so on. `called` is the program that it runs, by
    /// which people know it.
    pub fn shell(script: &str, called: &str) -> Self {
        let called = called.rsplit('/').next().unwrap_or_default();
        Self { called: Some(called.to_owned()), ..Self::new("/bin/sh") }.args(["-c", script, called])
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the program's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Runs it inside a root, in namespaces of its own.
    #[must_use]
    pub fn inside(mut self, sandbox: Sandbox) -> Self {
        self.inside = Some(sandbox);
        self
    }

    /// Sets its standard input; otherwise that is empty.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Keeps its standard output for the caller instead of logging it.
    #[must_use]
    pub fn captured(mut self) -> Self {
        self.captured = true;
        self
    }

    /// Keeps its standard output and standard error for the caller.
    #[must_use]
    pub fn with_full_output(mut self) -> Self {
        self.captured = true;
        self.errors_too = true;
        self
    }

    /// The program's name as people know it, without a folder.
    fn name(&self) -> &str {
        let name = || self.program.rsplit('/').next().unwrap_or_default();
        self.called.as_deref().unwrap_or_else(name)
    }

    /// The command as one would type it.
    pub fn display(&self) -> String {
        let quoted = |word: &String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%~".contains(c);
            if !word.is_empty() && word.chars().all(plain) { word.clone() } else { format!("'{word}'") }
        };
        std::iter::once(&self.program).chain(&self.args).map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn expression(&self) -> Result<duct::Expression> {
        let expression = match &self.inside {
            None => duct::cmd(&self.program, &self.args),
            Some(sandbox) => {
                let (program, args) = sandbox::wrap(sandbox, &self.program, &self.args)?;
                duct::cmd(program, args)
            }
        };
        let mut env = Self::environment();
        env.extend(self.env.iter().cloned());
        let expression = match &self.input {
            None => expression.stdin_null(),
            Some(bytes) => expression.stdin_bytes(bytes.clone()),
        };
        // In a process group of its own, a Ctrl-C at the terminal does not reach the child, and the child can be ended
        // together with its own children. In a sandbox it starts a session.
        let own_group = |command: &mut std::process::Command| {
            command.process_group(0);
            Ok(())
        };
        let expression = if self.inside.is_none() { expression.before_spawn(own_group) } else { expression };
        Ok(expression.full_env(env).unchecked())
    }

    /// The environment of every child program, independent of this program's own.
    pub(super) fn environment() -> Vec<(String, String)> {
        [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C"),
            ("TERM", "dumb"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("NEEDRESTART_MODE", "a"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

impl Finished {
    /// Fails with the program's last output, unless it ended with 0.
    pub fn check(self, reason: Reason, doing: &str) -> Result<Self> {
        if self.code == 0 { Ok(self) } else { Err(self.error(reason, doing)) }
    }

    /// An error with the program's last output.
    pub fn error(&self, reason: Reason, doing: &str) -> anyhow::Error {
        let log = self.log.as_ref().map(|log| format!(" (all of it in `{log}`)")).unwrap_or_default();
        let program = &self.name;
        let said = if self.tail.is_empty() { "nothing".to_owned() } else { self.tail.clone() };
        reason.error(format!("{doing}: `{program}` ended with {} and said{log}: {said}", self.code))
    }
}

impl Host {
    /// Runs a program to its end. An error means it could not be started or had to be stopped.
    pub fn run(&self, cmd: &Cmd) -> Result<Finished> {
        self.cancel.check()?;
        let command = cmd.display();
        let starting = || format!("cannot start `{command}`");
        let (mut output, log) = self.child_output(cmd.name())?;
        let expression = cmd.expression()?;
        let expression = if cmd.errors_too {
            expression.stderr_to_stdout().stdout_capture()
        } else if cmd.captured {
            expression.stdout_capture().stderr_file(output.try_clone().with_context(starting)?)
        } else {
            expression.stderr_to_stdout().stdout_file(output.try_clone().with_context(starting)?)
        };
        let handle = expression.start().map_err(|error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let reason = if missing { Reason::ToolMissing } else { Reason::Internal };
            reason.error(format!("{}: {error}", starting()))
        })?;
        self.wait(&handle, cmd, &command, &output)?;
        let ended = handle.into_output().with_context(starting)?;
        let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        let output = end_of(&mut output).unwrap_or_default();
        let tail = tail(&without_colours(&output));
        let code = ended.status.code().unwrap_or_else(|| 128 + ended.status.signal().unwrap_or(0));
        let name = cmd.name().to_owned();
        Ok(Finished { command, name, code, stdout, output, tail, log })
    }

    /// Waits for a child. When the run must end, the child and all processes that it started are ended first.
    fn wait(&self, handle: &duct::Handle, cmd: &Cmd, command: &str, output: &File) -> Result<()> {
        let is_inside = cmd.inside.is_some();
        let waiting = || format!("cannot wait for `{command}`");
        let (began, mut told) = (Instant::now(), 0);
        loop {
            if handle.wait_timeout(POLL).with_context(waiting)?.is_some() {
                return Ok(());
            }
            let seconds = began.elapsed().as_secs() / TELL * TELL;
            if seconds > told {
                told = seconds;
                self.events.working(cmd.name(), seconds, &last_line(output).unwrap_or_default());
            }
            if let Err(cancel) = self.cancel.check() {
                self.events.info(format!("asking `{command}` to end"));
                stop(handle, is_inside).with_context(waiting)?;
                return Err(cancel.context(format!("`{command}` was stopped")));
            }
        }
    }
}

/// Asks a child to end, kills it when it does not end in time, and returns when all processes that it started are gone.
fn stop(handle: &duct::Handle, is_inside: bool) -> Result<()> {
    let pids: Vec<i32> = handle.pids().into_iter().map(u32::cast_signed).collect();
    let signal_all = |signal| {
        for pid in &pids {
            process::signal(*pid, signal);
        }
    };
    signal_all(sandbox::ASK);
    if is_inside {
        // The child ends when the last of its processes has ended.
        if handle.wait_timeout(GRACE)?.is_none() {
            signal_all(sandbox::KILL);
        }
        if handle.wait_timeout(KILLING)?.is_none() {
            handle.kill()?;
        }
        return Ok(());
    }
    handle.wait_timeout(GRACE)?;
    for pid in &pids {
        process::kill_group(*pid);
    }
    handle.wait()?;
    let end = Instant::now() + KILLING;
    while pids.iter().any(|pid| process::has_group(*pid)) && Instant::now() < end {
        std::thread::sleep(POLL / 10);
    }
    Ok(())
}

/// The last line of a child's output. Its place in the file is the child's, and is left where it is.
fn last_line(output: &File) -> Option<String> {
    let length = output.metadata().ok()?.len();
    let mut bytes = [0; LAST_BYTES];
    let read = output.read_at(&mut bytes, length.saturating_sub(LAST_BYTES as u64)).ok()?;
    let text = without_colours(&String::from_utf8_lossy(&bytes[..read]));
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    // A line that is longer than what was read lacks its beginning.
    (line.len() < LAST_BYTES).then(|| line.to_owned())
}

/// The end of a log.
fn end_of(file: &mut File) -> Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log, joined by ` | ` into one line for an error message.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Events, What};
    use crate::host::cancel::Cancel;
    use std::path::Path;

    fn host(cancel: Cancel) -> Host {
        Host::open(Path::new("/"), Events::silent(), cancel).unwrap()
    }

    #[test]
    fn a_failing_program_is_quoted_with_its_last_lines() {
        let cmd = Cmd::new("sh").args(["-c", "echo first; echo last >&2; exit 3"]);
        let finished = host(Cancel::never()).run(&cmd).unwrap();
        assert_eq!((finished.code, finished.tail.as_str()), (3, "first | last"));
        let error = finished.check(Reason::PackageManager, "installing").unwrap_err();
        assert_eq!(error.to_string(), "installing: `sh` ended with 3 and said: first | last");
    }

    #[test]
    fn a_child_sees_a_clean_environment_and_no_input() {
        let cmd = Cmd::new("sh")
            .args(["-c", "cat; echo $LC_ALL ${CARGO-unset} $MINE"])
            .env("MINE", "yes")
            .captured();
        assert_eq!(host(Cancel::never()).run(&cmd).unwrap().stdout, "C unset yes\n");
    }

    #[test]
    fn whoever_waits_long_is_told_what_a_program_says_and_loses_none_of_its_output() {
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let ear = std::sync::Arc::clone(&heard);
        let events = Events::to(Box::new(move |event| {
            ear.lock().unwrap().push(event.what.clone());
        }));
        let host = Host::open(Path::new("/"), events, Cancel::never()).unwrap();
        // It ends when it was told of, so that nothing depends on how long this machine takes.
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("gate");
        let script =
            format!("echo one; echo two; until [ -e {} ]; do sleep 0.1; done; echo three", gate.display());
        let opener = std::thread::spawn({
            let heard = std::sync::Arc::clone(&heard);
            move || {
                while heard.lock().unwrap().is_empty() {
                    std::thread::sleep(POLL);
                }
                std::fs::write(gate, "").unwrap();
            }
        });
        let finished = host.run(&Cmd::shell(&script, "/usr/bin/apt-get")).unwrap();
        opener.join().unwrap();
        assert_eq!(finished.output, "one\ntwo\nthree\n");
        let told = What::Working { program: "apt-get".to_owned(), seconds: TELL, said: "two".to_owned() };
        assert_eq!(heard.lock().unwrap().first(), Some(&told));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = host(Cancel::never()).run(&Cmd::new("no-such-program")).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::ToolMissing);
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }

    #[test]
    fn a_hanging_child_ends_at_the_deadline() {
        let started = Instant::now();
        let cancel = Cancel::never().within(Duration::from_millis(300));
        let error = host(cancel).run(&Cmd::new("sleep").arg("60")).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DeadlineExceeded);
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let cmd = Cmd::new("apt-get").args(["-o", "Dpkg::Options::=--force-confold", "install", "a b"]);
        assert_eq!(cmd.display(), "apt-get -o Dpkg::Options::=--force-confold install 'a b'");
    }
}
