//! Snapshots of a root: what changed between two moments, and which package each file belongs to.

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
            Some(now) if now != entry => drop(difference.changed.insert(path.clone())),
            Some(_) => {}
        }
    }
    difference.added = after.0.keys().filter(|path| !before.0.contains_key(*path)).cloned().collect();
    difference
}

impl Difference {
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
                writeln!(f, "{sign} {path}")?;
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
