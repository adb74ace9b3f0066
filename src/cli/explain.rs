//! `ofedctl explain`: codes, reasons, settings and the plan in plain words.

use crate::outcome::{Cause, ExitCode, Reason};
use crate::remedies::Situation;
use crate::{plan_document, settings};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write;

/// Explains one thing, or lists all reasons. Returns text and JSON.
pub(super) fn explain(what: Option<&str>) -> Result<(String, Value)> {
    let Some(what) = what else { return Ok(describe(Reason::ALL)) };
    match what {
        "settings" => return Ok(properties(&schema(settings::SCHEMA)?)),
        "plan" => return Ok(properties(&schema(plan_document::SCHEMA)?)),
        _ => {}
    }
    if let Some(reason) = Reason::from_token(what) {
        return Ok(describe(&[reason]));
    }
    if let Some(cause) = Cause::from_token(what) {
        let mut json = cause_json(cause);
        let reason = cause.reason();
        let remedy = json["remedy"].as_str().unwrap_or_default();
        let (token, code) = (cause.token(), reason.exit_code().number());
        let text = format!("{code:>2}  {reason}: {token}\n    {}\n    {remedy}\n", cause.meaning());
        json["schema_version"] = 1.into();
        json["reason"] = reason.token().into();
        json["code"] = code.into();
        return Ok((text, json));
    }
    if let Some(code) = ExitCode::ALL.into_iter().find(|code| code.number().to_string() == what) {
        let reasons: Vec<Reason> =
            Reason::ALL.iter().copied().filter(|reason| reason.exit_code() == code).collect();
        let (text, json) = describe(&reasons);
        return Ok((format!("{}: {}\n\n{text}", code.number(), code.meaning()), json));
    }
    if let Some(setting) = schema(settings::SCHEMA)?["properties"].get(what) {
        return Ok(properties(&json!({ "schema_version": 1, "properties": { what: setting } })));
    }
    Err(Reason::Usage.error(format!(
        "`{what}` is no exit code, reason, cause or setting, and neither `settings` nor `plan`"
    )))
}

fn describe(reasons: &[Reason]) -> (String, Value) {
    let mut text = String::new();
    for reason in reasons {
        let code = reason.exit_code().number();
        let _ = writeln!(text, "{code:>2}  {reason}\n    {}\n    {}", reason.meaning(), reason.remedy());
        for cause in causes_of(*reason) {
            let remedy = Situation::default().remedy(*reason, Some(cause));
            let _ = writeln!(text, "    {}: {}. {remedy}", cause.token(), cause.meaning());
        }
    }
    let list: Vec<Value> = reasons
        .iter()
        .map(|reason| {
            json!({
                "reason": reason.token(),
                "code": reason.exit_code().number(),
                "meaning": reason.meaning(),
                "remedy": reason.remedy(),
                "causes": causes_of(*reason).map(cause_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    (text, json!({"schema_version": 1, "reasons": list}))
}

/// The causes that lie under a reason.
fn causes_of(reason: Reason) -> impl Iterator<Item = Cause> {
    Cause::ALL.iter().copied().filter(move |cause| cause.reason() == reason)
}

fn cause_json(cause: Cause) -> Value {
    let remedy = Situation::default().remedy(cause.reason(), Some(cause));
    json!({"cause": cause.token(), "meaning": cause.meaning(), "remedy": remedy})
}

fn schema(text: &str) -> Result<Value> {
    serde_json::from_str(text).context("cannot read a schema of this program")
}

/// The fields of a document, from the schema that is shipped; as JSON it is the schema itself.
fn properties(schema: &Value) -> (String, Value) {
    let mut text = String::new();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let says = property["description"].as_str().unwrap_or_default();
        let _ = writeln!(text, "{key}\n    {says}");
        match property.get("default") {
            None => {}
            Some(Value::Null) => text.push_str("    default: none\n"),
            Some(default) => {
                let _ = writeln!(text, "    default: {default}");
            }
        }
    }
    (text, schema.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_a_reason_the_settings_and_each_of_them_are_explained_and_nothing_else_is() {
        assert!(explain(Some("14")).unwrap().0.contains("digest-mismatch"));
        assert!(explain(Some("no-vmbus")).unwrap().0.starts_with("10  no-vmbus\n"));
        assert!(explain(Some("settings")).unwrap().0.contains("wait_for_device\n"));
        let one = explain(Some("kernel_hold")).unwrap().0;
        assert!(
            one.starts_with("kernel_hold\n") && one.contains("default: false") && one.lines().count() == 3
        );
        let cause = explain(Some("bundle-unknown")).unwrap();
        assert!(
            cause.0.starts_with("14  cache-missing: bundle-unknown\n")
                && cause.1["reason"] == "cache-missing"
        );
        assert!(explain(Some("cache-missing")).unwrap().0.contains("bundle-unknown: "));
        assert!(explain(Some("plan")).unwrap().0.contains("artifact\n"));
        assert_eq!(explain(None).unwrap().1["reasons"].as_array().unwrap().len(), Reason::ALL.len());
        assert_eq!(Reason::from_error(&explain(Some("2")).unwrap_err()), Reason::Usage);
    }
}
