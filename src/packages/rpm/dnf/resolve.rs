//! What would have to be fetched for a target: asked of dnf, in a state of its own.

use super::super::super::diagnose::{self, Doing, Speaker};
use super::super::super::{Base, Download, Resolution, ResolveRequest};
use super::super::hold::RDMA_PACKAGES;
use super::super::{Dialect, sources, vendor_repo};
use crate::host::Host;
use crate::host::http::asked_directly;
use crate::host::run::Cmd;
use crate::outcome::{Reason, WithReason};
use crate::target::{Distro, Family, KernelDevel};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs;

/// Speaks to dnf's library, because no dnf command prints digests.
const SCRIPT: &str = include_str!("resolve.py");
/// Runs the script with the interpreter that dnf itself has, which is not always the `python3` of the path.
const RUN: &str = "dnf=$(command -v dnf) || { echo 'there is no dnf' >&2; exit 127; }; \
    exec $(sed -n '1s/^#!//p' \"$dnf\" | cut -d' ' -f1) -c \"$0\"";

/// What the script prints.
#[derive(Debug, Deserialize)]
struct Answer {
    packages: Vec<Package>,
    keys: Vec<String>,
    proxy: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    file: String,
    url: String,
    size: u64,
    digest_kind: String,
    digest: String,
    signed: bool,
}

/// Which packages must be signed, and by whom: kept from resolving until they have come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct Trust {
    /// Addresses of keys.
    pub(in super::super) keys: Vec<String>,
    /// Files whose repository asks for signatures.
    pub(in super::super) signed: Vec<String>,
}

/// Resolves `request` with dnf of this machine, the target's repositories and keys, and the target's installed set.
pub(in super::super) fn resolve(
    dialect: &Dialect,
    host: &Host,
    request: &ResolveRequest,
) -> Result<Resolution> {
    let scratch =
        tempfile::Builder::new().prefix("ofedctl-dnf-").tempdir().context("cannot make a folder for dnf")?;
    let copied = sources::copy(&dialect.sources, request.sources, scratch.path())?;
    match request.base {
        Base::Empty => {}
        Base::Root(root) => {
            sources::copy_database(root, &copied.database)?;
            sources::convert_database(host, root, &copied.database)?;
        }
        Base::StatusFile(path) => {
            let name = path.file_name().unwrap_or_default();
            fs::copy(path, copied.database.join(name))
                .with_reason(Reason::Usage, || format!("cannot read `{}`", path.display()))?;
        }
    }
    let none = (Vec::new(), Vec::new());
    let (more, wanted) = request.vendor_repo.map_or(none, |it| (it.packages.clone(), it.wanted.clone()));
    if let Some(vendor_repo) = request.vendor_repo {
        let file = vendor_repo::repository_file(&vendor_repo.folder.display().to_string());
        fs::write(copied.repositories.join("vendor.repo"), file)
            .context("cannot show dnf the vendor's packages")?;
    }
    let packages = [request.packages, &more].concat();
    let asked = json!({
        "scratch": scratch.path(), "root": copied.root, "repositories": copied.repositories, "main": copied.main,
        "database": copied.database, "has_database": !matches!(request.base, Base::Empty),
        "variables": copied.variables, "releasever": releasever(request.distro), "arch": request.arch.name(),
        "packages": packages, "wanted": wanted, "kernels": request.kernels,
        "headers": request.kernel_devel.and_then(headers), "proxy": request.proxy,
        "target": request.sources.path(), "distro": request.distro.id, "checks": dialect.sources.checks_signatures, "ours": RDMA_PACKAGES,
    });
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
        let doing = format!("resolving {}", request.packages.join(" "));
        let trouble = diagnose::diagnose(&finished.output, Doing::Resolving(Speaker::Dnf));
        return Err(match trouble {
            // What is missing is said at the end; whatever else failed came before it.
            Some(trouble) if trouble.reason == Reason::HeadersMissing => {
                trouble.reason.error(format!("{doing}: dnf said: {}", finished.tail))
            }
            Some(_) => diagnose::told(host, &finished, trouble, &doing, request.distro),
            None => Reason::ResolveFailed.error(format!("{doing}: dnf said: {}", finished.tail)),
        });
    }
    let answer: Answer = finished
        .stdout
        .lines()
        .next_back()
        .and_then(|line| serde_json::from_str(line).ok())
        .with_context(|| format!("dnf's answer cannot be read; it also said: {}", finished.tail))?;
    let trust = Trust {
        keys: answer.keys,
        signed: answer.packages.iter().filter(|it| it.signed).map(|it| it.file.clone()).collect(),
    };
    let described = serde_json::to_string(&trust).context("cannot keep what dnf said of keys")?;
    let mut downloads = answer.packages.into_iter().map(download).collect::<Result<Vec<_>>>()?;
    if let Some(vendor_repo) = request.vendor_repo {
        let at_hand = format!("file://{}/", vendor_repo.folder.display());
        downloads.retain(|download| !download.url.starts_with(&at_hand));
    }
    Ok(Resolution { downloads, described, proxy: answer.proxy, scratch: Some(scratch) })
}

/// The package of headers as it is asked for, and its address.
fn headers(devel: &KernelDevel) -> Option<serde_json::Value> {
    Some(json!({"package": vendor_repo::headers(&devel.version), "url": devel.url.as_ref()?}))
}

fn download(package: Package) -> Result<Download> {
    let Package { name, file, url, size, digest_kind, digest, .. } = package;
    if digest_kind != "sha256" {
        return Err(Reason::ResolveFailed
            .error(format!("the repository gives `{name}` no SHA-256 but {digest_kind}")));
    }
    Ok(Download { url, name, file, size, sha256: digest })
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
            size: 1,
            digest_kind: digest_kind.to_owned(),
            digest: "ab".to_owned(),
            signed: true,
        };
        assert_eq!(download(package("sha256")).unwrap().sha256, "ab");
        assert_eq!(Reason::of(&download(package("sha1")).unwrap_err()), Reason::ResolveFailed);
    }
}
