//! Checks the free space that a bundle's packages need in a root, before anything there is changed.

use crate::cache::{Bundle, Cache, VendorRoom};
use crate::drivers;
use crate::host::Host;
use crate::host::room::Needs;
use crate::packages::{Installed, Manager};
use crate::plan_document::Plan;
use anyhow::{Context, Result};
use std::io::Read;

/// The space for the package manager's database, for logs, and for this program's records.
const RECORDS: u64 = 16 << 20;
/// During an upgrade, the old and the new version of a file exist at the same time.
const TWICE: u64 = 2;

/// Fails where a file system of the root has less room than the bundle's packages, the initial file systems that are
/// made again and the records of it need.
pub fn require(host: &Host, manager: Manager, (cache, bundle): (&Cache, &Bundle), plan: &Plan) -> Result<()> {
    let installed = manager.installed(host)?;
    if !installed.broken.is_empty() {
        // What was interrupted is half there already.
        return Ok(());
    }
    let mut needs = Needs::default();
    let packages = packages(manager, cache, bundle, &installed)?;
    let vendors = vendors(bundle, plan, &installed);
    if packages == 0 && vendors.is_none() {
        return Ok(());
    }
    needs.add("/usr", packages);
    needs.add("/var", RECORDS);
    if let Some(VendorRoom { unpacked, packages }) = vendors {
        needs.add(drivers::ops(plan.driver).unpacks_into(), unpacked);
        needs.add("/usr", packages);
    }
    if drivers::ops(plan.driver).is_vendors() {
        needs.add("/boot", largest_initramfs(host, &plan.target.kernels));
    }
    needs.require(&host.root)
}

/// The unpacked size of the packages that are to come, and once more that of the largest that is to be replaced.
fn packages(manager: Manager, cache: &Cache, bundle: &Bundle, installed: &Installed) -> Result<u64> {
    let Some(file) = bundle.file(manager.packages_index().0) else { return Ok(0) };
    let mut bytes = Vec::new();
    let mut blob = cache.blob(&file.digest)?;
    blob.read_to_end(&mut bytes).context("cannot read the index of the bundle")?;
    blob.finish()?;
    let (mut new, mut largest) = (0_u64, 0_u64);
    for (package, size) in manager.unpacked_sizes(&bytes)? {
        if installed.versions.contains_key(&package) {
            largest = largest.max(size.saturating_mul(TWICE));
        } else {
            new = new.saturating_add(size);
        }
    }
    // A package that is installed in this version stays as it is and needs no room.
    Ok(if new == 0 { 0 } else { new.saturating_add(largest) })
}

/// What the vendor's file takes, where its packages are to come. A release of it that is there is taken out first, and
/// leaves about as much.
fn vendors(bundle: &Bundle, plan: &Plan, installed: &Installed) -> Option<VendorRoom> {
    let comes = drivers::installs_vendors(plan) && plan.rebuilds.is_none();
    let versions = &installed.versions;
    bundle.config.vendor_room.filter(|_| comes && !drivers::was_there(versions, versions))
}

/// A new initial file system is written beside the old one before it replaces it.
fn largest_initramfs(host: &Host, kernels: &[String]) -> u64 {
    let is_one = |name: &&String| {
        (name.starts_with("initrd") || name.starts_with("initramfs"))
            && kernels.iter().any(|it| name.contains(it))
    };
    let names = host.root.list("/boot");
    let size = |name: &String| host.root.metadata(&format!("/boot/{name}")).map_or(0, |found| found.len());
    names.iter().filter(is_one).map(size).max().unwrap_or_default()
}
