//! Holds documents against the schemas that are shipped.

use jsonschema::Validator;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema")).unwrap();
    let files = folder.map(|file| file.unwrap().path());
    let named = files.filter_map(|file| {
        let name = file.file_name()?.to_str()?.strip_suffix(".schema.json")?.to_owned();
        let schema: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        Some((name, jsonschema::validator_for(&schema).unwrap()))
    });
    named.collect()
});

/// Fails unless a document follows the schema of this name.
#[track_caller]
pub fn assert_follows(document: &Value, schema: &str) {
    let validator = VALIDATORS.get(schema).unwrap_or_else(|| panic!("there is no schema `{schema}`"));
    let wrong: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "not as the schema `{schema}` says:\n{}\n{document:#}", wrong.join("\n"));
}

/// Fails unless what a command printed has the fields that all documents share, and follows the schema that it names. A
/// schema, which is printed as it is, has to be a valid one.
#[track_caller]
pub fn assert_is_as_promised(printed: &Value) {
    let entry = if printed.is_array() { &printed[0] } else { printed };
    if printed.get("$schema").is_some() {
        assert!(jsonschema::meta::is_valid(printed), "no valid schema: {printed:#}");
        return;
    }
    assert_follows(entry, "envelope");
    let schema = entry["schema"].as_str().unwrap();
    assert_follows(printed, schema);
    assert_follows(&entry["outcome"], "outcome");
}
