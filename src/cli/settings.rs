//! `ofedctl settings`: the settings in force on a root, and which layer each comes from.

use super::answer::{Answer, Call, to_json};
use super::args::{SettingsArgs, pairs};
use crate::config;
use crate::host::http;
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write;

/// The name of the command line among the layers.
const COMMAND_LINE: &str = "--set";

pub(super) fn settings(call: &Call, args: &SettingsArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    let (settings, origins) = config::load_with_origins(&host.root, COMMAND_LINE, pairs(&args.set)?)?;
    let values = to_json(&settings)?;
    let mut text = String::new();
    let mut list = Vec::new();
    for config::Origin { key, source } in &origins {
        let value = without_secrets(&values[key]);
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

fn without_secrets(value: &Value) -> Value {
    match value {
        // A mirror is two addresses, `FROM=TO`.
        Value::String(text) => match text.split_once("=http") {
            Some((from, to)) if from.contains("://") && !from.contains('?') => {
                let to = http::without_secrets(&format!("http{to}"));
                Value::String(format!("{}={to}", http::without_secrets(from)))
            }
            _ if text.contains("://") => Value::String(http::without_secrets(text)),
            _ => value.clone(),
        },
        Value::Array(values) => values.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_and_a_signature_are_not_shown() {
        let value = json!(["https://me:secret@a/x?sig=secret", "https://a/=https://me:secret@b/", "plain=x"]);
        let shown = without_secrets(&value).to_string();
        assert!(!shown.contains("secret") && shown.contains("plain=x"), "{shown}");
        assert_eq!((worded(&Value::Null), worded(&json!([1]))), ("-".to_owned(), "[1]".to_owned()));
    }
}
