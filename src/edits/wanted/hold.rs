//! The edit that makes a package manager's upgrades skip packages.

use crate::edits::Edit;
use crate::packages::{HoldPlace, Manager};

/// Holds back packages of these names; `*` stands for any characters. `purpose` tells apart what is held back for
/// different reasons.
pub(super) fn edit(manager: Manager, purpose: &str, names: &[&str], why: &str) -> Edit {
    let why = why.to_owned();
    let all = || names.iter().map(|name| (*name).to_owned()).collect();
    match manager.hold_place(purpose) {
        HoldPlace::PackageState => Edit::HoldPackages { names: all(), why },
        HoldPlace::List { path, list } => Edit::HoldBack { path, list, names: all(), why },
        HoldPlace::Names { path } => Edit::WriteFile { path, content: whole_lines(names), why },
    }
}

/// A line for each name that is whole.
fn whole_lines(names: &[&str]) -> String {
    let whole: Vec<&str> = names.iter().copied().filter(|name| !name.contains('*')).collect();
    whole.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_names_has_no_patterns() {
        let Edit::WriteFile { content, .. } = edit(Manager::Tdnf, "x", &["a", "b*"], "") else { panic!() };
        assert_eq!(content, "a\n");
        assert!(matches!(edit(Manager::Apt, "x", &["a", "b*"], ""), Edit::HoldPackages { .. }));
        assert!(matches!(edit(Manager::Dnf, "x", &["a", "b*"], ""), Edit::HoldBack { .. }));
    }
}
