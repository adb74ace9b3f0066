//! The last step, which also runs beside all others: it keeps the status document up to date while a run works.

use crate::events::Step;
use crate::facts::compute::Compute;
use crate::host::{Host, LOG_FILE};
use crate::ledger::{RunRecord, StepTime};
use crate::outcome::{Outcome, Reason};
use crate::remedies::Situation;
use crate::status::{STATUS_FILE, State, StatusDocument, verdict};
use anyhow::Result;

/// The report of one run. If it is dropped before [`Report::end`], it writes a final status, so that a status never
/// says that a finished run still works.
#[derive(Debug)]
pub struct Report<'h> {
    host: &'h Host,
    /// The path for a copy of the document, if the entry point wants one.
    copy: Option<&'h str>,
    document: StatusDocument,
    run: RunRecord,
    ended: bool,
}

impl<'h> Report<'h> {
    /// Begins the report of a run. Nothing is written before [`Report::publish`]; from then on the document is written
    /// to [`STATUS_FILE`] and, if the entry point wants one, to `copy`.
    pub fn begin(host: &'h Host, operation: &str, run: RunRecord, copy: Option<&'h str>) -> Self {
        host.events.note(run.first_line());
        Self { host, copy, document: StatusDocument::begin(operation), run, ended: false }
    }

    /// Adds what was found out about the VM.
    pub fn learn(&mut self, vm: &Compute) {
        self.run.learn(vm);
    }

    /// The run's id, and its steps so far.
    pub fn timeline(&self) -> (String, Vec<StepTime>) {
        (self.run.run_id.clone(), self.run.steps.clone())
    }

    /// Records that a step begins.
    pub fn enter(&mut self, step: Step) {
        self.host.events.begin(step);
        self.run.enter(step);
        self.document.set_step(step, State::Transitioning, 0, step.doing());
        // While a run works, readers see how far it is and where to look for more.
        self.document.say(&format!(
            "{}: {}; look again in a minute, or into {LOG_FILE}",
            step.name(),
            step.doing()
        ));
    }

    /// Records that the current step succeeded.
    pub fn done(&mut self, message: &str) {
        self.host.events.info(message);
        self.run.leave(&self.host.events.clean(message));
        self.set(self.host.events.step(), State::Success, 0, message);
    }

    /// Adds a warning beside the steps, under its own name.
    pub fn warn(&mut self, name: &str, message: &str) {
        self.host.events.warn(message);
        self.document.set(name, State::Warning, 0, &self.host.events.clean(message));
    }

    /// Writes the document in its present state. A failure is only logged: it must not end the run.
    pub fn publish(&self) {
        for path in [Some(STATUS_FILE), self.copy].into_iter().flatten() {
            if let Err(error) = self.document.save(&self.host.root, path) {
                self.host.events.warn(format!("the status document was not written: {error:#}"));
            }
        }
        if let Err(error) = self.run.save(&self.host.root) {
            self.host.events.warn(format!("the run's record was not written: {error:#}"));
        }
    }

    /// Writes how the run ended into the log and the document.
    pub fn end(mut self, outcome: &Outcome) {
        self.write_end(outcome);
    }

    fn write_end(&mut self, outcome: &Outcome) {
        self.ended = true;
        if let Some(why) = self.host.log_trouble() {
            self.warn("log", &format!("`{LOG_FILE}` and the logs beside it are not whole: {why}"));
        }
        if outcome.is_success() {
            self.enter(Step::Report);
            self.done(&verdict(outcome));
            if outcome.reason == Reason::RebootRequired {
                // Only `success` and `error` end an operation for the VM agent, so the warning is one level below.
                self.set(Step::Report, State::Warning, 0, &verdict(outcome));
            }
        } else {
            // The current step is the one that failed.
            let step = self.host.events.step();
            self.set(step, State::Error, outcome.exit_code().number(), &verdict(outcome));
            self.host.events.failed(verdict(outcome));
        }
        let outcome = outcome.with_message(&self.host.events.clean(&outcome.message));
        self.document.end(&outcome);
        self.run.finish(&outcome);
        self.publish();
        self.host.events.note(self.run.last_line());
    }

    /// Sets a substatus, with secrets masked as in the log.
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

/// Runs the steps of a run and reports the outcome, success or failure.
pub fn reported<'h>(
    host: &'h Host,
    (operation, run): (&str, RunRecord),
    copy: Option<&'h str>,
    situation: &Situation,
    steps: impl FnOnce(&mut Report<'h>) -> Result<Outcome>,
) -> Outcome {
    let mut report = Report::begin(host, operation, run, copy);
    let outcome = match steps(&mut report) {
        Ok(outcome) => situation.advise(outcome),
        Err(error) => situation.outcome(&error),
    };
    report.end(&outcome);
    outcome
}
