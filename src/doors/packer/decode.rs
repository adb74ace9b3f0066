//! Converts values as Packer's own plugins do: in JSON templates and `override` maps values have any type, and
//! packer-plugin-sdk (template/config/decode.go) decodes them weakly, by the rules of mapstructure.
//!
//! Values of HCL2 blocks have their type already: Packer itself has converted them.

use super::protocol::Type;
use serde_json::{Number, Value};

/// The value as its attribute's type. The error says what came instead.
pub(super) fn weakly(kind: Type, value: Value) -> Result<Value, String> {
    match kind {
        Type::Text => text(value).map(Value::String),
        Type::Bool => switch(&value).map(Value::Bool),
        Type::Number => number(&value).map(Value::Number),
        Type::Texts => texts(value),
    }
}

fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(on) => Ok(if on { "1" } else { "0" }.to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(wants("a string", &other)),
    }
}

/// The words of Go's `strconv.ParseBool`.
fn switch(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(on) => Ok(*on),
        Value::Number(number) => Ok(number.as_f64() != Some(0.0)),
        Value::String(word) => match word.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(wants("true or false", value)),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => Err(wants("true or false", value)),
    }
}

fn number(value: &Value) -> Result<Number, String> {
    match value {
        Value::Bool(on) => Ok(u64::from(*on).into()),
        Value::Number(number) if number.is_f64() => {
            Err(format!("takes a whole number, and this is {number}"))
        }
        Value::Number(number) => Ok(number.clone()),
        // mapstructure takes an empty text for 0, which no number here may be by mistake.
        Value::String(digits) => {
            digits.parse::<i64>().map(Number::from).map_err(|_| wants("a number", value))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => Err(wants("a number", value)),
    }
}

/// A text is split at its commas, and any other single value is a list of one.
fn texts(value: Value) -> Result<Value, String> {
    let values = match value {
        Value::Array(values) => values,
        Value::String(list) if list.is_empty() => Vec::new(),
        Value::String(list) => list.split(',').map(|one| Value::String(one.to_owned())).collect(),
        other => vec![other],
    };
    let texts: Result<Vec<Value>, String> =
        values.into_iter().map(|one| text(one).map(Value::String)).collect();
    texts.map(Value::Array).map_err(|_| "takes a list of strings, and something else is in it".to_owned())
}

fn wants(kind: &str, value: &Value) -> String {
    let is = match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        other => other.to_string(),
    };
    format!("takes {kind}, and this is {is}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_taken_as_packers_own_plugins_take_them() {
        for (kind, given, wanted) in [
            (Type::Text, json!("inbox"), json!("inbox")),
            (Type::Text, json!(5.8), json!("5.8")),
            (Type::Text, json!(24), json!("24")),
            (Type::Text, json!(true), json!("1")),
            (Type::Bool, json!("True"), json!(true)),
            (Type::Bool, json!("1"), json!(true)),
            (Type::Bool, json!(1), json!(true)),
            (Type::Bool, json!(0), json!(false)),
            (Type::Bool, json!(""), json!(false)),
            (Type::Bool, json!("f"), json!(false)),
            (Type::Number, json!("600"), json!(600)),
            (Type::Number, json!(true), json!(1)),
            (Type::Texts, json!("Standard_NC24rs_v3"), json!(["Standard_NC24rs_v3"])),
            (Type::Texts, json!("a,b"), json!(["a", "b"])),
            (Type::Texts, json!(""), json!([])),
            (Type::Texts, json!([6, "5.4"]), json!(["6", "5.4"])),
            (Type::Texts, json!(6), json!(["6"])),
        ] {
            assert_eq!(weakly(kind, given.clone()), Ok(wanted), "{given}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_it_is() {
        for (kind, given, says) in [
            (Type::Text, json!(["inbox"]), "takes a string, and this is a list"),
            (Type::Text, json!({"a": 1}), "takes a string, and this is a map"),
            (Type::Bool, json!("yes"), "takes true or false, and this is \"yes\""),
            (Type::Bool, json!([true]), "takes true or false, and this is a list"),
            (Type::Number, json!("10m"), "takes a number, and this is \"10m\""),
            (Type::Number, json!(0.5), "takes a whole number, and this is 0.5"),
            (Type::Number, json!(""), "takes a number, and this is \"\""),
            (Type::Texts, json!([["a"]]), "takes a list of strings, and something else is in it"),
            (Type::Texts, json!({"a": 1}), "takes a list of strings, and something else is in it"),
        ] {
            assert_eq!(weakly(kind, given.clone()).unwrap_err(), says, "{given}");
        }
    }
}
