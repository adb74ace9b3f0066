//! The README's tables are those of the program.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// Holds the part of the README between two marks equal to `wanted`; with `UPDATE_GOLDEN` set, makes it so.
fn hold(mark: &str, wanted: &str) {
    let text = fs::read_to_string(README).unwrap();
    let (before, rest) = text.split_once(&format!("<!-- {mark} -->\n")).unwrap();
    let (now, after) = rest.split_once(&format!("<!-- /{mark} -->\n")).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(README, format!("{before}<!-- {mark} -->\n{wanted}<!-- /{mark} -->\n{after}")).unwrap();
    } else {
        assert_eq!(now, wanted, "run the tests once with UPDATE_GOLDEN=1");
    }
}

#[test]
fn the_readme_explains_every_reason_as_the_program_does() {
    hold("reasons", &ofedctl::outcome::markdown_table());
    hold("sizes", &ofedctl::facts::vm_size_table::markdown_table());
}
