//! Reading what a user wrote, and saying where in it something is wrong.

use super::keys;
use crate::outcome::Reason;
use anyhow::Result;
use serde::de::DeserializeOwned;
use std::fmt;

/// Reads a YAML (or JSON) text a user wrote. `source` names it in errors, usually its path. A text of more than `max_mib` MiB
/// is refused: it is a mistake, or an attack on a parser that runs as root.
pub(crate) fn read_yaml<T: DeserializeOwned>(source: &str, text: &str, max_mib: usize) -> Result<T> {
    if text.len() > max_mib << 20 {
        return Err(problem(source, None, &format!("larger than {max_mib} MiB")));
    }
    serde_yaml::from_str(text).map_err(|error| {
        let line = error.location().map(|at| at.line());
        problem(source, line, &without_location(&error))
    })
}

/// An error that says where in which text something is wrong.
pub(crate) fn problem(source: &str, line: Option<usize>, what: &dyn fmt::Display) -> anyhow::Error {
    let place = line.map_or_else(|| format!("`{source}`"), |line| format!("`{source}` line {line}"));
    Reason::BadSettings.error(format!("{place}: {what}"))
}

/// The known word that a mistyped one is most like; none where it is like none of them.
pub(crate) fn nearest_of<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = known.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let near = likeness.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (near.0 > 0.8).then_some(near.1)
}

/// The message about a word that is none of those allowed, with the one that it is most like.
pub(super) fn with_suggestion(error: &str) -> String {
    let hint = || {
        let (given, allowed) = error.strip_prefix("unknown variant `")?.split_once("`, expected ")?;
        let near = nearest_of(given, allowed.split('`').skip(1).step_by(2))?;
        Some(format!("; did you mean `{near}`?"))
    };
    error.to_owned() + &hint().unwrap_or_default()
}

pub(super) fn unknown_key(key: &str) -> String {
    let known = keys();
    match nearest_of(key, known.iter().map(String::as_str)) {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; the keys are {}", known.join(", ")),
    }
}

/// The settings are flat, so the line of a key is the one that begins with it.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let begins = |line: &str| {
        let line = line.trim_start_matches([' ', '{', '"', '\'', ',']);
        line.strip_prefix(key).is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    };
    text.lines().position(begins).map(|index| index + 1)
}

/// The place is said once, in front, and not again as a line and column of a fragment.
pub(super) fn without_location(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().trim_start_matches(". ").to_owned()
}
