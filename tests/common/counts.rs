//! What a run of the program costs that does not depend on the machine: processes, opened files, syncs, connections.

use super::need::need;
use super::program;
use std::ffi::OsStr;
use std::process::Command;

/// Counted by strace while the program ran.
#[derive(Debug)]
pub struct Counts {
    /// Processes started, threads not counted.
    pub children: usize,
    /// Files and folders opened.
    pub opened: usize,
    /// Calls that wait for the disk.
    pub syncs: usize,
    /// Connections begun to anything but a socket file.
    pub connections: usize,
    /// The paths opened, for messages.
    pub paths: Vec<String>,
}

/// Runs the program to its end and counts.
pub fn counted<S: AsRef<OsStr>>(args: &[S]) -> (program::Ran, Counts) {
    counted_of(&program::program(args))
}

/// Runs a command to its end and counts.
pub fn counted_of(run: &Command) -> (program::Ran, Counts) {
    need(&["strace"]);
    let folder = super::scratch();
    let log = folder.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "--string-limit=200",
        "--trace=%process,open,openat,openat2,connect,fsync,fdatasync,sync,syncfs",
        "-o",
    ]);
    strace.arg(&log).arg(run.get_program()).args(run.get_args()).env_clear();
    strace.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = program::finish(strace);
    (ran, read(&std::fs::read_to_string(log).unwrap()))
}

fn read(log: &str) -> Counts {
    // A call that another thread interrupts takes two lines; the second says how it ended.
    let name = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start();
        let call = call.strip_prefix("<... ").unwrap_or(call);
        Some(call.split(['(', ' ']).next()?.to_owned())
    };
    let ended_well =
        |line: &&str| line.rsplit_once(") ").is_some_and(|(_, end)| !end.trim_start().starts_with("= -"));
    let calls = |names: &[&str]| {
        let is_one = |line: &&str| name(line).is_some_and(|name| names.contains(&name.as_str()));
        log.lines().filter(is_one).collect::<Vec<_>>()
    };
    let opens: Vec<&str> = calls(&["open", "openat", "openat2"]).into_iter().filter(ended_well).collect();
    let is_process = |line: &&str| !line.contains("CLONE_THREAD") && !line.contains("resumed");
    let is_network = |line: &&str| line.contains("AF_INET");
    Counts {
        children: calls(&["clone", "clone3", "fork", "vfork"]).into_iter().filter(is_process).count(),
        opened: opens.len(),
        syncs: calls(&["fsync", "fdatasync", "syncfs", "sync"]).into_iter().filter(ended_well).count(),
        connections: calls(&["connect"]).into_iter().filter(is_network).count(),
        paths: opens.iter().filter_map(|line| Some(line.split('"').nth(1)?.to_owned())).collect(),
    }
}
