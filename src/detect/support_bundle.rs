//! `support-bundle`: the copy of a machine that [`bug_report`] makes, with how its last run went, as one file.

use super::bug_report;
use crate::facts::Facts;
use crate::host::fs::Root;
use crate::host::temp::Folder;
use crate::host::{Host, LOG_FILE};
use crate::ledger::{Machine, RUN_FILE, RunRecord};
use crate::status::STATUS_FILE;
use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The folder that the archive unpacks into.
pub const FOLDER: &str = "ofedctl-support";
/// As much of the log's end as is taken; a run writes some kilobytes.
const LOG_BYTES: usize = 1 << 20;

/// What was made.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// How many files and folders are in it.
    pub files: usize,
    /// Its size.
    pub bytes: u64,
}

/// Writes the archive to a new file. `ofedctl detect`, `plan` and `status` with `--root` read what it unpacks into.
pub fn write(host: &Host, facts: &Facts, file: &Path) -> Result<Made> {
    let doing = || format!("cannot write `{}`", file.display());
    let scratch = Folder::small("support")?;
    let mut files = bug_report::write(host, facts, scratch.path())?;
    files += add_last_run(host, &Root::open(scratch.path())?)?;
    let mut options = OpenOptions::new();
    // Never over a file that is there, and for nobody else to read: who made it decides who gets it.
    let out = options.write(true).create_new(true).mode(0o600).open(file).with_context(doing)?;
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::best()));
    archive.follow_symlinks(false);
    archive.append_dir_all(FOLDER, scratch.path()).with_context(doing)?;
    let mut out = archive.into_inner().and_then(GzEncoder::finish).with_context(doing)?;
    out.flush().with_context(doing)?;
    let bytes = out.metadata().with_context(doing)?.len();
    Ok(Made { files, bytes })
}

/// Adds how the last run went. Names of the machine stay out.
fn add_last_run(host: &Host, copy: &Root) -> Result<usize> {
    let mut texts = Vec::new();
    texts.extend(host.root.read_text(STATUS_FILE)?.map(|text| (STATUS_FILE, text)));
    if let Some(mut record) = RunRecord::load(&host.root) {
        let vm_size = record.machine.vm_size.take();
        record.machine = Machine { vm_size, ..Machine::default() };
        texts.push((RUN_FILE, serde_json::to_string_pretty(&record)? + "\n"));
    }
    texts.extend(host.root.read_text(LOG_FILE)?.map(|text| (LOG_FILE, end_of(&text).to_owned())));
    for (path, text) in &texts {
        copy.write_text(path, text)?;
    }
    Ok(texts.len())
}

/// The last lines of a text.
fn end_of(text: &str) -> &str {
    let from = text.len().saturating_sub(LOG_BYTES);
    let from =
        text.as_bytes().iter().skip(from).position(|byte| *byte == b'\n').map_or(from, |at| from + at + 1);
    if text.len() <= LOG_BYTES { text } else { text.get(from..).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_a_long_log_are_taken() {
        let long = "0123456789\n".repeat(200_000);
        let end = end_of(&long);
        assert!(end.len() <= LOG_BYTES && end.len() > LOG_BYTES - 12 && end.starts_with("0123456789\n"));
        assert_eq!(end_of("a\nb\n"), "a\nb\n");
    }
}
