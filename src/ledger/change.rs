//! One file or link that a run changed, with what is needed to take that back.

use crate::edits::Edit;
use crate::host::fs::{Content, Root};
use crate::host::{STATE_DIR, hex};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The files that were there before.
pub const SAVED_DIR: &str = "/var/lib/ofedctl/saved";

/// One file that was made or replaced, or one link that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The file or link that was changed, inside the root.
    pub path: String,
    /// The symbolic link that leads to it, where a plan names that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// Where the link points; none for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What was there before; none when there was nothing.
    pub before: Option<Saved>,
    /// Folders that had to be made for it, outermost first.
    pub folders: Vec<String>,
    /// Undone at the end of the run, however it ends.
    pub temporary: bool,
    /// SHA-256 of everything this program wrote there, or was about to write. Empty in journals of form 1 and in receipts
    /// of their time, which did not note it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrote: Vec<String>,
    /// Lines that another program adds on the way and that are to go again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// An old file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// SHA-256 of its bytes in hex, which is also its name in [`SAVED_DIR`].
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
}

/// What a changed file held before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// There was none.
    Nothing,
    /// This.
    Bytes(Vec<u8>),
    /// Its copy is gone, or is not what was saved.
    Lost,
}

impl Change {
    /// A change of a file or link that nothing is known of yet but its place.
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

    /// Whether it was made by this edit of a file's text.
    pub fn is_of(&self, edit: &Edit) -> bool {
        let named = edit.path();
        named.is_some() && (named == Some(&self.path) || named == self.through.as_deref())
    }

    pub(super) fn before(&self, root: &Root) -> Result<Before> {
        let Some(saved) = &self.before else { return Ok(Before::Nothing) };
        let bytes = root.read(&format!("{SAVED_DIR}/{}", saved.sha256))?;
        Ok(match bytes.filter(|bytes| digest(bytes) == saved.sha256) {
            Some(bytes) => Before::Bytes(bytes),
            None => Before::Lost,
        })
    }

    /// Notes bytes that are about to be written.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        let digest = digest(bytes);
        if !self.wrote.contains(&digest) {
            self.wrote.push(digest);
        }
    }

    /// Takes over what a later run did to the same file. The oldest content stays the one to put back.
    pub(super) fn continue_with(&mut self, later: Self) {
        for digest in later.wrote {
            if !self.wrote.contains(&digest) {
                self.wrote.push(digest);
            }
        }
    }

    /// Removes the folders that were made for it, unless something else is in them by now.
    pub(super) fn remove_folders(&self, root: &Root) {
        for folder in self.folders.iter().rev() {
            root.remove_empty_dir(folder);
        }
    }
}

/// Keeps a copy of an old file.
pub(super) fn save(root: &Root, old: &Content) -> Result<Saved> {
    let sha256 = digest(&old.bytes);
    let kept = format!("{SAVED_DIR}/{sha256}");
    root.make_dirs(STATE_DIR, 0o755)?;
    // What was readable by few stays so.
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
