//! Output of the command line: results on standard output, the log on standard error, progress bars on a terminal.

use super::columns;
use super::progress::Progress;
use crate::events::{Event, Level, Sink, What};
use crate::host::variable;
use crate::outcome::shown;
use console::Style;
use std::io::{self, IsTerminal, Write};

/// Writes a result to standard output. A reader that went away (`| head`) is not an error.
/// On a terminal its lines fit, and what is good or bad has a colour.
pub(super) fn result(text: &str) -> io::Result<()> {
    let text = shown::lines(text);
    let Some(columns) = columns::of_results() else { return write(&text) };
    let coloured = columns::fit(&text, columns).split_inclusive('\n').map(coloured).collect::<String>();
    write(&coloured)
}

/// Writes a document that others read, such as a script, to standard output, and leaves its lines as they are.
pub(super) fn document(text: &str) -> io::Result<()> {
    write(&shown::lines(text))
}

/// A line of a result in which a state, the first word of `verify` or the second one of `status`, has its colour.
fn coloured(line: &str) -> String {
    let states = [
        (0, "ok  ", Style::new().green()),
        (0, "FAIL", Style::new().red().bold()),
        (13, "success ", Style::new().green()),
        (13, "warning ", Style::new().yellow()),
        (13, "error ", Style::new().red().bold()),
    ];
    let begins = |at: usize, word: &str| line.get(at..).is_some_and(|rest| rest.starts_with(word));
    match states.into_iter().find(|(at, word, _)| begins(*at, word)) {
        None => line.to_owned(),
        Some((at, word, style)) => {
            let (head, tail) = (&line[..at], &line[at + word.len()..]);
            format!("{head}{}{tail}", style.force_styling(wants_colours()).apply_to(word))
        }
    }
}

/// Whether whoever looks at a terminal wants colours (no-color.org: an empty variable says nothing).
fn wants_colours() -> bool {
    let is_no = variable("NO_COLOR").is_some();
    !is_no && variable("TERM").is_some_and(|term| term != "dumb")
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

/// Writes a line to standard error; there is nobody to tell when that fails. On a terminal it fits.
pub(super) fn say(line: &str) {
    let line = fitting(line);
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Says why the command failed, as its last line.
pub(super) fn say_failure(verdict: &str) {
    say_marked("", "ofedctl:", &Style::new().red().bold(), &format!(" {verdict}"));
}

/// Says a line in which one word has a colour.
fn say_marked(before: &str, mark: &str, style: &Style, after: &str) {
    let line = fitting(&format!("{before}{mark}{after}"));
    let (head, tail) = line.split_at_checked(before.len() + mark.len()).unwrap_or((&line, ""));
    let style = style.clone().force_styling(columns::of_errors().is_some() && wants_colours());
    let head = head.strip_suffix(mark).map(|head| format!("{head}{}", style.apply_to(mark)));
    let _ = match head {
        Some(head) => writeln!(io::stderr().lock(), "{head}{tail}"),
        None => writeln!(io::stderr().lock(), "{line}"),
    };
}

fn fitting(line: &str) -> String {
    let line = shown::lines(line);
    columns::of_errors().map_or_else(|| line.clone(), |columns| columns::fit(&line, columns))
}

/// Shows events on standard error.
pub(super) fn sink(quiet: bool) -> Sink {
    if quiet {
        return Box::new(|_| {});
    }
    let on_terminal = io::stderr().is_terminal();
    let mut progress = if on_terminal { Progress::on_terminal() } else { Progress::plain() };
    Box::new(move |event| match &event.what {
        What::Begun => progress.doing(&format!("{:<9} {}", event.step.name(), event.step.doing())),
        // The command line tells the outcome itself, as the last line.
        What::Note(_) | What::Failed(_) => {}
        What::Progress { label, done, total } => progress.show(label, *done, *total),
        What::Working { program, seconds, said } => {
            progress.working(event.step.name(), program, *seconds, said);
        }
        What::Message(level, text) => progress.around(|| {
            if on_terminal {
                short(event, *level, text);
            } else {
                say(&event.log_line().unwrap_or_default());
            }
        }),
    })
}

fn short(event: &Event, level: Level, text: &str) {
    let step = format!("{:<9} ", event.step.name());
    match level {
        Level::Info => say(&format!("{step}{text}")),
        Level::Warn => say_marked(&step, "warning:", &Style::new().yellow(), &format!(" {text}")),
        Level::Error => say_marked(&step, "error:", &Style::new().red().bold(), &format!(" {text}")),
    }
}
