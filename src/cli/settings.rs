//! `ofedctl settings`: the settings in force on a root, and which layer each comes from.

use super::answer::{Answer, Call};
use super::args::{SettingsArgs, pairs};
use crate::config;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;

/// The name of the command line among the layers.
const COMMAND_LINE: &str = "--set";

pub(super) fn settings(call: &Call, args: &SettingsArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    let (settings, origins) = config::load_with_origins(&host.root, COMMAND_LINE, pairs(&args.set)?)?;
    let values = config::shown_values(&settings);
    let mut text = String::new();
    let mut list = Vec::new();
    for config::Origin { key, source } in &origins {
        let value = values.get(key).cloned().unwrap_or_default();
        let _ = writeln!(text, "{key:<20} {:<28} {source}", worded(&value));
        list.push(json!({"key": key, "value": value, "source": source}));
    }
    Ok(Answer::listed(text, json!({"schema_version": 1, "settings": list})))
}

/// A value as it would be written in a settings file; `-` for none.
fn worded(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_a_settings_file_has_it() {
        assert_eq!((worded(&Value::Null), worded(&json!([1]))), ("-".to_owned(), "[1]".to_owned()));
    }
}
