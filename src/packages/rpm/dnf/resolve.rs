//! Resolves with dnf, in a private state folder: finds the packages to download for a target.

use super::super::super::diagnose::{self, Doing, Speaker};
use super::super::super::{Base, Download, Resolution, ResolveRequest};
use super::super::hold::RDMA_PACKAGES;
use super::super::{Dialect, database_copy, sources, vendor_repo};
use super::in_target;
use crate::host::Host;
use crate::host::http::asked_directly;
use crate::host::run::{Cmd, Finished};
use crate::host::temp::Folder;
use crate::outcome::{Reason, WithReason};
use crate::target::{Distro, Family, KernelDevel};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Speaks to dnf's library, because no dnf command prints digests.
pub(super) const SCRIPT: &str = include_str!("resolve.py");
/// Runs the script with the interpreter that dnf itself has, which is not always the `python3` of the path.
pub(super) const RUN: &str = "dnf=$(command -v dnf) || { echo 'there is no dnf' >&2; exit 127; }; \
    python=$(sed -n '1s/^#!//p' \"$dnf\" | cut -d' ' -f1); \
    case $python in *python*) ;; *) echo 'this is not dnf 4' >&2; exit 127 ;; esac; exec $python -c \"$0\"";

/// zypper names no digests of what it would fetch, and dnf inside a SUSE root, if there is one, reads other settings.
const NO_ZYPPER: &str = "the target's own zypper cannot resolve in the target, because it names no digests; dnf of this machine \
    stands in for it: what only zypper or its plugins read, such as services and `plugin:` addresses, is refused by name";

/// What the script prints.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) packages: Vec<Package>,
    pub(super) keys: Vec<String>,
    /// Keys that the target's rpm knows.
    pub(super) imported: Vec<String>,
    pub(super) proxy: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    name: String,
    pub(super) file: String,
    pub(super) url: String,
    /// The same file at other mirrors.
    others: Vec<String>,
    size: u64,
    digest_kind: String,
    digest: String,
    pub(super) signed: bool,
    pub(super) repository: String,
}

/// The packages that must be signed, and the keys: kept from the resolution until the packages are downloaded.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Trust {
    /// Addresses of keys.
    pub(in super::super) keys: Vec<String>,
    /// Files whose repository asks for signatures.
    pub(in super::super) signed: Vec<String>,
    /// The repository of each file, where the target's own manager named them.
    #[serde(default)]
    pub(in super::super) repositories: BTreeMap<String, String>,
}

/// Resolves `request` with dnf of this machine, the target's repositories and keys, and the target's installed set.
pub(in super::super) fn resolve(
    dialect: &Dialect,
    host: &Host,
    request: &ResolveRequest,
) -> Result<Resolution> {
    if let Some(how) = request.in_target {
        if dialect.program == "zypper" {
            host.events.warn(NO_ZYPPER);
        } else if let Some(resolution) = in_target::resolve(dialect, host, request, how)? {
            return Ok(resolution);
        }
    }
    let scratch = Folder::large("dnf")?;
    let copied = sources::copy(&dialect.sources, request.sources, scratch.path())?;
    match request.base {
        Base::Empty => {}
        Base::Root(root) => {
            database_copy::copy_database(root, &copied.database)?;
            sources::convert_database(host, root, &copied.database)?;
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
    host.events.info(format!("asking dnf about {} packages", request.packages.len()));
    // The request may hold a password, and everyone sees arguments.
    let cmd = Cmd::new("/bin/sh").args(["-c", RUN, SCRIPT]).input(asked.to_string()).captured();
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
    let mut downloads = answer.packages.into_iter().map(download).collect::<Result<Vec<_>>>()?;
    if let Some(at_hand) = &at_hand {
        downloads.retain(|download| !download.url.starts_with(at_hand));
    }
    Ok(Resolution {
        downloads,
        described,
        proxy: answer.proxy,
        unsigned,
        scratch: Some(scratch),
        ..Resolution::default()
    })
}

/// The keys that the target's rpm trusts already, whatever repositories name, as files in a folder.
pub(super) fn imported_keys(answer: &Answer, folder: &Path) -> Result<Vec<String>> {
    let keep = |(number, text): (usize, &String)| {
        let path = folder.join(format!("imported-{number}"));
        fs::write(&path, text).context("cannot keep a key")?;
        Ok(format!("file://{}", path.display()))
    };
    answer.imported.iter().enumerate().map(keep).collect()
}

/// The unsigned repositories of packages, without the vendor's, whose packages are in its file.
pub(super) fn unsigned(answer: &Answer, at_hand: Option<&str>) -> Vec<String> {
    let is_at_hand = |url: &str| at_hand.is_some_and(|start| url.starts_with(start));
    let packages = answer.packages.iter().filter(|package| !package.signed && !is_at_hand(&package.url));
    packages.map(|package| package.repository.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The request to the script.
pub(super) fn question(dialect: &Dialect, request: &ResolveRequest) -> serde_json::Value {
    let none = (Vec::new(), Vec::new());
    let (more, wanted) = request.vendor_repo.map_or(none, |it| (it.packages.clone(), it.wanted.clone()));
    let packages = [request.packages, &more].concat();
    json!({
        "inside": false, "has_database": !matches!(request.base, Base::Empty),
        "releasever": releasever(request.distro), "minor": minor(request.distro), "arch": request.arch.name(),
        "packages": packages, "wanted": wanted, "kernels": request.kernels,
        "headers": request.kernel_devel.and_then(headers), "proxy": request.proxy, "ours": RDMA_PACKAGES,
        "target": request.sources.path(), "distro": request.distro.id, "checks": dialect.sources.checks_signatures,
    })
}

/// The error of a failed resolution.
pub(super) fn refused(
    host: &Host,
    request: &ResolveRequest,
    finished: &Finished,
    who: &str,
) -> anyhow::Error {
    let doing = format!("resolving {}", request.packages.join(" "));
    let trouble = diagnose::diagnose(&finished.output, Doing::Resolving(Speaker::Dnf));
    match trouble {
        // Missing packages are reported at the end of the output; other failures come before that.
        Some(trouble) if trouble.reason == Reason::HeadersMissing => {
            trouble.reason.error(format!("{doing}: {who} said: {}", finished.tail))
        }
        Some(_) => diagnose::told(host, finished, trouble, &doing, request.distro, who),
        None => Reason::ResolveFailed.error(format!("{doing}: {who} said: {}", finished.tail)),
    }
}

/// The package of headers as it is asked for, and its address.
fn headers(devel: &KernelDevel) -> Option<serde_json::Value> {
    Some(json!({"package": vendor_repo::headers(&devel.version), "url": devel.url.as_ref()?}))
}

pub(super) fn download(package: Package) -> Result<Download> {
    let Package { name, file, url, others, size, digest_kind, digest, .. } = package;
    if digest_kind != "sha256" {
        return Err(Reason::ResolveFailed
            .error(format!("the repository gives `{name}` no SHA-256 but {digest_kind}")));
    }
    Ok(Download { url, others, name, file, size, sha256: digest })
}

/// What stands for `$releasever` where neither the database nor a variable tells: the major version, except where
/// repositories are made for each minor one.
fn releasever(distro: &Distro) -> String {
    let major = distro.version.split('.').next().unwrap_or_default();
    match distro.family() {
        Family::Azure => format!("{major}.0"),
        Family::Suse => distro.version.clone(),
        Family::Rhel | Family::Debian | Family::Other => major.to_owned(),
    }
}

/// What stands for `$releasever_minor` beside a `$releasever` without one: what release packages provide since Enterprise
/// Linux 10, and none before that (almalinux-release and centos-release, their `system-release(releasever_minor)`).
fn minor(distro: &Distro) -> &str {
    let (major, minor) = distro.version.split_once('.').unwrap_or_default();
    let tells = distro.family() == Family::Rhel && major.parse().is_ok_and(|major: u32| major >= 10);
    if tells { minor } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_named_as_the_repositories_name_it() {
        let of = |distro: &str| releasever(&distro.parse().unwrap());
        assert_eq!(
            ["almalinux8.10", "centos7.6", "azurelinux3", "sles15.4"].map(of),
            ["8", "7", "3.0", "15.4"]
        );
    }

    #[test]
    fn a_file_without_a_sha256_is_refused() {
        let package = |digest_kind: &str| Package {
            name: "a-1-1.noarch".to_owned(),
            file: "a-1-1.noarch.rpm".to_owned(),
            url: "http://h/a-1-1.noarch.rpm".to_owned(),
            others: Vec::new(),
            size: 1,
            digest_kind: digest_kind.to_owned(),
            digest: "ab".to_owned(),
            signed: true,
            repository: "r".to_owned(),
        };
        assert_eq!(download(package("sha256")).unwrap().sha256, "ab");
        assert_eq!(Reason::from_error(&download(package("sha1")).unwrap_err()), Reason::ResolveFailed);
    }
}
