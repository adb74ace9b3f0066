//! `MLNX_OFED` from its own packages: the bundle's folder as a repository, in one transaction of the target's package
//! manager, and the modules by DKMS. None of the vendor's unsigned programs is run. The other work of `mlnxofedinstall`
//! is done by the packages' own signed scripts as well: the metapackage writes the release into `ofed_info`, disables
//! `opensmd` at boot and sets `SDP_LOAD` and `QIB_LOAD` in `openib.conf`; `knem-dkms` lets its module be loaded at
//! boot. Conflicting packages of the distribution are removed in the same transaction.

use super::super::{Brought, Work, signing};
use super::folder;
use super::installer::Installer;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::unpack::unpack;
use crate::outcome::Reason;
use crate::packages::{Format, VendorRepo, bring_folder, rpm_folder};
use crate::plan_document::Plan;
use crate::settings::Settings;
use anyhow::{Context, Result};
use std::path::Path;

/// Unpacks the archive into an empty folder, and returns the set of packages to install from.
pub(super) fn vendor_repo(
    host: &Host,
    (plan, settings): (&Plan, &Settings),
    file: &Path,
    into: &Path,
) -> Result<VendorRepo> {
    unpack(&host.cancel, file, into)?;
    let root = Root::open(into)?;
    let found = root.list("/");
    let [top] = found.as_slice() else {
        let what = format!("an archive with {} folders, not one", found.len());
        return Err(Reason::WrongPackage.error(what));
    };
    let opened = folder::open(host, &root, &format!("/{top}"), plan, settings)?;
    host.events.info(format!(
        "its packages in `{}` are {} (trust level {})",
        opened.set, opened.signed, opened.trust
    ));
    if !opened.absent.is_empty() {
        host.events.warn(format!("its index names {}, which it lacks", opened.absent.join(", ")));
    }
    let key = opened.key.map(|key| {
        let path = into.join(if key.starts_with(b"-----BEGIN") { "key.asc" } else { "key.gpg" });
        std::fs::write(&path, key).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    });
    let folder = into.join(opened.path.trim_start_matches('/'));
    Ok(VendorRepo {
        folder,
        packages: Vec::new(),
        wanted: Vec::new(),
        goes_first: true,
        key: key.transpose()?,
        trust: Some(opened.trust),
    })
}

/// Installs it for every kernel of the plan. Returns the compiled modules, to be stored in the cache.
pub(super) fn install(work: &Work, transact: &mut dyn FnMut() -> Result<()>) -> Result<Brought> {
    let installer = Installer { work };
    let before = work.manager.installed(work.host)?;
    let trust = installer.in_private(|| {
        let top = installer.unpack_original()?;
        let host = work.host;
        let folder = folder::open(host, &host.root, &top, work.plan, work.options.settings)?;
        host.events.info(format!("`{}` is {} (trust level {})", folder.set, folder.signed, folder.trust));
        match work.manager.format() {
            Format::Deb => bring_folder(&host.root, &folder.path, folder.key.as_deref())?,
            Format::Rpm => rpm_folder::add_repository(&host.root, &folder.path)?,
        }
        transact().map(|()| folder.trust)
    })?;
    let built = if folder::has_modules(work.plan, work.manager.format()) {
        signing::sign_installed(work, &before)?;
        Vec::new()
    } else {
        work.build_by_dkms()?
    };
    Ok(Brought { built, trust: Some(trust) })
}
