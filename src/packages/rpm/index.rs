//! The index of a repository, made by `createrepo_c` from the packages themselves, so that the target needs nothing but
//! its package manager.

use super::super::{Arrived, IndexFile, Resolution};
use super::dnf::resolve::Trust;
use super::{INDEX, keys};
use crate::host::Host;
use crate::host::http::NetworkOptions;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;

/// Checks the signatures of the files, then indexes them.
pub(super) fn index(
    host: &Host,
    resolution: &Resolution,
    arrived: &[Arrived],
    way: NetworkOptions,
) -> Result<Vec<IndexFile>> {
    let trust: Trust =
        serde_json::from_str(&resolution.described).context("cannot read what dnf said of keys")?;
    keys::check(host, &trust, arrived, way)?;
    let folder = tempfile::Builder::new().prefix("ofedctl-index-").tempdir();
    let folder = folder.context("cannot make a folder for the index")?;
    for file in arrived {
        symlink(&file.path, folder.path().join(&file.file)).context("cannot lay out the packages")?;
    }
    let options = ["--quiet", "--no-database", "--simple-md-filenames", "--general-compress-type=gz"];
    // The same packages make the same index.
    let still = ["--revision=1", "--set-timestamp-to-revision"];
    let make = Cmd::new("createrepo_c").args(options).args(still).arg(folder.path().display().to_string());
    host.run(&make)?.check(Reason::ResolveFailed, "indexing the packages")?;
    let read = |(name, subfolder): (&'static str, &str)| {
        let path = folder.path().join(subfolder).join(name);
        let bytes = fs::read(&path).with_context(|| format!("createrepo_c made no `{name}`"))?;
        Ok(IndexFile { name, bytes })
    };
    INDEX.into_iter().map(read).collect()
}
