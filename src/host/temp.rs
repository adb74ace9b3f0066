//! Private temporary folders of a run, and the removal of those that killed runs left. A folder is locked while it is
//! in use; the kernel releases the lock when the process ends, however it ends.

use crate::outcome::{Reason, WithReason};
use anyhow::Result;
use nix::unistd::geteuid;
use std::fs::{File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// The place for large folders. It is not /tmp, which may be in memory: an archive unpacks to more than a gigabyte.
const LARGE: &str = "/var/tmp";
/// The prefix of the names of locked folders.
const PREFIX: &str = "ofedctl-run-";
/// The prefix of earlier releases, which did not lock their folders. Such a folder is removed when it is older than any
/// run lasts.
const OLD_PREFIX: &str = "ofedctl-";
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// A private folder. It is removed when dropped, or by the next run if this one is killed.
#[derive(Debug)]
pub struct Folder {
    // Dropped before the lock, because a locked folder is never swept by another run.
    dir: TempDir,
    _lock: File,
}

impl Folder {
    /// A folder for large files; `for_what` becomes a part of its name.
    pub fn large(for_what: &str) -> Result<Self> {
        let place = Path::new(LARGE);
        if place.is_dir() { Self::inside(place, for_what) } else { Self::small(for_what) }
    }

    /// A folder for small files, in `$TMPDIR`.
    pub fn small(for_what: &str) -> Result<Self> {
        Self::inside(&std::env::temp_dir(), for_what)
    }

    fn inside(place: &Path, for_what: &str) -> Result<Self> {
        let doing = || format!("cannot make a folder for {for_what} in `{}`", place.display());
        sweep(place);
        loop {
            let prefix = format!("{PREFIX}{for_what}-");
            let dir = tempfile::Builder::new()
                .prefix(&prefix)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(place);
            let dir = dir.with_reason(Reason::UnexpectedFile, doing)?;
            // Until it is locked, another run may take it for a left one and sweep it: then the next is made.
            let lock = match open(dir.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound && place.is_dir() => continue,
                opened => opened.with_reason(Reason::UnexpectedFile, doing)?,
            };
            if lock.try_lock().is_ok() && dir.path().exists() {
                return Ok(Self { dir, _lock: lock });
            }
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Removes folders that killed runs of this user left.
fn sweep(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(OLD_PREFIX) {
            continue;
        }
        let path = entry.path();
        let Ok(folder) = open(&path) else { continue };
        let Ok(metadata) = folder.metadata() else { continue };
        let is_ours = metadata.uid() == geteuid().as_raw();
        let age = metadata.modified().ok().and_then(|made| SystemTime::now().duration_since(made).ok());
        let is_old = age.is_some_and(|age| age > OLD);
        let is_left = name.to_string_lossy().starts_with(PREFIX) || is_old;
        if is_ours && is_left && folder.try_lock().is_ok() {
            // In a sticky folder no other user can replace this one.
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_swept_and_what_is_in_use_stays() {
        let place = tempfile::tempdir().unwrap();
        let left = place.path().join("ofedctl-run-cache-abc");
        let foreign = place.path().join("ofedctl-cache-of-somebody");
        for folder in [&left, &foreign] {
            std::fs::create_dir_all(folder.join("blobs")).unwrap();
            std::fs::write(folder.join("blobs/half"), "x").unwrap();
        }
        let first = Folder::inside(place.path(), "cache").unwrap();
        assert!(!left.exists() && foreign.exists());
        let second = Folder::inside(place.path(), "cache").unwrap();
        assert!(first.path().exists() && second.path().exists());
        let day_before = SystemTime::now() - 2 * OLD;
        File::open(&foreign).unwrap().set_modified(day_before).unwrap();
        drop(first);
        drop(Folder::inside(place.path(), "cache").unwrap());
        assert!(!foreign.exists() && second.path().exists());
        let mode = std::fs::metadata(second.path()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700);
    }

    #[test]
    fn runs_that_sweep_at_the_same_time_take_no_folder_from_each_other() {
        let place = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let folder = Folder::inside(place.path(), "crowd").unwrap();
                        std::fs::write(folder.path().join("mine"), "x").unwrap();
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_for_temporary_files_is_no_bug_of_ours() {
        let error = Folder::inside(Path::new("/nonexistent/tmp"), "apt").unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::UnexpectedFile);
        assert!(format!("{error:#}").contains("/nonexistent/tmp"), "{error:#}");
    }
}
