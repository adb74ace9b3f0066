//! Finds packages from unsigned repositories, by the files that apt has stored of the repositories it read.

use super::resolve::AptRun;
use crate::host::Host;
use crate::host::http::without_secrets;
use crate::outcome::Reason;
use crate::packages::Download;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;

/// The repositories of the downloads that no key signs and that `[trusted=yes]` allows.
pub(super) fn unsigned(host: &Host, apt: &AptRun, downloads: &[Download]) -> Result<Vec<String>> {
    let format = "$(CREATED_BY)\t$(REPO_URI)\t$(METAKEY)\t$(FILENAME)";
    let asked = apt.cmd("apt-get").args(["indextargets", "--format", format]).captured();
    let listed = host.run(&asked)?.check(Reason::ResolveFailed, "asking apt for its package lists")?.stdout;
    let lists: BTreeSet<String> = fs::read_dir(apt.lists())
        .context("cannot list what apt has read")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let mut unsigned = BTreeSet::new();
    for line in listed.lines() {
        let mut words = line.split('\t').skip(1);
        let (Some(repository), Some(key), Some(file)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let name = file.rsplit('/').next().unwrap_or_default();
        // The list may be kept packed, under a longer name.
        let Some(start) = name.find(&key.replace('/', "_")).map(|at| &name[..at]) else { continue };
        let is_signed =
            ["InRelease", "Release.gpg"].iter().any(|end| lists.contains(&format!("{start}{end}")));
        let is_used = || downloads.iter().any(|download| download.url.starts_with(repository));
        if !is_signed && is_used() {
            unsigned.insert(without_secrets(repository));
        }
    }
    Ok(unsigned.into_iter().collect())
}
