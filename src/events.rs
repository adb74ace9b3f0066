//! The messages of a run: one stream that feeds the log file, the terminal and the output of each entry point. A step
//! never prints. It emits [`Event`]s into [`Events`]; the pipeline and the entry point attach the sinks.

use crate::outcome::shown;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The steps of the pipeline, in order. Each is one substatus of the status document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Find out what the machine is.
    Detect,
    /// Decide what is to be installed.
    Plan,
    /// Fetch and verify every file.
    Stage,
    /// Let the package manager install.
    Install,
    /// Make the edits around the packages.
    Configure,
    /// Check the result.
    Verify,
    /// Report what happened.
    Report,
}

impl Step {
    /// The step's name in logs and status documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Plan => "plan",
            Self::Stage => "stage",
            Self::Install => "install",
            Self::Configure => "configure",
            Self::Verify => "verify",
            Self::Report => "report",
        }
    }

    /// The step's work in a few words, for progress messages.
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Detect => "looking at this machine",
            Self::Plan => "choosing the driver",
            Self::Stage => "fetching and checking the packages",
            Self::Install => "installing the packages and building modules",
            Self::Configure => "setting up interfaces, limits and services",
            Self::Verify => "proving the result",
            Self::Report => "writing down the result",
        }
    }
}

/// The severity of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The course of a normal run.
    Info,
    /// Somebody should know, but the run continues.
    Warn,
    /// The run ends because of this.
    Error,
}

/// The content of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A step begins. It is shown to people only when it ends.
    Begun,
    /// A message for people and logs.
    Message(Level, String),
    /// A message for logs alone.
    Note(String),
    /// The error with which the run ends. Whoever started the run tells it to people, once, as its result.
    Failed(String),
    /// Progress of a long job. `done` and `total` are bytes.
    Progress {
        /// What is copied or hashed, e.g. a file's name.
        label: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A program that this run has started is still at work. It is for people, and not for logs.
    Working {
        /// The program's name.
        program: String,
        /// For how long it has worked, in seconds.
        seconds: u64,
        /// The last line that it wrote; empty where that is not known.
        said: String,
    },
}

/// One message of a run.
#[derive(Debug, Clone)]
pub struct Event {
    /// The time of the message.
    pub time: SystemTime,
    /// The step that emitted it.
    pub step: Step,
    /// Its content.
    pub what: What,
}

impl Event {
    /// The line of the log file, `2026-11-20T10:11:12Z INFO  install: …`; none for progress.
    pub fn log_line(&self) -> Option<String> {
        let (level, text) = match &self.what {
            What::Message(level, text) => (*level, text),
            What::Note(text) => (Level::Info, text),
            What::Failed(text) => (Level::Error, text),
            What::Begun | What::Progress { .. } | What::Working { .. } => return None,
        };
        let level = match level {
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        };
        let time = humantime::format_rfc3339_seconds(self.time);
        Some(format!("{time} {level:<5} {}: {}", self.step.name(), text.trim_end()))
    }
}

/// Receives events as they happen, from any thread.
pub type Sink = Box<dyn FnMut(&Event) + Send>;

/// The stream of messages. It is cheap to clone, and all parts of one run share it.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    step: Step,
    sinks: Vec<Sink>,
    /// Secrets to keep out of messages, the longest first.
    secrets: Vec<String>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("step", &self.shared().step).finish_non_exhaustive()
    }
}

impl Events {
    /// A stream that goes to one sink.
    pub fn to(sink: Sink) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                step: Step::Detect,
                sinks: vec![sink],
                secrets: Vec::new(),
            })),
        }
    }

    /// A stream without a sink.
    pub fn silent() -> Self {
        Self::to(Box::new(|_| {}))
    }

    /// Adds a sink for all later messages.
    pub fn attach(&self, sink: Sink) {
        self.shared().sinks.push(sink);
    }

    /// Keeps these words out of all later messages.
    pub fn conceal(&self, secrets: impl IntoIterator<Item = String>) {
        let mut shared = self.shared();
        shared.secrets.extend(secrets.into_iter().filter(|secret| !secret.is_empty()));
        shared.secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// A text with the concealed words masked.
    pub fn clean(&self, text: &str) -> String {
        self.shared().clean(text)
    }

    /// Sets the current step.
    pub fn enter(&self, step: Step) {
        self.shared().step = step;
    }

    /// Sets the current step and announces it.
    pub fn begin(&self, step: Step) {
        self.enter(step);
        self.emit(What::Begun);
    }

    /// The current step.
    pub fn step(&self) -> Step {
        self.shared().step
    }

    /// Emits a message about the normal course of the run.
    pub fn info(&self, text: impl Into<String>) {
        self.emit(What::Message(Level::Info, text.into()));
    }

    /// Emits a warning.
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(What::Message(Level::Warn, text.into()));
    }

    /// Emits a message that only the log gets.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(What::Note(text.into()));
    }

    /// Emits the error with which the run ends.
    pub fn failed(&self, text: impl Into<String>) {
        self.emit(What::Failed(text.into()));
    }

    /// Emits an error that is told beside the run's outcome.
    pub fn error(&self, text: impl Into<String>) {
        self.emit(What::Message(Level::Error, text.into()));
    }

    /// Emits the progress of a long job, in bytes.
    pub fn progress(&self, label: &str, done: u64, total: u64) {
        self.emit(What::Progress { label: label.to_owned(), done, total });
    }

    /// Emits that a program is still at work, and the last line that it wrote.
    pub fn working(&self, program: &str, seconds: u64, said: &str) {
        self.emit(What::Working { program: program.to_owned(), seconds, said: said.to_owned() });
    }

    fn emit(&self, what: What) {
        let mut shared = self.shared();
        let clean = |text: &str| shown::line(shared.clean(text).trim_end());
        let what = match what {
            What::Begun => What::Begun,
            What::Message(level, text) => What::Message(level, clean(&text)),
            What::Note(text) => What::Note(clean(&text)),
            What::Failed(text) => What::Failed(clean(&text)),
            What::Progress { label, done, total } => What::Progress { label: clean(&label), done, total },
            What::Working { program, seconds, said } => {
                What::Working { program, seconds, said: clean(&said) }
            }
        };
        let event = Event { time: SystemTime::now(), step: shared.step, what };
        for sink in &mut shared.sinks {
            sink(&event);
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A sink that panicked must not silence the run that has to report it.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn clean(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_has_time_level_and_step() {
        let event = Event {
            time: SystemTime::UNIX_EPOCH,
            step: Step::Install,
            what: What::Message(Level::Info, "ten packages\n".into()),
        };
        assert_eq!(event.log_line().unwrap(), "1970-01-01T00:00:00Z INFO  install: ten packages");
    }

    #[test]
    fn every_sink_hears_every_event_in_order() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let events = Events::silent();
        let ear = Arc::clone(&heard);
        events.attach(Box::new(move |event| ear.lock().unwrap().push(event.log_line().unwrap_or_default())));
        events.enter(Step::Verify);
        events.info("one");
        events.error("two");
        let heard = heard.lock().unwrap();
        assert!(
            heard[0].ends_with("INFO  verify: one") && heard[1].ends_with("ERROR verify: two"),
            "{heard:?}"
        );
    }

    #[test]
    fn a_concealed_word_appears_in_no_message() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let events = Events::to(Box::new(move |event| ear.lock().unwrap().push(event.clone())));
        events.conceal(["pass".to_owned(), "passphrase".to_owned(), String::new()]);
        events.info("a pass and a passphrase");
        events.progress("pass", 1, 2);
        let heard = format!("{heard:?}");
        assert!(heard.contains("a *** and a ***") && !heard.contains("pass"), "{heard}");
        assert_eq!(events.clean("my passphrase!"), "my ***!");
    }
}
