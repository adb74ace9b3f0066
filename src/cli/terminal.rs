//! What a person or a script sees: results on standard output, the log on standard error, bars on a terminal.

use crate::events::{Event, Level, Sink, What};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines of progress where there is no terminal to draw on.
const PLAIN_PROGRESS: Duration = Duration::from_secs(5);

/// Writes a result to standard output. A reader that went away (`| head`) is not an error.
pub(super) fn result(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to standard error; there is nobody to tell when that fails.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Shows events on standard error.
pub(super) fn sink(quiet: bool) -> Sink {
    if quiet {
        return Box::new(|_| {});
    }
    let mut progress = if io::stderr().is_terminal() { Progress::bar() } else { Progress::plain() };
    let on_terminal = io::stderr().is_terminal();
    Box::new(move |event| match &event.what {
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
    Plain { last: Option<Instant> },
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
        Self::Plain { last: None }
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
            Self::Plain { last } => {
                let due = last.is_none_or(|last| last.elapsed() >= PLAIN_PROGRESS);
                if due && done < total {
                    // The first line would only say that it began, which the log has said.
                    if last.is_some() {
                        say(&format!("{label}: {} of {} MiB", done >> 20, total >> 20));
                    }
                    *last = Some(Instant::now());
                }
            }
        }
    }

    /// Writes a line without tearing a bar.
    fn around(&self, write: impl FnOnce()) {
        match self {
            Self::Bar(bar) => bar.suspend(write),
            Self::Plain { .. } => write(),
        }
    }
}
