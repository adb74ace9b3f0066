//! A vendor's file that the user names and that no row of the catalogue knows: it is taken for what its name, its version
//! and the settings say of it. Whether its content says the same is checked once it is there.

use crate::catalog::import::is_rebuild;
use crate::catalog::package_names::{FileName, file_name};
use crate::catalog::versions::Version;
use crate::catalog::{Catalog, Line, Row};
use crate::settings::{DriverChoice, Settings};
use crate::target::{Distro, Driver, Target};
use std::borrow::Cow;

const NOTE: &str =
    "the catalogue does not know this file: it is taken for what its name and the settings say";

/// The catalogue, with a row for the file that the settings name if it has none.
pub(super) fn known<'a>(catalog: &'a Catalog, settings: &Settings, target: &Target) -> Cow<'a, Catalog> {
    let Some((file, name)) = named(catalog, settings, target) else { return Cow::Borrowed(catalog) };
    let (Some(distro), Some(arch)) = (file.distro, file.arch) else { return Cow::Borrowed(catalog) };
    let mut catalog = catalog.clone();
    let Some(line) = line_of(&mut catalog, file.driver, &file.version, file.ofed) else {
        return Cow::Owned(catalog);
    };
    let serves_itself = distro == target.distro || distro.covers(&target.distro);
    if !serves_itself && is_rebuild(&distro, &target.distro) {
        let on = catalog.compatible.entry(distro.clone()).or_insert_with(|| vec![distro.clone()]);
        if !on.iter().any(|served| served.covers(&target.distro)) {
            on.push(target.distro.clone());
        }
    }
    catalog.drivers.push(Row {
        driver: file.driver,
        version: file.version,
        line,
        distro,
        arch,
        url: name,
        sha256: None,
        mirrors: Vec::new(),
        repository: None,
        kernel_devel: None,
        note: Some(NOTE.to_owned()),
    });
    Cow::Owned(catalog)
}

/// What the settings say of a file that no row knows, and its address or name.
fn named(catalog: &Catalog, settings: &Settings, target: &Target) -> Option<(FileName, String)> {
    if settings.driver == DriverChoice::Inbox {
        return None;
    }
    let version = settings.driver_version.as_deref().map(Version::new);
    let is_there = |driver: Driver, version: &Version| {
        catalog.drivers.iter().any(|row| {
            let here = catalog.serves(row).iter().any(|served| served.covers(&target.distro));
            row.driver == driver && row.version.is_of(version.as_str()) && row.arch == target.arch && here
        })
    };
    let Some(place) = &settings.artifact else {
        let version = version.filter(|_| settings.sha256.is_some())?;
        let built_for = built_for(catalog, &target.distro);
        let (file, url) = FileName::with_address(&version, &built_for, target.arch)?;
        let is_wanted = settings.driver.allows(file.driver) && !is_there(file.driver, &version);
        return is_wanted.then_some((file, url));
    };
    let name = file_name(place.split(['?', '#']).next().unwrap_or(place)).to_owned();
    if let Some(file) = FileName::parse(&name) {
        let is_known = catalog.drivers.iter().any(|row| row.file_name() == name)
            || file.distro.as_ref() == Some(&target.distro) && is_there(file.driver, &file.version);
        return (!is_known).then_some((file, name));
    }
    // A file of another name is what the settings say it is.
    let file = FileName::renamed(&name, version?, target.distro.clone(), target.arch)?;
    (!is_there(file.driver, &file.version)).then_some((file, name))
}

/// The distribution whose packages another one uses: where the catalogue names none, RHEL's of the same version for a rebuild.
fn built_for(catalog: &Catalog, distro: &Distro) -> Distro {
    let named = catalog.built_for(distro);
    let rhels = Distro::new("rhel", &*distro.version);
    if named == *distro && is_rebuild(&rhels, distro) { rhels } else { named }
}

/// The line of a version. One that the catalogue does not have is like the newest before it, and nothing is known of its
/// kernels.
fn line_of(catalog: &mut Catalog, driver: Driver, version: &Version, ofed: Option<String>) -> Option<String> {
    let of_driver = || catalog.lines.iter().filter(|(_, line)| line.driver == driver);
    let own = of_driver().filter(|(_, line)| version.is_of(&line.release));
    if let Some((name, _)) = own.max_by_key(|(_, line)| line.release.len()) {
        return Some(name.clone());
    }
    let (_, before) = of_driver()
        .filter(|(_, line)| Version::new(&*line.release) < *version)
        .max_by_key(|(_, line)| Version::new(&*line.release))?;
    let line = Line {
        release: version.as_str().to_owned(),
        ofed: ofed.or_else(|| before.ofed.clone()),
        lts: false,
        lts_from: None,
        preferred: None,
        end_of_life: None,
        kernel_below: None,
        kernel_source: None,
        ..before.clone()
    };
    let name = format!("{driver} {version}");
    catalog.lines.insert(name.clone(), line);
    Some(name)
}
