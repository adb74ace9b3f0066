//! Showing one file, folder or file system at a path inside a root.

use crate::host::fs::Root;
use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use std::path::Path;

/// The folder of this program's own files in a private `/run`.
pub(super) const OWN: &str = "/run/ofedctl";

/// Binds a file or folder of this machine to a path in the root, which is created where missing.
pub(super) fn bind_in(root: &Root, from: &Path, to: &str, folder: bool) -> Result<()> {
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

pub(super) fn mount_in(root: &Root, path: &str, kind: &str, options: &str) -> Result<()> {
    root.make_dirs(path, 0o755)?;
    let noexec = if kind == "proc" { MsFlags::MS_NOEXEC } else { MsFlags::empty() };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | noexec;
    mount(Some(kind), &root.pin(path)?.1, Some(kind), flags, Some(options))
        .with_context(|| format!("cannot mount {kind} on `{path}`"))
}
