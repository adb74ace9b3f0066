//! A folder of a vendor's rpm packages, as a repository. The vendor signs each package and not the index. So the index is
//! not read at all: what this program would find in it the target's manager might read in another way. The manager is shown
//! a folder of its own, with the packages that were checked, an index that is made of them, and nothing else.

use super::keys;
use super::own_index::{self, Described};
use super::vendor_repo;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::has_extension;
use crate::host::private_folder;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::outcome::{Reason, WithReason};
use crate::packages::openpgp::{self, Signer};
use crate::packages::rpm::install::REPOSITORIES;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Folders with packages are no deeper than this below the vendor's own.
const DEEPEST: usize = 4;

/// What a folder holds.
#[derive(Debug)]
pub struct RpmFolder {
    /// Who signed every package; none where not everyone of them is signed by one of the keys.
    pub signer: Option<Signer>,
    /// Name and edition of each package.
    pub packages: Vec<(String, String)>,
    /// The kernels that they have built modules for.
    pub kernels: BTreeSet<String>,
}

/// Shows every package below `folder`, wherever links lead to it, in the new folder `into`, checks each with `keys`, and
/// makes an index of them.
pub fn gather(host: &Host, root: &Root, folder: &str, into: &str, keys: &[u8]) -> Result<RpmFolder> {
    private_folder::begin(root, into)?;
    let mut names = Vec::new();
    show(root, folder, into, DEEPEST, &mut names)?;
    let (_handle, pinned) = root.pin(into)?;
    let place = pinned.read_link().with_reason(Reason::WrongPackage, || format!("cannot find `{into}`"))?;
    let files: Vec<PathBuf> = names.iter().map(|name| place.join(name)).collect();
    let signer = keys::signer_of_all(host, keys, &files)?;
    let described = describe(host, root, into, &files)?;
    let all: Vec<(String, Described)> =
        names.into_iter().zip(described).filter_map(|(name, it)| Some((name, it?))).collect();
    own_index::write(root, into, &all)?;
    let kernels = all.iter().flat_map(|(_, package)| package.kernels.iter().cloned()).collect();
    let packages = all.into_iter().map(|(_, package)| (package.edition(), package.name));
    let packages = packages.map(|(edition, name)| (name, edition)).collect();
    Ok(RpmFolder { signer, packages, kernels })
}

/// Shows the target's manager a folder of the root as a repository, for its next transaction.
pub fn add_repository(root: &Root, folder: &str) -> Result<()> {
    root.write_text(&format!("{REPOSITORIES}/vendor.repo"), &vendor_repo::repository_file(folder))
}

/// Adds the packages of a folder and of those below it to `into`.
fn show(root: &Root, folder: &str, into: &str, depth: usize, names: &mut Vec<String>) -> Result<()> {
    for name in root.list(folder) {
        let path = format!("{folder}/{name}");
        // A link to a folder is not followed: it may lead to the folder that it is in.
        if depth > 0 && root.link_target(&path).is_none() && root.is_dir(&path) {
            show(root, &path, into, depth - 1, names)?;
        } else if has_extension(&name, "rpm") {
            if !is_plain(&name) {
                let what = format!("`{folder}` has a package of the name `{name}`");
                return Err(Reason::WrongPackage.error(what));
            }
            // A link that leads nowhere is no package.
            if private_folder::add(root, &path, &format!("{into}/{name}"))? {
                names.push(name);
            }
        }
    }
    Ok(())
}

/// Whether every program takes a name for that of one file: rpm expands patterns, and addresses may hold escapes.
fn is_plain(name: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "._+~^-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_known)
}

/// What rpm says of each of these packages of a folder: rpm of this machine, or the target's, where that is the only one.
fn describe(host: &Host, root: &Root, folder: &str, files: &[PathBuf]) -> Result<Vec<Option<Described>>> {
    if files.is_empty() {
        return Err(Reason::WrongPackage.error(format!("`{folder}` has no packages")));
    }
    // What is no package would be read as a list of others.
    let query = ["--query", "--nosignature", "--nomanifest", "--queryformat", own_index::FORMAT, "--package"];
    let query = Cmd::new("rpm").args(query).captured();
    let names = files.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy());
    let query = if openpgp::is_here("rpm") {
        query.args(files.iter().map(|file| file.display().to_string()))
    } else {
        query.args(names.map(|name| format!("{folder}/{name}"))).inside(Sandbox::offline(root, true))
    };
    let asked = host.run(&query)?.check(Reason::WrongPackage, "reading the vendor's packages")?;
    let described = own_index::described(&asked.stdout)?;
    if described.len() != files.len() {
        let what = format!("rpm described {} packages, of {} asked", described.len(), files.len());
        return Err(Reason::WrongPackage.error(what));
    }
    Ok(described)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_program_reads_in_another_way_are_refused() {
        for name in ["a[1].rpm", "a*.rpm", "-a.rpm", "a b.rpm", "a%2fb.rpm", "a\u{1f}.rpm", ".a.rpm", "é.rpm"]
        {
            assert!(!is_plain(name), "{name}");
        }
        assert!(is_plain("kmod-mlnx-ofa_kernel-24.10~rc^1+x.rhel8u10.x86_64.rpm"));
    }
}
