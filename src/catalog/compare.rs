//! `catalog diff`: what another catalogue would choose otherwise.

use super::Catalog;
use super::coverage::{Cell, Coverage, cells};
use crate::target::{Arch, Distro, Nic};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// A distribution and adapter for which two catalogues differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The distribution.
    pub distro: Distro,
    /// The architecture.
    pub arch: Arch,
    /// The adapter.
    pub nic: Nic,
    /// The driver of the first catalogue; none where it has none.
    pub before: Option<Cell>,
    /// The driver of the second.
    pub after: Option<Cell>,
}

/// The differences from `before` to `after`, in the order of [`Coverage`]: for each distribution that one of them names.
/// What plans choose beside that depends on kernels and settings.
pub fn changes(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let rows = [before, after].map(|catalog| Coverage::from_catalog(catalog).rows).concat();
    let mut seen = BTreeSet::new();
    let mut changes = Vec::new();
    for row in rows.into_iter().filter(|row| seen.insert((row.distro.to_string(), row.arch))) {
        let [old, new] = [before, after].map(|catalog| cells(catalog, &row.distro, row.arch));
        for nic in Nic::ALL {
            let (before, after) = (old.get(&nic).cloned(), new.get(&nic).cloned());
            if before != after {
                changes.push(Change { distro: row.distro.clone(), arch: row.arch, nic, before, after });
            }
        }
    }
    changes
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |cell: &Option<Cell>| cell.as_ref().map_or_else(|| "-".to_owned(), Cell::words);
        let (before, after) = (words(&self.before), words(&self.after));
        write!(f, "{} {} {}: {before} -> {after}", self.distro, self.arch, self.nic.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_new_changes_the_cells_that_take_it_and_no_others() {
        let before = Catalog::embedded().unwrap();
        assert_eq!(changes(&before, &before), []);
        let mut after = before.clone();
        let newest = after.candidates(&"ubuntu24.04".parse().unwrap(), Arch::X86_64, Nic::Cx7)[0].clone();
        after.drivers.retain(|row| *row != newest);
        let found = changes(&before, &after);
        assert!(!found.is_empty());
        for change in &found {
            let of_it = |cell: &Option<Cell>| {
                cell.as_ref().is_some_and(|it| it.version.as_ref() == Some(&newest.version))
            };
            assert!(of_it(&change.before) && !of_it(&change.after), "{change}");
        }
        let line =
            found.iter().map(ToString::to_string).find(|it| it.starts_with("ubuntu24.04 x86_64 cx7: "));
        assert!(line.is_some_and(|line| line.contains(&format!("{} -> ", newest.version))), "{found:?}");
    }
}
