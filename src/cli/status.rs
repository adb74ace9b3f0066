//! `ofedctl status`: how the last run on a root ended, where, and what is due since.

use super::answer::{Answer, Call, to_json};
use super::args::StatusArgs;
use crate::amounts;
use crate::host::{Host, LOG_FILE};
use crate::ledger::Receipt;
use crate::ledger::{End, RunRecord};
use crate::outcome::{Outcome, Reason};
use crate::status::{STATUS_FILE, StatusDocument};
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;

/// How far the last run is.
#[derive(Clone, Copy)]
enum Stage {
    Ended,
    AtWork,
    /// It neither ended nor is it at work: it was killed, or its machine went down.
    Broken,
    /// Nothing is known of a run but what it installed, as in a VM that was made from an image.
    ReceiptOnly,
}

pub(super) fn status(call: &Call, args: &StatusArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    let (stage, document, outcome, receipt) = find(&host)?;
    let record = RunRecord::load(&host.root).filter(|_| receipt.is_none());
    let reboot_is_due = record.as_ref().is_some_and(|record| record.reboot_is_due(&host.root));
    let last_good = record.clone().and_then(RunRecord::into_last_good);

    let mut text = match &receipt {
        Some(receipt) => from_receipt(receipt),
        None => document.to_text(),
    };
    if let Stage::Broken = stage {
        let _ = writeln!(text, "{:<10} {}. {}", "", outcome.message, outcome.remedy);
    }
    if let Some(record) = &record {
        text += &of_run(record);
    }
    let _ = writeln!(text, "{:<10} {LOG_FILE}", "log");
    let due = if reboot_is_due { "a reboot, which loads the driver's modules" } else { "nothing" };
    let _ = writeln!(text, "{:<10} {due}", "due");
    if let Some(record) = &record {
        let _ = writeln!(text, "{:<10} {}", "last good", good_in_words(record, last_good.as_ref()));
    }

    let mut json = to_json(&document)?;
    if let Some(first) = json.get_mut(0).and_then(Value::as_object_mut) {
        first.insert("schema_version".to_owned(), 1.into());
        first.insert("state_of_run".to_owned(), stage.token().into());
        first.insert("run".to_owned(), to_json(&record)?);
        first.insert("last_good".to_owned(), to_json(&last_good)?);
        first.insert("reboot_due".to_owned(), reboot_is_due.into());
        first.insert("log".to_owned(), LOG_FILE.into());
        if let Some(receipt) = &receipt {
            let told =
                json!({"made_by": receipt.made_by, "door": receipt.door, "finished": receipt.finished});
            first.insert("receipt".to_owned(), told);
        }
    }
    let answer = Answer::listed(text, json);
    Ok(if args.exit_code { Answer { outcome, ..answer } } else { answer })
}

/// How far the last run is, its status document, how it ended, and the receipt where that is all there is.
fn find(host: &Host) -> Result<(Stage, StatusDocument, Outcome, Option<Receipt>)> {
    if let Some(document) = StatusDocument::load(&host.root, STATUS_FILE)? {
        if let Some(outcome) = document.outcome() {
            return Ok((Stage::Ended, document, outcome, None));
        }
        let root = host.root.path().display();
        return Ok(if host.run_is_at_work() == Some(false) {
            let what = format!("the run on `{root}` did not end: it was killed, or its machine went down");
            (Stage::Broken, document, Outcome::new(Reason::Interrupted, what), None)
        } else {
            let what = format!("a run works on `{root}`");
            (Stage::AtWork, document, Outcome::new(Reason::RunUnfinished, what), None)
        });
    }
    let receipt = Receipt::load(&host.root)?.ok_or_else(|| {
        Reason::NeverRun.error(format!("`{}` has no status document", host.root.path().display()))
    })?;
    let outcome = Outcome::new(Reason::Installed, receipt.plan.driver_name());
    let mut document = StatusDocument::begin("Install");
    document.end(&outcome);
    Ok((Stage::ReceiptOnly, document, outcome, Some(receipt)))
}

impl Stage {
    const fn token(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::AtWork => "at-work",
            Self::Broken => "interrupted",
            Self::ReceiptOnly => "receipt-only",
        }
    }
}

/// What the receipt of an image tells where its status was removed.
fn from_receipt(receipt: &Receipt) -> String {
    let mut text = "no run is recorded here, as on a VM made from an image; its receipt says:\n".to_owned();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("installed", &receipt.plan.driver_name());
    line("by", &format!("{}, entry point {}", receipt.made_by, receipt.door));
    line("began", &format!("{}, ended {}", receipt.started, receipt.finished));
    let failed = receipt.checks.iter().filter(|check| !check.ok).count();
    line("checks", &format!("{} made, {failed} failed", receipt.checks.len()));
    text
}

fn of_run(record: &RunRecord) -> String {
    let RunRecord { run_id, version, command, door, machine, started, milliseconds, .. } = record;
    let mut text = format!("{:<10} {run_id}: ofedctl {version} {command}, entry point {door}\n", "run");
    let id = machine.vm_id.as_ref().map(|id| format!("VM {id}"));
    let known: Vec<String> =
        [machine.host.clone(), machine.vm_size.clone(), id].into_iter().flatten().collect();
    if !known.is_empty() {
        let _ = writeln!(text, "{:<10} {}", "machine", known.join(", "));
    }
    let took = milliseconds.map(|it| format!(", took {}", amounts::time(it))).unwrap_or_default();
    let _ = writeln!(text, "{:<10} {started}{took}", "began");
    text
}

fn good_in_words(record: &RunRecord, last_good: Option<&End>) -> String {
    match last_good {
        None => "none is known".to_owned(),
        Some(end) if end.run_id == record.run_id => "this run".to_owned(),
        Some(End { run_id, command, finished, reason, message, .. }) => {
            format!("{finished}, run {run_id}: {command}: {reason}: {message}")
        }
    }
}
