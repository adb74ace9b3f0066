//! Opens a path inside a root with one system call, openat2(2), where the kernel has it (5.6 and later).
//!
//! The crate pathrs resolves the same way and works on older kernels too. But for each path that does not exist it opens
//! `/proc` twice to describe the error, and a run that finds everything in place asks for some fifty such paths.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use pathrs::error::{Error, ErrorKind};
use pathrs::flags::OpenFlags;
use std::fs::File;
use std::os::fd::OwnedFd;

/// Opens an existing path for reading, or with `O_PATH` only to look at it; none when it does not exist.
pub(super) fn open(root: &pathrs::Root, path: &str, flags: OFlag) -> Result<Option<File>, Error> {
    // The kernel refuses O_PATH beside any flag that is about reading.
    let more = if flags.contains(OFlag::O_PATH) { OFlag::empty() } else { OFlag::O_NOCTTY };
    let how = OpenHow::new()
        .flags(flags | more | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root, path, how) {
        Ok(open) => Ok(Some(open.into())),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        // No such system call, or anything that pathrs can say better or try again.
        Err(_) => as_on_old_kernels(root, path, flags),
    }
}

fn as_on_old_kernels(root: &pathrs::Root, path: &str, flags: OFlag) -> Result<Option<File>, Error> {
    let opened = if flags.contains(OFlag::O_PATH) {
        let resolved =
            if flags.contains(OFlag::O_NOFOLLOW) { root.resolve_nofollow(path) } else { root.resolve(path) };
        resolved.map(|handle| File::from(OwnedFd::from(handle)))
    } else {
        root.open_subpath(path, OpenFlags::from_bits_retain(flags.bits().cast_unsigned().into()))
    };
    match opened {
        Err(error) if is_missing(&error) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Whether a path could not be opened because nothing is there.
pub(super) fn is_missing(error: &Error) -> bool {
    const ENOENT: i32 = Errno::ENOENT as i32;
    const ENOTDIR: i32 = Errno::ENOTDIR as i32;
    matches!(error.kind(), ErrorKind::OsError(Some(ENOENT | ENOTDIR)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    type Way = fn(&pathrs::Root, &str, OFlag) -> Result<Option<File>, Error>;

    #[test]
    fn both_ways_find_the_same_and_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "outside").unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/file"), "inside").unwrap();
        symlink("../../../etc/file", dir.path().join("etc/climbing")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("etc/leaving")).unwrap();
        symlink("loop", dir.path().join("etc/loop")).unwrap();
        let root = pathrs::Root::open(dir.path()).unwrap();
        let look = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        for way in [open as Way, as_on_old_kernels as Way] {
            let text = |path: &str| {
                way(&root, path, OFlag::O_RDONLY).unwrap().map(|mut file| {
                    let mut text = String::new();
                    file.read_to_string(&mut text).unwrap();
                    text
                })
            };
            for path in ["/etc/file", "/etc/climbing"] {
                assert_eq!(text(path).as_deref(), Some("inside"), "{path}");
            }
            for path in ["/etc/leaving", "/etc/none", "/etc/file/below"] {
                assert_eq!(text(path), None, "{path}");
            }
            assert!(way(&root, "/etc/loop", OFlag::O_RDONLY).is_err());
            let link = way(&root, "/etc/leaving", look).unwrap().unwrap();
            assert!(link.metadata().unwrap().is_symlink());
        }
    }
}
