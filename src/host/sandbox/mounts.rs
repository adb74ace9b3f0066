//! What a program sees: the root, private folders for what must not outlive it, and folders of this machine.

use super::Sandbox;
use crate::host::fs::{Root, fd_path};
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes every mount of this process's namespace private: none made here is seen outside.
pub(super) fn make_private() -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make mounts private")
}

pub(super) fn prepare(root: &Root, sandbox: &Sandbox) -> Result<()> {
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
        if !root.exists("/tmp") {
            // The image keeps the folder, which is for everybody.
            root.make_dirs("/tmp", 0o1777)?;
            let (_handle, pinned) = root.pin("/tmp")?;
            std::fs::set_permissions(pinned, Permissions::from_mode(0o1777))
                .context("cannot open up `/tmp`")?;
        }
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

pub(super) fn bind(from: &Path, to: &Path) -> Result<()> {
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
