//! Cancellation: a run must end early when a signal comes or its deadline passes. A signal only sets a flag. Code that
//! loops or waits calls [`Cancel::check`] and returns its error, so that unfinished work is always undone and a final
//! status is always written.

use crate::outcome::Reason;
use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The cancellation state that all parts of one run share.
#[derive(Debug, Clone)]
pub struct Cancel {
    signalled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// Listens for SIGINT, SIGTERM and SIGHUP from now on.
    pub fn on_signals() -> Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&signalled))
                .context("cannot listen for signals")?;
        }
        Ok(Self { signalled, deadline: None })
    }

    /// A state that is never cancelled.
    pub fn never() -> Self {
        Self { signalled: Arc::default(), deadline: None }
    }

    /// The same state with a deadline of `limit` from now; an earlier deadline stays in force.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        let limited = Instant::now().checked_add(limit);
        let deadline = self.deadline.into_iter().chain(limited).min();
        Self { signalled: Arc::clone(&self.signalled), deadline }
    }

    /// Cancels the run as a signal would.
    pub fn now(&self) {
        self.signalled.store(true, Ordering::Relaxed);
    }

    /// Whether a signal has come.
    pub fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
    }

    /// Waits so long, and fails as soon as the run must end.
    pub fn wait(&self, pause: Duration) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(50);
        let begin = Instant::now();
        loop {
            self.check()?;
            let left = pause.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK));
        }
    }

    /// Fails when the run must end.
    pub fn check(&self) -> Result<()> {
        if self.is_signalled() {
            return Err(Reason::Interrupted.error("stopped by a signal"));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Reason::DeadlineExceeded.error("the run's deadline has passed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_deadline_ends_the_run_with_its_own_reason() {
        let error = Cancel::never().within(Duration::ZERO).check().unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DeadlineExceeded);
        Cancel::never().within(Duration::from_secs(60)).check().unwrap();
    }

    #[test]
    fn a_wait_lasts_its_time_or_until_the_run_must_end() {
        let begin = Instant::now();
        Cancel::never().wait(Duration::from_millis(60)).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(60));
        let limited = Cancel::never().within(Duration::from_millis(60));
        let error = limited.wait(Duration::from_secs(600)).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DeadlineExceeded);
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn of_two_deadlines_the_nearer_counts() {
        let (now, later) = (Duration::ZERO, Duration::from_secs(600));
        for cancel in [Cancel::never().within(now).within(later), Cancel::never().within(later).within(now)] {
            assert_eq!(Reason::from_error(&cancel.check().unwrap_err()), Reason::DeadlineExceeded);
        }
        Cancel::never().within(later).within(Duration::MAX).check().unwrap();
    }
}
