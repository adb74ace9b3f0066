//! Steps of a run, each declared once: its name, its action, and its message when it is done. The methods of [`Steps`]
//! do what every step needs: they observe the deadline, report, keep the journal and publish the status document.

use crate::events::Step;
use crate::facts::compute::Compute;
use crate::host::Host;
use crate::ledger::StepTime;
use crate::ledger::{Journal, Unfinished};
use crate::report::Report;
use anyhow::{Context, Result};

/// A step of a run.
pub(super) struct Declared<Act, Say> {
    pub(super) name: Step,
    pub(super) act: Act,
    /// Its result as text for the log and the status document.
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

    /// Runs a step that changes nothing. It publishes no status, so that a run that finds everything in place writes
    /// the status only at its end.
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

    /// Runs a step that changes the root. Every change is in the journal, so that it can be undone if this run fails,
    /// or by the next run if this one is killed.
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

    /// The run's id, and its steps so far.
    pub(super) fn timeline(&self) -> (String, Vec<StepTime>) {
        self.report.timeline()
    }

    /// Adds to the run's record what was found out about the VM.
    pub(super) fn learn(&mut self, vm: &Compute) {
        self.report.learn(vm);
    }

    /// Warns in the log and in the status document.
    pub(super) fn warn(&mut self, about: &str, text: &str) {
        self.report.warn(about, text);
        self.report.publish();
    }

    /// Ends the step that is running although it failed, since the run does not depend on it, and warns why.
    pub(super) fn go_on(&mut self, about: &str, why: &str) {
        self.report.done(why);
        self.warn(about, why);
    }

    /// Whether this run, or an earlier one that did not end well, began to install packages.
    pub(super) fn began_to_install(&self) -> bool {
        let earlier = self.unfinished.as_ref().and_then(|unfinished| unfinished.packages_before.as_ref());
        let own = self.journal.as_ref().and_then(Journal::packages_before);
        earlier.or(own).is_some()
    }

    /// The journal, for the commit. Only a run that has changed something has one.
    pub(super) fn into_journal(self) -> Result<Journal<'h>> {
        self.journal.context("a run that changed nothing has no journal to commit")
    }
}
