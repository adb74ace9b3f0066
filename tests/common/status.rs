//! The VM agent's rules for a status document (azurelinuxagent/ga/exthandlers.py and common/protocol/wire.py).

use serde_json::Value;

/// What a valid document says.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    pub state: String,
    pub code: i64,
    pub message: String,
    /// Name, state and message of each substatus.
    pub steps: Vec<(String, String, String)>,
}

/// Reads a status document as the agent would, and names every rule it breaks.
pub fn read(bytes: &[u8]) -> Result<Status, String> {
    // The agent cuts documents above 128 Ki characters; leave it no reason to.
    require(bytes.len() < 100_000, "is 100 KB or larger")?;
    let text = std::str::from_utf8(bytes).map_err(|error| format!("is not UTF-8: {error}"))?;
    require(!text.starts_with('\u{feff}'), "begins with a byte order mark")?;
    let document: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let first = document.as_array().and_then(|all| all.first()).ok_or("is not an array with an element")?;
    let status = first.get("status").filter(|status| status.is_object()).ok_or("has no `status` object")?;
    for key in ["timestampUTC", "version"] {
        require(first[key].is_string(), &format!("has no string `{key}`"))?;
    }
    let (state, message) = state_and_message(status)?;
    let code = status["code"].as_i64().ok_or("has no integer `code`")?;
    let none = Vec::new();
    let steps = match &status["substatus"] {
        Value::Null => &none,
        Value::Array(steps) => steps,
        _ => return Err("has a `substatus` that is not an array".into()),
    };
    let steps = steps.iter().map(|step| {
        let name = step["name"].as_str().ok_or("has a substatus without a name")?.to_owned();
        let (state, message) = state_and_message(step).map_err(|error| format!("`{name}` {error}"))?;
        require(step["code"].is_i64(), &format!("`{name}` has no integer `code`"))?;
        Ok((name, state, message))
    });
    Ok(Status { state, code, message, steps: steps.collect::<Result<_, String>>()? })
}

impl Status {
    /// Whether the agent takes this for the end of the operation.
    pub fn is_terminal(&self) -> bool {
        self.state == "success" || self.state == "error"
    }

    /// The names of the steps, in order.
    pub fn step_names(&self) -> Vec<&str> {
        self.steps.iter().map(|(name, ..)| name.as_str()).collect()
    }
}

fn state_and_message(object: &Value) -> Result<(String, String), String> {
    let state = object["status"].as_str().unwrap_or_default();
    let known = ["transitioning", "warning", "error", "success"].contains(&state);
    require(known, &format!("has the status {}", object["status"]))?;
    // The capitals of the documentation's example are refused.
    let formatted = &object["formattedMessage"];
    require(formatted["lang"].is_string(), "has no string `lang`")?;
    let message = formatted["message"].as_str().ok_or("has no string `message`")?;
    // What the portal shows.
    require(message.chars().count() <= 1000, "has a message over 1000 characters")?;
    Ok((state.to_owned(), message.to_owned()))
}

fn require(condition: bool, otherwise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_owned()) }
}
