//! Runs the target's own package manager inside the target, which it can read but not change. This is the part that all
//! managers share.

use crate::host::Host;
use crate::host::fs::Root;
use crate::host::process::variable;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::{NOT_MADE, NOT_RUNNABLE, NOT_THERE, SCRATCH, Sandbox};
use crate::host::temp::Folder;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The interval of progress messages while a manager reads package sources.
const TELL: Duration = Duration::from_secs(5);
/// The configuration folders that are searched for the ports of servers.
const CONFIGURATION: [&str; 8] = [
    "/etc/apt",
    "/etc/dnf",
    "/etc/yum",
    "/etc/yum.conf",
    "/etc/yum.repos.d",
    "/etc/distro.repos.d",
    "/etc/tdnf",
    "/etc/zypp",
];
const DEEPEST: usize = 3;
/// Proxies as `curl(1)` reads them from the environment; apt and dnf read the same.
const PROXIES: [&str; 6] = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "no_proxy", "NO_PROXY"];

/// What the target's own programs may reach on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InTarget {
    /// Whether they may ask the metadata service of the machine they run on.
    pub metadata: bool,
}

/// A root that is lent to its own manager, with the folder that takes what it writes.
#[derive(Debug)]
pub(crate) struct Lent {
    place: Sandbox,
    scratch: PathBuf,
    _private: Folder,
}

impl Lent {
    /// Makes the folders.
    pub(super) fn new(root: &Root, how: InTarget, more: &[&str]) -> Result<Self> {
        let private = Folder::large("resolve")?;
        // One below it: the image's programs decide about the modes of what they are given, and of what they leave there.
        let scratch = private.path().join("scratch");
        std::fs::create_dir(&scratch).with_context(|| format!("cannot make `{}`", scratch.display()))?;
        let mut ports = ports_named(root);
        let proxies = PROXIES.iter().filter_map(|name| variable(name));
        more.iter()
            .map(|text| (*text).to_owned())
            .chain(proxies)
            .for_each(|text| add_ports(&text, &mut ports));
        let place = Sandbox::lookup(root, &scratch).through_relay(ports, how.metadata);
        Ok(Self { place, scratch, _private: private })
    }

    /// Where the manager's scratch folder lies on this machine.
    pub(super) fn scratch(&self) -> PathBuf {
        self.scratch.clone()
    }

    /// Covers a path of the root with a file or folder of the scratch folder.
    pub(super) fn cover(&mut self, name: &str, path: &str) {
        self.place = self.place.clone().with_cover(name, path);
    }

    /// Shows a folder of this machine; returns its path inside.
    pub(super) fn show(&mut self, folder: &Path, name: &str) -> String {
        let inside = format!("/run/ofedctl-{name}");
        self.place = self.place.clone().with_view(folder, &inside);
        inside
    }

    /// The command, run in the target.
    pub(super) fn cmd(&self, cmd: Cmd) -> Cmd {
        let proxies = PROXIES.iter().filter_map(|name| Some((*name, variable(name)?)));
        proxies.fold(cmd, |cmd, (name, value)| cmd.env(name, value)).inside(self.place.clone())
    }
}

/// Runs a command that reads package sources, and says from time to time how far it is.
pub(super) fn run_watched(host: &Host, cmd: &Cmd, scratch: &Path, doing: &str) -> Result<Finished> {
    std::thread::scope(|scope| {
        let (ended, end) = channel::<()>();
        scope.spawn(move || {
            while end.recv_timeout(TELL) == Err(RecvTimeoutError::Timeout) {
                let mib = size_of(scratch) >> 20;
                host.events.info(format!("{doing}: {mib} MiB so far"));
            }
        });
        let finished = host.run(cmd);
        drop(ended);
        finished
    })
}

/// Why a manager could not run in its root, so that this machine's resolves instead; none if it ran.
pub(super) fn why_not(finished: &Finished) -> Option<&'static str> {
    match u8::try_from(finished.code).unwrap_or_default() {
        NOT_MADE => Some("this system does not let it run there"),
        NOT_RUNNABLE => Some("it is for another architecture"),
        NOT_THERE => Some("the target has none that can be asked"),
        _ => None,
    }
}

/// Reports that another manager resolves instead, and why.
pub(super) fn say_stand_in(host: &Host, manager: &str, other: &str, finished: &Finished, why: &str) {
    host.events.warn(format!(
        "the target's own {manager} cannot resolve in the target, because {why}; {other} stands in for it ({})",
        finished.tail
    ));
}

/// The path in the scratch folder, as the manager sees it.
pub(super) fn inside(name: &str) -> String {
    format!("{SCRATCH}/{name}")
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { size_of(&entry.path()) } else { metadata.len() })
    });
    sizes.sum()
}

/// The ports that the target's package sources and proxies name.
fn ports_named(root: &Root) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    let mut left: Vec<(String, usize)> = CONFIGURATION.iter().map(|path| ((*path).to_owned(), 0)).collect();
    while let Some((path, depth)) = left.pop() {
        if root.is_dir(&path) && depth < DEEPEST {
            left.extend(root.list(&path).into_iter().map(|name| (format!("{path}/{name}"), depth + 1)));
        } else if let Ok(Some(text)) = root.read_text(&path) {
            add_ports(&text, &mut ports);
        }
    }
    ports
}

/// Adds every number that follows a colon, as in `http://host:8080/`.
fn add_ports(text: &str, ports: &mut BTreeSet<u16>) {
    for part in text.split(':').skip(1) {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        ports.extend(part[..digits].parse::<u16>().ok().filter(|port| *port > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_sources_and_proxies_are_found_wherever_they_stand() {
        let mut ports = BTreeSet::new();
        add_ports(
            "deb http://h:8082/x y\nAcquire::http::Proxy \"http://p:3129\";\n[::1]:99999 :0 a:",
            &mut ports,
        );
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), [1, 3129, 8082]);
    }
}
