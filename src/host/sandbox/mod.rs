//! Programs inside a root, in namespaces of their own.
//!
//! This program starts itself twice. [`ENTER`] makes new mount, pid, uts, ipc and, offline, network namespaces;
//! [`BECOME`], the first process in them, mounts what a program expects, changes the root and becomes the
//! program. Each asks the kernel to be killed with its parent, and the end of the first process ends the
//! namespaces with everything in them: no mount and no process outlives a run, even one that was killed.

mod mounts;
mod reap;

pub use reap::enter;

use super::fs::Root;
use anyhow::{Context, Result, bail};
use mounts::{bind, make_private, prepare};
use nix::sched::CloneFlags;
use reap::die_with_parent;
use serde::{Deserialize, Serialize};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// First argument of the process that makes the namespaces. Not for users.
pub const ENTER: &str = "__enter";
/// First argument of the process that becomes the program. Not for users.
pub const BECOME: &str = "__become";

/// What a program is to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The root it runs in; `/` is the running system itself.
    root: PathBuf,
    /// No network interface at all.
    offline: bool,
    /// Private process numbers, an empty `/run` and `/tmp`: nothing of the running system can be reached or
    /// started. Always on when the root is not `/`.
    sealed: bool,
    /// Folders of this machine shown read-only inside, as (folder, path inside). Made in a private `/run`.
    views: Vec<(PathBuf, String)>,
}

impl Sandbox {
    /// A program in `root`, without a network. `sealed` keeps it from reaching or starting anything of the running
    /// system; a root other than `/` always is.
    pub fn offline(root: &Root, sealed: bool) -> Self {
        Self { root: root.path().to_owned(), offline: true, sealed, views: Vec::new() }
    }

    /// The same with this machine's network, or without any.
    #[must_use]
    pub fn with_network(mut self, on: bool) -> Self {
        self.offline = !on;
        self
    }

    /// The same with a folder of this machine shown read-only as `inside`.
    #[must_use]
    pub fn with_view(mut self, folder: &Path, inside: &str) -> Self {
        self.views.push((folder.to_owned(), inside.to_owned()));
        self
    }

    fn is_another_root(&self) -> bool {
        self.root != Path::new("/")
    }

    fn is_sealed(&self) -> bool {
        self.sealed || self.is_another_root()
    }

    fn namespaces(&self) -> CloneFlags {
        let mut flags = CloneFlags::CLONE_NEWNS;
        if self.is_sealed() {
            flags |= CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        }
        if self.offline {
            flags |= CloneFlags::CLONE_NEWNET;
        }
        flags
    }
}

/// The command line that runs `program` in `sandbox`.
pub(super) fn wrap(sandbox: &Sandbox, program: &str, args: &[String]) -> Result<(PathBuf, Vec<String>)> {
    let spec = serde_json::to_string(sandbox).context("cannot describe the sandbox")?;
    let mut all = vec![ENTER.to_owned(), std::process::id().to_string(), spec, program.to_owned()];
    all.extend_from_slice(args);
    Ok((PathBuf::from("/proc/self/exe"), all))
}

/// Runs as [`BECOME`]: mounts, changes the root and becomes the program. Returns only on failure.
pub fn become_program(args: &[String]) -> Result<u8> {
    let [spec, program, args @ ..] = args else { bail!("{BECOME} is not for users") };
    die_with_parent()?;
    let sandbox: Sandbox = serde_json::from_str(spec).context("cannot read the sandbox")?;
    make_private()?;
    // A mount inside the root must not be taken for one on the plain folder it covers: bind the root on
    // itself first, so that what is below it is a tree of its own.
    if sandbox.is_another_root() {
        bind(&sandbox.root, &sandbox.root)?;
        // Resolved anew: the path now leads to the bound tree.
        prepare(&Root::open(&sandbox.root)?, &sandbox)?;
        nix::unistd::chroot(&sandbox.root).context("cannot change the root")?;
    } else {
        prepare(&Root::open(&sandbox.root)?, &sandbox)?;
    }
    nix::unistd::chdir("/").context("cannot enter the root")?;
    let mut command = Command::new(program);
    command.args(args);
    if sandbox.is_sealed() {
        command.env("SYSTEMD_OFFLINE", "1");
    }
    Err(command.exec()).with_context(|| format!("cannot start `{program}` inside the root"))
}
