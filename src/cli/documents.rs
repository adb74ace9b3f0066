//! The JSON documents that commands print: the fields that all of them share, and the schemas that are shipped.

use super::answer::{Answer, outcome_fields};
use super::cache::{CacheArgs, CacheVerb};
use super::command_line::Command;
use crate::outcome::{Outcome, Reason};
use crate::settings::nearest_of;
use crate::texts::{packed, unpack};
use anyhow::Result;
use serde_json::{Map, Value, json};

/// The program and its version, as receipts have it.
const MADE_BY: &str = concat!("ofedctl ", env!("CARGO_PKG_VERSION"));

/// The schemas that are shipped, packed, each with its name.
pub(super) const SCHEMAS: [(&str, &[u8]); 11] = [
    ("cache-list", packed!("cache-list.schema.json")),
    ("detect", packed!("detect.schema.json")),
    ("envelope", packed!("envelope.schema.json")),
    ("outcome", packed!("outcome.schema.json")),
    ("plan", packed!("plan.schema.json")),
    ("receipt", packed!("receipt.schema.json")),
    ("report", packed!("report.schema.json")),
    ("run", packed!("run.schema.json")),
    ("settings", packed!("settings.schema.json")),
    ("settings-list", packed!("settings-list.schema.json")),
    ("status", packed!("status.schema.json")),
];

/// A shipped schema by its name.
pub(super) fn schema(name: &str) -> Result<String> {
    let known = SCHEMAS.iter().find(|(known, _)| *known == name);
    known.map(|(_, packed)| unpack(packed)).ok_or_else(|| {
        let near = nearest_of(name, SCHEMAS.iter().map(|(known, _)| *known));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Reason::Usage
            .error(format!("there is no schema `{name}`{hint} `ofedctl explain schema` lists them all"))
    })
}

/// The schema that the document of a command follows beside the one of the shared fields. A document that has no schema of
/// its own is an `envelope`: only the shared fields are promised.
pub(super) fn schema_name(command: &Command, answer: &Answer) -> &'static str {
    let is_outcome = answer.json.get("message").is_some();
    match command {
        // A command that could not do its work has its outcome alone to tell.
        _ if is_outcome => "outcome",
        Command::Detect(_) => "detect",
        Command::Plan(_) => "plan",
        Command::Status(_) => "status",
        Command::Settings(_) => "settings-list",
        Command::Cache(CacheArgs { verb: CacheVerb::List { .. }, .. }) => "cache-list",
        _ => "envelope",
    }
}

/// Adds the fields that all documents share. Fields that a document has already stay as they are; in the status document,
/// which is an array of one, they stand in its one member. A schema is printed as it is.
pub(super) fn with_envelope(mut document: Value, schema: &str, outcome: &Outcome) -> Value {
    let place = if document.is_array() { document.get_mut(0) } else { Some(&mut document) };
    if let Some(fields) =
        place.and_then(Value::as_object_mut).filter(|fields| !fields.contains_key("$schema"))
    {
        add(fields, schema, outcome);
    }
    document
}

fn add(fields: &mut Map<String, Value>, schema: &str, outcome: &Outcome) {
    let shared = [
        ("schema_version", json!(1)),
        ("schema", json!(schema)),
        ("made_by", json!(MADE_BY)),
        ("outcome", outcome_fields(outcome)),
    ];
    for (key, value) in shared {
        fields.entry(key).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Bundle;
    use crate::doors::cloud_init::FirstBoot;
    use crate::evidence::Evidence;
    use crate::facts::Facts;
    use crate::ledger::{End, Receipt, RunRecord};
    use crate::status;
    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;
    use serde::Serialize;

    /// How a command ended, as the field `outcome` of every document and as a document.
    #[derive(JsonSchema, Serialize)]
    struct OutcomeDocument {
        /// The reason's token, e.g. `installed`. Tokens are never renamed.
        reason: String,
        /// The exit code.
        code: u8,
        /// One line of what happened.
        message: String,
        /// The token of the cause under the reason, where one is known.
        cause: Option<String>,
        /// What to do next.
        remedy: String,
    }

    /// The fields that every document on standard output has beside its own.
    #[derive(JsonSchema, Serialize)]
    struct Envelope {
        /// The version of this form; a document of version 1 only ever gains fields.
        schema_version: u32,
        /// The name of the document's own schema, for `ofedctl explain schema NAME`.
        schema: String,
        /// The program and its version, e.g. `ofedctl 0.1.0`.
        made_by: String,
        /// How the command ended, as its exit code says.
        outcome: OutcomeDocument,
    }

    /// What `detect` found out.
    #[derive(JsonSchema, Serialize)]
    struct Detected {
        #[serde(flatten)]
        facts: Facts,
        /// Whether a boot of this system runs this program; only where cloud-init or systemd is there.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_boot: Option<FirstBoot>,
    }

    /// The bundles of a cache.
    #[derive(JsonSchema, Serialize)]
    struct CacheList {
        /// The version of this form.
        schema_version: u32,
        /// The bundles, by tag.
        bundles: Vec<Bundle>,
    }

    /// The settings in force on a root.
    #[derive(JsonSchema, Serialize)]
    struct SettingsList {
        /// The version of this form.
        schema_version: u32,
        /// Each setting, in the order of the schema `settings`.
        settings: Vec<Setting>,
    }

    #[derive(JsonSchema, Serialize)]
    struct Setting {
        /// Its name.
        key: String,
        /// Its value, without secrets.
        value: Value,
        /// The file, default or flag that set it.
        source: String,
    }

    /// How far the last run is.
    #[derive(JsonSchema, Serialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only its schema is made")]
    enum RunState {
        Ended,
        AtWork,
        Interrupted,
        ReceiptOnly,
    }

    /// What the receipt says where nothing else is left, as on a VM made from an image.
    #[derive(JsonSchema, Serialize)]
    struct FromReceipt {
        /// The program that wrote it.
        made_by: String,
        /// The entry point through which it was called.
        door: String,
        /// When the run ended, RFC 3339.
        finished: String,
    }

    /// What `ofedctl status` adds to the document that the VM agent reads; the file itself has none of it.
    #[derive(JsonSchema, Serialize)]
    struct Told {
        /// How far the last run is.
        state_of_run: RunState,
        /// The record of the last run.
        run: Option<RunRecord>,
        /// The last run that ended well.
        last_good: Option<End>,
        /// Whether a reboot is due, which loads the driver's modules.
        reboot_due: bool,
        /// Where the log is inside the root.
        log: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<FromReceipt>,
    }

    #[derive(JsonSchema, Serialize)]
    struct StatusEntry {
        #[serde(flatten)]
        entry: status::Envelope,
        #[serde(flatten)]
        told: Option<Told>,
    }

    /// The status document of the VM extension protocol: an array of one.
    #[derive(JsonSchema, Serialize)]
    #[serde(transparent)]
    struct StatusDocument([StatusEntry; 1]);

    fn made<T: JsonSchema>(name: &str) -> (&str, String) {
        let schema =
            SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
        (name, serde_json::to_string_pretty(&schema).unwrap() + "\n")
    }

    #[test]
    fn the_shipped_schemas_are_those_of_what_is_printed() {
        let made = [
            made::<CacheList>("cache-list"),
            made::<Detected>("detect"),
            made::<Envelope>("envelope"),
            made::<OutcomeDocument>("outcome"),
            made::<Receipt>("receipt"),
            made::<Evidence>("report"),
            made::<RunRecord>("run"),
            made::<SettingsList>("settings-list"),
            made::<StatusDocument>("status"),
        ];
        let old: Vec<&str> =
            made.iter().filter(|(name, text)| schema(name).unwrap() != *text).map(|it| it.0).collect();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            for (name, text) in &made {
                let file = format!("{}/docs/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
                std::fs::write(file, text).unwrap();
            }
        }
        assert!(old.is_empty(), "run the tests once with UPDATE_GOLDEN=1: {old:?}");
    }

    #[test]
    fn the_shared_fields_stand_beside_those_of_a_document_and_over_none_of_them() {
        let outcome = Outcome::new(Reason::Listed, "");
        let told =
            with_envelope(json!({"schema_version": 1, "made_by": "ofedctl 0.0.1"}), "receipt", &outcome);
        assert_eq!(
            (&told["made_by"], &told["outcome"]["reason"]),
            (&json!("ofedctl 0.0.1"), &json!("listed"))
        );
        assert_eq!(with_envelope(json!([{"version": "1.0"}]), "status", &outcome)[0]["schema"], "status");
        let itself = json!({"$schema": "x"});
        assert_eq!(with_envelope(itself.clone(), "envelope", &outcome), itself);
    }

    #[test]
    fn a_schema_that_is_not_there_leads_to_the_nearest_one() {
        assert!(schema("plam").unwrap_err().to_string().contains("`plan`"));
    }
}
