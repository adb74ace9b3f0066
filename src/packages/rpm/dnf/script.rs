//! The script that asks dnf's library for the packages to download: its request, its answer and its errors.

use super::super::super::diagnose::{self, Doing, Speaker};
use super::super::super::{Base, Download, ResolveRequest};
use super::super::hold::RDMA_PACKAGES;
use super::super::{Dialect, vendor_repo};
use crate::host::Host;
use crate::host::run::Finished;
use crate::outcome::Reason;
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
    case $python in *python*) ;; *) echo 'this is not dnf 4' >&2; exit 127 ;; esac; exec $python -c \"$1\"";

/// What is a kernel itself: staging for an image brings none beside the one it has.
pub(in super::super) const OWN_KERNELS: [&str; 7] = [
    "kernel",
    "kernel-core",
    "kernel-hwe",
    "kernel-uek",
    "kernel-uek-core",
    "kernel-azure",
    "kernel-default",
];

/// What the script prints.
#[derive(Debug, Deserialize)]
pub(in super::super) struct Answer {
    pub(in super::super) packages: Vec<Package>,
    pub(in super::super) keys: Vec<String>,
    /// Keys that the target's rpm knows.
    pub(in super::super) imported: Vec<String>,
    pub(in super::super) proxy: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(in super::super) struct Package {
    pub(in super::super) name: String,
    pub(in super::super) file: String,
    pub(in super::super) url: String,
    /// The same file at other mirrors.
    pub(in super::super) others: Vec<String>,
    pub(in super::super) size: u64,
    pub(in super::super) digest_kind: String,
    pub(in super::super) digest: String,
    /// Whether it has to be signed itself.
    pub(in super::super) signed: bool,
    /// Whether it has to be, or the index that has its digest.
    pub(in super::super) vouched: bool,
    pub(in super::super) repository: String,
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
    let packages = answer.packages.iter().filter(|package| !package.vouched && !is_at_hand(&package.url));
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
        "own_kernels": OWN_KERNELS, "target": request.sources.path(), "distro": request.distro.id, "checks": dialect.sources.checks_signatures,
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

/// The names alone of packages that dnf calls `NAME-[EPOCH:]VERSION-RELEASE.ARCHITECTURE`.
pub(super) fn names(packages: &[Package]) -> Vec<String> {
    packages.iter().filter_map(|package| package.name.rsplitn(3, '-').nth(2)).map(str::to_owned).collect()
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
            vouched: true,
            repository: "r".to_owned(),
        };
        assert_eq!(download(package("sha256")).unwrap().sha256, "ab");
        assert_eq!(Reason::from_error(&download(package("sha1")).unwrap_err()), Reason::ResolveFailed);
    }
}
