//! The catalogue of the published `InfiniBandDriverLinux` extension: `InfiniBand/resources.json` of azhpc-extensions.
//!
//! Its form, in every revision since 2019: `Driver[].Version[].{Type, OS[].{Name, Distro[].{Name, Version[]}}}`,
//! where the innermost has `Num`, `FwLink` and, for some of Enterprise Linux 7, `KernelDevelVer` and
//! `KernelDevelRPM`. It has no digests. The same file serves Windows.

use super::{Entry, Import};
use crate::target::{Distro, KernelDevel, Nic};
use serde_json::Value;

/// Reads it, if it is one.
pub(super) fn read(file: &Value, import: &mut Import) -> bool {
    let Some(drivers) = file.get("Driver").and_then(Value::as_array) else {
        return false;
    };
    for driver in drivers {
        for version in list(driver, "Version") {
            for os in list(version, "OS") {
                system(text(version, "Type"), os, import);
            }
        }
    }
    true
}

fn system(generation: &str, os: &Value, import: &mut Import) {
    let name = text(os, "Name");
    if name != "Linux" {
        return import.leave(&format!("{generation} {name}"), "not Linux");
    }
    for distro in list(os, "Distro") {
        let family = text(distro, "Name");
        for version in list(distro, "Version") {
            let number = text(version, "Num");
            let place = format!("{generation} {family} {number}");
            let Some(distro) = distribution(family, number) else {
                import.leave(&place, "not a distribution this program knows");
                continue;
            };
            let devel = version.get("KernelDevelVer").and_then(Value::as_str).map(|kernel| KernelDevel {
                version: kernel.to_owned(),
                url: version.get("KernelDevelRPM").and_then(Value::as_str).map(str::to_owned),
            });
            import.take(&Entry {
                place,
                distro: Some(distro),
                nic: nic(generation),
                url: version.get("FwLink").and_then(Value::as_str),
                kernel_devel: devel,
                ..Entry::default()
            });
        }
    }
}

fn distribution(family: &str, number: &str) -> Option<Distro> {
    let id = match family {
        "Ubuntu" => "ubuntu",
        "RHEL/CentOS" => "rhel",
        _ => return None,
    };
    format!("{id}{number}").parse().ok()
}

fn nic(generation: &str) -> Option<Nic> {
    generation.to_ascii_lowercase().parse().ok()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("?")
}
