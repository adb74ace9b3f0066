//! Messages of the command line, reworded for Packer, where flags are attributes of the template.

use super::attributes::spec;
use crate::outcome::{Outcome, Reason};

/// The text with the names of attributes for those of flags: `--driver inbox` is `driver = "inbox"`. Whole commands
/// that somebody is to run stay.
pub(super) fn at_this_door(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    let said = pieces.map(|(index, piece)| match index % 2 {
        0 => plain(piece),
        _ => code(piece),
    });
    said.collect::<Vec<_>>().join("`")
}

/// The remedy of an outcome, in the words of a Packer template.
pub(super) fn remedy(outcome: &Outcome) -> String {
    match outcome.reason {
        Reason::CacheMissing => {
            "Set `stage = true`; or run `ofedctl stage` for this guest on a machine with a network, and \
                                 name its folder with `cache`."
                .to_owned()
        }
        Reason::GuestUnreachable | Reason::GuestFailed | Reason::NotRoot => outcome.remedy.clone(),
        _ => at_this_door(&outcome.remedy),
    }
}

fn attribute(flag: &str) -> Option<String> {
    let name = flag.strip_prefix("--")?.replace('-', "_");
    spec().into_iter().map(|attribute| attribute.name).find(|attribute| *attribute == name)
}

fn code(piece: &str) -> String {
    let (flag, value) = piece.split_once([' ', '=']).unwrap_or((piece, ""));
    match attribute(flag) {
        Some(name) if value.is_empty() => name,
        Some(name) => format!("{name} = \"{value}\""),
        None => piece.to_owned(),
    }
}

fn plain(piece: &str) -> String {
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let mut said = String::new();
    let mut rest = piece;
    while let Some(at) = rest.find("--") {
        let (before, flag) = rest.split_at(at);
        let (flag, after) = flag.split_at(flag.find(is_end).unwrap_or(flag.len()));
        said += before;
        match attribute(flag) {
            Some(name) => said.extend(["`", &name, "`"]),
            None => said += flag,
        }
        rest = after;
    }
    said + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_attributes_and_commands_stay() {
        for (text, wanted) in [
            ("name a driver with --driver", "name a driver with `driver`"),
            ("(give --vm-size or --nic)", "(give `vm_size` or `nic`)"),
            ("take `--driver inbox`", "take `driver = \"inbox\"`"),
            ("set `--driver-version`", "set `driver_version`"),
            ("run `ofedctl stage --driver doca`", "run `ofedctl stage --driver doca`"),
            ("give --root -- or not; a--b", "give --root -- or not; a--b"),
            ("an odd ` --nic", "an odd ` --nic"),
        ] {
            assert_eq!(at_this_door(text), wanted);
        }
    }
}
