//! Output to the user of Packer. Packer masks the values of sensitive variables in it.

use super::protocol::{Caller, map};
use super::wording::at_this_door;
use crate::events::{Events, Level, What};
use rmpv::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two lines about a long transfer.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Between two lines about a program that works for long, in seconds.
const BETWEEN_SIGNS: u64 = 30;

/// Packer's user interface. A message that cannot be shown is lost; the build goes on.
#[derive(Debug, Clone)]
pub(super) struct Ui(Arc<Caller>);

impl Ui {
    /// Speaks through the host.
    pub(super) const fn new(caller: Arc<Caller>) -> Self {
        Self(caller)
    }

    /// Says a line.
    pub(super) fn say(&self, line: &str) {
        let _ = self.0.call("Ui.Say", at_this_door(line).into());
    }

    /// Says a line that tells of an error.
    pub(super) fn error(&self, line: &str) {
        let _ = self.0.call("Ui.Error", at_this_door(line).into());
    }

    /// Says something to programs that read `packer -machine-readable`.
    pub(super) fn machine(&self, category: &str, words: &[&str]) {
        let words = Value::Array(words.iter().map(|word| (*word).into()).collect());
        let _ = self.0.call("Ui.Machine", map([("Category", category.into()), ("Args", words)]));
    }

    /// Events of a run on this machine, as lines.
    pub(super) fn events(&self) -> Events {
        let ui = self.clone();
        let mut last = Instant::now();
        Events::to(Box::new(move |event| match &event.what {
            What::Working { program, seconds, said } if seconds % BETWEEN_SIGNS == 0 => {
                ui.say(&format!("ofed: {}: {program} has worked for {seconds} s: {said}", event.step.name()));
            }
            What::Begun | What::Note(_) | What::Working { .. } => {}
            What::Message(Level::Info, text) => ui.say(&format!("ofed: {}: {text}", event.step.name())),
            What::Message(Level::Warn, text) => {
                ui.say(&format!("ofed: {}: warning: {text}", event.step.name()));
            }
            What::Message(Level::Error, text) | What::Failed(text) => {
                ui.error(&format!("ofed: {}: {text}", event.step.name()));
            }
            What::Progress { label, done, total } => {
                if last.elapsed() >= BETWEEN_LINES && done < total {
                    last = Instant::now();
                    ui.say(&format!("ofed: {label}: {}", megabytes(*done, *total)));
                }
            }
        }))
    }

    /// A transfer that moves Packer's own progress bar, and says a line now and then where there is none.
    pub(super) fn progress(&self, label: &str, total: u64) -> Progress {
        let begun = map([("Src", label.into()), ("TotalSize", total.into()), ("CurrentSize", 0.into())]);
        let bar = self.0.call("Ui.NewTrackProgress", begun).ok();
        let bar = bar.and_then(|id| id.as_str().map(|id| format!("Ui{id}")));
        Progress {
            ui: self.clone(),
            label: label.to_owned(),
            bar,
            done: 0,
            shown: 0,
            total,
            last: Instant::now(),
        }
    }
}

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Progress {
    ui: Ui,
    label: String,
    bar: Option<String>,
    done: u64,
    shown: u64,
    total: u64,
    last: Instant,
}

/// A bar is moved once for so many bytes: each move is a call.
const STEP_BYTES: u64 = 1 << 20;

impl Progress {
    /// Counts more bytes that were transferred.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.done - self.shown >= STEP_BYTES || self.done >= self.total {
            if let Some(bar) = &self.bar {
                let _ = self.ui.0.call(&format!("{bar}.Add"), (self.done - self.shown).into());
            }
            self.shown = self.done;
        }
        if self.last.elapsed() >= BETWEEN_LINES && self.done < self.total {
            self.last = Instant::now();
            self.ui.say(&format!("ofed: {}: {}", self.label, megabytes(self.done, self.total)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            let _ = self.ui.0.call(&format!("{bar}.Close"), Value::Nil);
        }
    }
}

fn megabytes(done: u64, total: u64) -> String {
    format!("{} of {} MiB", done >> 20, total >> 20)
}

#[cfg(test)]
mod tests {
    use super::super::protocol::testing::connected;
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn events_become_lines_by_their_level_and_signs_of_life_are_rare() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let (caller, _plugin) = connected(move |_, method, line| {
            heard.lock().unwrap().push(format!("{method} {}", line.as_str().unwrap_or_default()));
            Ok(Value::Nil)
        });
        let events = Ui::new(Arc::new(caller)).events();
        events.info("a");
        events.warn("b");
        events.error("c");
        events.failed("d");
        events.working("dpkg", BETWEEN_SIGNS, "x");
        events.working("dpkg", BETWEEN_SIGNS + 1, "x");
        events.progress("f", 1, 2);
        let wanted = [
            "Ui.Say ofed: detect: a",
            "Ui.Say ofed: detect: warning: b",
            "Ui.Error ofed: detect: c",
            "Ui.Error ofed: detect: d",
            "Ui.Say ofed: detect: dpkg has worked for 30 s: x",
        ];
        assert_eq!(*said.lock().unwrap(), wanted);
    }
}
