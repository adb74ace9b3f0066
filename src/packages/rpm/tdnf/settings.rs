//! What tdnf's settings say, which it prints nowhere, and a copy of them for staging. Their form and their defaults are those
//! of tdnf's own reader (vmware/tdnf, llconf/ini.c, client/repolist.c and client/config.c).

use super::super::dnf::script::OWN_KERNELS;
use super::super::hold::RDMA_PACKAGES;
use super::super::sources::is_repository;
use crate::host::fs::Root;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Main settings.
pub(super) const MAIN: &str = "/etc/tdnf/tdnf.conf";
/// What each of its packages has to keep its version, by name.
pub(super) const LOCKS: &str = "/etc/tdnf/locks.d";
const REPOSITORIES: &str = "/etc/yum.repos.d";

/// A repository's settings, as far as they decide how its packages come and what vouches for them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Repository {
    /// Whether packages must be signed.
    pub(super) signed: bool,
    /// The addresses of keys.
    pub(super) keys: Vec<String>,
    /// Whether tdnf reaches it in a way that no other program knows.
    pub(super) is_private: bool,
}

/// The repositories of a root.
pub(super) fn repositories(root: &Root, main: &Sections) -> Result<BTreeMap<String, Repository>> {
    let folder = ["reposdir", "repodir"].iter().find_map(|key| main.get("main")?.get(*key));
    let folder = folder.map_or(REPOSITORIES, String::as_str);
    let mut found = BTreeMap::new();
    for name in root.list(folder).iter().filter(|name| is_repository(name)) {
        let text = root.read_text(&format!("{folder}/{name}"))?.unwrap_or_default();
        for (id, settings) in sections(&text) {
            let has = |key: &str| settings.get(key).is_some_and(|value| !value.is_empty());
            let is_off = |key: &str| settings.get(key).is_some_and(|value| !is_true(value));
            let own_way = ["username", "sslcacert", "sslclientcert"].iter().any(|key| has(key));
            let keys = settings.get("gpgkey").map(String::as_str).unwrap_or_default();
            let repository = Repository {
                signed: !is_off("gpgcheck"),
                keys: keys.split_whitespace().map(str::to_owned).collect(),
                is_private: own_way || is_off("sslverify"),
            };
            found.insert(id, repository);
        }
    }
    Ok(found)
}

/// Settings by section.
pub(super) type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Reads settings; the last value of a key counts.
pub(super) fn sections(text: &str) -> Sections {
    let (mut all, mut section) = (Sections::new(), String::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            name.split(']').next().unwrap_or_default().clone_into(&mut section);
            all.entry(section.clone()).or_default();
        } else if let (Some((key, value)), false) = (line.split_once('='), line.starts_with('#')) {
            let values = all.entry(section.clone()).or_default();
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    all
}

/// Numbers other than 0 count as true. So do `yes` and `on`, which tdnf takes for no: then more is checked than it would.
fn is_true(value: &str) -> bool {
    let is_word = ["true", "yes", "on"].iter().any(|word| value.eq_ignore_ascii_case(word));
    let digits = value.trim_start_matches(['+', '-']);
    let digits = &digits[..digits.bytes().take_while(u8::is_ascii_digit).count()];
    is_word || digits.bytes().any(|digit| digit != b'0')
}

/// The proxy that tdnf is configured with, with its login.
pub(super) fn proxy(main: &Sections) -> Option<String> {
    let of = |key: &str| main.get("main")?.get(key).filter(|value| !value.is_empty());
    let (proxy, login) = (of("proxy")?, of("proxy_username").zip(of("proxy_password")));
    Some(match (proxy.split_once("://"), login) {
        (Some((scheme, rest)), Some((user, password))) => format!("{scheme}://{user}:{password}@{rest}"),
        _ => proxy.clone(),
    })
}

/// Main settings that keep everything in the folder which is led into the scratch folder, hide nothing that is asked for,
/// and name the given proxy.
pub(super) fn main_for(text: &str, asked: &[String], proxy: Option<&str>) -> String {
    let mut changed = String::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        match key.trim() {
            "cachedir" => continue,
            "proxy" | "proxy_username" | "proxy_password" if proxy.is_some() => continue,
            "excludepkgs" => {
                let kept: Vec<&str> = value.split_whitespace().filter(|it| is_kept(it, asked)).collect();
                let _ = writeln!(changed, "excludepkgs={}", kept.join(" "));
            }
            _ => {
                let _ = writeln!(changed, "{line}");
            }
        }
        if line.trim() == "[main]" {
            changed += "cachedir=/var/cache/tdnf\n";
            changed.extend(proxy.map(|proxy| format!("proxy={proxy}\n")));
        }
    }
    changed
}

/// The locks of a file without those of what is asked for.
pub(super) fn locks_for(text: &str, asked: &[String]) -> String {
    let kept = text.lines().filter(|line| is_kept(line.trim(), asked));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Locks that keep kernels away: staging for an image brings none beside the one it has.
pub(super) fn locks_of_kernels(asked: &[String]) -> String {
    let kept: BTreeSet<&str> = OWN_KERNELS.into_iter().filter(|name| is_kept(name, asked)).collect();
    kept.into_iter().flat_map(|name| [name, "\n"]).collect()
}

/// Whether what a line holds back stays so: not what is asked for by name, which may end in a version, nor what this program
/// itself holds back while a vendor's driver is in place.
fn is_kept(pattern: &str, asked: &[String]) -> bool {
    let names = |asked: &String| match pattern.split_once(['*', '?', '[']) {
        Some((known, _)) => asked.starts_with(known),
        None => asked.strip_prefix(pattern).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix('-').is_some_and(|it| it.starts_with(|c: char| c.is_ascii_digit()))
        }),
    };
    !RDMA_PACKAGES.contains(&pattern) && !asked.iter().any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_means_what_it_means_to_tdnf() {
        let target = tempfile::tempdir().unwrap();
        let root = Root::open(target.path()).unwrap();
        let text = "# [old]\n[a]\nname = A\ngpgkey = file:///a  https://h/b\n[b]\ngpgcheck=0\nusername=me\npassword=x=y\n\
            [c]\ngpgcheck=no\n[d]\ngpgcheck=True\nsslverify=0\ngpgcheck=1\n[e]\n#gpgcheck=0\nsslcacert=\n";
        root.write_text("/etc/other.d/x.repo", text).unwrap();
        root.write_text("/etc/other.d/x.repo.rpmsave", "[f]\n").unwrap();
        let found = repositories(&root, &sections("[main]\nrepodir=/etc/other.d\n")).unwrap();
        let of = |id: &str| &found[id];
        let signed = ["a", "b", "c", "d", "e"].map(|id| (of(id).signed, of(id).is_private));
        assert_eq!(signed, [(true, false), (false, true), (false, false), (true, true), (true, false)]);
        assert_eq!(of("a").keys, ["file:///a", "https://h/b"]);
        assert_eq!(found.len(), 5);
        assert!(repositories(&root, &Sections::new()).unwrap().is_empty());
    }

    #[test]
    fn the_proxy_is_told_with_its_login() {
        let of = |text: &str| proxy(&sections(text));
        assert_eq!(of("[main]\nproxy=http://p:1\n").unwrap(), "http://p:1");
        let login = "[main]\nproxy=http://p:1\nproxy_username=u\nproxy_password=w\n";
        assert_eq!(of(login).unwrap(), "http://u:w@p:1");
        assert_eq!(of("[main]\n"), None);
    }

    #[test]
    fn the_copy_of_the_settings_hides_nothing_that_is_asked_for_and_no_kernel_comes() {
        let asked = ["perftest".to_owned(), "kernel-devel-6.6.57.1-7.azl3".to_owned()];
        let text = "[main]\ngpgcheck=1\ncachedir=/data\nproxy=http://old:1\nexcludepkgs = perf* kernel kernel-devel x rdma-core\n";
        let wanted =
            "[main]\ncachedir=/var/cache/tdnf\nproxy=http://new:2\ngpgcheck=1\nexcludepkgs=kernel x\n";
        assert_eq!(main_for(text, &asked, Some("http://new:2")), wanted);
        assert!(main_for(text, &asked, None).contains("proxy=http://old:1"));
        assert_eq!(locks_for("kernel\nperftest\nlibibverbs\nother\n", &asked), "kernel\nother\n");
        assert!(locks_of_kernels(&asked).starts_with("kernel\n"));
        assert!(!locks_of_kernels(&["kernel-6.6.57.1-7.azl3".to_owned()]).starts_with("kernel\n"));
    }
}
