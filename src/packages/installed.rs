//! The packages that a root has installed, and whether they satisfy a plan.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is installed, by package name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Installed {
    /// Versions of the packages that are completely installed.
    pub versions: BTreeMap<String, String>,
    /// Packages left half-done by an interrupted transaction.
    pub broken: Vec<String>,
    /// Packages that are not installed whole and not gone: `broken` ones, and those whose settings are left.
    #[serde(default)]
    pub remains: BTreeSet<String>,
    /// Those that are installed and on hold: neither upgraded nor removed.
    pub held: BTreeSet<String>,
}

impl Installed {
    /// The installed packages of these names; one that ends with `*` stands for all that begin so.
    pub fn named(&self, names: &[String]) -> impl Iterator<Item = &str> {
        let is_named = |package: &&str| {
            names.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => package.starts_with(start),
                None => package == name,
            })
        };
        self.versions.keys().map(String::as_str).filter(is_named)
    }

    /// Whether any part of a package is present, by its name.
    pub fn has_any_of(&self, name: &str) -> bool {
        self.versions.contains_key(name) || self.remains.contains(name)
    }

    /// The version of the installed package that satisfies a plan's request (see [`answers`]).
    pub fn version_of(&self, wanted: &str) -> Option<&String> {
        let is_it =
            || self.versions.iter().find(|(name, _)| answers(name, wanted)).map(|(_, version)| version);
        self.versions.get(wanted).or_else(is_it)
    }
}

/// Whether an installed package satisfies a plan's request: it has the same name, also where that is asked for as
/// `NAME >= VERSION`, or it is a rebuild of the version in `NAME = VERSION`. The release of SUSE's kernel packages has one more number, which counts rebuilds
/// (SUSE/kernel-source, `rpm/kernel-binary.spec.in` and `rpm/kernel-spec-macros`).
pub fn answers(name: &str, wanted: &str) -> bool {
    // The resolver has seen to the version.
    if let Some((package, _)) = wanted.split_once(" >= ") {
        return name == package;
    }
    let Some((package, version)) = wanted.split_once(" = ") else { return name == wanted };
    let full = name.strip_prefix(package).and_then(|rest| rest.strip_prefix('-')?.strip_prefix(version));
    full.is_some_and(|rest| {
        let count = rest.strip_prefix('.').unwrap_or(if rest.is_empty() { "0" } else { "" });
        !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_rebuild_of_a_version_is_that_version() {
        let wanted = "kernel-azure-devel = 5.14.21-150400.14.31";
        let table = [
            ("kernel-azure-devel-5.14.21-150400.14.31.1", true),
            ("kernel-azure-devel-5.14.21-150400.14.31", true),
            ("kernel-azure-devel-5.14.21-150400.14.31.12", true),
            ("kernel-azure-devel-5.14.21-150400.14.31.1.1", false),
            ("kernel-azure-devel-5.14.21-150400.14.310.1", false),
            ("kernel-azure-devel-5.14.21-150400.14.28.1", false),
            ("kernel-devel-azure-5.14.21-150400.14.31.1", false),
            ("kernel-azure-devel", false),
        ];
        for (name, wanted_so) in table {
            assert_eq!(answers(name, wanted), wanted_so, "{name}");
        }
        assert!(answers("perftest", "perftest") && !answers("perftest-1", "perftest"));
    }
}
