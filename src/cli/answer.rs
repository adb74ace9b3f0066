//! The common input of every command, and its answer.

use super::terminal;
use crate::events::Events;
use crate::host::Host;
use crate::host::cancel::Cancel;
use crate::outcome::{Cause, Outcome, Reason};
use crate::remedies::{Door, Situation};
use crate::settings::Settings;
use crate::status::verdict;
use crate::target::Distro;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::Path;

/// The input of every command beside its own arguments.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) quiet: bool,
    pub(super) cancel: &'a Cancel,
    /// What is known of the target and the settings once a command has read them: remedies depend on it.
    pub(super) situation: RefCell<Situation>,
}

impl Call<'_> {
    pub(super) fn host(&self, root: &Path) -> Result<Host> {
        Host::open(root, Events::to(terminal::sink(self.quiet)), self.cancel.clone())
    }

    /// Notes the target and the settings in force, for the remedy of whatever fails from now on.
    pub(super) fn note(&self, distro: Option<Distro>, settings: &Settings) {
        self.situation.replace(Situation { distro, settings: Some(settings.clone()), door: Door::Shell });
    }
}

/// What a command has to say: its outcome, and what it prints.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Answer {
    /// An answer whose result is printed.
    pub(super) fn listed(text: String, json: Value) -> Self {
        Self { outcome: Outcome::new(Reason::Listed, ""), text, json }
    }
}

/// An answer that has only an outcome and no other result.
pub(super) fn outcome_alone(outcome: Outcome) -> Answer {
    let text = if outcome.is_success() { format!("{}\n", verdict(&outcome)) } else { String::new() };
    let json = outcome_json(&outcome);
    Answer { outcome, text, json }
}

/// An outcome as a document of its own.
pub(super) fn outcome_json(outcome: &Outcome) -> Value {
    let mut document = json!({"schema_version": 1});
    if let (Some(document), Value::Object(mut fields)) = (document.as_object_mut(), outcome_fields(outcome)) {
        document.append(&mut fields);
    }
    document
}

/// An outcome as every document has it.
pub(super) fn outcome_fields(outcome: &Outcome) -> Value {
    json!({
        "reason": outcome.reason.token(),
        "code": outcome.exit_code().number(),
        "message": outcome.message,
        "cause": outcome.cause.map(Cause::token),
        "remedy": outcome.remedy,
    })
}

/// A value as the JSON of a result.
pub(super) fn to_json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).context("cannot write the result as JSON")
}
