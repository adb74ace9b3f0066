//! The files that a run edited, each as the difference between what it was and what it is.

use crate::edits::Edit;
use crate::host::fs::Root;
use crate::ledger::{Change, Receipt};
use crate::outcome::shown;
use anyhow::Result;
use serde::Serialize;
use similar::TextDiff;

/// The permission bit by which everybody may read a file.
const READ_BY_ALL: u32 = 0o004;

/// One file that was edited, or one link that was made.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileChange {
    /// The file, inside the root.
    pub path: String,
    /// What it is for, where the plan says so.
    pub why: Option<String>,
    /// The difference in the form of `diff -u`; none where it cannot be shown.
    pub diff: Option<String>,
    /// Why there is no difference to show, or where a link leads.
    pub note: Option<String>,
}

/// Compares each file of the receipt with the copy that was saved before it was edited.
pub(super) fn read(root: &Root, receipt: &Receipt) -> Result<Vec<FileChange>> {
    receipt.changes.iter().map(|change| compare(root, receipt, change)).collect()
}

fn compare(root: &Root, receipt: &Receipt, change: &Change) -> Result<FileChange> {
    let edits: Vec<&str> =
        receipt.plan.edits.iter().filter(|edit| change.is_of(edit)).map(Edit::why).collect();
    let why = (!edits.is_empty()).then(|| edits.join("; "));
    let path = change.path.clone();
    let noted =
        |note: String| FileChange { path: path.clone(), why: why.clone(), diff: None, note: Some(note) };
    if let Some(target) = &change.link {
        return Ok(noted(format!("a link to {target}")));
    }
    let is_private = change.before.as_ref().is_some_and(|saved| saved.mode & READ_BY_ALL == 0)
        || root
            .metadata(&change.path)
            .is_some_and(|now| std::os::unix::fs::MetadataExt::mode(&now) & READ_BY_ALL == 0);
    if is_private {
        return Ok(noted("not everybody may read it, so its content is not shown".to_owned()));
    }
    let Some(before) = change.bytes_before(root)? else {
        return Ok(noted("the copy of how it was before is gone".to_owned()));
    };
    let now = root.read(&change.path)?;
    let gone = now.is_none();
    let (Ok(before), Ok(now)) = (String::from_utf8(before), String::from_utf8(now.unwrap_or_default()))
    else {
        return Ok(noted("it is not text".to_owned()));
    };
    if before == now {
        return Ok(noted("it is as it was before".to_owned()));
    }
    let old = if change.before.is_some() { change.path.as_str() } else { "/dev/null" };
    let new = if gone { "/dev/null" } else { change.path.as_str() };
    let diff =
        TextDiff::from_lines(&before, &now).unified_diff().context_radius(3).header(old, new).to_string();
    Ok(FileChange { path, why, diff: Some(shown::lines(&diff)), note: None })
}
