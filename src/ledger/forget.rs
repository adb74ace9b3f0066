//! Discards the ledger where it cannot be read and no version that could read it is available.

use super::{JOURNAL, RECEIPT};
use crate::host::fs::{Content, Root};
use anyhow::Result;

/// Renames receipt and journal to `….forgotten`, whatever they hold, and returns the new paths. The packages and edits
/// that they list stay in the root; no later run removes them.
pub fn forget(root: &Root) -> Result<Vec<String>> {
    let mut put_aside = Vec::new();
    for path in [JOURNAL, RECEIPT] {
        if let Some(bytes) = root.read(path)? {
            let to = format!("{path}.forgotten");
            root.write(&to, &Content { bytes, mode: 0o600, uid: 0, gid: 0 })?;
            put_aside.push(to);
        } else if root.link_target(path).is_none() && !root.exists(path) {
            continue;
        }
        if root.is_dir(path) && root.link_target(path).is_none() {
            root.remove_all(path)?;
        } else {
            root.remove_file_synced(path)?;
        }
    }
    Ok(put_aside)
}
