//! Snapshots of a root: what changed between two moments, and which package each file belongs to.

use super::root::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// One file, folder, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    /// SHA-256 of a file, target of a link, number of a device.
    content: String,
}

/// Everything below a folder, by its path without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<String, Entry>);

/// What is not the same in two trees.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: BTreeSet<String>,
    pub removed: BTreeSet<String>,
    pub changed: BTreeSet<String>,
    /// What became different of a path that is in both.
    how: BTreeMap<String, String>,
}

impl Entry {
    /// Says in what another entry differs from this one.
    fn differs_in(&self, now: &Self) -> String {
        if self.kind != now.kind {
            return format!("was a {}, is a {}", self.kind, now.kind);
        }
        let mut said = Vec::new();
        if self.mode != now.mode {
            said.push(format!("mode {:o} -> {:o}", self.mode, now.mode));
        }
        if self.owner != now.owner {
            said.push(format!("owner {:?} -> {:?}", self.owner, now.owner));
        }
        match (self.kind, self.content == now.content) {
            (_, true) => {}
            ("file", _) => said.push(format!("content, {} -> {} bytes", self.size, now.size)),
            _ => said.push(format!("{} -> {}", self.content, now.content)),
        }
        said.join(", ")
    }
}

impl Tree {
    /// Looks at every path below a folder, without following links.
    pub fn of(root: &Path) -> Self {
        Self::around(root, "")
    }

    /// The same without what is below one folder.
    pub fn around(root: &Path, hole: &str) -> Self {
        let mut tree = BTreeMap::new();
        visit(root, "", hole, &mut tree);
        Self(tree)
    }

    /// The same without the paths that `is_noise`.
    #[must_use]
    pub fn without(mut self, is_noise: impl Fn(&str) -> bool) -> Self {
        self.0.retain(|path, _| !is_noise(path));
        self
    }
}

/// What became different from `before` to `after`.
pub fn diff(before: &Tree, after: &Tree) -> Difference {
    let mut difference = Difference::default();
    for (path, entry) in &before.0 {
        match after.0.get(path) {
            None => drop(difference.removed.insert(path.clone())),
            Some(now) if now != entry => {
                difference.changed.insert(path.clone());
                difference.how.insert(path.clone(), entry.differs_in(now));
            }
            Some(_) => {}
        }
    }
    difference.added = after.0.keys().filter(|path| !before.0.contains_key(*path)).cloned().collect();
    difference
}

/// The same for two roots that have the same layers below their own, by looking only where one of them was changed.
pub fn difference_of(before: &Root, after: &Root) -> Difference {
    let mut paths = BTreeSet::new();
    for root in [before, after] {
        for (path, entry) in Tree::of(&root.upper()).0 {
            // What a folder hides of the layers below is no entry of its own.
            if entry.kind == "folder" {
                for root in [before, after] {
                    let names = std::fs::read_dir(root.path().join(&path)).into_iter().flatten();
                    paths.extend(names.map(|name| format!("{path}/{}", name.unwrap().file_name().display())));
                }
            }
            paths.insert(path);
        }
    }
    let seen = |root: &Root| {
        let exists = |path: &&String| root.path().join(path).symlink_metadata().is_ok();
        Tree(paths.iter().filter(exists).map(|path| (path.clone(), look(&root.path().join(path)))).collect())
    };
    diff(&seen(before), &seen(after))
}

/// The records of dpkg and apt, whose order is that of the work.
pub const RECORDS: [&str; 2] = ["var/lib/dpkg/status", "var/lib/apt/extended_states"];

/// Those in a root, each with its file.
pub fn records(root: &Path) -> BTreeSet<(&'static str, String)> {
    let all = RECORDS.iter().flat_map(|path| {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        text.split("\n\n").map(|record| (*path, record.trim().to_owned())).collect::<Vec<_>>()
    });
    all.filter(|(_, record)| !record.is_empty()).collect()
}

/// Fails with the records that are not in both.
#[track_caller]
pub fn assert_same_records(what: &str, before: &BTreeSet<(&str, String)>, after: &BTreeSet<(&str, String)>) {
    let different: Vec<_> = before.symmetric_difference(after).collect();
    assert!(different.is_empty(), "{what}: {different:#?}");
}

impl Difference {
    /// The same without the paths that `is_noise`.
    #[must_use]
    pub fn without(mut self, is_noise: impl Fn(&str) -> bool) -> Self {
        for paths in [&mut self.added, &mut self.removed, &mut self.changed] {
            paths.retain(|path| !is_noise(path));
        }
        self
    }

    /// Whether the trees are the same.
    pub fn is_empty(&self) -> bool {
        self.paths().next().is_none()
    }

    /// Every path that is not the same.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.added.iter().chain(&self.removed).chain(&self.changed).map(String::as_str)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (sign, paths) in [('+', &self.added), ('-', &self.removed), ('~', &self.changed)] {
            for path in paths {
                let how = self.how.get(path).map(|how| format!(" ({how})")).unwrap_or_default();
                writeln!(f, "{sign} {path}{how}")?;
            }
        }
        Ok(())
    }
}

/// Every path that an installed package brought, as it is really called in this root.
pub fn owned_by_packages(root: &Path) -> BTreeSet<String> {
    let mut owned = BTreeSet::new();
    for list in std::fs::read_dir(root.join("var/lib/dpkg/info")).unwrap() {
        let list = list.unwrap().path();
        if list.extension().is_none_or(|extension| extension != "list") {
            continue;
        }
        for path in std::fs::read_to_string(list).unwrap().lines() {
            let path = path.trim_start_matches('/');
            // Packages may say `/lib/x` where `/lib` is a link to `usr/lib`.
            let top = path.split('/').next().unwrap();
            let aliased = root.join(top).is_symlink() && path != top;
            owned.insert(if aliased { format!("usr/{path}") } else { path.to_owned() });
        }
    }
    owned
}

fn visit(root: &Path, path: &str, hole: &str, tree: &mut BTreeMap<String, Entry>) {
    for entry in std::fs::read_dir(root.join(path)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let entry = look(&root.join(&path));
        if entry.kind == "folder" && path != hole {
            visit(root, &path, hole, tree);
        }
        tree.insert(path, entry);
    }
}

fn look(path: &Path) -> Entry {
    let metadata = path.symlink_metadata().unwrap();
    let file_type = metadata.file_type();
    let (kind, size, content) = if file_type.is_dir() {
        ("folder", 0, String::new())
    } else if file_type.is_symlink() {
        ("link", 0, path.read_link().unwrap().to_string_lossy().into_owned())
    } else if file_type.is_file() {
        ("file", metadata.size(), super::sha256(&std::fs::read(path).unwrap()))
    } else if file_type.is_char_device() || file_type.is_block_device() {
        ("device", 0, metadata.rdev().to_string())
    } else {
        ("other", 0, String::new())
    };
    Entry { kind, mode: metadata.mode() & 0o7777, owner: (metadata.uid(), metadata.gid()), size, content }
}
