//! `catalog check`: finds errors and oddities in a catalogue.

use super::package_names::FileName;
use super::{Catalog, Row};
use crate::target::Driver;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A row names a release line that is not in `lines`.
    UnknownLine,
    /// A row's driver or version is not that of its line.
    WrongLine,
    /// The file name contradicts the row.
    NameMismatch,
    /// A digest is not 64 hexadecimal digits.
    MalformedDigest,
    /// An address is neither http nor https, or a row has mirrors but no digest to verify them with.
    BadAddress,
    /// Two rows have the same address.
    Duplicate,
    /// One address or file name has two digests.
    Conflict,
    /// Another row is always chosen before this one.
    NeverChosen,
    /// A plain http address without a digest: staging it needs `--sha256`.
    PlainHttp,
}

impl Kind {
    /// Whether the catalogue needs mending. The other findings are worth knowing and may stay.
    pub const fn is_problem(self) -> bool {
        !matches!(self, Self::NeverChosen | Self::PlainHttp)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// The row, as `driver version distro arch`.
    pub row: String,
    /// What is wrong, with both values.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.kind.is_problem() { "problem" } else { "note" };
        write!(f, "{level}: {}: {}", self.row, self.what)
    }
}

/// All findings about a catalogue, row by row.
pub fn check(catalog: &Catalog) -> Vec<Finding> {
    let mut seen = Seen::default();
    let mut findings = Vec::new();
    for row in &catalog.drivers {
        let mut say = |kind, what: String| findings.push(Finding { kind, row: label(row), what });
        line(catalog, row, &mut say);
        name(catalog, row, &mut say);
        address(row, &mut say);
        seen.add(row, &mut say);
        if let Some(first) = shadow(catalog, row) {
            say(Kind::NeverChosen, format!("{} is chosen before {}", first.url, row.url));
        }
    }
    findings
}

type Say<'a> = &'a mut dyn FnMut(Kind, String);

fn label(row: &Row) -> String {
    format!("{} {} {} {}", row.driver, row.version, row.distro, row.arch)
}

fn line(catalog: &Catalog, row: &Row, say: Say<'_>) {
    let Some(line) = catalog.line(row) else {
        return say(Kind::UnknownLine, format!("line `{}` is not in `lines`", row.line));
    };
    if line.driver != row.driver || !row.version.is_of(&line.release) {
        say(Kind::WrongLine, format!("line `{}` is {} {}", row.line, line.driver, line.release));
    }
}

fn name(catalog: &Catalog, row: &Row, say: Say<'_>) {
    let Some(file) = FileName::parse(row.file_name()) else {
        return say(Kind::NameMismatch, format!("`{}` is not a file name of the vendor's", row.file_name()));
    };
    let mut compare = |what: &str, in_name: Option<String>, in_row: String| {
        if let Some(in_name) = in_name.filter(|in_name| *in_name != in_row) {
            let what = format!("the {what} is {in_row}, but {in_name} in `{}`", row.file_name());
            say(Kind::NameMismatch, what);
        }
    };
    compare("driver", Some(file.driver.to_string()), row.driver.to_string());
    compare("version", Some(file.version.to_string()), row.version.to_string());
    compare("distribution", file.distro.map(|distro| distro.to_string()), row.distro.to_string());
    compare("architecture", file.arch.map(|arch| arch.to_string()), row.arch.to_string());
    if let Some(line) = catalog.line(row).filter(|_| row.driver == Driver::Doca) {
        compare("OFED release", file.ofed, line.ofed_release().to_owned());
    }
}

fn address(row: &Row, say: Say<'_>) {
    if let Some(digest) = &row.sha256 {
        if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            say(Kind::MalformedDigest, format!("`{digest}` is not 64 lower-case hexadecimal digits"));
        }
    } else if !row.mirrors.is_empty() {
        say(Kind::BadAddress, "mirrors without a digest: nothing says they hold the same file".to_owned());
    } else if row.url.starts_with("http:") {
        say(Kind::PlainHttp, format!("{} is plain http, and no digest is known", row.url));
    }
    let others = row.mirrors.iter().chain(&row.repository);
    for url in std::iter::once(&row.url).filter(|_| row.is_public()).chain(others) {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            say(Kind::BadAddress, format!("`{url}` is neither http nor https"));
        }
    }
}

/// The addresses and file names of the rows before.
#[derive(Default)]
struct Seen<'a> {
    addresses: BTreeMap<&'a str, &'a Row>,
    names: BTreeMap<&'a str, &'a Row>,
}

impl<'a> Seen<'a> {
    fn add(&mut self, row: &'a Row, say: Say<'_>) {
        for url in std::iter::once(&row.url).chain(&row.mirrors) {
            if let Some(first) = self.addresses.insert(url, row) {
                say(Kind::Duplicate, format!("{url} stands in {} too", label(first)));
            }
        }
        let first = *self.names.entry(row.file_name()).or_insert(row);
        if let (Some(one), Some(other)) = (&first.sha256, &row.sha256)
            && one != other
        {
            say(Kind::Conflict, format!("`{}` has the digests {one} and {other}", row.file_name()));
        }
    }
}

/// The row that is chosen before this one for every distribution, adapter and `driver_version`.
fn shadow<'a>(catalog: &'a Catalog, row: &Row) -> Option<&'a Row> {
    let nics = &catalog.line(row)?.nics;
    let mut first = None;
    for distro in catalog.serves(row) {
        for &nic in nics {
            let of_version = |other: &&Row| other.driver == row.driver && other.version == row.version;
            let best = catalog.candidates(distro, row.arch, nic).into_iter().find(of_version)?;
            if std::ptr::eq(best, row) {
                return None;
            }
            first = Some(best);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "schema_version: 1
lines:
  5.8-lts: {driver: mlnx_ofed, release: '5.8', nics: [cx5]}
  doca-3.2-lts: {driver: doca, release: '3.2', ofed: '25.10', nics: [cx5]}
drivers:
  - driver: mlnx_ofed
    version: 5.8-2.0.3.0
    line: 5.8-lts
    distro: rhel8.6
    arch: x86_64
    url: https://example.com/MLNX_OFED_LINUX-5.8-2.0.3.0-rhel8.6-x86_64.tgz
    sha256: 6ec0e1b6a8de6fbcc6d6bceaedf853f801003b0ee854f3b660e53bd2f73ef79a
";

    fn kinds(text: &str) -> Vec<Kind> {
        check(&Catalog::parse("test", text).unwrap()).into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn each_fault_is_found_and_nothing_else() {
        assert_eq!(kinds(GOOD), []);
        for (from, to, want) in [
            ("line: 5.8-lts", "line: 5.8", Kind::UnknownLine),
            ("line: 5.8-lts", "line: doca-3.2-lts", Kind::WrongLine),
            ("version: 5.8-2.0.3.0", "version: 5.8-2.0.3.1", Kind::NameMismatch),
            ("distro: rhel8.6", "distro: rhel8.7", Kind::NameMismatch),
            ("arch: x86_64", "arch: aarch64", Kind::NameMismatch),
            ("MLNX_OFED_LINUX", "MLNX", Kind::NameMismatch),
            ("6ec0e1", "6EC0E1", Kind::MalformedDigest),
            ("https:", "ftp:", Kind::BadAddress),
        ] {
            assert_eq!(kinds(&GOOD.replace(from, to)), [want], "{from} -> {to}");
        }
        let (without, _) = GOOD.split_once("    sha256").unwrap();
        assert_eq!(kinds(without), []);
        assert_eq!(kinds(&without.replace("https", "http")), [Kind::PlainHttp]);
        assert_eq!(kinds(&format!("{without}    mirrors: ['https://example.org/a']\n")), [Kind::BadAddress]);
    }

    #[test]
    fn the_ofed_release_of_a_doca_package_is_that_of_its_line() {
        let doca = GOOD
            .replace("driver: mlnx_ofed\n    version: 5.8-2.0.3.0", "driver: doca\n    version: 3.2.1")
            .replace("line: 5.8-lts", "line: doca-3.2-lts")
            .replace(
                "MLNX_OFED_LINUX-5.8-2.0.3.0-rhel8.6-x86_64.tgz",
                "doca-host-3.2.1-044_25.10_rhel86.x86_64.rpm",
            );
        assert_eq!(kinds(&doca), []);
        assert_eq!(kinds(&doca.replace("_25.10_", "_25.07_")), [Kind::NameMismatch]);
    }

    #[test]
    fn rows_that_collide_are_found() {
        let (_, row) = GOOD.split_once("drivers:\n").unwrap();
        let twice = |row: &str| kinds(&format!("{GOOD}{row}"));
        assert_eq!(twice(row), [Kind::Duplicate, Kind::NeverChosen]);
        assert_eq!(twice(&row.replace("example.com", "example.org")), [Kind::NeverChosen]);
        let other = row.replace("example.com", "example.org").replace("6ec0e1", "6ec0e2");
        assert_eq!(twice(&other), [Kind::Conflict, Kind::NeverChosen]);
        assert_eq!(twice(&row.replace("8.6", "8.7")), []);
    }

    /// The findings that are expected in the built-in catalogue: the extension's plain http addresses, for which no
    /// digest is published, and one package that Azure's sources name at two addresses of the vendor.
    #[test]
    fn the_built_in_catalogue_has_only_the_findings_that_are_known() {
        let catalog = Catalog::embedded().unwrap();
        let mut twice = Vec::new();
        let mut plain = 0;
        for finding in check(&catalog) {
            match finding.kind {
                Kind::NeverChosen => twice.push(finding.row),
                Kind::PlainHttp => {
                    assert!(finding.what.starts_with("http://content.mellanox.com/ofed/"), "{finding}");
                    plain += 1;
                }
                _ => panic!("{finding}"),
            }
        }
        assert_eq!(twice, ["mlnx_ofed 4.7-1.0.0.1 rhel7.6 x86_64"]);
        assert_eq!(plain, 56);
    }
}
