//! The process that makes the namespaces, and waits for what runs in them.

use super::{BECOME, ENTER, Sandbox};
use anyhow::{Context, Result, bail};
use nix::sched::unshare;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Runs as [`ENTER`]: makes the namespaces and waits for the program. Returns its exit code.
pub fn enter(args: &[String]) -> Result<u8> {
    let [parent, spec, program @ ..] = args else { bail!("{ENTER} is not for users") };
    die_with_parent()?;
    // The parent may have died before the kernel knew of our wish.
    if std::os::unix::process::parent_id().to_string() != *parent {
        bail!("the run that started this process is gone");
    }
    // A Ctrl-C at the terminal is for the run to handle, not for a dpkg in the middle of its work.
    nix::unistd::setsid().context("cannot start a session")?;
    let sandbox: Sandbox = serde_json::from_str(spec).context("cannot read the sandbox")?;
    unshare(sandbox.namespaces()).context("cannot make namespaces (is this process root?)")?;
    let status = Command::new("/proc/self/exe")
        .arg(BECOME)
        .arg(spec)
        .args(program)
        .status()
        .context("cannot start the first process of the namespaces")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

pub(super) fn die_with_parent() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to be killed with the parent")
}
