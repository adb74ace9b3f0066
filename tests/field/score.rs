//! The score of diagnosis: the failures that users of `MLNX_OFED` on Azure meet, those that users of VM extensions meet, and
//! the situations of public reports, in a row each (`score_rows.rs`). What a program prints is read here, and what a machine or
//! a root is, is planned for or run here. What needs an image or a boot is provoked by the test that a row names, which asserts
//! the same ending by its name; and what is mended by itself, by the words that its test asserts.

use crate::common::endings::{self, Ending};
use crate::common::program::{self, Ran};
use crate::common::small_root::{KERNEL, SmallRoot};
use crate::common::{need::need_root, scratch};
use crate::score_doca::DOCA;
use crate::score_provoked::an_empty_cache;
use crate::score_rows::{AGENT, FIELD, OFED};
use ofedctl::ledger::Check;
use ofedctl::outcome::{Cause, Reason};
use ofedctl::packages::diagnose::{Doing, reason_of};
use ofedctl::remedies::Situation;
use ofedctl::verify;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");
const HB: &str = "hb120rs_v3-ubuntu20.04";

/// How a row is proven. Each way has what is wrong, and what is to be done or was done.
pub(crate) enum Proof {
    /// What a program prints has this reason, and the remedy has these words.
    Said(Doing, &'static str, Reason, &'static str),
    /// The facts of a machine, from the fixtures, changed: what a plan for it ends with, and words of the remedy.
    Machine(fn(&Path), &'static [&'static str], Reason, Option<Cause>, &'static str),
    /// A plan for a described target is refused so, with words of the remedy.
    Refused(&'static [&'static str], Reason, Option<Cause>, &'static str),
    /// A plan for a described target tells what is wrong in these words, and what is done about it.
    Described(&'static [&'static str], &'static [&'static str]),
    /// A plan for a root of files does so.
    Planned(fn() -> SmallRoot, &'static [&'static str]),
    /// A run is made to fail here: it ends with this reason and cause, and a remedy with these words.
    Provoked(fn() -> Ran, Reason, Option<Cause>, &'static str),
    /// A test of this file provokes this ending, and asserts reason, cause and remedy by it.
    Ends(&'static str, &'static str, &'static Ending),
    /// A test provokes what this program mends by itself, and asserts these words or names.
    Mended(&'static str, &'static str, &'static [&'static str]),
}
use Proof::{Described, Ends, Machine, Mended, Planned, Provoked, Refused, Said};

#[test]
fn every_row_has_its_reason_its_cause_and_a_remedy_that_fits() {
    need_root();
    assert_eq!((OFED.len(), AGENT.len(), FIELD.len(), DOCA.len()), (15, 12, 21, 12));
    let mut broken: Vec<&str> = Vec::new();
    for (row, proofs) in OFED.iter().chain(AGENT).chain(FIELD).chain(DOCA) {
        assert!(!proofs.is_empty(), "{row}");
        let fails = |proof: &&Proof| std::panic::catch_unwind(|| holds(row, proof)).is_err();
        broken.extend(proofs.iter().find(fails).map(|_| *row));
    }
    assert!(broken.is_empty(), "these rows do not hold: {broken:#?}");
}

fn holds(row: &'static str, proof: &Proof) {
    match proof {
        Said(doing, printed, reason, advised) => {
            let around = format!("some words before\n{printed}\nmake: *** [all] Error 2\n");
            assert_eq!(reason_of(&around, *doing, Reason::Internal), *reason, "{row}: {printed}");
            advises(row, *reason, None, advised);
        }
        Machine(change, more, reason, cause, advised) => {
            let folder = scratch();
            let from = format!("{HOUSE}/tests/fixtures/hosts/{HB}/.");
            assert!(Command::new("cp").args(["-a", &from]).arg(folder.path()).status().unwrap().success());
            change(folder.path());
            let root = folder.path().to_str().unwrap();
            is_refused(row, &[&["--root", root], *more].concat(), *reason, *cause, advised);
        }
        Refused(asked, reason, cause, advised) => is_refused(row, asked, *reason, *cause, advised),
        Described(asked, words) => {
            let ran = program::run(&[&["plan", "--json"], *asked].concat());
            assert_eq!(ran.code, 0, "{row}: {ran:?}");
            has_all(row, &ran.stdout, words);
        }
        Planned(root, words) => has_all(row, &root().plan(&[]).to_string(), words),
        Provoked(run, reason, cause, advised) => {
            run().ends(&Ending { name: row, reason: *reason, cause: *cause, advised });
        }
        Ends(file, name, ending) => {
            has_all(row, &asserted_by(row, file, name), &[&format!("endings::{}", ending.name)]);
            advises(row, ending.reason, ending.cause, ending.advised);
        }
        Mended(file, name, words) => {
            assert!(words.len() > 1, "{row}: what is told, and what is done");
            has_all(row, &asserted_by(row, file, name), words);
        }
    }
}

#[track_caller]
fn advises(row: &str, reason: Reason, cause: Option<Cause>, words: &str) {
    let remedy = Situation::default().remedy(reason, cause);
    assert!(remedy.contains(words), "{row}: {remedy}");
}

fn is_refused(row: &str, asked: &[&str], reason: Reason, cause: Option<Cause>, advised: &str) {
    let answer = program::run(&[&["plan", "--json"], asked].concat()).json();
    assert_eq!(answer["reason"], reason.token(), "{row}: {answer:#}");
    assert_eq!(answer["cause"].as_str(), cause.map(Cause::token), "{row}: {answer:#}");
    assert!(answer["remedy"].as_str().unwrap().contains(advised), "{row}: {answer:#}");
}

#[track_caller]
fn has_all(row: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{row}: no `{word}` in {text}");
    }
}

/// The text of a test, with that of the functions of its file that it calls.
fn asserted_by(row: &str, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(Path::new(HOUSE).join("tests").join(file)).unwrap();
    let (mut asserted, mut seen) = (String::new(), BTreeSet::new());
    let mut wanted = vec![name.to_owned()];
    while let Some(name) = wanted.pop() {
        let Some(body) = function(&text, &name).filter(|_| seen.insert(name.clone())) else { continue };
        asserted.push_str(body);
        let words = body.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        wanted.extend(words.filter(|word| !seen.contains(*word)).map(str::to_owned));
    }
    assert!(function(&text, name).is_some(), "{row}: {file} has no test {name}");
    asserted
}

/// A function of a file, up to the line that ends it.
fn function<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(&format!("fn {name}("))?;
    let begin = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[begin..];
    let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
    let end = line.find(&format!("\n{indent}}}\n"))?;
    Some(&line[..end])
}

#[test]
fn a_row_whose_test_asserts_something_else_does_not_hold() {
    let fails = |proof: Proof| std::panic::catch_unwind(move || holds("a row", &proof)).is_err();
    let (file, test) =
        ("field/interrupted.rs", "an_image_that_was_captured_while_dpkg_worked_is_healed_by_a_bake");
    holds("a row", &Ends(file, test, &endings::HALF_INSTALLED));
    assert!(fails(Ends(file, test, &endings::STOPPED)));
    assert!(fails(Ends(file, "no_such_test", &endings::HALF_INSTALLED)));
    assert!(fails(Mended(file, test, &["dpkg --configure -a", "no such words"])));
    holds("a row", &Provoked(an_empty_cache, Reason::CacheMissing, Some(Cause::CacheEmpty), "ofedctl stage"));
    assert!(fails(Provoked(an_empty_cache, Reason::NoSpace, None, "ofedctl stage")));
    assert!(fails(Provoked(an_empty_cache, Reason::CacheMissing, None, "ofedctl stage")));
    assert!(fails(Provoked(an_empty_cache, Reason::CacheMissing, Some(Cause::CacheEmpty), "Free space")));
}

#[test]
fn a_service_that_hangs_at_boot_has_its_reason_and_remedy() {
    // The signatures of mode 15 are judged on a running VM by `verify` (src/verify/services.rs), and any of them is the reason.
    let others = Check::new("module mlx5_core", false, "missing");
    let hangs = Check::new("service openibd", false, "timed out").of_service();
    let reason = verify::reason(&[others, hangs]);
    assert_eq!(reason, endings::SERVICE_HANGS.reason);
    let remedy = Situation::default().remedy(reason, endings::SERVICE_HANGS.cause);
    for word in ["journalctl", "ib_iser", "wait-online"] {
        assert!(remedy.contains(word), "{remedy}");
    }
    // In an image, what waits for ib0 is named while it is planned.
    let root = SmallRoot::ubuntu().with_vendor_driver();
    root.put("usr/sbin/netplan", "");
    root.put("etc/netplan/60-ib.yaml", "network:\n  ethernets:\n    ib0: {dhcp4: true}\n");
    let why = root.plan(&["--kernel", KERNEL])["why"].to_string();
    assert!(why.contains("the boot waits for it unless it is made optional there"), "{why}");
}
