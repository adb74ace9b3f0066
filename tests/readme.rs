//! The tables in READMEs, and the documents of the Packer plugin, are those of the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use ofedctl::outcome::{ExitCode, Reason};
use serde_json::Value;
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

/// The settings with their types and defaults, from the schema that the program ships.
fn settings() -> String {
    let schema: Value = serde_json::from_str(ofedctl::settings::SCHEMA).unwrap();
    let mut table = String::from("| key | type | default | what it does |\n|---|---|---|---|\n");
    for (key, property) in schema["properties"].as_object().unwrap() {
        let kind = kind(&schema, property);
        let default = match &property["default"] {
            Value::Null => "none".to_owned(),
            Value::String(word) => format!("`{word}`"),
            other => format!("`{other}`"),
        };
        let says = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        writeln!(table, "| `{key}` | {kind} | {default} | {says} |").unwrap();
    }
    table
}

/// The type of a property in words; of one with a fixed set of words, the words.
fn kind(schema: &Value, property: &Value) -> String {
    if let Some(place) = property["$ref"].as_str().or_else(|| property["anyOf"][0]["$ref"].as_str()) {
        let definition = &schema["$defs"][place.rsplit('/').next().unwrap()];
        return kind(schema, definition);
    }
    let words = property["enum"].as_array().cloned().unwrap_or_default();
    let consts = property["oneOf"].as_array().cloned().unwrap_or_default();
    let words: Vec<String> = words
        .iter()
        .chain(consts.iter().map(|it| &it["const"]))
        .filter_map(|it| Some(format!("`{}`", it.as_str()?)))
        .collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let kinds: Vec<&str> = match &property["type"] {
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
        }
        kind => kind.as_str().into_iter().collect(),
    };
    match kinds.as_slice() {
        ["array"] => format!("list of {}", kind(schema, &property["items"])),
        kinds => kinds.join(" or "),
    }
}

#[test]
fn the_extensions_readme_has_the_systems_and_the_settings_of_the_program() {
    let catalog = ofedctl::catalog::Catalog::embedded().unwrap();
    let systems = ofedctl::catalog::coverage::Coverage::from_catalog(&catalog);
    hold("azure/README.md", "systems", &systems.to_markdown());
    hold("azure/README.md", "settings", &settings());
}

/// The rows of `tests/golden/live_extension.txt`, which `tests/plan/extension.rs` makes from what is planned.
fn rows() -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/live_extension.txt");
    let golden = fs::read_to_string(golden).unwrap();
    let mut table =
        String::from("| image | adapter | got there | gets here | | why |\n|---|---|---|---|---|---|\n");
    // Rows of RHEL and CentOS have two names here and one there.
    let lines: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &lines {
        let columns: Vec<&str> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        let [_, distro, nic, there, rest @ ..] = columns.as_slice() else { panic!("{line}") };
        // `newer  doca 2.10.0  why` with one blank where the word is as wide as its column.
        let rest = rest.join("  ");
        let (relation, rest) = rest.split_once(char::is_whitespace).unwrap();
        let (taken, why) = rest.trim().split_once("  ").unwrap();
        let there = if *there == "-" { "nothing" } else { there };
        writeln!(table, "| {distro} | {nic} | {there} | {} | {relation} | {} |", taken.trim(), why.trim())
            .unwrap();
    }
    assert_eq!(lines.len(), 60, "57 rows of the extension's file, and Ubuntu 22.04");
    table
}

#[test]
fn the_page_for_those_who_come_from_the_live_extension_has_every_row() {
    hold("azure/coming-from-infinibanddriverlinux.md", "rows", &rows());
}
