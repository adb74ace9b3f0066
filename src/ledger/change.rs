//! The record of one file or link that a run changed, with all that is needed to undo the change.

use crate::edits::Edit;
use crate::host::fs::{Content, Root};
use crate::host::{STATE_DIR, hex};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The folder with copies of the files as they were before this program changed them.
pub const SAVED_DIR: &str = "/var/lib/ofedctl/saved";

/// One file that was made or replaced, or one link that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// The file or link that was changed, inside the root.
    pub path: String,
    /// The symbolic link that leads to it, where a plan names that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// Where the link points; none for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The file as it was before; none when there was no file.
    pub before: Option<Saved>,
    /// Folders that had to be created for it, outermost first.
    pub folders: Vec<String>,
    /// Whether the change is undone at the end of the run, however the run ends.
    pub temporary: bool,
    /// SHA-256 of every content that this program wrote there, or was about to write. Empty in journals of schema
    /// version 1 and in receipts of the same age, which did not record it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrote: Vec<String>,
    /// Lines that another program adds to the file during the run, and that the undo removes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// A file as it was before a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Saved {
    /// SHA-256 of its bytes in hex, which is also its name in [`SAVED_DIR`].
    pub sha256: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner's user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

/// What a changed file held before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// There was no file.
    Nothing,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The saved copy is missing or damaged.
    Lost,
}

impl Change {
    /// A new record for a file or link, of which only the path is known yet.
    pub(super) fn at(root: &Root, path: &str) -> Self {
        let above = path.match_indices('/').skip(1).map(|(at, _)| path[..at].to_owned());
        Self {
            path: path.to_owned(),
            through: None,
            link: None,
            before: None,
            folders: above.filter(|folder| !root.exists(folder)).collect(),
            temporary: false,
            wrote: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Whether this edit of a file's text made the change.
    pub fn is_of(&self, edit: &Edit) -> bool {
        let named = edit.path();
        named.is_some() && (named == Some(&self.path) || named == self.through.as_deref())
    }

    /// The file's bytes as they were before, none of them where there was no file. None where the saved copy is missing or
    /// damaged.
    pub fn bytes_before(&self, root: &Root) -> Result<Option<Vec<u8>>> {
        Ok(match self.before(root)? {
            Before::Nothing => Some(Vec::new()),
            Before::Bytes(bytes) => Some(bytes),
            Before::Lost => None,
        })
    }

    pub(super) fn before(&self, root: &Root) -> Result<Before> {
        let Some(saved) = &self.before else { return Ok(Before::Nothing) };
        let bytes = root.read(&format!("{SAVED_DIR}/{}", saved.sha256))?;
        Ok(match bytes.filter(|bytes| digest(bytes) == saved.sha256) {
            Some(bytes) => Before::Bytes(bytes),
            None => Before::Lost,
        })
    }

    /// Records the digest of bytes that are about to be written.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let digest = digest(bytes);
        if !self.wrote.contains(&digest) {
            self.wrote.push(digest);
        }
    }

    /// Adds what a later run did to the same file. The oldest content stays the one that the undo restores.
    pub(super) fn continue_with(&mut self, later: Self) {
        for digest in later.wrote {
            if !self.wrote.contains(&digest) {
                self.wrote.push(digest);
            }
        }
    }

    /// Removes the folders that were created for the file, unless they hold something else by now.
    pub(super) fn remove_folders(&self, root: &Root) {
        for folder in self.folders.iter().rev() {
            root.remove_empty_dir(folder);
        }
    }
}

/// Saves a copy of a file before it is changed.
pub(super) fn save(root: &Root, old: &Content) -> Result<Saved> {
    let sha256 = digest(&old.bytes);
    let kept = format!("{SAVED_DIR}/{sha256}");
    root.make_dirs(STATE_DIR, 0o755)?;
    // A copy of a file that only some users could read must not be readable by others.
    root.make_dirs(SAVED_DIR, 0o700)?;
    let is_kept = root.read(&kept)?.is_some_and(|bytes| digest(&bytes) == sha256);
    if !is_kept {
        root.write(&kept, &Content { bytes: old.bytes.clone(), mode: 0o600, uid: 0, gid: 0 })?;
    }
    Ok(Saved { sha256, mode: old.mode, uid: old.uid, gid: old.gid })
}

pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
