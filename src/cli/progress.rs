//! How far a long job is: one line that changes on a terminal, and a line now and then elsewhere.

use super::columns;
use super::terminal::say;
use crate::amounts;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// The interval of progress lines where standard error is no terminal.
const PLAIN_PROGRESS: Duration = Duration::from_secs(5);
/// The same in seconds for programs that are at work; the first line comes with the first sign of work.
const PLAIN_SIGNS: u64 = 10;

pub(super) enum Progress {
    Changing {
        bar: ProgressBar,
        /// What is done at the moment, where nobody knows how much there is of it.
        doing: ProgressBar,
    },
    Plain(Plain),
}

impl Progress {
    pub(super) fn on_terminal() -> Self {
        let made = |template: &str| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        };
        Self::Changing {
            bar: made("{msg:<12} [{bar:30}] {bytes:>10} of {total_bytes:<10} {bytes_per_sec:>12} {eta:>4}"),
            doing: made("{msg}"),
        }
    }

    pub(super) const fn plain() -> Self {
        Self::Plain(Plain { job: None, signs: u64::MAX })
    }

    pub(super) fn show(&mut self, label: &str, done: u64, total: u64) {
        match self {
            Self::Changing { bar, .. } if done >= total => bar.finish_and_clear(),
            Self::Changing { bar, doing } => {
                doing.finish_and_clear();
                if bar.is_finished() || bar.length() != Some(total) {
                    bar.reset();
                    bar.set_length(total);
                    bar.set_message(label.to_owned());
                }
                bar.set_position(done);
            }
            Self::Plain(plain) => {
                if let Some(line) = plain.line(label, done, total, Instant::now()) {
                    say(&line);
                }
            }
        }
    }

    /// Says what is being done, in a line that stands until the next one comes.
    pub(super) fn doing(&self, line: &str) {
        if let Self::Changing { doing, .. } = self {
            if doing.is_finished() {
                doing.reset();
            }
            doing.set_message(columns::first_line(line, columns::of_errors().unwrap_or(80)));
            doing.tick();
        }
    }

    /// Says of a program how long it has worked, and what it said last.
    pub(super) fn working(&mut self, step: &str, program: &str, seconds: u64, said: &str) {
        let time = amounts::time(seconds * 1000);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        match self {
            Self::Changing { .. } => self.doing(&format!("{step:<9} {program}, {time}{said}")),
            Self::Plain(plain) => {
                // A program that has worked for no longer than the one before it is another one.
                let is_first = seconds <= plain.signs;
                if is_first || seconds - plain.signs >= PLAIN_SIGNS {
                    plain.signs = seconds;
                    say(&format!("{step}: {program} has worked for {time}{said}"));
                }
            }
        }
    }

    /// Writes a line without tearing a bar.
    pub(super) fn around(&self, write: impl FnOnce()) {
        match self {
            Self::Changing { bar, doing } => {
                doing.finish_and_clear();
                bar.suspend(write);
            }
            Self::Plain(_) => write(),
        }
    }
}

/// Progress where there is no terminal.
pub(super) struct Plain {
    job: Option<Job>,
    /// For how many seconds the program of the last line had worked.
    signs: u64,
}

struct Job {
    label: String,
    begin: Instant,
    /// Bytes from an earlier run must not count for this run's speed.
    done_before: u64,
    last: Instant,
}

impl Plain {
    /// The line that is due, if one is.
    fn line(&mut self, label: &str, done: u64, total: u64, now: Instant) -> Option<String> {
        let Some(job) = self.job.as_mut().filter(|job| job.label == label) else {
            // The first line would only say that it began, which the log has said.
            self.job = Some(Job { label: label.to_owned(), begin: now, done_before: done, last: now });
            return None;
        };
        if done >= total {
            self.job = None;
            return None;
        }
        if now.duration_since(job.last) < PLAIN_PROGRESS {
            return None;
        }
        job.last = now;
        let moved = done.saturating_sub(job.done_before);
        let millis = u64::try_from(now.duration_since(job.begin).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = moved.saturating_mul(1000) / millis;
        let left = match (total - done).checked_div(rate) {
            Some(seconds) => format!("{} left", humantime::format_duration(Duration::from_secs(seconds))),
            None => "waiting".to_owned(),
        };
        let [done, total, rate] = [done, total, rate].map(amounts::size);
        Some(format!("{label}: {done} of {total}, {rate}/s, {left}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn without_a_terminal_progress_is_a_line_every_few_seconds_with_rate_and_time_left() {
        let begin = Instant::now();
        let mut plain = Plain { job: None, signs: 0 };
        let mut at = |seconds, done| {
            plain.line("downloading", done * MIB, 380 * MIB, begin + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, 100), None);
        assert_eq!(at(4, 104), None);
        assert_eq!(at(10, 120).unwrap(), "downloading: 120 MiB of 380 MiB, 2.0 MiB/s, 2m 10s left");
        assert_eq!(at(12, 121), None);
        assert_eq!(at(20, 100).unwrap(), "downloading: 100 MiB of 380 MiB, 0 B/s, waiting");
        assert_eq!(at(30, 380), None);
        assert_eq!(at(40, 100), None, "another job begins at zero");
    }
}
