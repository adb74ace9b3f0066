//! Finds out which part of an edit is not made yet. The configure step then makes it; verify checks that nothing is
//! left.

use super::{Edit, initramfs, systemd};
use crate::facts::ofed;
use crate::host::Host;
use crate::packages::Installed;
use anyhow::Result;

/// One change that an edit still needs.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the file.
    Write {
        /// The file, inside the root.
        path: String,
        /// Its content afterwards.
        bytes: Vec<u8>,
    },
    /// Make the link.
    Link {
        /// The link, inside the root.
        path: String,
        /// Where it points.
        to: String,
    },
    /// Put the packages on hold.
    Hold(Vec<String>),
    /// Rebuild the kernel's initramfs.
    Refresh {
        /// The kernel.
        kernel: String,
        /// What is wrong with the initial file system that is there.
        stale: Vec<String>,
    },
}

/// Whether programs may be started to find out, which is too slow for every boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only read files.
    Files,
    /// Also list initial file systems.
    All {
        /// An image is being made.
        sealed: bool,
    },
}

/// What is still to be done of an edit.
pub fn due(host: &Host, edit: &Edit, installed: &Installed, depth: Depth) -> Result<Vec<Action>> {
    match edit {
        Edit::WriteFile { path, .. } | Edit::SetKey { path, .. } | Edit::HoldBack { path, .. } => {
            Ok(written(edit, path, host.root.read(path)?.as_deref(), None))
        }
        Edit::SetComponent { path, .. } => {
            let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
            if !host.root.is_dir(folder) {
                return Ok(Vec::new());
            }
            let says = ofed::read(host).and_then(|ofed| ofed.version);
            Ok(written(edit, path, host.root.read(path)?.as_deref(), says.as_deref()))
        }
        Edit::EnableUnit { unit, .. } => {
            let links = systemd::missing_links(&host.root, unit)?;
            Ok(links.into_iter().map(|(path, to)| Action::Link { path, to }).collect())
        }
        Edit::HoldPackages { names, .. } => {
            let free = installed.named(names).filter(|name| !installed.held.contains(*name));
            let free: Vec<String> = free.map(str::to_owned).collect();
            Ok(if free.is_empty() { Vec::new() } else { vec![Action::Hold(free)] })
        }
        Edit::RefreshInitramfs { kernel, module, .. } => {
            let Depth::All { sealed } = depth else { return Ok(Vec::new()) };
            let Some(initramfs) = initramfs::find(host, kernel) else { return Ok(Vec::new()) };
            let stale = initramfs.stale(host, module, sealed)?;
            let action = |stale| Action::Refresh { kernel: kernel.clone(), stale };
            Ok(if stale.is_empty() { Vec::new() } else { vec![action(stale)] })
        }
    }
}

fn written(edit: &Edit, path: &str, current: Option<&[u8]>, ofed: Option<&str>) -> Vec<Action> {
    let bytes = edit.apply(current, ofed);
    bytes.map(|bytes| Action::Write { path: path.to_owned(), bytes }).into_iter().collect()
}
