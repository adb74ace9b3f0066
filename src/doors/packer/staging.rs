//! Filling the cache on the build host for the guest: with the guest's package sources and keys, against what the
//! guest has installed.

use super::collect;
use super::guest::{As, Guest};
use super::upload::{Folder, scratch};
use crate::amounts::{count, size};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::unpack;
use crate::outcome::Reason;
use crate::packages::Base;
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::stage::{self, Against};
use anyhow::{Context, Result};
use std::path::Path;

/// What a resolver reads of a root: who it is, its sources with their keys, and its package database.
const READ_BY_RESOLVERS: &str = "etc/os-release usr/lib/os-release etc/apt usr/share/keyrings var/lib/dpkg/status \
    etc/yum.conf etc/yum.repos.d etc/dnf etc/yum etc/pki/rpm-gpg etc/pki/entitlement etc/rhsm var/lib/rpm \
    usr/lib/sysimage/rpm etc/zypp";

/// Fills the cache that the settings name with what the plan needs on this guest.
pub(super) fn fill(
    host: &Host,
    guest: &Guest,
    folder: &Folder,
    plan: &Plan,
    settings: &Settings,
) -> Result<()> {
    let cache = Path::new(&settings.cache);
    if cache.is_file() || settings.cache.contains("://") {
        return Err(Reason::BadSettings
            .error(format!("`stage` fills a folder, and the cache `{}` is none", settings.cache)));
    }
    guest
        .ui
        .say("ofed: the cache has nothing for this guest; staging it with the guest's own package sources");
    let scratch = scratch()?;
    let archive = scratch.path().join("guest.tgz");
    fetch_sources(guest, folder, &archive)?;
    let tree = scratch.path().join("guest");
    std::fs::create_dir(&tree).context("cannot make a folder for the guest's package sources")?;
    unpack::unpack(&guest.cancel, &archive, &tree)?;
    let root = Root::open(&tree)?;
    let against = Against { sources: &root, base: Base::Root(&root), is_root: false };
    let staged = stage::fill(host, cache, plan, &against, settings)?;
    guest.ui.say(&format!(
        "ofed: bundle {}: {}; {}, {} downloaded",
        staged.bundle.tag,
        count(staged.bundle.files.len(), "file"),
        count(staged.downloaded, "file"),
        size(staged.downloaded_bytes)
    ));
    Ok(())
}

/// Links are followed: a source or a key that is one must come as what it points to.
fn fetch_sources(guest: &Guest, folder: &Folder, to: &Path) -> Result<()> {
    let archive = folder.word("sources.tgz");
    let script = format!(
        "cd / && there=; for path in {READ_BY_RESOLVERS}; do [ -e \"$path\" ] && there=\"$there $path\"; done
        tar -czhf {archive} --ignore-failed-read $there 2>/dev/null; chmod 644 {archive}"
    );
    guest.must(As::Root, &script, "packing the guest's package sources")?;
    collect::fetch(guest, &folder.at("sources.tgz"), to)
}
