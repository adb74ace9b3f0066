//! What the target's own apt resolved and this program does not download itself: files that lie in the target, and those
//! that only apt can fetch.

use super::super::in_target::{inside, run_watched};
use super::super::{Download, LocalFile};
use super::resolve::file_package;
use super::run::AptRun;
use crate::amounts::count;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::has_extension;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;
use std::collections::HashMap;
use std::sync::Arc;

/// Settings with which only apt itself can reach a server: its own certificates, or a program that finds the proxy
/// (`apt-transport-https(1)`, `apt-transport-http(1)`). The names are those of apt's configuration, in lower case.
const OWN_WAYS: [&str; 9] = [
    "::sslcert ",
    "::sslkey ",
    "::cainfo ",
    "::capath ",
    "::verify-peer ",
    "::verify-host ",
    "proxy-auto-detect ",
    "proxyautodetect ",
    "acquire::http::proxy::",
];

/// These files, by name.
pub(super) fn local_files(
    host: &Host,
    apt: &AptRun,
    target: &Root,
    downloads: &[Download],
) -> Result<HashMap<String, LocalFile>> {
    let mut local = HashMap::new();
    let by_apt = has_own_ways(host, apt, target)?;
    let root = Arc::new(Root::open(target.path())?);
    let mut left = Vec::new();
    for download in downloads {
        if let Some(path) = download.url.strip_prefix("file:") {
            let path = format!("/{}", path.trim_start_matches('/'));
            local.insert(
                download.file.clone(),
                LocalFile { root: Arc::clone(&root), path, is_of_target: true },
            );
        } else if by_apt || !["http://", "https://"].iter().any(|it| download.url.starts_with(it)) {
            left.push(download);
        }
    }
    if left.is_empty() {
        return Ok(local);
    }
    host.events.info(format!("the target's apt fetches {} itself", count(left.len(), "package")));
    let script = "cd \"$1\" && shift && exec apt-get \"$@\"";
    let fetch = Cmd::shell(script, "apt-get").arg(inside("brought")).args(apt.options.iter().cloned());
    let fetch = fetch.arg("download").args(left.iter().map(|download| download.name.clone()));
    let fetch = apt.place(fetch);
    let fetched = run_watched(host, &fetch, &apt.scratch().join("brought"), "fetching packages")?;
    fetched.check(Reason::DownloadFailed, "fetching packages with the target's apt")?;
    let scratch = Arc::new(Root::open(&apt.scratch())?);
    for name in scratch.list("/brought") {
        let is_it = |download: &&&Download| file_package(&name).as_deref() == Some(download.name.as_str());
        if let Some(download) = left.iter().find(is_it) {
            let path = format!("/brought/{name}");
            local.insert(
                download.file.clone(),
                LocalFile { root: Arc::clone(&scratch), path, is_of_target: false },
            );
        }
    }
    Ok(local)
}

/// Whether apt reaches servers in a way that only apt supports.
fn has_own_ways(host: &Host, apt: &AptRun, target: &Root) -> Result<bool> {
    let has_logins = target.list("/etc/apt/auth.conf.d").iter().any(|name| has_extension(name, "conf"))
        || target.exists("/etc/apt/auth.conf");
    if has_logins {
        return Ok(true);
    }
    let dump = apt.configuration(host)?.to_lowercase();
    let is_own = |line: &str| OWN_WAYS.iter().any(|way| line.contains(way)) && !line.ends_with(" \"\";");
    Ok(dump.lines().filter(|line| line.starts_with("acquire::")).any(is_own))
}
