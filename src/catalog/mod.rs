//! The catalogue: which vendor package installs on which distribution, for which adapters, and from where. The data is
//! in `catalog.yaml` beside this file; the code has no special cases for a distribution, version or adapter. This file
//! reads a catalogue and has the query [`Catalog::candidates`]; [`rows`] has the parts of a catalogue.

pub mod check;
pub mod compare;
pub mod coverage;
pub mod import;
pub mod in_force;
mod known_bad;
pub mod package_names;
pub mod rows;
pub mod versions;

pub use known_bad::{KnownBad, Patch};
pub use rows::{Inbox, Line, Row, VendorKey};

use crate::settings::{self, Settings};
use crate::target::{Arch, Distro, Driver, Family, Nic};
use crate::texts::{packed, unpack};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use versions::Version;

/// The catalogue this program was built with.
pub static EMBEDDED: LazyLock<String> = LazyLock::new(|| unpack(packed!("catalog.yaml")));
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

/// The largest catalogue, in MiB: some hundred thousand rows. That of the program has 1,500 lines and 0.2 MiB.
const MAX_MIB: usize = 16;

impl Catalog {
    /// The built-in catalogue. It is parsed on the first use.
    pub fn embedded() -> Result<Self> {
        Self::parse(EMBEDDED_NAME, &EMBEDDED)
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
            settings::read_yaml::<Value>(source, text, MAX_MIB)?;
        }
        let catalog: Self = settings::read_yaml(source, text, MAX_MIB)?;
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

    /// The distribution of the same version whose packages another distribution uses.
    pub fn built_for(&self, distro: &Distro) -> Distro {
        let same =
            |(built, on): &(&Distro, &Vec<Distro>)| built.version == distro.version && on.contains(distro);
        self.compatible.iter().find(same).map_or(distro, |(built, _)| built).clone()
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

#[cfg(test)]
mod tests;
