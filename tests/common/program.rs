//! Runs the real program as a user would, and inspects what it leaves behind.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ofedctl::host::fault::VARIABLE;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program with arguments and a clean environment. Proxies pass, for machines that need one.
pub fn program<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_ofedctl")), args)
}

/// The same, where no network interface exists but a dead loopback.
pub fn program_without_network<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", env!("CARGO_BIN_EXE_ofedctl")]);
    clean(unshare, args)
}

/// A shell script in namespaces of its own, network too, with a clean environment; what ends it ends all below it.
/// The arguments that follow are the script's `$0` and on.
pub fn in_namespaces(script: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--mount",
        "--uts",
        "--ipc",
        "--pid",
        "--net",
        "--fork",
        "--kill-child",
        "sh",
        "-ec",
        script,
    ]);
    unshare.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    unshare
}

/// Runs the program to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Ran {
    finish(program(args))
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Ran {
    Ran::from(command.output().unwrap())
}

/// Runs a command up to a point (`edit-noted`, or `edit-noted#3` for the third time), at which it is killed as by a power
/// cut. Fails where it ends in any other way.
#[track_caller]
pub fn kill_at(point: &str, command: Command) {
    drop(killed_at(point, command));
}

/// The same; returns what it had said until then.
#[track_caller]
pub fn killed_at(point: &str, mut command: Command) -> Ran {
    let output = command.env(VARIABLE, format!("kill@{point}")).output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(Signal::SIGKILL as i32), "never came to {point}: {output:?}");
    Ran::from(output)
}

/// Runs the program to its end as a user at a terminal sees it: all that it says is in `stdout`.
pub fn at_a_terminal<S: AsRef<str>>(args: &[S]) -> Ran {
    let words = args.iter().map(|word| format!(" '{}'", word.as_ref()));
    let line = format!("'{}'{}", env!("CARGO_BIN_EXE_ofedctl"), words.collect::<String>());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null());
    finish(script)
}

/// Starts a command, and returns once it stands still at a point. [`go_on`] lets it go on.
#[track_caller]
pub fn stop_at(point: &str, mut command: Command) -> Child {
    let child = start({
        command.env(VARIABLE, format!("stop@{point}"));
        command
    });
    let state = waitpid(pid(&child), Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert!(matches!(state, WaitStatus::Stopped(..)), "never came to {point}: {state:?}");
    child
}

/// Lets a command that stands still go on.
pub fn go_on(child: &Child) {
    send(child, Signal::SIGCONT);
}

/// Sends a signal to a command.
pub fn send(child: &Child, signal: Signal) {
    kill(pid(child), signal).unwrap();
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Starts a command whose end the test decides.
pub fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A program that holds dpkg's lock in a root until it is killed.
pub fn hold_lock(root: &Path) -> Child {
    super::need::need(&["python3"]);
    let script = "import fcntl, sys, time\nlock = open(sys.argv[1], 'r+')\nfcntl.lockf(lock, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(600)";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(root.join("var/lib/dpkg/lock-frontend")).stdout(Stdio::piped());
    let mut holder = python.spawn().unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    holder
}

/// Gives a command arguments and a clean environment.
pub fn clean<S: AsRef<std::ffi::OsStr>>(mut command: Command, args: &[S]) -> Command {
    command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    for proxy in ["http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"] {
        if let Some(value) = std::env::var_os(proxy) {
            command.env(proxy, value);
        }
    }
    command
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        // A shell's way to say that a signal ended it.
        let code = output.status.code().unwrap_or_else(|| {
            128 + std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or_default()
        });
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// The result of a run with `--json`.
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output is not one JSON value: {error}\n{self:?}"));
        assert_eq!(value["schema_version"], 1, "{value}");
        super::documents::assert_is_as_promised(&value);
        value
    }

    /// Why a run with `--json` ended as it did.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless the run ended with this code and, said in its JSON, for this reason.
    #[track_caller]
    pub fn expect(&self, code: i32, reason: &str) -> &Self {
        assert_eq!((self.code, self.reason().as_str()), (code, reason), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// The processes that work in a folder or below it, by number.
pub fn processes_in(folder: &Path) -> Vec<u32> {
    let inside = |pid: &u32| {
        let points_inside = |what: &str| {
            std::fs::read_link(format!("/proc/{pid}/{what}")).is_ok_and(|at| at.starts_with(folder))
        };
        points_inside("root") || points_inside("cwd")
    };
    let numbers = std::fs::read_dir("/proc").unwrap();
    numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(inside).collect()
}

/// The mount points below a folder, for this thread and what it started: a test may have a root mounted there.
pub fn mounts_in(folder: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points
        .filter(|point| Path::new(point).starts_with(folder) && Path::new(point) != folder)
        .map(str::to_owned)
        .collect()
}
