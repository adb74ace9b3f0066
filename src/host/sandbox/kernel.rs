//! Which kernel runs, as a program in the sandbox is told.
//!
//! Installers, package scripts, DKMS and configure scripts build for the kernel that `uname -r` names, and on a machine
//! that bakes an image that is the wrong one. `uname` is answered by a script in its place, which asks the root's own
//! for all else. All of it lies in a private `/run` or is mounted for the sandbox alone: nothing stays in the root.

use super::place::{OWN, bind, bind_in, mount_in};
use super::{Sandbox, Uname};
use crate::host::fs::{Content, Root};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where distributions have it, and some link one to the other.
const PLACES: [&str; 2] = ["/usr/bin/uname", "/bin/uname"];
/// What programs read that do not call it.
const OSRELEASE: &str = "/proc/sys/kernel/osrelease";
/// The folder with the script, which comes first in a program's search path.
pub(super) const FOLDER: &str = "/run/ofedctl/bin";
const REAL_FOLDER: &str = "/run/ofedctl/real";

/// Lets a program be told of the kernel it is to build for.
pub(super) fn tell(root: &Root, sandbox: &Sandbox) -> Result<()> {
    let Some((kernel, uname)) = &sandbox.kernel else { return Ok(()) };
    let running = nix::sys::utsname::uname().context("cannot find the name of the running kernel")?;
    let running = running.release().to_string_lossy();
    if running == kernel.as_str() {
        return Ok(());
    }
    if !sandbox.sealed {
        mount_in(root, OWN, "tmpfs", "mode=755")?;
    }
    let osrelease = format!("{OWN}/osrelease");
    root.write_text(&osrelease, &format!("{kernel}\n"))?;
    if root.exists(OSRELEASE) {
        bind(&root.pin(&osrelease)?.1, &root.pin(OSRELEASE)?.1)?;
    }
    root.write_text(&format!("{OWN}/running"), &format!("{running}\n"))?;
    let content = Content { bytes: script().into_bytes(), mode: 0o755, uid: 0, gid: 0 };
    let path = format!("{FOLDER}/uname");
    root.write(&path, &content)?;
    let mut covered = BTreeSet::new();
    for place in PLACES.into_iter().filter(|place| root.exists(place)) {
        let (_handle, pinned) = root.pin(place)?;
        let real: PathBuf = std::fs::read_link(&pinned).with_context(|| format!("cannot find `{place}`"))?;
        // The second name of what has the script over it already.
        if !covered.insert(real.clone()) {
            continue;
        }
        if covered.len() == 1 {
            bind_in(root, &pinned, &format!("{REAL_FOLDER}/uname"), false)?;
        }
        // One program may be many (busybox, the coreutils of Ubuntu 25.10); over that the script would be all of them.
        if *uname == Uname::Covered && real.file_name().is_some_and(|name| name == "uname") {
            bind(&root.pin(&path)?.1, &pinned)?;
        }
    }
    Ok(())
}

/// The search path of a program that is told of a kernel.
pub(super) fn search_path(present: &str) -> String {
    format!("{FOLDER}:{present}")
}

/// Answers as the real one does, with one word replaced.
fn script() -> String {
    format!(
        r#"#!/bin/sh
said=$({REAL_FOLDER}/uname "$@") || exit
for option in "$@"; do
    case $option in
        --a* | --kernel-r*) ;;
        --*) continue ;;
        -*[ar]*) ;;
        *) continue ;;
    esac
    read -r kernel < {OWN}/osrelease
    read -r running < {OWN}/running
    case $said in *"$running"*) said=${{said%%"$running"*}}$kernel${{said#*"$running"}} ;; esac
    break
done
printf '%s\n' "$said"
"#
    )
}
