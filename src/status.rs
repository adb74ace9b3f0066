//! The status document of the VM extension protocol. Every entry point writes it.
//!
//! The rules are the agent's own (`WALinuxAgent`, azurelinuxagent/ga/exthandlers.py): an array of one, lower-case
//! keys, no null name or message, valid UTF-8, small. Breaking one can cost the status of every extension.

use crate::events::Step;
use crate::host::fs::Root;
use crate::outcome::{Outcome, Reason, shown};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::time::SystemTime;

/// The document's path inside the root, for every run; runs of the extension have a second copy in the handler's
/// folder.
pub const STATUS_FILE: &str = "/var/lib/ofedctl/status/0.status";
/// The longest message; the Azure portal shows about this much.
const MAX_MESSAGE_CHARS: usize = 1000;

/// The state of a step, in the agent's four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Still at work.
    Transitioning,
    /// Ended well, with something to know.
    Warning,
    /// Failed.
    Error,
    /// Ended well.
    Success,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Message {
    lang: String,
    message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Substatus {
    name: String,
    status: State,
    code: u8,
    #[serde(rename = "formattedMessage")]
    formatted_message: Message,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Status {
    name: String,
    operation: String,
    #[serde(rename = "configurationAppliedTime")]
    configuration_applied_time: String,
    #[serde(rename = "status")]
    state: State,
    code: u8,
    #[serde(rename = "formattedMessage")]
    formatted_message: Message,
    substatus: Vec<Substatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Envelope {
    version: String,
    #[serde(rename = "timestampUTC")]
    timestamp: String,
    status: Status,
}

/// The document, which is filled while a run works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct StatusDocument(Vec<Envelope>);

impl StatusDocument {
    /// The document of a run that has begun. `operation` is the extension protocol's word, e.g. `Install`.
    pub fn begin(operation: &str) -> Self {
        let time = now();
        Self(vec![Envelope {
            version: "1.0".to_owned(),
            timestamp: time.clone(),
            status: Status {
                name: "InfiniBandDriverLinux".to_owned(),
                operation: operation.to_owned(),
                configuration_applied_time: time,
                state: State::Transitioning,
                code: 0,
                formatted_message: message("at work"),
                substatus: Vec::new(),
            },
        }])
    }

    /// Sets the state of a step, replacing an earlier one.
    pub fn set_step(&mut self, step: Step, state: State, code: u8, text: &str) {
        self.set(step.name(), state, code, text);
    }

    /// Sets the state of an entry that is not a step.
    pub fn set(&mut self, name: &str, state: State, code: u8, text: &str) {
        let said = Substatus { name: name.to_owned(), status: state, code, formatted_message: message(text) };
        for envelope in &mut self.0 {
            envelope.timestamp = now();
            match envelope.status.substatus.iter_mut().find(|known| known.name == said.name) {
                Some(known) => *known = said.clone(),
                None => envelope.status.substatus.push(said.clone()),
            }
        }
    }

    /// Sets how the run ended.
    pub fn end(&mut self, outcome: &Outcome) {
        for envelope in &mut self.0 {
            envelope.timestamp = now();
            let status = &mut envelope.status;
            status.state = if outcome.is_success() { State::Success } else { State::Error };
            status.code = outcome.exit_code().number();
            status.formatted_message = message(&verdict(outcome));
        }
    }

    /// Writes the document atomically to a file of the root.
    pub fn save(&self, root: &Root, path: &str) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write the status document")?;
        root.write_text(path, &(text + "\n"))
    }

    /// Reads a document; none where there is none.
    pub fn load(root: &Root, path: &str) -> Result<Option<Self>> {
        let Some(text) = root.read_text(path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| format!("cannot read `{path}`"))
    }

    /// The reason with which the run ended; none while it works.
    pub fn reason(&self) -> Option<Reason> {
        let status = &self.0.first()?.status;
        Reason::from_token(status.formatted_message.message.split(':').next()?)
    }

    /// How the run ended, with as much of the message as the document holds; none while it works.
    pub fn outcome(&self) -> Option<Outcome> {
        let reason = self.reason().filter(|_| self.code().1)?;
        let said = &self.0.first()?.status.formatted_message.message;
        let said = said.strip_prefix(&format!("{reason}: ")).unwrap_or(said);
        let before = said.strip_suffix(&format!(" {}", reason.remedy()));
        let message = before.map_or(said, |before| before.strip_suffix('.').unwrap_or(before));
        Some(Outcome::new(reason, message))
    }

    /// Whether it ends with this outcome, word for word.
    pub fn tells(&self, outcome: &Outcome) -> bool {
        let mut told = self.clone();
        told.end(outcome);
        let end = |document: &Self| {
            let status = &document.0.first()?.status;
            Some((status.state, status.code, status.formatted_message.message.clone()))
        };
        end(self) == end(&told)
    }

    /// Sets the message while the run works.
    pub fn say(&mut self, text: &str) {
        for envelope in &mut self.0 {
            envelope.status.formatted_message = message(text);
        }
    }

    /// The exit code of the run, and whether the run has ended.
    pub fn code(&self) -> (u8, bool) {
        let status = self.0.first().map(|envelope| &envelope.status);
        status.map_or((0, false), |status| (status.code, status.state != State::Transitioning))
    }

    /// The document in lines: the verdict, then a line for each step.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for Envelope { timestamp, status, .. } in &self.0 {
            let Status { operation, state, code, formatted_message, substatus, .. } = status;
            let _ = writeln!(text, "{timestamp} {operation}: {} ({code})", word(*state));
            let _ = writeln!(text, "{}", formatted_message.message);
            for step in substatus {
                let said = &step.formatted_message.message;
                let _ = writeln!(text, "  {:<10} {:<8} {said}", step.name, word(step.status));
            }
        }
        text
    }
}

/// The line that an operator reads first: the reason, what happened and, unless all is well, the remedy.
pub fn verdict(outcome: &Outcome) -> String {
    let Outcome { reason, message, remedy, .. } = outcome;
    if outcome.is_success() && remedy == "Nothing to do." {
        format!("{reason}: {message}")
    } else {
        // A suggestion ends with a question mark, and what others said with a full stop.
        let end = if message.ends_with(['.', '?', '!']) { "" } else { "." };
        format!("{reason}: {message}{end} {remedy}")
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Transitioning => "working",
        State::Warning => "warning",
        State::Error => "error",
        State::Success => "success",
    }
}

fn message(text: &str) -> Message {
    let text = &shown::line(text);
    let mut clipped: String = text.chars().take(MAX_MESSAGE_CHARS).collect();
    if clipped.len() < text.len() {
        clipped = clipped.chars().take(MAX_MESSAGE_CHARS - 2).chain(" …".chars()).collect();
    }
    Message { lang: "en-US".to_owned(), message: clipped }
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_begins_transitioning_and_ends_terminal() {
        let mut document = StatusDocument::begin("Install");
        assert_eq!(document.code(), (0, false));
        document.set_step(Step::Detect, State::Transitioning, 0, "at work");
        document.set_step(Step::Detect, State::Success, 0, "debian12");
        document.end(&Outcome::new(Reason::CacheMissing, "no bundle"));
        assert_eq!(document.code(), (14, true));
        let json = serde_json::to_value(&document).unwrap();
        let status = &json[0]["status"];
        assert_eq!(status["status"], "error");
        assert_eq!(status["substatus"].as_array().unwrap().len(), 1);
        assert_eq!(status["substatus"][0]["formattedMessage"]["lang"], "en-US");
        let said = status["formattedMessage"]["message"].as_str().unwrap();
        assert!(said.starts_with("cache-missing: no bundle. Run `ofedctl stage`"), "{said}");
    }

    #[test]
    fn a_message_never_grows_past_what_the_portal_shows() {
        let long = message(&"é".repeat(5000)).message;
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS);
        assert!(long.ends_with('…'));
    }
}
