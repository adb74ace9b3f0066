//! The last step, and the one that runs beside all others: keeps the status document true while a run works.

use crate::events::Step;
use crate::host::{Host, LOG_FILE};
use crate::outcome::{Outcome, Reason};
use crate::remedies::Situation;
use crate::status::{STATUS_FILE, State, StatusDocument, verdict};
use anyhow::Result;

/// The report of one run. Dropped before [`Report::end`] it still ends terminal, so that no way out of a run
/// leaves a status that says it is at work.
#[derive(Debug)]
pub struct Report<'h> {
    host: &'h Host,
    /// Where the door wants a copy of the document.
    copy: Option<&'h str>,
    document: StatusDocument,
    ended: bool,
}

impl<'h> Report<'h> {
    /// Begins the report of a run. Nothing is written before a step is announced with [`Report::publish`]; then the
    /// document goes to [`STATUS_FILE`] and, as a `copy`, to where the door wants it, too.
    pub fn begin(host: &'h Host, operation: &str, copy: Option<&'h str>) -> Self {
        Self { host, copy, document: StatusDocument::begin(operation), ended: false }
    }

    /// A step begins.
    pub fn enter(&mut self, step: Step) {
        self.host.events.begin(step);
        self.document.set_step(step, State::Transitioning, 0, step.doing());
        // What is read while a run works: how far it is, and where to look for more.
        self.document.say(&format!(
            "{}: {}; look again in a minute, or into {LOG_FILE}",
            step.name(),
            step.doing()
        ));
    }

    /// The step at work ended well.
    pub fn done(&mut self, message: &str) {
        self.host.events.info(message);
        self.set(self.host.events.step(), State::Success, 0, message);
    }

    /// Something beside the steps that is to be known, under a name of its own.
    pub fn warn(&mut self, name: &str, message: &str) {
        self.host.events.warn(message);
        self.document.set(name, State::Warning, 0, &self.host.events.clean(message));
    }

    /// Writes the document as it stands. A status that cannot be written ends no run: the log says it too.
    pub fn publish(&self) {
        for path in [Some(STATUS_FILE), self.copy].into_iter().flatten() {
            if let Err(error) = self.document.save(&self.host.root, path) {
                self.host.events.warn(format!("the status document was not written: {error:#}"));
            }
        }
    }

    /// Says how the run ended, in the log and in the document.
    pub fn end(mut self, outcome: &Outcome) {
        self.write_end(outcome);
    }

    fn write_end(&mut self, outcome: &Outcome) {
        self.ended = true;
        if outcome.is_success() {
            self.enter(Step::Report);
            self.done(&verdict(outcome));
            if outcome.reason == Reason::RebootRequired {
                // Only `success` and `error` end an operation for the VM agent, so the warning is one level below.
                self.set(Step::Report, State::Warning, 0, &verdict(outcome));
            }
        } else {
            // The step at work is the one that failed.
            let step = self.host.events.step();
            self.set(step, State::Error, outcome.exit_code().number(), &verdict(outcome));
            self.host.events.error(verdict(outcome));
        }
        let message = self.host.events.clean(&outcome.message);
        self.document.end(&outcome.with_message(&message));
        self.publish();
    }

    /// A substatus, without what the log must not say either.
    fn set(&mut self, step: Step, state: State, code: u8, text: &str) {
        self.document.set_step(step, state, code, &self.host.events.clean(text));
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.write_end(&Outcome::new(Reason::Internal, "the run ended without saying how"));
        }
    }
}

/// Runs the steps of a run and reports how they ended, whichever way that was.
pub fn reported<'h>(
    host: &'h Host,
    operation: &str,
    copy: Option<&'h str>,
    situation: &Situation,
    steps: impl FnOnce(&mut Report<'h>) -> Result<Outcome>,
) -> Outcome {
    let mut report = Report::begin(host, operation, copy);
    let outcome = match steps(&mut report) {
        Ok(outcome) => situation.advise(outcome),
        Err(error) => situation.outcome(&error),
    };
    report.end(&outcome);
    outcome
}
