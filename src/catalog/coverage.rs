//! `catalog list`: what is chosen for which distribution and adapter.

use super::versions::Version;
use super::{Catalog, Row};
use crate::target::{Arch, Distro, Driver, Nic};
use crate::trust::Trust;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The table distribution x adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The schema version of this value: 1.
    pub schema_version: u32,
    /// One row per distribution and architecture with at least one driver.
    pub rows: Vec<CoverageRow>,
}

/// The drivers for one distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoverageRow {
    /// The distribution; a shorter version covers those of its releases that have no row.
    pub distro: Distro,
    /// The architecture.
    pub arch: Arch,
    /// The best driver for each adapter that has one.
    pub nics: BTreeMap<Nic, Cell>,
}

/// The best driver for one distribution and adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The driver.
    pub driver: Driver,
    /// Its version, unless the distribution brings it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Whether staging needs a digest from the user, because none is published and the file is not on the vendor's own
    /// host.
    pub needs_sha256: bool,
    /// How the vendor's file is verified, if it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// Whether the distribution's own stack would do as well.
    pub inbox: bool,
}

/// The footnotes of the table.
const NOTES: [(&str, &str); 2] = [
    ("*", "nobody published its digest: it is taken from the vendor's own host (trust level first-use)"),
    ("**", "nobody published its digest, and it is not at the vendor's own host: staging needs --sha256"),
];

impl Coverage {
    /// The coverage of a catalogue.
    pub fn from_catalog(catalog: &Catalog) -> Self {
        let mut distros: Vec<&Distro> = catalog.drivers.iter().flat_map(|row| catalog.serves(row)).collect();
        distros.extend(catalog.inbox.iter().flat_map(|inbox| &inbox.distros));
        distros.sort_by_cached_key(|distro| (&distro.id, Version::new(&*distro.version)));
        distros.dedup();
        let mut rows: Vec<CoverageRow> = Vec::new();
        for distro in distros {
            for arch in [Arch::X86_64, Arch::Aarch64] {
                let row = CoverageRow { distro: distro.clone(), arch, nics: cells(catalog, distro, arch) };
                // `rhel9` comes before `rhel9.6`, so an equal row of `rhel9.6` is left out.
                let said = |before: &CoverageRow| {
                    before.distro.covers(distro) && before.arch == arch && before.nics == row.nics
                };
                if !row.nics.is_empty() && !rows.iter().any(said) {
                    rows.push(row);
                }
            }
        }
        Self { schema_version: 1, rows }
    }

    /// The table for a terminal.
    ///
    /// Where it is wider than so many columns, each row names the adapters of each driver instead.
    pub fn to_text(&self, columns: Option<usize>) -> String {
        let table = self.table();
        let mut widths = Vec::new();
        for cells in &table {
            widths.resize(cells.len(), 0);
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.len().max(*width);
            }
        }
        let mut text = String::new();
        for cells in &table {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let _ = write!(line, "{cell:width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        let widest = text.lines().map(str::len).max().unwrap_or_default();
        if columns.is_some_and(|columns| widest > columns) {
            text = self.to_rows();
        }
        let notes = NOTES.map(|(star, note)| format!("{star} {note}\n"));
        format!("{text}\n{}", notes.concat())
    }

    /// A row for each system: `debian12  x86_64   inbox: cx3-pro cx5`.
    fn to_rows(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let mut drivers: Vec<(String, Vec<&str>)> = Vec::new();
            for (nic, cell) in &row.nics {
                let words = cell.words();
                match drivers.iter_mut().find(|(driver, _)| *driver == words) {
                    Some((_, nics)) => nics.push(nic.name()),
                    None => drivers.push((words, vec![nic.name()])),
                }
            }
            let drivers = drivers.iter().map(|(driver, nics)| format!("{driver}: {}", nics.join(" ")));
            let drivers = drivers.collect::<Vec<_>>().join("; ");
            let _ = writeln!(text, "{:<14} {:<8} {drivers}", row.distro.to_string(), row.arch.to_string());
        }
        text
    }

    /// The table for a Markdown page.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        for (index, cells) in self.table().iter().enumerate() {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if index == 0 {
                let _ = writeln!(text, "|{}", " --- |".repeat(cells.len()));
            }
        }
        let notes = NOTES.map(|(star, note)| format!("{} {note}\n", star.replace('*', "\\*")));
        format!("{text}\n{}", notes.join("\n"))
    }

    fn table(&self) -> Vec<Vec<String>> {
        let mut table = vec![vec!["distribution".to_owned(), "arch".to_owned()]];
        table[0].extend(Nic::ALL.map(|nic| nic.name().to_owned()));
        for row in &self.rows {
            let mut cells = vec![row.distro.to_string(), row.arch.to_string()];
            cells.extend(Nic::ALL.map(|nic| row.nics.get(&nic).map_or_else(|| "-".to_owned(), Cell::words)));
            table.push(cells);
        }
        table
    }
}

impl Cell {
    /// The driver and its version, with the mark of a footnote.
    pub(super) fn words(&self) -> String {
        let star = match self.trust {
            _ if self.needs_sha256 => "**",
            Some(Trust::Digest) | None => "",
            Some(_) => "*",
        };
        self.version
            .as_ref()
            .map_or_else(|| self.driver.to_string(), |version| format!("{} {version}{star}", self.driver))
    }
}

/// The best driver for each adapter that has one.
pub(super) fn cells(catalog: &Catalog, distro: &Distro, arch: Arch) -> BTreeMap<Nic, Cell> {
    let cell = |nic| {
        let inbox = catalog.inbox(distro, arch, nic).is_some();
        let mut rows = catalog.candidates(distro, arch, nic);
        rows.retain(|row| row.is_public() && catalog.unbuildable(row).is_none());
        catalog.prefer(&mut rows);
        let vendors = |row: &Row| Cell {
            driver: row.driver,
            version: Some(row.version.clone()),
            needs_sha256: row.trust().is_none(),
            trust: row.trust(),
            inbox,
        };
        // The same order as in a plan: a row that cannot be verified is used only if the user names it.
        let covered: Vec<&Row> = rows.iter().copied().filter(|row| row.trust().is_some()).collect();
        let own = Cell { driver: Driver::Inbox, version: None, needs_sha256: false, trust: None, inbox };
        let taken = catalog.pick(&covered, |row| row.sha256.is_some()).map(vendors);
        taken.or_else(|| inbox.then_some(own)).or_else(|| rows.first().copied().map(vendors))
    };
    Nic::ALL.into_iter().filter_map(|nic| Some((nic, cell(nic)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "schema_version: 1
lines:
  4.9-lts: {driver: mlnx_ofed, release: '4.9', nics: [cx3-pro, cx5], lts: true}
compatible:
  rhel8.2: [rhel8.2, centos8.2]
drivers:
  - {driver: mlnx_ofed, version: 4.9-4.1.7.0, line: 4.9-lts, distro: rhel8.2, arch: x86_64,
     url: 'http://content.mellanox.com/ofed/MLNX_OFED_LINUX-4.9-4.1.7.0-rhel8.2-x86_64.tgz'}
  - {driver: mlnx_ofed, version: 4.9-4.1.7.0, line: 4.9-lts, distro: mariner2, arch: x86_64,
     url: 'https://content.mellanox.com/ofed/MLNX_OFED_SRC-4.9-4.1.7.0.tgz'}
inbox:
  - {distros: [rhel8, debian12, mariner2], arch: [x86_64], nics: [cx5, cx6], packages: [rdma-core]}
";

    #[test]
    fn the_table_shows_the_best_of_each() {
        let coverage = Coverage::from_catalog(&Catalog::parse("test", SMALL).unwrap());
        let want = "\
distribution  arch    cx3-pro                 cx5                     cx6    cx7  cx8
centos8.2     x86_64  mlnx_ofed 4.9-4.1.7.0*  mlnx_ofed 4.9-4.1.7.0*  -      -    -
debian12      x86_64  -                       inbox                   inbox  -    -
mariner2      x86_64  -                       inbox                   inbox  -    -
rhel8         x86_64  -                       inbox                   inbox  -    -
rhel8.2       x86_64  mlnx_ofed 4.9-4.1.7.0*  mlnx_ofed 4.9-4.1.7.0*  inbox  -    -

* nobody published its digest: it is taken from the vendor's own host (trust level first-use)
** nobody published its digest, and it is not at the vendor's own host: staging needs --sha256
";
        assert_eq!(coverage.to_text(None), want);
        let markdown = coverage.to_markdown();
        assert!(
            markdown.starts_with("| distribution | arch | cx3-pro | cx5 | cx6 | cx7 | cx8 |\n| --- | --- |")
        );
        assert!(markdown.contains("| debian12 | x86_64 | - | inbox | inbox | - | - |\n"), "{markdown}");
    }

    #[test]
    fn what_nothing_vouches_for_is_marked() {
        let elsewhere = SMALL.replace("http://content.mellanox.com", "https://mirror.example");
        let text = Coverage::from_catalog(&Catalog::parse("test", &elsewhere).unwrap()).to_text(None);
        assert!(text.contains("rhel8.2       x86_64  mlnx_ofed 4.9-4.1.7.0**  inbox  "), "{text}");
    }

    #[test]
    fn the_value_has_adapters_as_keys() {
        let coverage = Coverage::from_catalog(&Catalog::parse("test", SMALL).unwrap());
        let value = serde_json::to_value(&coverage).unwrap();
        let want = serde_json::json!({"driver": "mlnx_ofed", "version": "4.9-4.1.7.0", "needs_sha256": false, "trust": "first-use", "inbox": false});
        assert_eq!(value["rows"][4]["nics"]["cx3-pro"], want);
        assert_eq!(value["schema_version"], 1);
    }
}
