//! `catalog import`: converts other projects' lists of drivers into a catalogue.

mod extension;
mod images;

use super::package_names::{self, FileName};
use super::versions::Version;
use super::{Catalog, Row};
use crate::outcome::Reason;
use crate::target::{Arch, Distro, Driver, Family, KernelDevel, Nic};
use anyhow::Result;
use serde_json::Value;
use std::fmt::{Display, Write};

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The imported packages as a complete catalogue, with their lines and with the inbox entries of the base
    /// catalogue.
    pub catalog: Catalog,
    /// The imported entries, one line each.
    pub taken: Vec<String>,
    /// The entries that were not imported, one line each, with the reason.
    pub left: Vec<String>,
}

/// Reads the live extension's `resources.json` or azhpc-images' `versions.json`. Release lines and compatible
/// distributions are those of `base`; a package of an unknown line is not imported.
pub fn import(text: &str, base: &Catalog) -> Result<Imported> {
    let unreadable = |what: String| Reason::BadSettings.error(format!("nothing to import: {what}"));
    // Some editors begin a file with a byte order mark, which is no part of JSON.
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| unreadable(format!("not JSON: {error}")))?;
    let mut import = Import::new(base);
    if !extension::read(&value, &mut import) && !images::read(&value, &mut import) {
        let known = "neither `Driver` (the extension's resources.json) nor `doca` or `mofed` (azhpc-images' versions.json) is in it";
        return Err(unreadable(known.to_owned()));
    }
    Ok(import.finish())
}

impl Imported {
    /// The catalogue as a file, with the entries that were not imported as comments at its head.
    pub fn to_yaml(&self) -> Result<String> {
        let mut text = format!("# Imported: {} packages.\n", self.catalog.drivers.len());
        for left in &self.left {
            // It quotes the imported file, which must not be able to end the comment.
            let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            let _ = writeln!(text, "# Left: {}", left.replace(breaks, " "));
        }
        Ok(text + &serde_yaml::to_string(&self.catalog)?)
    }
}

/// An entry of either format.
#[derive(Debug, Default)]
struct Entry<'a> {
    /// Where in the file it stands, for the user.
    place: String,
    /// The driver that the list names, if the file name does not tell it.
    driver: Option<Driver>,
    distro: Option<Distro>,
    arch: Option<Arch>,
    nic: Option<Nic>,
    version: Option<&'a str>,
    url: Option<&'a str>,
    sha256: Option<&'a str>,
    kernel_devel: Option<KernelDevel>,
}

/// An import under way.
#[derive(Debug)]
struct Import {
    /// The catalogue it builds on, without its packages and with those taken so far.
    catalog: Catalog,
    taken: Vec<String>,
    left: Vec<String>,
}

impl Import {
    fn new(base: &Catalog) -> Self {
        let catalog = Catalog {
            schema_version: base.schema_version,
            issued: None,
            vendor_keys: Vec::new(),
            lines: base.lines.clone(),
            compatible: base.compatible.clone(),
            known_bad: base.known_bad.clone(),
            drivers: Vec::new(),
            inbox: base.inbox.clone(),
        };
        Self { catalog, taken: Vec::new(), left: Vec::new() }
    }

    fn leave(&mut self, place: &str, why: impl Display) {
        self.left.push(format!("{place}: {why}"));
    }

    /// Imports an entry, or records why it is left out.
    fn take(&mut self, entry: &Entry<'_>) {
        let row = match self.row(entry) {
            Ok(row) => row,
            Err(why) => return self.leave(&entry.place, why),
        };
        if let Some(distro) = entry.distro.as_ref().filter(|distro| !self.is_served(&row, distro)) {
            let on = self.catalog.compatible.entry(row.distro.clone());
            on.or_insert_with(|| vec![row.distro.clone()]).push(distro.clone());
        }
        self.add(&entry.place, row);
    }

    /// The row for an entry. The file name must agree with the entry.
    fn row(&self, entry: &Entry<'_>) -> Result<Row, String> {
        let url = match (entry.url, entry.version, &entry.distro) {
            (Some(url), ..) => url.to_owned(),
            (None, Some(version), Some(distro)) if entry.driver == Some(Driver::MlnxOfed) => {
                let arch = entry.arch.unwrap_or(Arch::X86_64);
                package_names::mlnx_ofed_url(&Version::new(version), &self.catalog.built_for(distro), arch)
            }
            _ => return Err("has no address".to_owned()),
        };
        let name = package_names::file_name(&url);
        let file = FileName::parse(name).ok_or_else(|| format!("`{url}` is not a vendor package"))?;
        let (Some(distro), Some(arch)) = (file.distro, file.arch) else {
            return Err(format!("`{name}` is sources, not a package"));
        };
        let row = Row {
            driver: file.driver,
            line: self.line_of(file.driver, &file.version)?,
            version: file.version,
            distro,
            arch,
            sha256: entry.sha256.filter(|digest| !digest.is_empty()).map(str::to_ascii_lowercase),
            url,
            mirrors: Vec::new(),
            repository: None,
            kernel_devel: entry.kernel_devel.clone(),
            note: None,
        };
        let agree = |what: &str, said: Option<String>, agrees: bool| match said {
            Some(said) if !agrees => Err(format!("says {what} {said}, but names `{}`", row.file_name())),
            _ => Ok(()),
        };
        let said = entry.driver.map(|driver| driver.to_string());
        agree("driver", said, entry.driver == Some(row.driver))?;
        let said = entry.arch.map(|arch| arch.to_string());
        agree("architecture", said, entry.arch == Some(row.arch))?;
        // In azhpc-images the version may be the name of a whole build.
        let version = entry.version.map(Version::new);
        let same = version.as_ref().is_some_and(|version| version.is_of(row.version.as_str()));
        agree("version", version.map(|version| version.to_string()), same)?;
        let installs = |distro: &Distro| self.is_served(&row, distro) || is_rebuild(&row.distro, distro);
        let said = entry.distro.as_ref().map(Distro::to_string);
        agree("distribution", said, entry.distro.as_ref().is_some_and(installs))?;
        match (entry.nic, self.catalog.line(&row)) {
            (Some(nic), Some(line)) if !line.nics.contains(&nic) => {
                Err(format!("line `{}` is not for {nic}", row.line))
            }
            _ => Ok(row),
        }
    }

    fn add(&mut self, place: &str, row: Row) {
        let rows = &mut self.catalog.drivers;
        let Some(known) = rows.iter_mut().find(|known| known.url == row.url) else {
            let digest = if row.sha256.is_some() { "" } else { ", without a digest" };
            self.taken.push(format!("{place}: {}{digest}", row.file_name()));
            return rows.push(row);
        };
        if row.sha256.is_some() && known.sha256.is_some() && known.sha256 != row.sha256 {
            return self.leave(place, format!("`{}` has another digest here than before", row.file_name()));
        }
        known.sha256 = known.sha256.take().or(row.sha256);
        known.kernel_devel = known.kernel_devel.take().or(row.kernel_devel);
        self.taken.push(format!("{place}: {}, the same file as before", known.file_name()));
    }

    fn is_served(&self, row: &Row, distro: &Distro) -> bool {
        self.catalog.serves(row).iter().any(|served| served.covers(distro))
    }

    /// The line of a version: the one whose release is the longest prefix of it.
    fn line_of(&self, driver: Driver, version: &Version) -> Result<String, String> {
        let lines = self.catalog.lines.iter();
        let of = lines.filter(|(_, line)| line.driver == driver && version.is_of(&line.release));
        let line = of.max_by_key(|(_, line)| line.release.len());
        line.map(|(name, _)| name.clone())
            .ok_or_else(|| format!("no release line is known for {driver} {version}"))
    }

    fn finish(self) -> Imported {
        let Self { mut catalog, taken, left } = self;
        let rows = &mut catalog.drivers;
        rows.sort_by(|a, b| (b.driver, &b.version, &a.distro).cmp(&(a.driver, &a.version, &b.distro)));
        catalog.lines.retain(|name, _| rows.iter().any(|row| row.line == *name));
        catalog.known_bad.retain(|bad| rows.iter().any(|row| row.line == bad.line));
        catalog.compatible.retain(|distro, _| rows.iter().any(|row| row.distro == *distro));
        Imported { catalog, taken, left }
    }
}

/// Whether a distribution is a rebuild of the one that a package was built for, in the same version. The lists may name
/// rebuilds that are newer than this program.
pub fn is_rebuild(built_for: &Distro, distro: &Distro) -> bool {
    let alike = Distro::new(&*built_for.id, &*distro.version);
    built_for.id == "rhel" && distro.family() == Family::Rhel && distro.id != "ol" && built_for.covers(&alike)
}

#[cfg(test)]
mod tests;
