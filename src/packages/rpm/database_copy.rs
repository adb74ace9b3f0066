//! A root's rpm database: where it is, and a private copy of it, because rpm locks and repairs even a
//! database that it only reads; and where managers that run in a root write that, and everything else.

use super::super::in_target::Lent;
use super::DATABASES;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::host::temp::Folder;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The folder of a copy, in the scratch folder of a manager.
pub(super) const DATABASE: &str = "database";

/// Leads what a manager of a root writes into its scratch folder: each path of `written` into the folder of this name there,
/// and all of rpm's databases into that of [`DATABASE`]. All of them start empty, `more` ones for this program too.
pub(super) fn lend_folders(
    lent: &mut Lent,
    manager: &str,
    written: &[(&str, &str)],
    more: &[&str],
) -> Result<()> {
    let databases = DATABASES.iter().map(|path| (DATABASE, *path));
    let scratch = lent.scratch();
    let names = written.iter().map(|(name, _)| *name).chain([DATABASE]).chain(more.iter().copied());
    for name in names {
        fs::create_dir_all(scratch.join(name))
            .with_context(|| format!("cannot make folders for the target's {manager}"))?;
    }
    for (name, path) in written.iter().copied().chain(databases) {
        lent.cover(name, path);
    }
    Ok(())
}

/// The folder of a root's database; none when it has none.
pub(super) fn folder(root: &Root) -> Option<&'static str> {
    let is_database = |name: &String| matches!(name.as_str(), "rpmdb.sqlite" | "Packages" | "Packages.db");
    DATABASES.into_iter().find(|folder| root.list(folder).iter().any(is_database))
}

/// Copies the database of a root.
pub(super) fn copy_database(root: &Root, to: &Path) -> Result<()> {
    let folder = folder(root).ok_or_else(|| {
        Reason::BadRoot.error(format!("there is no rpm database in the root, in {}", DATABASES.join(" or ")))
    })?;
    // Not Berkeley DB's scratch files, which belong to processes, and not locks.
    let lasting = |name: &&String| !name.starts_with("__db") && !name.starts_with('.');
    for name in root.list(folder).iter().filter(lasting) {
        copy_file(root, &format!("{folder}/{name}"), &to.join(name))?;
    }
    Ok(())
}

/// A command in a root that it can read and cannot change. rpm locks and repairs its database even to read it; so it sees
/// a copy, which lies in the folder that is returned, too.
pub(super) fn reading(root: &Root, cmd: Cmd) -> Result<(Folder, Cmd)> {
    let private = Folder::small("rpm")?;
    let scratch = private.path().join("scratch");
    let copy = scratch.join(DATABASE);
    fs::create_dir_all(&copy).with_context(|| format!("cannot make `{}`", copy.display()))?;
    let sandbox = Sandbox::lookup(root, &scratch);
    let Some(folder) = folder(root) else { return Ok((private, cmd.inside(sandbox))) };
    copy_database(root, &copy)?;
    Ok((private, cmd.inside(sandbox.with_cover(DATABASE, folder))))
}

/// Copies a file, readable by its owner alone; says whether there was one.
pub(super) fn copy_file(root: &Root, path: &str, to: &Path) -> Result<bool> {
    let Some((mut file, _)) = root.open_file(path)? else { return Ok(false) };
    let doing = || format!("cannot copy `{path}`");
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(doing)?;
    }
    let mut copy = fs::File::create(to).with_context(doing)?;
    std::io::copy(&mut file, &mut copy).with_context(doing)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_without_a_database_is_named() {
        let target = tempfile::tempdir().unwrap();
        let error = copy_database(&Root::open(target.path()).unwrap(), target.path()).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::BadRoot);
    }
}
