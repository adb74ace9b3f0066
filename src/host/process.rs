//! This process: its environment, its own program file, and the signals that it sends to other processes.

use anyhow::{Context, Result};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// A variable of this process's environment; an empty one counts as unset.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The program this process runs.
pub fn program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find out which program this is")
}

/// The folder this process works in.
pub fn working_folder() -> Option<PathBuf> {
    std::env::current_dir().ok()
}

/// Leaves the caller's session, so that its end does not end this process, and the caller's working folder, so that it
/// can be removed.
pub fn leave_caller() {
    // Fails only for the leader of a process group; `Host::detach` starts none.
    let _ = nix::unistd::setsid();
    let _ = std::env::set_current_dir("/");
}

/// Removes this process's program file, and its folder if that is empty afterwards.
pub fn remove_program(path: &Path) {
    let _ = std::fs::remove_file(path);
    if let Some(folder) = path.parent() {
        let _ = std::fs::remove_dir(folder);
    }
}

/// The processes in this one's pid namespace, with their command lines.
pub fn all() -> Vec<(i32, Vec<String>)> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace("self");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let pid = name.parse().ok()?;
            let line = std::fs::read(format!("/proc/{name}/cmdline")).ok().filter(|line| !line.is_empty())?;
            let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
            (namespace(&name) == own).then(|| (pid, words.collect()))
        })
        .collect()
}

/// Asks a process to end.
pub fn terminate(pid: i32) {
    let _ = signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
}

/// Sends a process a signal.
pub(super) fn signal(pid: i32, signal: Signal) {
    let _ = signal::kill(Pid::from_raw(pid), signal);
}

/// Ends all processes of a group.
pub(super) fn kill_group(leader: i32) {
    let _ = signal::killpg(Pid::from_raw(leader), Signal::SIGKILL);
}

/// Whether a group has any process left.
pub(super) fn has_group(leader: i32) -> bool {
    signal::killpg(Pid::from_raw(leader), None).is_ok()
}

/// Ends a process.
pub fn kill(pid: i32) {
    let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
}
