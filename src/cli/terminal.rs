//! Output of the command line: results on standard output, the log on standard error, progress bars on a terminal.

use crate::events::{Event, Level, Sink, What};
use crate::outcome::shown;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The interval of progress lines where standard error is no terminal.
const PLAIN_PROGRESS: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

/// Writes a result to standard output. A reader that went away (`| head`) is not an error.
pub(super) fn result(text: &str) -> io::Result<()> {
    write(&shown::lines(text))
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a result as JSON to standard output. What another program reads is not shortened.
pub(super) fn json(text: &str) -> io::Result<()> {
    write(&shown::json(text))
}

/// Writes a line to standard error; there is nobody to tell when that fails.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", shown::lines(line));
}

/// Shows events on standard error.
pub(super) fn sink(quiet: bool) -> Sink {
    if quiet {
        return Box::new(|_| {});
    }
    let mut progress = if io::stderr().is_terminal() { Progress::bar() } else { Progress::plain() };
    let on_terminal = io::stderr().is_terminal();
    Box::new(move |event| match &event.what {
        // The command line tells the outcome itself, as the last line.
        What::Begun | What::Note(_) | What::Failed(_) => {}
        What::Progress { label, done, total } => progress.show(label, *done, *total),
        What::Message(level, text) => {
            let line =
                if on_terminal { short(event, *level, text) } else { event.log_line().unwrap_or_default() };
            progress.around(|| say(&line));
        }
    })
}

fn short(event: &Event, level: Level, text: &str) -> String {
    let mark = match level {
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    };
    format!("{:<9} {mark}{text}", event.step.name())
}

enum Progress {
    Bar(ProgressBar),
    Plain(Plain),
}

impl Progress {
    fn bar() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = "{msg:<12} [{bar:30}] {bytes:>10} of {total_bytes:<10} {bytes_per_sec:>12} {eta:>4}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    const fn plain() -> Self {
        Self::Plain(Plain { job: None })
    }

    fn show(&mut self, label: &str, done: u64, total: u64) {
        match self {
            Self::Bar(bar) if done >= total => bar.finish_and_clear(),
            Self::Bar(bar) => {
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

    /// Writes a line without tearing a bar.
    fn around(&self, write: impl FnOnce()) {
        match self {
            Self::Bar(bar) => bar.suspend(write),
            Self::Plain(_) => write(),
        }
    }
}

/// Progress where there is no terminal: a line every few seconds.
struct Plain {
    job: Option<Job>,
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
        let tenths = rate / (MIB / 10);
        let rate = format!("{}.{} MiB/s", tenths / 10, tenths % 10);
        Some(format!("{label}: {} of {} MiB, {rate}, {left}", done / MIB, total / MIB))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_progress_is_a_line_every_few_seconds_with_rate_and_time_left() {
        let begin = Instant::now();
        let mut plain = Plain { job: None };
        let mut at = |seconds, done| {
            plain.line("downloading", done * MIB, 380 * MIB, begin + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, 100), None);
        assert_eq!(at(4, 104), None);
        assert_eq!(at(10, 120).unwrap(), "downloading: 120 of 380 MiB, 2.0 MiB/s, 2m 10s left");
        assert_eq!(at(12, 121), None);
        assert_eq!(at(20, 100).unwrap(), "downloading: 100 of 380 MiB, 0.0 MiB/s, waiting");
        assert_eq!(at(30, 380), None);
        assert_eq!(at(40, 100), None, "another job begins at zero");
    }
}
