//! The two processes that wait for the processes of a sandbox: the one that creates the namespaces, and the first one
//! in them. Both wait for a program, and adopt the processes that its children leave behind. A run that must end sends
//! [`enter`] a signal: SIGTERM asks the program to end, and then all processes that it started are waited for; SIGQUIT,
//! which the kernel also sends when the run dies, kills them all. In both cases the process ends only when the last of
//! them is gone.

use super::limits::give_up;
use super::mounts::lay_out;
use super::{BECOME, ENTER, NOT_MADE, NOT_RUNNABLE, NOT_THERE, Sandbox, kernel, relay};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_child_subreaper, set_dumpable, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Asks [`enter`] to let its program end in order.
pub(in crate::host) const ASK: Signal = Signal::SIGTERM;
/// Makes [`enter`] kill its program and all processes that it started.
pub(in crate::host) const KILL: Signal = Signal::SIGQUIT;

/// Runs as [`ENTER`]: creates the namespaces and waits for the program. Returns its exit code.
pub fn enter(args: &[String]) -> Result<u8> {
    let [parent, spec, program @ ..] = args else { bail!("{ENTER} is not for users") };
    let sandbox: Sandbox = serde_json::from_str(spec).context("cannot read the sandbox")?;
    let mut signals = listen()?;
    end_with(parent)?;
    // In a session of its own, a Ctrl-C at the terminal does not reach a dpkg in the middle of its work.
    nix::unistd::setsid().context("cannot start a session")?;
    set_child_subreaper(true).context("cannot own the processes to come")?;
    if let Err(error) = make_namespaces(&sandbox, parent) {
        return lookup_exit_code(&sandbox, error, NOT_MADE);
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg(BECOME).arg(spec).args(program);
    // The end of the first process ends a pid namespace. Descendants are not looked up there, because the `/proc` that
    // is seen here may have other process numbers than this process.
    let kill_all: fn(Pid) = if sandbox.sealed { kill_first } else { kill_descendants };
    wait_for(&mut command, &mut signals, kill_all).context("cannot start the first process of the namespaces")
}

/// Asks the kernel for a signal when the parent ends.
fn end_with(parent: &str) -> Result<()> {
    set_pdeathsig(KILL).context("cannot ask to be told of the parent's end")?;
    // The parent may have died before that call.
    if std::os::unix::process::parent_id().to_string() != *parent {
        bail!("the run that started this process is gone");
    }
    Ok(())
}

/// The exit code for an error. That of a lookup is distinct, because the caller may have another way to find the
/// answer.
fn lookup_exit_code(sandbox: &Sandbox, error: anyhow::Error, code: u8) -> Result<u8> {
    if !sandbox.is_lookup() {
        return Err(error);
    }
    let _ = writeln!(std::io::stderr(), "ofedctl: {error:#}");
    Ok(code)
}

fn make_namespaces(sandbox: &Sandbox, parent: &str) -> Result<()> {
    let mut flags = CloneFlags::CLONE_NEWNS;
    if sandbox.sealed {
        flags |= CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    }
    if sandbox.offline {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if !nix::unistd::geteuid().is_root() && sandbox.is_lookup() {
        become_root_of_a_namespace()?;
        // The kernel clears the parent-death signal when credentials change.
        end_with(parent)?;
    }
    // The relay's threads must start now: they stay in the network namespace that this process leaves.
    let relay = sandbox.relayed.as_ref().map(|it| relay::start(it.metadata)).transpose()?;
    unshare(flags).context("cannot make namespaces (is this process root?)")?;
    match (relay, &sandbox.relayed) {
        (Some(relay), Some(relayed)) => relay.listen(&relayed.ports),
        _ => Ok(()),
    }
}

/// Enters a user namespace in which only this user exists, as root (`user_namespaces(7)`).
fn become_root_of_a_namespace() -> Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).context("this system allows no user namespace")?;
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ];
    for (name, text) in files {
        std::fs::write(format!("/proc/self/{name}"), text)
            .with_context(|| format!("cannot become root of a user namespace by its {name}"))?;
    }
    Ok(())
}

/// Runs as [`BECOME`]: mounts, drops capabilities and starts the program. Returns its exit code. Without a pid
/// namespace it becomes the program itself and returns only on failure.
pub fn become_program(args: &[String]) -> Result<u8> {
    let [spec, program, args @ ..] = args else { bail!("{BECOME} is not for users") };
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to be killed with the parent")?;
    let sandbox: Sandbox = serde_json::from_str(spec).context("cannot read the sandbox")?;
    let laid_out = lay_out(&sandbox).and_then(|()| nix::unistd::chdir("/").context("cannot enter the root"));
    if let Err(error) = laid_out {
        return lookup_exit_code(&sandbox, error, NOT_MADE);
    }
    let mut command = Command::new(program);
    command.args(args);
    if sandbox.kernel.is_some() {
        command.env("PATH", kernel::search_path(&std::env::var("PATH").unwrap_or_default()));
    }
    let starting = || format!("cannot start `{program}` inside the root");
    if !sandbox.sealed {
        return Err(command.exec()).with_context(starting);
    }
    let mut signals = listen()?;
    give_up(&sandbox)?;
    // No process in the sandbox may read this process's memory or the file that it was started from.
    set_dumpable(false).context("cannot shut this process off")?;
    command.env("SYSTEMD_OFFLINE", "1");
    wait_for(&mut command, &mut signals, kill_first).or_else(|error| {
        let is_missing = error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == ErrorKind::NotFound);
        lookup_exit_code(
            &sandbox,
            error.context(starting()),
            if is_missing { NOT_THERE } else { NOT_RUNNABLE },
        )
    })
}

fn listen() -> Result<Signals> {
    Signals::new([SIGCHLD, SIGTERM, SIGQUIT]).context("cannot listen for signals")
}

/// Starts a program and waits for it; after a request to stop, waits for all its remaining processes as well. Returns
/// its exit code; 128 plus the signal's number when a signal ended it.
fn wait_for(command: &mut Command, signals: &mut Signals, kill_all: fn(Pid)) -> Result<u8> {
    let first = Pid::from_raw(i32::try_from(command.spawn()?.id())?);
    let (mut code, mut is_stopping, mut is_killing) = (None, false, false);
    for signal in signals.forever() {
        match signal {
            SIGTERM => {
                is_stopping = true;
                let _ = kill(first, Signal::SIGTERM);
            }
            SIGQUIT => (is_stopping, is_killing) = (true, true),
            _ => {}
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == first => code = Some(status),
                Ok(WaitStatus::Signaled(pid, by, _)) if pid == first => code = Some(128 + by as i32),
                Ok(WaitStatus::StillAlive) => break,
                Err(Errno::ECHILD) => return Ok(exit_code(code)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot wait for processes"),
            }
        }
        if code.is_some() && !is_stopping {
            break;
        }
        // Repeated at every death, because a dying process may have started others.
        if is_killing {
            kill_all(first);
        }
    }
    Ok(exit_code(code))
}

fn exit_code(code: Option<i32>) -> u8 {
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn kill_first(first: Pid) {
    let _ = kill(first, Signal::SIGKILL);
}

/// Kills all descendants of this process.
fn kill_descendants(_: Pid) {
    let parents: BTreeMap<i32, i32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
            Some((pid, parent.trim().parse().ok()?))
        })
        .collect();
    for pid in descendants(&parents, std::process::id().cast_signed()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The descendants of a process, found by each process's parent.
fn descendants(parents: &BTreeMap<i32, i32>, of: i32) -> Vec<i32> {
    let mut found = vec![of];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = parents.iter().filter(|(_, above)| **above == parent).map(|(pid, _)| *pid);
        // Process numbers may have been reused while they were read.
        let new: Vec<i32> = children.filter(|child| !found.contains(child)).collect();
        found.extend(new);
        at += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_stems_from_a_process_is_found() {
        let parents = BTreeMap::from([(1, 0), (10, 1), (11, 10), (12, 11), (13, 10), (20, 1), (21, 20)]);
        assert_eq!(descendants(&parents, 10), [11, 13, 12]);
        assert_eq!(descendants(&parents, 21), [] as [i32; 0]);
    }
}
