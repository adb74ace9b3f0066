//! Resolves with the target's own dnf, inside the target, so that its variables, plugins, certificates, keys and module
//! streams apply as they do there. It writes only to its scratch folder; no package script runs.

use super::super::super::in_target::{InTarget, Lent, inside, run_watched, say_stand_in, why_not};
use super::super::super::{Base, LocalFile, Resolution, ResolveRequest};
use super::super::database_copy::{self, DATABASE, lend_folders};
use super::super::{Dialect, vendor_repo};
use super::script::{
    Answer, Package, RUN, SCRIPT, Trust, download, imported_keys, names, question, refused, unsigned,
};
use crate::amounts::count;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::SCRATCH;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Folders that dnf and its plugins write to: each starts empty, in the scratch folder.
const WRITTEN: [(&str, &str); 3] =
    [("cache", "/var/cache"), ("log", "/var/log"), ("persist", "/var/lib/dnf")];

/// Resolves with the target's own dnf; none when it cannot run there.
pub(in super::super) fn resolve(
    dialect: &Dialect,
    host: &Host,
    request: &ResolveRequest,
    how: InTarget,
) -> Result<Option<Resolution>> {
    // Headers that the package sources no longer have are downloaded by their address.
    let headers = request.kernel_devel.and_then(|devel| devel.url.as_deref());
    let addresses: Vec<&str> = request.proxy.into_iter().chain(headers).collect();
    let mut lent = Lent::new(request.sources, how, &addresses)?;
    let scratch = lent.scratch();
    lend_folders(&mut lent, "dnf", &WRITTEN, &["repositories", "keys"])?;
    copy_database(request, &scratch.join(DATABASE))?;
    let vendor = request.vendor_repo.map(|vendor| lent.show(&vendor.folder, "vendor"));
    if let Some(vendor) = &vendor {
        fs::write(scratch.join("repositories/vendor.repo"), vendor_repo::repository_file(vendor))
            .context("cannot show dnf the vendor's packages")?;
    }
    let mut asked = question(dialect, request);
    asked["inside"] = json!(true);
    asked["scratch"] = json!(SCRATCH);
    asked["root"] = json!("");
    asked["target"] = json!(null);
    asked["repositories"] = json!(inside("repositories"));
    host.events.info(format!("asking the target's dnf about {}", count(request.packages.len(), "package")));
    let cmd = Cmd::shell(RUN, "dnf").arg(SCRIPT).input(asked.to_string()).captured();
    let finished = run_watched(host, &lent.cmd(cmd), &scratch, "reading the target's package sources")?;
    if let Some(why) = why_not(&finished) {
        say_stand_in(host, "dnf", "dnf of this machine", &finished, why);
        return Ok(None);
    }
    let answer = read(host, request, &finished)?;
    let mut resolution = resolution(request, answer, &scratch, vendor.as_deref())?;
    resolution.lent = Some(lent);
    Ok(Some(resolution))
}

/// rpm locks and repairs its database even to read it; so dnf sees a copy. What will be replaced does not count, but the
/// release in it does.
fn copy_database(request: &ResolveRequest, to: &Path) -> Result<()> {
    match request.base {
        Base::Root(root) => database_copy::copy_database(root, to),
        Base::Empty => database_copy::copy_database(request.sources, to).or(Ok(())),
        Base::StatusFile(path) => {
            let copy = to.join(path.file_name().unwrap_or_default());
            let copied = fs::copy(path, copy)
                .with_reason(Reason::Usage, || format!("cannot read `{}`", path.display()));
            copied.map(drop)
        }
    }
}

fn read(host: &Host, request: &ResolveRequest, finished: &Finished) -> Result<Answer> {
    if finished.code != 0 {
        return Err(refused(host, request, finished, "the target's dnf"));
    }
    let line = finished.stdout.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    line.with_context(|| {
        format!("the answer of the target's dnf cannot be read; it also said: {}", finished.tail)
    })
}

/// What an answer comes to: files that lie in the target or in the scratch folder need no network.
pub(in super::super) fn resolution(
    request: &ResolveRequest,
    answer: Answer,
    scratch: &Path,
    vendor: Option<&str>,
) -> Result<Resolution> {
    let root = Arc::new(Root::open(request.sources.path())?);
    let written = Arc::new(Root::open(scratch)?);
    let at_hand = vendor.map(|vendor| format!("file://{vendor}/"));
    let is_at_hand = |url: &str| at_hand.as_ref().is_some_and(|start| url.starts_with(start));
    let mut keys = Vec::new();
    for (number, key) in answer.keys.iter().enumerate() {
        keys.push(key_here(&root, key, scratch, number)?);
    }
    keys.extend(imported_keys(&answer, &scratch.join("keys"))?);
    let unsigned = unsigned(&answer, at_hand.as_deref());
    let (vendors, wanted): (Vec<_>, Vec<_>) =
        answer.packages.into_iter().partition(|package| is_at_hand(&package.url));
    let signed = wanted.iter().filter(|package| package.signed).map(|package| package.file.clone()).collect();
    let of = |package: &Package| (package.file.clone(), package.repository.clone());
    let repositories = wanted.iter().map(of).collect();
    let described = serde_json::to_string(&Trust { keys, signed, repositories })
        .context("cannot keep what dnf said of keys")?;
    let downloads = wanted.into_iter().map(download).collect::<Result<Vec<_>>>()?;
    let mut local = HashMap::new();
    for download in &downloads {
        let Some(path) = download.url.strip_prefix("file:") else { continue };
        let path = format!("/{}", path.trim_start_matches('/'));
        let file = match path.strip_prefix(SCRATCH) {
            Some(path) => {
                LocalFile { root: Arc::clone(&written), path: path.to_owned(), is_of_target: false }
            }
            None => LocalFile { root: Arc::clone(&root), path, is_of_target: true },
        };
        local.insert(download.file.clone(), file);
    }
    let at_hand = names(&vendors);
    Ok(Resolution {
        downloads,
        at_hand,
        described,
        proxy: answer.proxy,
        local,
        unsigned,
        ..Resolution::default()
    })
}

/// A key that lies in the target, copied to where rpm of this machine reads it. A missing one stays missing: what it
/// should vouch for is then named.
fn key_here(root: &Root, key: &str, scratch: &Path, number: usize) -> Result<String> {
    let Some(path) = key.strip_prefix("file://") else { return Ok(key.to_owned()) };
    let name = path.rsplit('/').next().unwrap_or_default();
    let copy = scratch.join(format!("keys/{number}-{name}"));
    if let Some(bytes) = root.read(path)? {
        fs::write(&copy, bytes).context("cannot keep a key")?;
    }
    Ok(format!("file://{}", copy.display()))
}
