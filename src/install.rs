//! The fourth step: lets the package manager install the plan's packages from one bundle of the cache.

use crate::cache::{Bundle, Cache};
use crate::host::Host;
use crate::host::journal::Journal;
use crate::outcome::{Because, Reason};
use crate::packages::{LocalRepository, Manager, Transaction};
use crate::plan_document::Plan;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;
use tempfile::TempDir;

/// Asked by package scripts before they start a service (invoke-rc.d(8)): 101 forbids it.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &[u8] = b"#!/bin/sh\nexit 101\n";

/// How to install.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Without any network interface.
    pub offline: bool,
    /// An image is being made: nothing may start or reach the running system.
    pub sealed: bool,
    /// An earlier run died while packages were being installed.
    pub after_a_crash: bool,
    /// How long to wait for another package manager.
    pub patience: Duration,
}

/// What came with it.
#[derive(Debug)]
pub struct Installed {
    /// Versions of the planned packages and of all that were added or changed.
    pub packages: BTreeMap<String, String>,
    /// How many were added or changed.
    pub changed: usize,
}

/// Installs the plan's packages from `bundle`.
///
/// A bundle that lacks something ends in [`Reason::CacheMissing`] with nothing changed.
pub fn install(
    host: &Host,
    journal: &mut Journal,
    manager: Manager,
    (cache, bundle): (&Cache, &Bundle),
    plan: &Plan,
    manner: Manner,
) -> Result<Installed> {
    let folder = lay_out(manager, cache, bundle)?;
    let repository = LocalRepository { folder: folder.path().to_owned(), blobs: cache.blobs_dir() };
    let transaction = Transaction {
        repository: &repository,
        packages: &plan.packages,
        offline: manner.offline,
        sealed: manner.sealed,
        patience: manner.patience,
    };
    manager.wait_for_locks(host, manner.patience)?;
    if manner.sealed {
        journal.write_temporary(POLICY, POLICY_TEXT)?;
    }
    let before = manager.installed(&host.root)?;
    if manner.after_a_crash || !before.broken.is_empty() {
        manager.repair(host, &transaction)?;
    }
    manager.install(host, &transaction)?;
    let mut packages = manager.installed(&host.root)?.versions;
    packages
        .retain(|name, version| before.versions.get(name) != Some(version) || plan.packages.contains(name));
    let changed =
        packages.iter().filter(|(name, version)| before.versions.get(*name) != Some(*version)).count();
    host.root.sync()?;
    Ok(Installed { packages, changed })
}

/// A folder with the bundle's index and a link for each of its packages to the blob, as both appear inside
/// the root. Not one byte of a package is copied.
fn lay_out(manager: Manager, cache: &Cache, bundle: &Bundle) -> Result<TempDir> {
    let doing = "cannot lay out a local repository";
    let folder = tempfile::Builder::new().prefix("ofedctl-repo-").tempdir().context(doing)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).context(doing)?;
    let index = manager.index_name();
    for file in &bundle.files {
        let at = folder.path().join(&file.title);
        if file.title == index {
            let mut blob = cache.blob(&file.digest)?;
            let mut copy = fs::File::create(&at).context(doing)?;
            std::io::copy(&mut blob, &mut copy).context(doing)?;
            blob.finish()?;
            copy.flush().context(doing)?;
        } else {
            symlink(format!("../blobs/{}", file.digest.hex()), &at).context(doing)?;
        }
    }
    if bundle.file(index).is_none() {
        return Err(Reason::CacheUnreadable.error(format!("the bundle `{}` has no `{index}`", bundle.tag)));
    }
    manager.lay_out(folder.path()).because(Reason::Internal, || doing.to_owned())?;
    Ok(folder)
}
