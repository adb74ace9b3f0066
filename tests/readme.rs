//! The tables in READMEs, and the documents of the Packer plugin, are those of the program.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use ofedctl::outcome::{ExitCode, Reason};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Holds the part of a README between two marks equal to `wanted`; with `UPDATE_GOLDEN` set, makes it so.
fn hold(readme: &str, mark: &str, wanted: &str) {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join(readme);
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(&format!("<!-- {mark} -->\n")).unwrap();
    let (now, after) = rest.split_once(&format!("<!-- /{mark} -->\n")).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(readme, format!("{before}<!-- {mark} -->\n{wanted}<!-- /{mark} -->\n{after}")).unwrap();
    } else {
        assert_eq!(now, wanted, "run the tests once with UPDATE_GOLDEN=1");
    }
}

#[test]
fn the_readme_explains_every_reason_as_the_program_does() {
    hold("README.md", "reasons", &ofedctl::outcome::markdown_table());
    hold("README.md", "sizes", &ofedctl::facts::vm_size_table::markdown_table());
}

/// One row for each reason that is no success: its code, what it means, and what to do about it.
fn failures() -> String {
    let mut table = String::from("| code | reason | what it means | what to do |\n|---|---|---|---|\n");
    for reason in Reason::ALL.iter().filter(|reason| reason.exit_code() != ExitCode::Success) {
        let (code, meaning) = (reason.exit_code().number(), reason.meaning());
        writeln!(table, "| {code} | `{reason}` | {meaning} | {} |", reason.remedy()).unwrap();
    }
    table
}

#[test]
fn the_extensions_readme_has_every_code_and_reason_that_is_no_success() {
    hold("azure/README.md", "codes", &failures());
}

const LIST: &str = "docs-partials/provisioner/ofed/Config-not-required.mdx";

fn packer(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packer").join(name)
}

#[track_caller]
fn hold_file(name: &str, made: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(packer(name), made).unwrap();
    }
    let there = fs::read_to_string(packer(name)).unwrap_or_default();
    assert_eq!(there, made, "packer/{name} is old; run the tests once with UPDATE_GOLDEN=1");
}

/// A page as it is rendered: without its front matter, and with its partials.
fn rendered(page: &str) -> String {
    let text = fs::read_to_string(packer(page)).unwrap();
    let body = match text.strip_prefix("---\n") {
        Some(rest) => rest.split_once("\n---\n\n").expect("the end of the front matter").1,
        None => &text,
    };
    let line = |line: &str| match line.strip_prefix("@include '").and_then(|name| name.strip_suffix('\'')) {
        Some(partial) => fs::read_to_string(packer("docs-partials").join(partial)).unwrap(),
        None => format!("{line}\n"),
    };
    body.lines().map(line).collect()
}

#[test]
fn every_attribute_is_documented_and_the_rendered_pages_are_those_of_the_sources() {
    hold_file(LIST, &ofedctl::doors::packer::markdown_list());
    hold_file(".web-docs/README.md", &rendered("docs/README.md"));
    hold_file(".web-docs/components/provisioner/ofed/README.md", &rendered("docs/provisioners/ofed.mdx"));
}
