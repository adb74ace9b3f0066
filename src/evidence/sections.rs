//! The page as sections, in the order in which a reader asks. `html.rs` and `markdown.rs` write them down.

use super::Evidence;
use crate::amounts;
use crate::config::without_secrets;
use crate::facts::modules::Place;
use crate::ledger::{Receipt, StepTime};
use crate::outcome::shown;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One section with its heading.
pub(super) struct Section {
    /// Names it in links.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) blocks: Vec<Block>,
}

/// A part of a section.
pub(super) enum Block {
    Text(String),
    List(Vec<String>),
    Table(Table),
    /// A text in lines: commands, or a difference with its name above.
    Code(String),
    Diff(String, String),
}

/// A table whose first column names its rows.
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A cell, which may be good or bad news. The text alone says so too.
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) mark: Mark,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Plain,
    Good,
    Bad,
}

/// All sections. Each is there whatever is known, and says what is not.
pub(super) fn all(evidence: &Evidence) -> Vec<Section> {
    let receipt = evidence.receipt.as_ref();
    let section = |id, title, blocks| Section { id, title, blocks };
    vec![
        section("verdict", "Verdict", verdict(evidence)),
        section("detected", "What was detected", detected(evidence)),
        section("driver", "The driver, and why", known(receipt, driver)),
        section("modules", "Kernels and modules", modules(evidence)),
        section("trust", "What vouches for it", known(receipt, trust)),
        section("packages", "Packages, before and after", known(receipt, packages)),
        section("files", "Edited files", files(evidence)),
        section("timeline", "Timeline", timeline(evidence)),
        section("checks", "Checks", known(receipt, checks)),
        section("rollback", "How to roll back", known(receipt, rollback)),
    ]
}

fn known(receipt: Option<&Receipt>, blocks: impl Fn(&Receipt) -> Vec<Block>) -> Vec<Block> {
    receipt.map_or_else(|| vec![text("Nothing is installed: there is no receipt.")], blocks)
}

fn text(text: impl Into<String>) -> Block {
    Block::Text(text.into())
}

fn plain(text: impl Into<String>) -> Cell {
    Cell { text: shown::line(&text.into()), mark: Mark::Plain }
}

/// A table of names and values; the values that are not known are left out.
fn facts_table(caption: &str, rows: Vec<(&str, Option<String>)>) -> Block {
    let rows = rows.into_iter().filter_map(|(name, value)| Some(vec![plain(name), plain(value?)]));
    let head = ["What", "Value"].map(str::to_owned).to_vec();
    Block::Table(Table { caption: caption.to_owned(), head, rows: rows.collect() })
}

fn table(caption: &str, head: &[&str], rows: Vec<Vec<Cell>>) -> Block {
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    Block::Table(Table { caption: caption.to_owned(), head, rows })
}

fn verdict(evidence: &Evidence) -> Vec<Block> {
    let run = evidence.run.as_ref();
    let mut blocks = vec![match &evidence.verdict {
        Some(it) => text(format!("{} (exit code {}): {}. {}", it.reason, it.code, it.message, it.remedy)),
        None => text("The last run has not ended."),
    }];
    let receipt = evidence.receipt.as_ref();
    blocks.push(facts_table(
        "The last run",
        vec![
            ("Command", run.map(|run| format!("ofedctl {} {}", run.version, run.command))),
            ("Entry point", run.map(|run| run.door.clone()).or_else(|| receipt.map(|it| it.door.clone()))),
            ("Run", run.map(|run| run.run_id.clone())),
            ("Host", run.and_then(|run| run.machine.host.clone())),
            ("VM", run.and_then(|run| run.machine.vm_id.clone())),
            ("Began", run.map(|run| run.started.clone()).or_else(|| receipt.map(|it| it.started.clone()))),
            ("Took", run.and_then(|run| run.milliseconds).map(amounts::time)),
            ("Log", Some(crate::host::LOG_FILE.to_owned())),
            ("Installed by", receipt.map(|receipt| receipt.made_by.clone())),
        ],
    ));
    blocks
}

fn detected(evidence: &Evidence) -> Vec<Block> {
    let facts = &evidence.facts;
    let size = facts.compute.vm_size.clone();
    let planned = evidence.receipt.as_ref().and_then(|receipt| receipt.plan.target.vm_size.clone());
    let ofed = facts.ofed.as_ref().and_then(|ofed| ofed.release.clone());
    let functions = facts.functions.iter().map(|function| format!("PCI function {function}"));
    let verbs = facts.verbs.iter().map(|device| format!("verbs device {}", device.name));
    let list: Vec<String> = functions.chain(verbs).collect();
    let mut blocks = vec![facts_table(
        "The system",
        vec![
            ("System", facts.os.name.clone()),
            ("Distribution", facts.os.distro.as_ref().map(ToString::to_string)),
            ("Architecture", facts.os.arch.map(|arch| arch.to_string())),
            ("Kernels", Some(facts.os.kernels.join(", "))),
            ("Running kernel", facts.os.running_kernel.clone()),
            ("Azure VM", Some(if facts.azure { "yes" } else { "not known to be one" }.to_owned())),
            ("VM size", size.or(planned)),
            ("Adapters", Some(facts.adapters())),
            ("Secure Boot", word(&facts.secure_boot)),
            ("Vendor's driver", ofed),
        ],
    )];
    if !list.is_empty() {
        blocks.push(Block::List(list));
    }
    blocks
}

/// A unit variant by the word that documents have for it.
fn word(value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

fn driver(receipt: &Receipt) -> Vec<Block> {
    let plan = &receipt.plan;
    let mut blocks = vec![text(format!("Driver: {}", plan.driver_name())), text("Because:")];
    blocks.push(Block::List(plan.why.clone()));
    if !plan.rejected.is_empty() {
        blocks.push(text("Not taken:"));
        blocks.push(Block::List(plan.rejected.iter().map(ToString::to_string).collect()));
    }
    blocks
}

fn modules(evidence: &Evidence) -> Vec<Block> {
    let planned: BTreeSet<&str> =
        evidence.receipt.iter().flat_map(|it| it.plan.modules.iter().map(String::as_str)).collect();
    let found = &evidence.facts.modules;
    let columns: BTreeSet<&str> =
        found.values().flat_map(BTreeMap::keys).map(String::as_str).chain(planned.iter().copied()).collect();
    if found.is_empty() {
        return vec![text("No kernel is installed in this root.")];
    }
    let cell = |kernel: &str, module: &str| {
        let place = found.get(kernel).and_then(|modules| modules.get(module)).copied();
        let (words, is_there) = match place {
            Some(Place::Kernel) => ("the kernel's own", true),
            Some(Place::BuiltIn) => ("built in", true),
            Some(Place::Added) => ("the driver's", true),
            Some(Place::Linked) => ("the driver's, linked", true),
            Some(Place::Missing) => ("missing", false),
            None => ("not looked for", true),
        };
        let mark = match (is_there, planned.contains(module)) {
            (true, true) => Mark::Good,
            (false, true) => Mark::Bad,
            _ => Mark::Plain,
        };
        Cell { text: words.to_owned(), mark }
    };
    let rows = found.keys().map(|kernel| {
        let cells = columns.iter().map(|module| cell(kernel, module));
        std::iter::once(plain(kernel.as_str())).chain(cells).collect()
    });
    let head: Vec<&str> = std::iter::once("Kernel").chain(columns.iter().copied()).collect();
    vec![table("Where each kernel has each module", &head, rows.collect())]
}

fn trust(receipt: &Receipt) -> Vec<Block> {
    let file = receipt.vendor_file.as_ref();
    let url = |url: &str| match without_secrets(&Value::from(url)) {
        Value::String(url) => url,
        _ => String::new(),
    };
    let rows = vec![
        ("Trust level", file.map(|file| file.trust.name().to_owned())),
        ("Vendor's file", file.map(|file| file.file_name.clone())),
        ("Its SHA-256", file.map(|file| file.sha256.clone())),
        ("From", file.map(|file| url(&file.url))),
        ("Bundle", receipt.bundle.clone()),
        ("Bundle made", receipt.bundle_made.clone()),
        ("Modules signed by", receipt.plan.module_signing.as_ref().map(|it| it.subject.clone())),
    ];
    let mut blocks = vec![facts_table("Digests", rows)];
    if file.is_none() {
        blocks.push(text(
            "There is no vendor's file: the packages are the distribution's, verified by its package manager.",
        ));
    }
    blocks
}

fn packages(receipt: &Receipt) -> Vec<Block> {
    let names: BTreeSet<&String> = receipt.packages.keys().chain(receipt.replaced.keys()).collect();
    let rows = names.into_iter().map(|name| {
        let now = receipt.packages.get(name);
        let before = match receipt.replaced.get(name) {
            Some(old) => old.as_str(),
            None if receipt.added.contains(name) => "not installed",
            None => now.map_or("", String::as_str),
        };
        let held = if receipt.held.contains(name) { "on hold" } else { "" };
        vec![plain(name), plain(before), plain(now.map_or("removed", String::as_str)), plain(held)]
    });
    vec![table("Packages", &["Package", "Before", "After", "Held"], rows.collect())]
}

fn files(evidence: &Evidence) -> Vec<Block> {
    let mut blocks = Vec::new();
    for file in &evidence.files {
        let why = file.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let name = format!("{}{why}", file.path);
        match (&file.diff, &file.note) {
            (Some(diff), _) => blocks.push(Block::Diff(name, diff.clone())),
            (None, note) => blocks.push(text(format!("{name}: {}", note.as_deref().unwrap_or("edited")))),
        }
    }
    if blocks.is_empty() {
        blocks.push(text("No file was edited."));
    }
    blocks
}

fn timeline(evidence: &Evidence) -> Vec<Block> {
    let of_run = evidence.run.as_ref().map(|run| &run.steps);
    let steps = of_run.or_else(|| evidence.receipt.as_ref().map(|receipt| &receipt.steps));
    let Some(steps) = steps.filter(|steps| !steps.is_empty()) else {
        return vec![text("The steps of the run were not recorded.")];
    };
    let row = |step: &StepTime| {
        let took = step.milliseconds.map(amounts::time).unwrap_or_default();
        let message = step.message.clone().unwrap_or_default();
        vec![plain(&step.step), plain(&step.started), plain(took), plain(message)]
    };
    vec![table("The steps of the run", &["Step", "Began", "Took", "Result"], steps.iter().map(row).collect())]
}

fn checks(receipt: &Receipt) -> Vec<Block> {
    let failed = receipt.checks.iter().filter(|check| !check.ok).count();
    let rows = receipt.checks.iter().map(|check| {
        let (word, mark) = if check.ok { ("passed", Mark::Good) } else { ("failed", Mark::Bad) };
        vec![plain(&check.name), Cell { text: word.to_owned(), mark }, plain(&check.found)]
    });
    vec![
        text(format!(
            "{} at the end of the run, {failed} failed.",
            amounts::count(receipt.checks.len(), "check")
        )),
        table("What was checked, and what was found", &["Check", "Result", "Found"], rows.collect()),
    ]
}

fn rollback(receipt: &Receipt) -> Vec<Block> {
    let mut list = vec![
        format!("packages that are taken out: {}", receipt.added.len()),
        format!("packages that get their earlier version back: {}", receipt.replaced.len()),
        format!("files whose edits are taken back: {}", receipt.changes.len()),
    ];
    if !receipt.held.is_empty() {
        list.push(format!("packages that are no longer on hold: {}", receipt.held.len()));
    }
    let mut blocks = vec![
        Block::Code(
            "ofedctl uninstall               # on the VM\nofedctl uninstall --root DIR    # in an image"
                .to_owned(),
        ),
        Block::List(list),
        text(
            "What others have written into the same files since stays. The command refuses, with everything as it was, while other packages need what it would remove.",
        ),
    ];
    if let Some(replaced) = &receipt.plan.replaces {
        blocks
            .push(text(format!("{replaced} was taken out by its own uninstaller, and does not come back.")));
    }
    blocks
}
