//! Starts this program again in the background, where it keeps running after its caller has ended.

use super::Host;
use super::process::program;
use super::run::Cmd;
use crate::outcome::{Reason, WithReason};
use anyhow::Result;
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder that exists only where systemd is the first process (`sd_booted(3)`).
const SYSTEMD: &str = "/run/systemd/system";

impl Host {
    /// Starts this program with other arguments and does not wait for it. Where systemd runs, it becomes a transient
    /// unit called `name`, which does not end with the caller's service; elsewhere it is a plain process, which has to
    /// call [`leave_caller`](super::process::leave_caller).
    pub fn detach(&self, name: &str, args: &[String]) -> Result<()> {
        let program = program()?;
        if self.root.is_dir(SYSTEMD) && self.start_unit(name, &program, args) {
            return Ok(());
        }
        let mut command = Command::new(&program);
        command.args(args).env_clear().envs(Cmd::environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let starting = || format!("cannot start `{}` in the background", program.display());
        command.spawn().map(drop).with_reason(Reason::Internal, starting)
    }

    fn start_unit(&self, name: &str, program: &Path, args: &[String]) -> bool {
        // Only this program gets the stop signal, so that a package manager is not killed in the middle of its work.
        let properties =
            ["KillMode=mixed", "TimeoutStopSec=60", "Type=simple"].map(|p| format!("--property={p}"));
        // systemd before 236 (RHEL 7, Ubuntu 16.04) cannot forget a unit that failed.
        for forget in [&["--collect"][..], &[]] {
            let unit = Cmd::new("systemd-run")
                .args(["--quiet", &format!("--unit={name}"), "--description=InfiniBand driver installation"])
                .args(forget.iter().copied())
                .args(properties.iter().cloned())
                .arg("--")
                .arg(program.display().to_string())
                .args(args.iter().cloned());
            match self.run(&unit) {
                Ok(started) if started.code == 0 => return true,
                Ok(started) => self.events.info(format!("systemd-run said: {}", started.tail)),
                Err(error) => self.events.info(format!("{error:#}")),
            }
        }
        false
    }
}
