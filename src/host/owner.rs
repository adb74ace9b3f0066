//! Ownership checks: only root may be able to write to the files that decide what a run as root does. A settings file,
//! a catalogue, a key or the index of a cache decides what is installed as root, so whoever can change one of them can
//! act as root. A file that others than root can change is refused, as `sudo` and OpenSSH's `StrictModes` do.

use crate::outcome::{Cause, Reason, WithCause, WithReason};
use crate::settings::Settings;
use anyhow::Result;
use nix::unistd::{User, geteuid};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest file that is read. Real files of this kind are far smaller; a larger one is a mistake or an attack.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The users who may own the files that the settings name: root, and at most one more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Owners {
    other: Option<u32>,
}

/// The owners that the settings allow.
pub fn owners(settings: &Settings) -> Result<Owners> {
    Owners::root_and(settings.trusted_owner.as_deref())
}

impl Owners {
    /// Root, and the user that a setting gives by name or number.
    pub fn root_and(user: Option<&str>) -> Result<Self> {
        let Some(user) = user else { return Ok(Self::default()) };
        let known = || User::from_name(user).ok().flatten().map(|user| user.uid.as_raw());
        let other = user.parse().ok().or_else(known);
        let unknown = || Reason::BadSettings.error("`trusted_owner` names no user of this machine");
        Ok(Self { other: Some(other.ok_or_else(unknown)?) })
    }

    /// Refuses a file or folder that other users may write to. Only a run as root makes this check.
    pub fn check(self, what: &str, metadata: &Metadata) -> Result<()> {
        if !geteuid().is_root() || self.alone_may_write(metadata) {
            return Ok(());
        }
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        Err(Reason::UnsafeOwner.error(format!(
            "`{what}` belongs to user {owner} and has the mode {mode:04o}: others than root could change it"
        )))
    }

    /// Whether only the owners may write to a path; a link is not followed.
    pub fn may_alone_write(self, path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|metadata| self.alone_may_write(&metadata))
    }

    fn alone_may_write(self, metadata: &Metadata) -> bool {
        let owner = metadata.uid();
        let is_owned = owner == 0 || self.other == Some(owner);
        // The group root has only root in it; in a sticky folder nobody can change files of another user.
        let others = if metadata.gid() == 0 { 0o002 } else { 0o022 };
        let is_sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        is_owned && (metadata.mode() & others == 0 || is_sticky)
    }
}

/// Whether nobody but root can change what a path leads to: the file, and every folder above it.
pub fn is_roots_alone(path: &Path) -> bool {
    // Links are resolved first: a user who can change a link can write to a folder on the link's path or its target's.
    let Ok(real) = path.canonicalize() else { return false };
    real.ancestors().all(|path| Owners::default().may_alone_write(path))
        && path.ancestors().skip(1).all(|path| path.as_os_str().is_empty() || is_roots_or_link(path))
}

fn is_roots_or_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        if metadata.is_symlink() { metadata.uid() == 0 } else { Owners::default().alone_may_write(&metadata) }
    })
}

/// Reads a text file of this machine that the settings name. Refuses it where other users than the owners may write to
/// it or to its folder.
pub fn read_owned(path: &Path, owners: Owners) -> Result<String> {
    let doing = || format!("cannot read `{}`", path.display());
    let mut options = File::options();
    // Opening a pipe must not block the run.
    let file = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = file.with_cause(Cause::FileUnreadable, doing)?;
    let metadata = file.metadata().with_reason(Reason::BadSettings, doing)?;
    if !metadata.is_file() {
        return Err(Reason::BadSettings.error(format!("`{}` is no regular file", path.display())));
    }
    owners.check(&path.display().to_string(), &metadata)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = std::fs::metadata(folder).with_reason(Reason::BadSettings, doing)?;
    owners.check(&folder.display().to_string(), &above)?;
    let mut text = String::new();
    file.take(MAX_TEXT_BYTES).read_to_string(&mut text).with_reason(Reason::BadSettings, doing)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};

    const NOBODY: u32 = 65534;

    #[test]
    fn as_root_a_file_that_others_may_change_is_refused_and_one_user_may_be_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        std::fs::write(&path, "key").unwrap();
        let read = |owners| read_owned(&path, owners).map_err(|error| Reason::from_error(&error));
        assert_eq!(read(Owners::default()).unwrap(), "key");
        let nobody = Owners::root_and(Some("65534")).unwrap();
        for mode in [0o666, 0o646] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(Owners::default()), Err(Reason::UnsafeOwner));
            assert_eq!(read(nobody), Err(Reason::UnsafeOwner));
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        chown(&path, Some(NOBODY), None).unwrap();
        assert_eq!(read(Owners::default()), Err(Reason::UnsafeOwner));
        assert_eq!(read(nobody).unwrap(), "key");
        chown(&path, Some(0), None).unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(read(Owners::default()), Err(Reason::UnsafeOwner));
        assert!(Owners::root_and(Some("no such user")).is_err());
    }

    #[test]
    fn as_root_a_path_is_roots_alone_only_with_every_folder_above_it() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&deep, &link).unwrap();
        assert!(is_roots_alone(&deep.join("file")) && is_roots_alone(&link.join("file")));
        chown(dir.path().join("a"), Some(NOBODY), None).unwrap();
        assert!(!is_roots_alone(&deep.join("file")) && !is_roots_alone(&link.join("file")));
        chown(dir.path().join("a"), Some(0), None).unwrap();
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
        assert!(is_roots_alone(&deep.join("file")) && !is_roots_alone(&link.join("file")));
    }
}
