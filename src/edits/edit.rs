//! An edit as a value: its purpose, its form in a plan, and how it changes a text and is reverted.

use super::text::{components, excludes, keys, zypp_locks};
use crate::packages::HoldList;
use serde::{Deserialize, Serialize};

/// One edit. Making it a second time changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "edit", rename_all = "kebab-case")]
pub enum Edit {
    /// The file has exactly this content.
    WriteFile {
        /// The file, inside the root.
        path: String,
        /// Its whole content.
        content: String,
        /// What it is for, in a few words.
        why: String,
    },
    /// Sets this key in a `key=value` file; nothing happens if the file does not exist.
    SetKey {
        /// The file, inside the root.
        path: String,
        /// The key.
        key: String,
        /// The value it has afterwards.
        value: String,
        /// What it is for, in a few words.
        why: String,
    },
    /// Sets this component's version in a JSON object of components; nothing happens if the file's folder does not
    /// exist.
    SetComponent {
        /// The file, inside the root.
        path: String,
        /// The component.
        component: String,
        /// Its version; what the installed `ofed_info` says where none is given.
        version: Option<String>,
        /// What it is for, in a few words.
        why: String,
    },
    /// A systemd unit starts at boot: it is linked where its own `[Install]` section asks for it, as `systemctl
    /// enable` does. It is not started. Nothing happens where the unit does not exist.
    EnableUnit {
        /// The unit.
        unit: String,
        /// What it is for, in a few words.
        why: String,
    },
    /// The package manager neither upgrades nor removes the installed packages of these names.
    HoldPackages {
        /// Names; one that ends with `*` stands for all that begin so.
        names: Vec<String>,
        /// What it is for, in a few words.
        why: String,
    },
    /// Adds packages of these names to a package manager's own list of packages that upgrades skip. Other entries stay.
    HoldBack {
        /// The file, inside the root; made where it does not exist.
        path: String,
        /// How it lists them.
        list: HoldList,
        /// Names; `*` stands for any characters.
        names: Vec<String>,
        /// What it is for, in a few words.
        why: String,
    },
    /// The initial file system of a kernel holds the modules that the kernel would load, and no others of their name.
    /// Nothing happens where it holds none of the adapter's.
    RefreshInitramfs {
        /// The kernel, as `uname -r` prints it.
        kernel: String,
        /// The adapter's core module.
        module: String,
        /// What it is for, in a few words.
        why: String,
    },
}

impl Edit {
    /// A file of these lines.
    pub fn file_of_lines<'a>(path: &str, lines: impl IntoIterator<Item = &'a str>, why: &str) -> Self {
        let mut content = String::new();
        for line in lines {
            content.push_str(line);
            content.push('\n');
        }
        Self::WriteFile { path: path.to_owned(), content, why: why.to_owned() }
    }

    /// The file it edits, if it edits the text of one file.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::WriteFile { path, .. }
            | Self::SetKey { path, .. }
            | Self::SetComponent { path, .. }
            | Self::HoldBack { path, .. } => Some(path),
            Self::EnableUnit { .. } | Self::HoldPackages { .. } | Self::RefreshInitramfs { .. } => None,
        }
    }

    /// A name for what it edits.
    pub fn subject(&self) -> String {
        match self {
            Self::WriteFile { path, .. } | Self::SetKey { path, .. } | Self::SetComponent { path, .. } => {
                path.clone()
            }
            Self::HoldBack { path, names, .. } => format!("{path}: {}", names.join(" ")),
            Self::EnableUnit { unit, .. } => unit.clone(),
            Self::HoldPackages { names, .. } => names.join(" "),
            Self::RefreshInitramfs { kernel, .. } => format!("initramfs of {kernel}"),
        }
    }

    /// What it is for.
    pub fn why(&self) -> &str {
        match self {
            Self::WriteFile { why, .. }
            | Self::SetKey { why, .. }
            | Self::SetComponent { why, .. }
            | Self::EnableUnit { why, .. }
            | Self::HoldPackages { why, .. }
            | Self::HoldBack { why, .. }
            | Self::RefreshInitramfs { why, .. } => why,
        }
    }

    /// The file's new content, given its present content; none if it is already right, missing, or if this edit does
    /// not concern a file's text. `ofed` is the version that the installed driver states.
    pub fn apply(&self, current: Option<&[u8]>, ofed: Option<&str>) -> Option<Vec<u8>> {
        let edited = match self {
            Self::WriteFile { content, .. } => content.as_bytes().to_vec(),
            Self::SetKey { key, value, .. } => keys::set(current?, key, value),
            Self::SetComponent { component, version, .. } => {
                components::set(current, component, version.as_deref().or(ofed)?)?
            }
            Self::HoldBack { list, names, .. } => add_to_list(*list, current.unwrap_or_default(), names),
            Self::EnableUnit { .. } | Self::HoldPackages { .. } | Self::RefreshInitramfs { .. } => {
                return None;
            }
        };
        (current != Some(&edited)).then_some(edited)
    }

    /// Removes only this edit from a file that was changed since, if it can be told apart from other changes. `before`
    /// is the file's content before the edit.
    pub fn revert(&self, current: &[u8], before: Option<&[u8]>) -> Option<Vec<u8>> {
        match self {
            Self::SetKey { key, value, .. } => keys::revert(current, before.unwrap_or_default(), key, value),
            Self::SetComponent { component, .. } => components::revert(current, before, component),
            Self::HoldBack { list, names, .. } => {
                Some(take_from_list(*list, current, before.unwrap_or_default(), names))
            }
            _ => None,
        }
    }
}

fn add_to_list(list: HoldList, text: &[u8], names: &[String]) -> Vec<u8> {
    match list {
        HoldList::Excludepkgs => excludes::add(text, "excludepkgs", names),
        HoldList::Exclude => excludes::add(text, "exclude", names),
        HoldList::ZyppLocks => zypp_locks::add(text, names),
    }
}

fn take_from_list(list: HoldList, text: &[u8], before: &[u8], names: &[String]) -> Vec<u8> {
    match list {
        HoldList::Excludepkgs => excludes::remove(text, before, "excludepkgs", names),
        HoldList::Exclude => excludes::remove(text, before, "exclude", names),
        HoldList::ZyppLocks => zypp_locks::remove(text, before, names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_key() -> Edit {
        Edit::SetKey { path: "/f".into(), key: "K".into(), value: "v".into(), why: String::new() }
    }

    #[test]
    fn a_file_that_is_not_there_gets_no_key() {
        assert_eq!(set_key().apply(None, None), None);
    }

    #[test]
    fn a_file_that_is_right_is_not_written_again() {
        let edit = Edit::WriteFile { path: "/f".into(), content: "x\n".into(), why: String::new() };
        assert_eq!(edit.apply(Some(b"x\n"), None), None);
        assert_eq!(edit.apply(None, None).unwrap(), b"x\n");
        assert_eq!(set_key().apply(Some(b"K=v\n"), None), None);
    }

    proptest::proptest! {
        #[test]
        fn an_edit_made_twice_is_the_edit_made_once(text in "(#|K|=|v|w| |\r|\n){0,30}") {
            let once = set_key().apply(Some(text.as_bytes()), None).unwrap_or(text.into_bytes());
            proptest::prop_assert_eq!(set_key().apply(Some(&once), None), None);
        }
    }
}
