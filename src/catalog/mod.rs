//! The catalogue: which vendor package installs on which distribution, for which adapters, and from where. The data is
//! in `catalog.yaml` beside this file; the code has no special cases for a distribution, version or adapter. This file
//! defines the schema and the query [`Catalog::candidates`].

pub mod check;
pub mod compare;
pub mod coverage;
pub mod import;
pub mod in_force;
pub mod package_names;
pub mod versions;

use crate::settings::{self, Settings};
use crate::target::{Arch, Distro, Driver, Family, KernelDevel, Nic};
use crate::trust::{Trust, is_vendors, protected};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use versions::Version;

/// The catalogue this program was built with.
pub const EMBEDDED: &str = include_str!("catalog.yaml");
/// How errors name it.
const EMBEDDED_NAME: &str = "built-in catalog.yaml";
/// The only schema version.
const SCHEMA_VERSION: u32 = 1;

/// A whole catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// The schema version of the file: 1.
    pub schema_version: u32,
    /// The day it was issued, `2026-11-26`. Of two catalogues the later one is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<String>,
    /// The vendor's signing keys that are newer than the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vendor_keys: Vec<VendorKey>,
    /// The release lines, by name.
    pub lines: BTreeMap<String, Line>,
    /// The distributions on which packages of a distribution install, if more than that one.
    #[serde(default)]
    pub compatible: BTreeMap<Distro, Vec<Distro>>,
    /// Releases that do not build for some kernels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_bad: Vec<KnownBad>,
    /// The vendor's packages.
    #[serde(default)]
    pub drivers: Vec<Row>,
    /// The distributions whose own RDMA stack can be used.
    #[serde(default)]
    pub inbox: Vec<Inbox>,
}

/// A key that the vendor signs packages for Debian and Ubuntu with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorKey {
    /// Its fingerprint: 40 or 64 upper-case hexadecimal digits, for a key of version 4 or 6.
    pub fingerprint: String,
    /// The first of the releases that it signs; it signs all later ones as well.
    pub from: Version,
    /// Who says so.
    pub source: String,
}

/// The properties that all packages of one release line share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The driver.
    pub driver: Driver,
    /// The prefix of the line's versions: `5.8`.
    pub release: String,
    /// For DOCA, the OFED release inside: `25.10`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ofed: Option<String>,
    /// The adapter generations it drives.
    pub nics: Vec<Nic>,
    /// Whether the vendor maintains it as a long-term line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lts: bool,
    /// The first of its releases that the vendor calls long-term, where those before it are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lts_from: Option<Version>,
    /// Why it is preferred to newer lines, because of reported failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<String>,
    /// The month its support ends, `2027-10`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_of_life: Option<String>,
    /// Whether its rpms contain modules for the first kernel of a release, and no sources that DKMS could build.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prebuilt_rpms: bool,
    /// The first kernel it does not build for, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_below: Option<Version>,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_source: Option<String>,
}

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
}

/// One vendor package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The driver it contains.
    pub driver: Driver,
    /// Its version.
    pub version: Version,
    /// The name of its release line.
    pub line: String,
    /// The distribution it was built for. Ask [`Catalog::serves`] where it installs.
    pub distro: Distro,
    /// The architecture.
    pub arch: Arch,
    /// Its address; a bare file name where it is not public.
    pub url: String,
    /// Its SHA-256 in hexadecimal, where published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Other addresses of a file with the same name. Only the digest proves that it is the same file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// The vendor's online package repository of the same release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The kernel headers it is to be built with, where mirrors no longer have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_devel: Option<KernelDevel>,
    /// A remark for users before they choose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Distributions whose own RDMA stack can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inbox {
    /// The distributions.
    pub distros: Vec<Distro>,
    /// The architectures.
    pub arch: Vec<Arch>,
    /// The adapter generations their kernels drive.
    pub nics: Vec<Nic>,
    /// The packages to request from the package manager.
    pub packages: Vec<String>,
    /// Whether these packages contain the vendor's modules, which the distribution builds for each of its kernels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub brings_modules: bool,
}

impl Catalog {
    /// The built-in catalogue. It is parsed on the first use.
    pub fn embedded() -> Result<Self> {
        Self::parse(EMBEDDED_NAME, EMBEDDED)
    }

    /// The catalogue in force; see [`in_force`].
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let (source, text) = Self::text(settings)?;
        Self::parse(source, &text)
    }

    /// Reads a catalogue. `source` names it in errors, usually its path.
    pub fn parse(source: &str, text: &str) -> Result<Self> {
        // A key that occurs twice would silently replace the first one; only parsing into an untyped value detects
        // that. For the built-in text a test does it.
        if source != EMBEDDED_NAME {
            settings::read_yaml::<Value>(source, text)?;
        }
        let catalog: Self = settings::read_yaml(source, text)?;
        if catalog.schema_version != SCHEMA_VERSION {
            let what = format!("schema_version {} is not {SCHEMA_VERSION}", catalog.schema_version);
            let line =
                text.lines().position(|line| line.starts_with("schema_version")).map(|index| index + 1);
            return Err(settings::problem(source, line, &what));
        }
        if let Some(day) = catalog.issued.as_ref().filter(|day| !in_force::is_day(day)) {
            let line = text.lines().position(|line| line.starts_with("issued")).map(|index| index + 1);
            return Err(settings::problem(
                source,
                line,
                &format!("issued: `{day}` is no day like 2026-11-26"),
            ));
        }
        Ok(catalog)
    }

    /// The packages that install on this distribution and drive this adapter, newest first. "Newest" is by OFED
    /// release, so that DOCA-Host 3.2 (OFED 25.10) comes before `MLNX_OFED` 24.10. Within a release DOCA comes first,
    /// because the vendor has moved to it; within a version, rows with a digest come first, then https.
    pub fn candidates(&self, distro: &Distro, arch: Arch, nic: Nic) -> Vec<&Row> {
        let fits = |row: &&Row| {
            row.arch == arch
                && self.line(row).is_some_and(|line| line.nics.contains(&nic))
                && self.serves(row).iter().any(|served| served.covers(distro))
        };
        let mut rows: Vec<&Row> = self.drivers.iter().filter(fits).collect();
        rows.sort_by_cached_key(|&row| Reverse(self.rank(row)));
        rows
    }

    /// The packages that install on this distribution and drive all of these adapters, newest first.
    pub fn candidates_for_all(&self, distro: &Distro, arch: Arch, nics: &[Nic]) -> Vec<&Row> {
        let Some(nic) = nics.first() else { return Vec::new() };
        let mut rows = self.candidates(distro, arch, *nic);
        rows.retain(|row| self.line(row).is_some_and(|line| nics.iter().all(|nic| line.nics.contains(nic))));
        rows
    }

    /// Sorts rows from newest-first order into order of preference: preferred lines first, then the newest.
    pub fn prefer(&self, rows: &mut [&Row]) {
        rows.sort_by_key(|row| self.line(row).is_none_or(|line| line.preferred.is_none()));
    }

    /// Chooses one of the rows, which are in order of preference. The first row with a published digest is chosen, or
    /// else the first row. A feature release is the exception: a newer release of the vendor is preferred to it,
    /// however that one is verified.
    pub fn pick<'a>(&self, rows: &[&'a Row], has_digest: impl Fn(&Row) -> bool) -> Option<&'a Row> {
        let first = rows.first().copied();
        let Some(digest) = rows.iter().copied().find(|row| has_digest(row)) else { return first };
        let newer = |row: &&Row| self.rank(row) > self.rank(digest) && !self.is_long_term(digest);
        first.filter(newer).or(Some(digest))
    }

    /// The reason why this program cannot build the modules of a row for any kernel, if there is one.
    pub fn unbuildable(&self, row: &Row) -> Option<&'static str> {
        if row.is_source() {
            return Some("only its sources are there, and ofedctl does not run their install.pl");
        }
        let is_prebuilt = row.is_rpm() && self.line(row).is_some_and(|line| line.prebuilt_rpms);
        is_prebuilt.then_some(
            "its rpms bring modules for the first kernel of one minor release alone, and no sources for DKMS",
        )
    }

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
        let bad = self.known_bad.iter().find(|bad| {
            bad.line == row.line
                && bad.before.as_ref().is_none_or(|before| row.version < *before)
                && bad.named.as_ref().is_none_or(|named| kernel.contains(named.as_str()))
                && version >= bad.from
                && bad.below.as_ref().is_none_or(|below| version < *below)
        })?;
        Some(format!("{} ({}): not for {kernel}", bad.why, bad.source))
    }

    /// Whether the vendor calls a release long-term.
    pub fn is_long_term(&self, row: &Row) -> bool {
        let is_it = |line: &Line| line.lts && line.lts_from.as_ref().is_none_or(|from| row.version >= *from);
        self.line(row).is_some_and(is_it)
    }

    /// The release line of a row. A row of an unknown line is never a candidate; [`check::check`] finds it.
    pub fn line(&self, row: &Row) -> Option<&Line> {
        self.lines.get(&row.line)
    }

    /// The distributions a row installs on.
    pub fn serves<'a>(&'a self, row: &'a Row) -> &'a [Distro] {
        self.compatible.get(&row.distro).map_or(std::slice::from_ref(&row.distro), Vec::as_slice)
    }

    /// The distribution's own stack, where it drives this adapter.
    pub fn inbox(&self, distro: &Distro, arch: Arch, nic: Nic) -> Option<&Inbox> {
        self.inbox.iter().find(|inbox| {
            inbox.arch.contains(&arch)
                && inbox.nics.contains(&nic)
                && inbox.distros.iter().any(|served| served.covers(distro))
        })
    }

    /// The packages for a distribution that no row names: those of the newest distributions of its family. Whether its
    /// kernels support an adapter is decided by their modules.
    pub fn inbox_of_family(&self, distro: &Distro, family: Family) -> Option<&Inbox> {
        let is_named = |inbox: &Inbox| inbox.distros.iter().any(|served| served.covers(distro));
        if family == Family::Other || self.inbox.iter().any(is_named) {
            return None;
        }
        let is_alike =
            |inbox: &&Inbox| !inbox.brings_modules && inbox.distros.iter().any(|it| it.family() == family);
        self.inbox.iter().rev().find(is_alike)
    }

    /// The rank of a row; a higher one is chosen first.
    fn rank<'a>(&'a self, row: &'a Row) -> impl Ord + use<'a> {
        let ofed = self.line(row).map(|line| Version::new(line.ofed_release()));
        let is_doca = row.driver == Driver::Doca;
        (ofed, is_doca, &row.version, row.sha256.is_some(), row.url.starts_with("https:"))
    }
}

impl Line {
    /// The OFED release of the line, which orders lines of both drivers.
    pub fn ofed_release(&self) -> &str {
        self.ofed.as_deref().unwrap_or(&self.release)
    }

    /// Whether it builds for a kernel (as `uname -r` prints it), as far as is known.
    pub fn builds_for(&self, kernel: &str) -> bool {
        self.kernel_below.as_ref().is_none_or(|limit| Version::new(kernel) < *limit)
    }
}

impl Row {
    /// The name of the file.
    pub fn file_name(&self) -> &str {
        package_names::file_name(&self.url)
    }

    /// How its file can be verified, as far as the catalogue tells; none if it cannot.
    pub fn trust(&self) -> Option<Trust> {
        let by_tls = || is_vendors(&protected(&self.url)).then_some(Trust::FirstUse);
        self.sha256.as_ref().map(|_| Trust::Digest).or_else(by_tls)
    }

    /// Whether it can be downloaded; if not, the user must provide the file.
    pub fn is_public(&self) -> bool {
        self.url.contains("://")
    }

    /// Whether it holds sources alone, which nothing here builds.
    pub fn is_source(&self) -> bool {
        self.file_name().starts_with("MLNX_OFED_SRC-")
    }

    /// Whether it is a package of rpms.
    pub fn is_rpm(&self) -> bool {
        self.distro.family() != Family::Debian
    }

    /// The addresses for a download, best first. The file must match the digest, whichever address it comes from.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.url).filter(|_| self.is_public()).chain(&self.mirrors).map(String::as_str)
    }
}

#[cfg(test)]
mod tests;
