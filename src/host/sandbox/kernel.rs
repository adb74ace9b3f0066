//! The kernel release that a program in the sandbox sees. Installers, package scripts, DKMS and configure scripts build
//! for the kernel that `uname -r` prints, which is the wrong one on a machine that bakes an image. A script takes the
//! place of `uname`; it calls the root's own `uname` for everything but the release. The script lies in a private
//! `/run` or is mounted for the sandbox only, so nothing stays in the root.

use super::place::{OWN, bind, bind_in, mount_in};
use super::{Sandbox, Uname};
use crate::host::fs::{Content, Root};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The paths of `uname` in distributions; in some, one is a link to the other.
const PLACES: [&str; 2] = ["/usr/bin/uname", "/bin/uname"];
/// The file that programs read instead of calling `uname`.
const OSRELEASE: &str = "/proc/sys/kernel/osrelease";
/// The folder of the script, which comes first in a program's search path.
pub(super) const FOLDER: &str = "/run/ofedctl/bin";
const REAL_FOLDER: &str = "/run/ofedctl/real";

/// Makes a program see the kernel for which it is to build.
pub(super) fn answer_with_kernel(root: &Root, sandbox: &Sandbox) -> Result<()> {
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
        // Another name of a file over which the script is mounted already.
        if !covered.insert(real.clone()) {
            continue;
        }
        if covered.len() == 1 {
            bind_in(root, &pinned, &format!("{REAL_FOLDER}/uname"), false)?;
        }
        // One file may be many programs (busybox, the coreutils of Ubuntu 25.10); a script mounted over it would
        // replace them all.
        if *uname == Uname::Covered && real.file_name().is_some_and(|name| name == "uname") {
            bind(&root.pin(&path)?.1, &pinned)?;
        }
    }
    Ok(())
}

/// The search path of a program that sees another kernel.
pub(super) fn search_path(present: &str) -> String {
    format!("{FOLDER}:{present}")
}

/// The script: it prints what the real `uname` prints, with the release replaced.
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
