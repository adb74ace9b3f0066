//! The package sources of a root as text, and the keys that it has for them.

use crate::host::fs::Root;
use std::collections::BTreeSet;

/// Where package sources are kept.
const SOURCES: [&str; 8] = [
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
    "/etc/yum.repos.d",
    "/etc/distro.repos.d",
    "/etc/yum/repos.d",
    "/etc/yum.conf",
    "/etc/dnf/dnf.conf",
    "/etc/zypp/repos.d",
];
/// Where keys are kept, beside where sources say.
const KEYS: [&str; 6] = [
    "/etc/apt/trusted.gpg",
    "/etc/apt/trusted.gpg.d",
    "/etc/apt/keyrings",
    "/usr/share/keyrings",
    "/etc/pki/rpm-gpg",
    "/usr/lib/rpm/gnupg/keys",
];
/// Keys are a few thousand bytes, and a distribution's keyring not much more.
pub(super) const LARGEST_KEY: u64 = 1 << 20;

/// What the root's files say of package sources.
pub fn sources(root: &Root) -> Vec<String> {
    let paths = SOURCES.iter().flat_map(|place| files(root, place));
    paths.filter_map(|path| root.read_text(&path).ok().flatten()).collect()
}

/// The contents of every file of keys: those in the usual places, and those that sources name by path.
pub fn all(root: &Root) -> Vec<Vec<u8>> {
    let sources = sources(root);
    let between = [' ', '\t', '\n', ',', '=', '[', ']', '"', '\''];
    let named = sources.iter().flat_map(|text| text.split(between));
    let named = named.map(|word| word.strip_prefix("file://").unwrap_or(word));
    let named: BTreeSet<&str> = named.filter(|word| word.starts_with('/')).collect();
    let usual = KEYS.iter().flat_map(|path| files(root, path));
    let paths: BTreeSet<String> = usual.chain(named.into_iter().map(str::to_owned)).collect();
    let is_small = |path: &&String| {
        root.metadata(path).is_some_and(|found| found.is_file() && found.len() <= LARGEST_KEY)
    };
    paths.iter().filter(is_small).filter_map(|path| root.read(path).ok()?).collect()
}

fn files(root: &Root, path: &str) -> Vec<String> {
    if root.is_dir(path) {
        return root.list(path).iter().map(|name| format!("{path}/{name}")).collect();
    }
    vec![path.to_owned()]
}
