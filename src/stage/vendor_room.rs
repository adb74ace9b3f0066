//! How much room a vendor's file takes in a root: counted while all of it is at hand, for the check before a bake.

use super::artifact::Vendors;
use crate::cache::VendorRoom;
use crate::packages::Manager;
use crate::packages::signed_folder::LARGEST_INDEX;
use anyhow::{Context, Result};
use std::fs::{self, DirEntry, File};
use std::io::Read;
use std::path::Path;

/// Counts what the file unpacks to, and what those of its packages take that are `chosen`, by the index in it. Of a file
/// that is a package itself only the index is unpacked here; but packages cannot be packed much further.
pub(super) fn count(manager: Manager, vendors: &Vendors, chosen: &[String]) -> Result<VendorRoom> {
    let (index, folder) = manager.packages_index();
    let folder = vendors.vendor_repo.folder.join(folder);
    let mut packages = 0_u64;
    // createrepo_c puts a digest before the name (`--unique-md-filenames`, its default).
    let is_index = |entry: &DirEntry| entry.file_name().to_string_lossy().ends_with(index);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten().filter(is_index) {
        let reading = || format!("cannot read `{}`", entry.path().display());
        let mut bytes = Vec::new();
        let file = File::open(entry.path()).with_context(reading)?;
        file.take(LARGEST_INDEX).read_to_end(&mut bytes).with_context(reading)?;
        let sizes = manager.unpacked_sizes(&bytes)?;
        let wanted = sizes.into_iter().filter(|(name, _)| chosen.contains(name));
        packages = wanted.fold(packages, |sum, (_, size)| sum.saturating_add(size));
    }
    Ok(VendorRoom { unpacked: size_of(vendors.folder.path())?.max(vendors.file.size), packages })
}

/// The bytes of all files below a folder. Links are not followed.
fn size_of(folder: &Path) -> Result<u64> {
    let looking = || format!("cannot look into `{}`", folder.display());
    let mut size = 0_u64;
    for entry in fs::read_dir(folder).with_context(looking)? {
        let entry = entry.with_context(looking)?;
        let found = entry.metadata().with_context(looking)?;
        let below = if found.is_dir() { size_of(&entry.path())? } else { found.len() };
        size = size.saturating_add(below);
    }
    Ok(size)
}
