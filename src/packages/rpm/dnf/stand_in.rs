//! Resolves with this machine's dnf in place of the target's manager: it is given copies of the target's repositories,
//! settings and database, and reads nothing else.

use super::super::super::{Base, Resolution, ResolveRequest};
use super::super::{Dialect, database_copy, sources, vendor_repo};
use super::script::{
    Answer, RUN, SCRIPT, Trust, download, imported_keys, names, question, refused, unsigned,
};
use crate::amounts::count;
use crate::host::Host;
use crate::host::http::asked_directly;
use crate::host::run::Cmd;
use crate::host::temp::Folder;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

/// Resolves `request` with dnf of this machine, the target's repositories and keys, and the target's installed set.
pub(in super::super) fn resolve(
    dialect: &Dialect,
    host: &Host,
    request: &ResolveRequest,
) -> Result<Resolution> {
    let scratch = Folder::large("dnf")?;
    let copied = sources::copy(&dialect.sources, request.sources, scratch.path())?;
    match request.base {
        Base::Empty => {}
        Base::Root(root) => {
            database_copy::copy_database(root, &copied.database)?;
        }
        Base::StatusFile(path) => {
            let name = path.file_name().unwrap_or_default();
            fs::copy(path, copied.database.join(name))
                .with_reason(Reason::Usage, || format!("cannot read `{}`", path.display()))?;
        }
    }
    if let Some(vendor_repo) = request.vendor_repo {
        let file = vendor_repo::repository_file(&vendor_repo.folder.display().to_string());
        fs::write(copied.repositories.join("vendor.repo"), file)
            .context("cannot show dnf the vendor's packages")?;
    }
    let mut asked = question(dialect, request);
    asked["scratch"] = json!(scratch.path());
    asked["root"] = json!(copied.root);
    asked["repositories"] = json!(copied.repositories);
    asked["main"] = json!(copied.main);
    asked["database"] = json!(copied.database);
    asked["variables"] = json!(copied.variables);
    host.events.info(format!("asking dnf about {}", count(request.packages.len(), "package")));
    // The request may hold a password, and everyone sees arguments.
    let cmd = Cmd::shell(RUN, "dnf").arg(SCRIPT).input(asked.to_string()).captured();
    let cmd = match asked_directly() {
        Some(hosts) => cmd.env("no_proxy", hosts),
        None => cmd,
    };
    let finished = host.run(&cmd)?;
    if finished.code == 127 {
        let what = "staging for this target needs dnf 4 on this machine (package dnf)";
        return Err(Reason::ToolMissing.error(format!("{what}: {}", finished.tail)));
    }
    if finished.code != 0 {
        return Err(refused(host, request, &finished, "dnf"));
    }
    let answer: Answer = finished
        .stdout
        .lines()
        .next_back()
        .and_then(|line| serde_json::from_str(line).ok())
        .with_context(|| format!("dnf's answer cannot be read; it also said: {}", finished.tail))?;
    let at_hand = request.vendor_repo.map(|vendor| format!("file://{}/", vendor.folder.display()));
    let unsigned = unsigned(&answer, at_hand.as_deref());
    let mut keys = answer.keys.clone();
    keys.extend(imported_keys(&answer, scratch.path())?);
    let trust = Trust {
        keys,
        signed: answer.packages.iter().filter(|it| it.signed).map(|it| it.file.clone()).collect(),
        repositories: BTreeMap::new(),
    };
    let described = serde_json::to_string(&trust).context("cannot keep what dnf said of keys")?;
    let is_at_hand = |url: &str| at_hand.as_ref().is_some_and(|start| url.starts_with(start));
    let (vendors, wanted): (Vec<_>, Vec<_>) =
        answer.packages.into_iter().partition(|package| is_at_hand(&package.url));
    Ok(Resolution {
        downloads: wanted.into_iter().map(download).collect::<Result<Vec<_>>>()?,
        at_hand: names(&vendors),
        described,
        proxy: answer.proxy,
        unsigned,
        scratch: Some(scratch),
        ..Resolution::default()
    })
}
