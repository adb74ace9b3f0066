//! What is mounted at and below a folder (`/proc/self/mountinfo`).

use anyhow::{Context, Result};
use nix::mount::MsFlags;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A mount that can be reached by its path.
#[derive(Debug)]
pub(super) struct Mount {
    /// Its mount point.
    pub(super) point: PathBuf,
    /// Its flags, such as read-only.
    pub(super) flags: MsFlags,
    /// An open handle of its top folder or file.
    pub(super) open: File,
}

/// The mounts at and below a folder, without those hidden below other mounts.
pub(super) fn reachable_mounts(tree: &Path) -> Result<Vec<Mount>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot list the mounts")?;
    let below = table.lines().filter_map(parse).filter(|(_, point, _)| point.starts_with(tree));
    let reachable = below.filter_map(|(id, point, flags)| {
        let no_follow = nix::libc::O_PATH | nix::libc::O_NOFOLLOW;
        let open = File::options().read(true).custom_flags(no_follow).open(&point).ok()?;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd())).ok()?;
        let found = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
        (found.trim() == id).then_some(Mount { point, flags, open })
    });
    Ok(reachable.collect())
}

/// A line of `/proc/self/mountinfo`: `36 35 98:0 /sub /mnt/point rw,noatime master:1 - ext3 …`. Returns the mount's
/// number, where it is, and its flags.
fn parse(line: &str) -> Option<(&str, PathBuf, MsFlags)> {
    let mut words = line.split(' ');
    let (id, point, options) = (words.next()?, words.nth(3)?, words.next()?);
    let flags = options.split(',').map(|option| match option {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    });
    Some((id, unescape(point), flags.fold(MsFlags::empty(), |all, one| all | one)))
}

/// Decodes octal escapes, which stand for blanks, line ends and backslashes.
fn unescape(point: &str) -> PathBuf {
    let mut parts = point.split('\\');
    let mut path = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                path.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => path.extend_from_slice(part.as_bytes()),
        }
    }
    PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_flags_and_blanks() {
        let line = r"36 35 98:0 /sub /mnt/a\040b\134c ro,nosuid,relatime master:1 - ext3 /dev/root rw";
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_RELATIME;
        assert_eq!(parse(line), Some(("36", PathBuf::from(r"/mnt/a b\c"), flags)));
        assert_eq!(parse("36 35 98:0"), None);
    }
}
