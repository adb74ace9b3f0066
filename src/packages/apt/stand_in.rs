//! Resolves with this machine's apt in place of the target's: it is given copies of the target's sources and settings, and
//! reads nothing else.

use super::super::diagnose::{self, Diagnosis};
use super::super::{Resolution, ResolveRequest, VendorRepo};
use super::mirrors::{self, Mirrors};
use super::resolve::{HEARD, READING, installed_set, resolve_closure};
use super::run::{AptRun, proxy_lines, write_private};
use super::vendor_repo::source_and_preferences;
use super::{sources, target_config};
use crate::amounts::count;
use crate::host::Host;
use crate::host::run::Finished;
use crate::host::temp::Folder;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Resolves `request` with apt of this machine, the target's sources and keys, and the target's installed set.
pub(super) fn resolve(host: &Host, request: &ResolveRequest) -> Result<Resolution> {
    host.events.info(format!("asking apt about {}", count(request.packages.len(), "package")));
    let mut turn = 0;
    loop {
        let scratch = Folder::large("apt")?;
        let (apt, mirrors) = prepare(host, scratch.path(), request, turn)?;
        let update = host.run(&apt.cmd("apt-get").arg("update"))?;
        // apt ends well when a source could not be read, and then knows no packages of it. What failed first is told.
        let trouble = diagnose::diagnose(&update.output, HEARD);
        turn += 1;
        match &trouble {
            Some(trouble) if mirrors::is_of_mirror(trouble.reason) && turn < mirrors::turns(&mirrors) => {
                host.events.warn(format!("trying the next of the target's mirrors: {}", trouble.line));
            }
            _ => {
                let mut resolution = resolved(host, &apt, request, &update, trouble)?;
                mirrors::add_others(&mirrors, &mut resolution);
                return Ok(resolution);
            }
        }
    }
}

/// The answer of this machine's apt, which has read the package sources.
fn resolved(
    host: &Host,
    apt: &AptRun,
    request: &ResolveRequest,
    update: &Finished,
    trouble: Option<Diagnosis>,
) -> Result<Resolution> {
    if update.code != 0 {
        return Err(diagnose::told(host, update, trouble, READING, request.distro, "apt-get"));
    }
    if let Some(trouble) = &trouble {
        host.events.warn(format!("apt-get update said: {}", trouble.line));
    }
    let vendor = request.vendor_repo.map(|vendor| vendor.folder.display().to_string());
    resolve_closure(host, apt, request, vendor.as_deref(), (update, trouble))
}

/// Puts together what this machine's apt reads in the place of its own settings, and returns the mirrors that it was given.
fn prepare(
    host: &Host,
    scratch: &Path,
    request: &ResolveRequest,
    turn: usize,
) -> Result<(AptRun, Vec<Mirrors>)> {
    let preparing = || format!("cannot prepare `{}`", scratch.display());
    // apt drops privileges for some helpers, which must read keys and sources here.
    fs::set_permissions(scratch, fs::Permissions::from_mode(0o755)).with_context(preparing)?;
    for folder in ["state/lists/partial", "cache/archives/partial", "etc"] {
        fs::create_dir_all(scratch.join(folder)).with_context(preparing)?;
    }
    let named = scratch.join("named");
    let mirrors = sources::copy(request.sources, &scratch.join("etc"), &named, turn)?;
    let target = sources::Target::new(request.sources, &named);
    let settings = target_config::write(host, &target, scratch)?;
    if let Some(vendor_repo) = request.vendor_repo {
        add_source(&scratch.join("etc"), vendor_repo).with_context(preparing)?;
    }
    let status = scratch.join("status");
    fs::write(&status, installed_set(request)?).with_context(preparing)?;
    let architecture = request.arch.debian();
    let show = |path: PathBuf| path.display().to_string();
    let options = [
        format!("Dir::Etc={}", show(scratch.join("etc"))),
        format!("Dir::State={}", show(scratch.join("state"))),
        format!("Dir::State::status={}", show(status)),
        format!("Dir::Cache={}", show(scratch.join("cache"))),
        format!("APT::Architecture={architecture}"),
        "APT::Architectures::=".to_owned(),
        format!("APT::Architectures::={architecture}"),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::ForceHash=SHA256".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Acquire::Retries=2".to_owned(),
    ];
    let mut options: Vec<String> =
        options.iter().flat_map(|option| ["-o".to_owned(), option.clone()]).collect();
    if let Some(proxy) = request.proxy {
        let file = scratch.join("proxy.conf");
        write_private(&file, &proxy_lines(proxy)?).with_context(preparing)?;
        options.extend(["-c".to_owned(), show(file)]);
    }
    let apt = AptRun::new(options, Some(settings), scratch.join("state"), None);
    Ok((apt, mirrors))
}

/// Makes apt know a folder of packages.
fn add_source(etc: &Path, vendor_repo: &VendorRepo) -> std::io::Result<()> {
    let key = vendor_repo.key.as_ref().map(|key| key.display().to_string());
    let folder = vendor_repo.folder.display().to_string();
    let (line, preferences) = source_and_preferences(vendor_repo, &folder, key.as_deref());
    fs::write(etc.join("sources.list.d/ofedctl-vendor.list"), line)?;
    fs::write(etc.join("preferences.d/ofedctl-vendor"), preferences)
}
