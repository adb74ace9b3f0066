//! The tables in READMEs, and the documents of the Packer plugin, are those of the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[allow(dead_code, unreachable_pub)]
#[path = "common/measured.rs"]
mod measured;

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
fn the_documents_explain_every_reason_and_size_as_the_program_does() {
    hold("docs/reasons.md", "reasons", &ofedctl::outcome::markdown_table());
    hold("docs/support.md", "sizes", &ofedctl::facts::vm_size_table::markdown_table());
}

/// The three commands of the recorded run that matter most, each with what it answered.
fn recorded() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/demo.md")).unwrap();
    let mut shown = String::from("```text\n");
    for (verb, answer) in [(" stage ", "staged: "), (" bake ", "installed: "), (" verify ", "verified: ")] {
        let after = |begin: &str, word: &str| {
            page.lines().find(|line| line.starts_with(begin) && line.contains(word)).expect(word)
        };
        writeln!(shown, "{}\n{}", after("$ ", verb), after(answer, answer)).unwrap();
    }
    shown + "```\n"
}

#[test]
fn the_readme_shows_what_the_recorded_run_said() {
    hold("README.md", "recorded", &recorded());
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
    let schema: Value = serde_json::from_str(&ofedctl::settings::SCHEMA).unwrap();
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
    hold("docs/settings.md", "settings", &settings());
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
        let [_, _, distro, nic, there, rest @ ..] = columns.as_slice() else { panic!("{line}") };
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

/// Every document that a user reads, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> =
        ["README.md", "azure/README.md", "cloud-init/README.md", "packer/README.md"]
            .map(|name| house.join(name))
            .into();
    let pages = fs::read_dir(house.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(pages.filter(|path| path.is_file()));
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn the_readme_is_short_enough_to_be_read() {
    let size = fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap().len();
    assert!(
        size < 12 * 1024,
        "README.md has {size} bytes; what is not for the first five minutes belongs into docs/"
    );
}

/// The name under which GitHub links to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn figures_are_those_that_were_measured() {
    let measured = measured::Measured::load();
    hold("docs/performance.md", "budgets", &measured.budgets());
    hold("docs/performance.md", "growth", &measured.growths());
    hold("docs/fleet.md", "crowds", &measured.crowds());
    for growth in &measured.growth {
        let plot = format!("docs/plots/{}.svg", growth.name);
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&plot).exists(), "{plot}");
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let headed = |text: &str| {
                text.lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line.trim_matches(['#', ' '])) == heading)
            };
            let found = target.exists()
                && (heading.is_empty() || fs::read_to_string(&target).is_ok_and(|text| headed(&text)));
            if !found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The `ofedctl` command lines in the shell blocks of a document, without their comments.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines =
        blocks.flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.flat_map(|line| {
        let line = line.split(" #").next().unwrap_or_default().to_owned();
        line.split(" && ").map(|part| part.trim().to_owned()).collect::<Vec<_>>()
    });
    lines.filter(|line| line.starts_with("ofedctl ")).collect()
}

#[test]
fn every_command_that_a_document_shows_is_one_that_the_program_takes() {
    let mut seen = 0;
    let mut refused = Vec::new();
    for (path, text) in documents() {
        for line in commands(&text) {
            seen += 1;
            // `--help` is answered only when everything before it was understood.
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_ofedctl"));
            let output = program.args(line.split_whitespace().skip(1)).arg("--help").output().unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                refused.push(format!("{}: {line}\n  {said}", path.display()));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(seen >= 20, "only {seen} commands were found");
}
