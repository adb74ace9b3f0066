//! `ofedctl explain`: codes, reasons, settings and the plan in plain words.

use super::documents;
use crate::outcome::{Cause, ExitCode, Reason};
use crate::remedies::Situation;
use crate::texts::unpack;
use crate::{plan_document, settings};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt::Write;

/// Explains one thing, or lists all reasons. Returns text and JSON.
pub(super) fn explain(what: Option<&str>, name: Option<&str>) -> Result<(String, Value)> {
    let Some(what) = what else { return Ok(describe(Reason::ALL)) };
    if let Some(name) = name.filter(|_| what != "schema") {
        return Err(Reason::Usage.error(format!("`{name}` follows `{what}`; only `schema` takes a name")));
    }
    match what {
        "schema" => return schemas(name),
        "settings" => return Ok(properties(&schema(&settings::SCHEMA)?)),
        "plan" => return Ok(properties(&schema(&plan_document::SCHEMA)?)),
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
    if let Some(setting) = schema(&settings::SCHEMA)?["properties"].get(what) {
        return Ok(properties(
            &json!({ "schema_version": 1, "properties": { what: setting }, "$defs": schema(&settings::SCHEMA)?["$defs"] }),
        ));
    }
    let hint = nearest(what).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Reason::Usage.error(format!(
        "`{what}` is no exit code, reason, cause or setting, and not `settings`, `plan` or `schema`{hint}"
    )))
}

/// The word that can be explained and that a mistyped one is most like.
fn nearest(what: &str) -> Option<String> {
    let keys = settings::keys();
    let reasons = Reason::ALL.iter().map(|reason| reason.token());
    let causes = Cause::ALL.iter().map(|cause| cause.token());
    let words = reasons.chain(causes).chain(keys.iter().map(String::as_str));
    settings::nearest_of(what, words.chain(["settings", "plan", "schema"])).map(str::to_owned)
}

/// One schema as it is shipped, or the names of all with what each describes.
fn schemas(name: Option<&str>) -> Result<(String, Value)> {
    if let Some(name) = name {
        let text = documents::schema(name)?;
        return Ok((text.clone(), schema(&text)?));
    }
    let mut text = String::new();
    let mut list = Vec::new();
    for (name, packed) in documents::SCHEMAS {
        let schema = schema(&unpack(packed))?;
        let says = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "{name}\n    {says}");
        list.push(json!({"name": name, "description": says}));
    }
    Ok((text, json!({"schema_version": 1, "schemas": list})))
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
        let says = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "{key}\n    {says}");
        match property.get("default") {
            None => {}
            Some(Value::Null) => text.push_str("    default: none\n"),
            Some(default) => {
                let _ = writeln!(text, "    default: {default}");
            }
        }
        let allowed = allowed_words(schema, property);
        if !allowed.is_empty() {
            let _ = writeln!(text, "    allowed: {}", allowed.join(", "));
        }
    }
    (text, schema.clone())
}

/// The words that a property may have, where there is a fixed set of them.
fn allowed_words(schema: &Value, property: &Value) -> Vec<String> {
    let place = property["$ref"].as_str().or_else(|| property["anyOf"][0]["$ref"].as_str());
    let definition = match place.and_then(|place| place.rsplit('/').next()) {
        Some(name) => &schema["$defs"][name],
        None => property,
    };
    let words = |key: &str| definition[key].as_array().into_iter().flatten();
    let constants = words("oneOf").map(|word| &word["const"]);
    words("enum").chain(constants).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_a_reason_the_settings_and_each_of_them_are_explained_and_nothing_else_is() {
        assert!(explain(Some("14"), None).unwrap().0.contains("digest-mismatch"));
        assert!(explain(Some("no-vmbus"), None).unwrap().0.starts_with("10  no-vmbus\n"));
        assert!(explain(Some("settings"), None).unwrap().0.contains("wait_for_device\n"));
        let one = explain(Some("kernel_hold"), None).unwrap().0;
        assert!(
            one.starts_with("kernel_hold\n") && one.contains("default: false") && one.lines().count() == 3
        );
        let cause = explain(Some("bundle-unknown"), None).unwrap();
        assert!(
            cause.0.starts_with("14  cache-missing: bundle-unknown\n")
                && cause.1["reason"] == "cache-missing"
        );
        assert!(explain(Some("cache-missing"), None).unwrap().0.contains("bundle-unknown: "));
        assert!(explain(Some("plan"), None).unwrap().0.contains("artifact\n"));
        assert_eq!(explain(None, None).unwrap().1["reasons"].as_array().unwrap().len(), Reason::ALL.len());
        assert_eq!(Reason::from_error(&explain(Some("2"), None).unwrap_err()), Reason::Usage);
    }
}
