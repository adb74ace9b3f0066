//! What is known of releases that do not build for some kernels.

use super::versions::Version;
use super::{Catalog, Row};
use serde::{Deserialize, Serialize};

/// Releases of a line that do not build for some kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownBad {
    /// The release line.
    pub line: String,
    /// The first release of it that builds again, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Version>,
    /// A part of those kernels' names, where kernels of other distributions with the same numbers work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// The first kernel that it fails for.
    pub from: Version,
    /// The first kernel after it that it does not fail for, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Version>,
    /// The failure.
    pub why: String,
    /// Who says so.
    pub source: String,
    /// What makes it build there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
}

/// A change to a driver's sources that makes them build for some kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The sources, as DKMS calls them: `mlnx-ofa_kernel`.
    pub package: String,
    /// A regular expression for the names of the kernels that need it (`PATCH_MATCH` of dkms(8)).
    pub kernels: String,
    /// The change, for `patch -p1`.
    pub text: String,
}

impl Catalog {
    /// The known reason, with its source, why a release does not build for a kernel (as `uname -r` prints it).
    pub fn objection_to(&self, row: &Row, kernel: &str) -> Option<String> {
        let line = self.line(row)?;
        let version = Version::new(kernel);
        let of = |source: &Option<String>| source.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
        if let Some(limit) = line.kernel_below.as_ref().filter(|limit| version >= **limit) {
            let source = of(&line.kernel_source);
            return Some(format!(
                "its line {} builds for kernels below {limit}{source}, not for {kernel}",
                row.line
            ));
        }
        let bad = self.failures_of(row, kernel).find(|bad| bad.patch.is_none())?;
        Some(format!("{} ({}): not for {kernel}", bad.why, bad.source))
    }

    /// The known failures of a release for a kernel that a patch mends.
    pub fn mended(&self, row: &Row, kernel: &str) -> impl Iterator<Item = (&KnownBad, &Patch)> {
        self.failures_of(row, kernel).filter_map(|bad| Some((bad, bad.patch.as_ref()?)))
    }

    /// The known failures of a release for a kernel.
    fn failures_of(&self, row: &Row, kernel: &str) -> impl Iterator<Item = &KnownBad> {
        let version = Version::new(kernel);
        self.known_bad.iter().filter(move |bad| {
            bad.line == row.line
                && bad.before.as_ref().is_none_or(|before| row.version < *before)
                && bad.named.as_ref().is_none_or(|named| kernel.contains(named.as_str()))
                && version >= bad.from
                && bad.below.as_ref().is_none_or(|below| version < *below)
        })
    }
}
