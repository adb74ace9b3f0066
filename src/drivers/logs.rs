//! The logs of builds and of the vendor's installer: copies them, and finds the lines that show the failure.

use crate::host::{CHILD_LOG_DIR, Host};
use crate::outcome::shown::without_colours;
use anyhow::Result;

/// The number of log lines that are quoted.
const LINES: usize = 12;

/// Copies a log of the root into this program's log folder, because its own folder will be removed. Returns the copy's
/// path and the log's last lines, joined by ` | `; nothing if there is no log.
pub(super) fn copy(host: &Host, log: &str) -> Result<(String, String)> {
    let Some(text) = host.root.read_text(log)? else { return Ok((log.to_owned(), String::new())) };
    let name = log.trim_start_matches('/').replace('/', "_");
    let kept = format!("{CHILD_LOG_DIR}/{name}");
    host.root.write_text(&kept, &text)?;
    Ok((kept, last_lines(&without_colours(&text))))
}

/// The last meaningful lines. After the compiler's error, make repeats at each level that something failed.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors = lines.iter().position(|line| line.contains("error:") || line.contains("Error!"));
    let from = match errors {
        Some(first) => first.saturating_sub(1),
        None => lines.len().saturating_sub(LINES),
    };
    lines[from..lines.len().min(from + LINES)].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_first_error_is_quoted_and_not_what_make_says_of_it() {
        let mut text = "CC a.o\nin function f:\na.c:1: error: no such thing\n".to_owned();
        text += &"make[1]: again\n".repeat(30);
        let lines = last_lines(&text);
        assert!(lines.starts_with("in function f: | a.c:1: error: no such thing | make[1]"), "{lines}");
        assert_eq!(last_lines(&"line\n".repeat(40)).split(" | ").count(), LINES);
        assert_eq!(last_lines(""), "");
    }

    proptest::proptest! {
        #[test]
        fn any_log_can_be_quoted(text in "(error:|x|\n| ){0,60}") {
            last_lines(&text);
        }
    }
}
