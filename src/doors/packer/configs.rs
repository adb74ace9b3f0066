//! What Packer hands to `Prepare`: several maps that lie over each other, in forms that differ between its versions
//! and its two template languages.
//!
//! An HCL2 block comes as one binary, cty JSON of all its attributes; everything else is a plain map.

use super::protocol::{bytes, field};
use serde_json::{Map, Number, Value};

/// Arguments of every provisioner, which Packer acts on itself and JSON templates pass on.
const PACKERS_OWN: [&str; 9] = [
    "type",
    "only",
    "except",
    "override",
    "pause_before",
    "max_retries",
    "timeout",
    "name",
    "continue_on_error",
];

/// The attributes of a `Prepare` call, later maps over earlier ones.
pub(super) fn attributes(argument: &rmpv::Value) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    let configs = field(argument, "Configs").as_array().map(Vec::as_slice).unwrap_or_default();
    for config in configs {
        match config {
            rmpv::Value::Binary(block) => all.extend(block_attributes(block)?),
            rmpv::Value::Map(pairs) => all.extend(plain_attributes(pairs)),
            _ => {}
        }
    }
    Ok(all)
}

fn block_attributes(block: &[u8]) -> Result<Map<String, Value>, String> {
    let parsed: Value =
        serde_json::from_slice(block).map_err(|error| format!("the block is not cty JSON: {error}"))?;
    match parsed {
        Value::Object(mut block) => match block.remove("value") {
            Some(Value::Object(attributes)) => Ok(attributes),
            _ => Err("the block has no attributes".to_owned()),
        },
        _ => Err("the block is not an object".to_owned()),
    }
}

/// Packer adds maps with its own variables and with place holders (`ID`, `Host`, …) for what the builder will know.
fn plain_attributes(pairs: &[(rmpv::Value, rmpv::Value)]) -> impl Iterator<Item = (String, Value)> {
    pairs.iter().filter_map(|(key, value)| {
        let key = str::from_utf8(bytes(key)?).ok()?;
        let is_packers = key.starts_with("packer_")
            || PACKERS_OWN.contains(&key)
            || key.starts_with(|first: char| first.is_ascii_uppercase());
        (!is_packers).then(|| (key.to_owned(), json(value)))
    })
}

/// Depth and size are those of the message, which were limited when it was read.
fn json(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Boolean(on) => Value::Bool(*on),
        rmpv::Value::Integer(number) => number
            .as_i64()
            .map(Number::from)
            .or_else(|| number.as_u64().map(Number::from))
            .map_or(Value::Null, Value::Number),
        rmpv::Value::F32(number) => float(f64::from(*number)),
        rmpv::Value::F64(number) => float(*number),
        rmpv::Value::String(_) | rmpv::Value::Binary(_) => {
            Value::String(String::from_utf8_lossy(bytes(value).unwrap_or_default()).into_owned())
        }
        rmpv::Value::Array(values) => Value::Array(values.iter().map(json).collect()),
        rmpv::Value::Map(pairs) => Value::Object(plain_attributes(pairs).collect()),
        rmpv::Value::Nil | rmpv::Value::Ext(..) => Value::Null,
    }
}

/// JSON templates have no whole numbers: 600 comes as 600.0.
fn float(number: f64) -> Value {
    // Beyond 2^53 a float says nothing about single numbers.
    if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
        #[expect(clippy::cast_possible_truncation, reason = "it was just seen to be a whole number in range")]
        let whole = number as i64;
        return Value::Number(whole.into());
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::super::protocol::map;
    use super::*;
    use serde_json::json;

    fn prepare(configs: Vec<rmpv::Value>) -> Result<Value, String> {
        attributes(&map([("Configs", rmpv::Value::Array(configs))])).map(Value::Object)
    }

    #[test]
    fn an_hcl2_block_comes_between_packers_own_variables_and_overrides() {
        let variables = map([("packer_build_name", "ssh".into()), ("packer_debug", "false".into())]);
        let block = br#"{"value":{"driver":"inbox","nic":null,"deadline":60,"vm_size":"\u003cunknown\u003e"},
            "type":["object",{"driver":"string"}]}"#;
        let block = rmpv::Value::Binary(block.to_vec());
        let overrides = map([("driver", "doca".into())]);
        assert_eq!(
            prepare(vec![variables.clone(), block.clone(), rmpv::Value::Nil]).unwrap(),
            json!({"driver": "inbox", "nic": null, "deadline": 60, "vm_size": "<unknown>"})
        );
        assert_eq!(prepare(vec![variables, block, overrides]).unwrap()["driver"], "doca");
    }

    #[test]
    fn a_json_template_comes_as_plain_maps() {
        let template = map([
            ("type", "ofed".into()),
            ("driver", rmpv::Value::Binary(b"inbox".to_vec())),
            ("deadline", 600.0.into()),
            ("offline", true.into()),
            ("kernels", rmpv::Value::Array(vec!["6.1".into()])),
        ]);
        let packers =
            map([("packer_user_variables", map([("a", "b".into())])), ("packer_debug", false.into())]);
        let places = map([("ID", "ERR_ID_NOT_IMPLEMENTED_BY_BUILDER".into()), ("Host", "x".into())]);
        assert_eq!(
            prepare(vec![template, packers, places]).unwrap(),
            json!({"driver": "inbox", "deadline": 600, "offline": true, "kernels": ["6.1"]})
        );
    }

    #[test]
    fn numbers_flags_and_lists_of_a_template_keep_their_kinds() {
        let inner = map([("a", rmpv::Value::Array(vec![1.into(), "x".into()]))]);
        let template = map([
            ("half", 0.5.into()),
            ("single", rmpv::Value::F32(2.0)),
            ("far", u64::MAX.into()),
            ("minus", (-7).into()),
            ("off", false.into()),
            ("more", inner),
            ("nothing", f64::NAN.into()),
        ]);
        let wanted = json!({
            "half": 0.5, "single": 2, "far": u64::MAX, "minus": -7, "off": false, "more": {"a": [1, "x"]},
            "nothing": null,
        });
        assert_eq!(prepare(vec![template]).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_block_is_an_error_and_no_configs_are_none() {
        for block in [b"".as_slice(), b"[]", b"{}", b"{\"value\":null}", b"\xff"] {
            assert!(prepare(vec![rmpv::Value::Binary(block.to_vec())]).is_err());
        }
        assert_eq!(attributes(&rmpv::Value::Nil).unwrap().len(), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, block in "[{}\\[\\]\":,a-z0-9\\\\]{0,60}") {
            if let Ok(value) = rmpv::decode::read_value_with_max_depth(&mut bytes.as_slice(), 32) {
                let _ = attributes(&value);
                let _ = prepare(vec![value]);
            }
            let block = format!("{{\"value\":{block}}}");
            if let Ok(attributes) = prepare(vec![rmpv::Value::Binary(block.into_bytes())]) {
                let _ = super::super::wanted::read(attributes.as_object().cloned().unwrap_or_default());
            }
        }
    }
}
