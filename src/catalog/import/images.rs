//! The component versions of Azure's HPC images: `versions.json` (once `requirements.json`) of azhpc-images.
//!
//! Of its sections only `doca` and `mofed` are drivers. A section maps a distribution to `{version, sha256, url}`
//! (2023 to 2025), or to architectures with that each (since 2025), beside which variants for one kind of machine
//! may stand. `mofed` has no `url`: the image's installer makes the address from the version.

use super::{Entry, Import};
use crate::target::{Arch, Distro, Driver};
use serde_json::{Map, Value};

/// Reads it, if it is one.
pub(super) fn read(file: &Value, import: &mut Import) -> bool {
    let Some(sections) = file.as_object() else {
        return false;
    };
    let (drivers, others): (Vec<_>, Vec<_>) = sections
        .iter()
        .map(|(name, section)| (driver(name), name, section))
        .partition(|(driver, ..)| driver.is_some());
    for (driver, name, section) in &drivers {
        for (distro, entry) in section.as_object().into_iter().flatten() {
            let place = format!("{name} {distro}");
            match (driver, distro.parse(), entry.as_object()) {
                (Some(driver), Ok(known), Some(entry)) => one_distro(*driver, &known, &place, entry, import),
                _ => import.leave(&place, "not a distribution this program knows"),
            }
        }
    }
    if !drivers.is_empty() && !others.is_empty() {
        import.leave("the rest", format!("{} sections are not drivers", others.len()));
    }
    !drivers.is_empty()
}

fn driver(section: &str) -> Option<Driver> {
    match section.to_ascii_lowercase().as_str() {
        "doca" => Some(Driver::Doca),
        "mofed" => Some(Driver::MlnxOfed),
        _ => None,
    }
}

fn one_distro(driver: Driver, distro: &Distro, place: &str, entry: &Map<String, Value>, import: &mut Import) {
    let mut by_arch = false;
    for (key, value) in entry {
        let Ok(arch) = key.parse::<Arch>() else { continue };
        by_arch = true;
        let place = format!("{place} {key}");
        match value.as_object() {
            Some(entry) => package(driver, distro, Some(arch), place, entry, import),
            None => import.leave(&place, "no package"),
        }
    }
    if !by_arch {
        return package(driver, distro, None, place.to_owned(), entry, import);
    }
    let is_no_arch = |key: &&String| key.parse::<Arch>().is_err();
    for key in entry.keys().filter(is_no_arch) {
        import.leave(&format!("{place} {key}"), "not an architecture this program knows");
    }
}

fn package(
    driver: Driver,
    distro: &Distro,
    arch: Option<Arch>,
    place: String,
    entry: &Map<String, Value>,
    import: &mut Import,
) {
    for (variant, _) in entry.iter().filter(|(_, value)| value.is_object()) {
        import.leave(&format!("{place} {variant}"), "a variant for one kind of machine");
    }
    let text = |key| entry.get(key).and_then(Value::as_str);
    if text("version").is_none() && text("url").is_none() {
        return import.leave(&place, "names no version");
    }
    import.take(&Entry {
        place,
        driver: Some(driver),
        distro: Some(distro.clone()),
        arch,
        version: text("version"),
        url: text("url"),
        sha256: text("sha256"),
        ..Entry::default()
    });
}
