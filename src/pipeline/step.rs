//! Steps, each declared once: its name, what it does, how that is undone, and what it says when it is done.
//!
//! [`Steps::take`] does for every step what a step must not forget: it observes the deadline, reports, keeps the
//! journal and publishes the status document.

use crate::events::Step;
use crate::host::Host;
use crate::ledger::{Journal, Unfinished};
use crate::report::Report;
use anyhow::{Context, Result};

/// A step of a run.
pub(super) struct Declared<Act, Say> {
    pub(super) name: Step,
    pub(super) act: Act,
    /// What the log and the status document say of its result.
    pub(super) say: Say,
}

/// The steps of one run, in the order in which they are taken.
#[derive(Debug)]
pub(super) struct Steps<'r, 'h> {
    host: &'h Host,
    report: &'r mut Report<'h>,
    unfinished: Option<Unfinished>,
    journal: Option<Journal<'h>>,
}

impl<'r, 'h> Steps<'r, 'h> {
    pub(super) fn new(host: &'h Host, report: &'r mut Report<'h>) -> Self {
        Self { host, report, unfinished: None, journal: None }
    }

    /// Hands over what an unfinished earlier run left; this run's journal begins with it.
    pub(super) fn take_over(&mut self, unfinished: Option<Unfinished>) {
        self.unfinished = unfinished;
    }

    /// Takes a step that changes nothing, so that there is nothing to undo and nothing to publish: a run that finds
    /// everything in place writes no status before its end.
    pub(super) fn observe<T>(
        &mut self,
        step: Declared<impl FnOnce() -> Result<T>, impl FnOnce(&T) -> String>,
    ) -> Result<T> {
        self.host.cancel.check()?;
        self.report.enter(step.name);
        let result = (step.act)()?;
        self.report.done(&(step.say)(&result));
        Ok(result)
    }

    /// Takes a step that changes the root. All it changes is in the journal, by which a run that fails undoes it, or the
    /// next one what a killed one left.
    pub(super) fn change<T>(
        &mut self,
        step: Declared<impl FnOnce(&mut Journal<'h>) -> Result<T>, impl FnOnce(&T) -> String>,
    ) -> Result<T> {
        self.host.cancel.check()?;
        self.report.enter(step.name);
        if self.journal.is_none() {
            self.report.publish();
            self.journal = Some(Journal::begin(self.host, self.unfinished.take())?);
        }
        let journal = self.journal.as_mut().context("the journal is gone")?;
        journal.enter(step.name)?;
        let result = (step.act)(journal)?;
        self.report.done(&(step.say)(&result));
        self.report.publish();
        Ok(result)
    }

    /// Warns in the log and in the status document.
    pub(super) fn warn(&mut self, about: &str, text: &str) {
        self.report.warn(about, text);
        self.report.publish();
    }

    /// The journal, to be committed. Only a run that has changed something has one.
    pub(super) fn into_journal(self) -> Result<Journal<'h>> {
        self.journal.context("a run that changed nothing has no journal to commit")
    }
}
