//! Programs inside a root, in namespaces of their own.
//!
//! This program starts itself twice. [`ENTER`] makes new mount, pid, uts, ipc and, offline, network namespaces;
//! [`BECOME`], the first process in them, mounts what a program expects, changes the root and becomes the
//! program. Each asks the kernel to be killed with its parent, and the end of the first process ends the
//! namespaces with everything in them: no mount and no process outlives a run, even one that was killed.

use super::fs::{Root, fd_path};
use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::os::unix::process::{CommandExt, ExitStatusExt};
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
    pub root: PathBuf,
    /// No network interface at all.
    pub offline: bool,
    /// Private process numbers, an empty `/run` and `/tmp`: nothing of the running system can be reached or
    /// started. Always on when the root is not `/`.
    pub sealed: bool,
    /// Folders of this machine shown read-only inside, as (folder, path inside). Made in a private `/run`.
    pub views: Vec<(PathBuf, String)>,
}

impl Sandbox {
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

/// Runs as [`BECOME`]: mounts, changes the root and becomes the program. Returns only on failure.
pub fn become_program(args: &[String]) -> Result<u8> {
    let [spec, program, args @ ..] = args else { bail!("{BECOME} is not for users") };
    die_with_parent()?;
    let sandbox: Sandbox = serde_json::from_str(spec).context("cannot read the sandbox")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make mounts private")?;
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

fn die_with_parent() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to be killed with the parent")
}

fn prepare(root: &Root, sandbox: &Sandbox) -> Result<()> {
    // Opened before anything is mounted over them.
    let views = sandbox.views.iter().map(|(from, to)| {
        let opened =
            std::fs::File::open(from).with_context(|| format!("cannot open `{}`", from.display()))?;
        Ok((opened, to))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    if sandbox.is_sealed() {
        mount_in(root, "/proc", "proc", "")?;
        mount_in(root, "/run", "tmpfs", "mode=755")?;
        root.make_dirs("/run/lock", 0o755)?;
        // What a killed program leaves in /tmp must not become part of an image.
        mount_in(root, "/tmp", "tmpfs", "mode=1777")?;
    }
    if sandbox.is_another_root() {
        // A few harmless devices instead of the machine's disks. No /sys: an image must not be configured
        // by the hardware of the machine it is baked on.
        mount_in(root, "/dev", "tmpfs", "mode=755")?;
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            bind_in(root, &Path::new("/dev").join(name), &format!("/dev/{name}"), false)?;
        }
        for (link, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
        {
            root.make_link(&format!("/dev/{link}"), Path::new(to))?;
        }
    }
    for (from, to) in views {
        bind_in(root, &fd_path(&from), to, true)?;
        let pinned = root.pin(to)?;
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &pinned.1, None::<&str>, read_only, None::<&str>)
            .with_context(|| format!("cannot make `{to}` read-only"))?;
    }
    Ok(())
}

/// Binds a file or folder of this machine to a path in the root, which is made where missing.
fn bind_in(root: &Root, from: &Path, to: &str, folder: bool) -> Result<()> {
    if folder {
        root.make_dirs(to, 0o755)?;
    } else if !root.exists(to) {
        root.append(to, 0o666)?;
    }
    bind(from, &root.pin(to)?.1)
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot show `{}` inside the root", from.display()))
}

fn mount_in(root: &Root, path: &str, kind: &str, options: &str) -> Result<()> {
    root.make_dirs(path, 0o755)?;
    let flags = MsFlags::MS_NOSUID
        | if kind == "proc" { MsFlags::MS_NODEV | MsFlags::MS_NOEXEC } else { MsFlags::empty() };
    mount(Some(kind), &root.pin(path)?.1, Some(kind), flags, Some(options))
        .with_context(|| format!("cannot mount {kind} on `{path}`"))
}
