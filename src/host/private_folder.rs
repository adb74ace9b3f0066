//! Files of one folder under other names in another one: a program that takes whatever a folder holds is shown a folder
//! with what it may take.

use super::fs::{Root, fd_path};
use crate::outcome::{Reason, WithReason};
use anyhow::Result;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;

/// Empties a folder, or makes it.
pub fn begin(root: &Root, folder: &str) -> Result<()> {
    root.remove_all(folder)?;
    root.make_dirs(folder, 0o755)
}

/// Gives the regular file `from`, wherever links below the root lead to it, another name that is no link. False if it does
/// not exist. A name that is taken is refused.
pub fn add(root: &Root, from: &str, to: &str) -> Result<bool> {
    let Some((file, _)) = root.open_file(from)? else { return Ok(false) };
    let (folder, name) = to.rsplit_once('/').unwrap_or(("", to));
    root.make_dirs(folder, 0o755)?;
    let (_handle, folder) = root.pin(folder)?;
    linkat(AT_FDCWD, &fd_path(&file), AT_FDCWD, &folder.join(name), AtFlags::AT_SYMLINK_FOLLOW)
        .with_reason(Reason::WrongPackage, || format!("cannot show `{from}` as `{to}`"))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_behind_links_is_shown_as_itself_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for folder in ["a", "b", "shown/left"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("b/file"), "x").unwrap();
        symlink("../b/file", dir.path().join("a/link")).unwrap();
        symlink("/etc/passwd", dir.path().join("a/away")).unwrap();
        begin(&root, "/shown").unwrap();
        assert!(add(&root, "/a/link", "/shown/c/file").unwrap());
        assert!(!add(&root, "/a/away", "/shown/passwd").unwrap(), "links stay below the root");
        assert!(!add(&root, "/b", "/shown/folder").unwrap());
        assert_eq!(root.list("/shown"), ["c"]);
        assert!(dir.path().join("shown/c/file").symlink_metadata().unwrap().is_file());
        let taken = add(&root, "/b/file", "/shown/c/file").unwrap_err();
        assert_eq!(Reason::from_error(&taken), Reason::WrongPackage);
    }
}
