//! How a root came to be as it is: a statement of in-toto (version 1) with SLSA's provenance (version 1), and the DSSE
//! envelope in which it is signed.

use super::uuid_of;
use crate::cache::{Bundle, PrivateKey};
use crate::config::without_secrets;
use crate::ledger::{Receipt, RunRecord};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The media type of a statement.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What kind of build this is. Its parameters are the plan and the settings as the schemas of this program have them.
const BUILD_TYPE: &str = "urn:ofedctl:install:v1";

/// The statement. Its subject is the receipt, which names all that is installed; what went in is named by digest. `bundle`
/// is the bundle of the receipt where a cache still holds it: then each of its files is named too.
pub fn statement(receipt: &Receipt, run: Option<&RunRecord>, bundle: Option<&Bundle>) -> Result<Value> {
    let text = serde_json::to_string_pretty(receipt).context("cannot write the receipt")? + "\n";
    let digest = crate::host::hex(&Sha256::digest(text.as_bytes()));
    let plan = &receipt.plan;
    let external = json!({
        "target": plan.target,
        "driver": plan.driver,
        "driver_version": plan.driver_version,
        "settings": run.map(|run| &run.settings),
    });
    let run_id = receipt.run_id.clone().unwrap_or_else(|| uuid_of(&receipt.question));
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": crate::ledger::RECEIPT.trim_start_matches('/'), "digest": {"sha256": digest}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": without_secrets(&external),
                "internalParameters": {"question": receipt.question},
                "resolvedDependencies": inputs(receipt, bundle),
            },
            "runDetails": {
                "builder": {"id": "urn:ofedctl", "version": {"ofedctl": env!("CARGO_PKG_VERSION")}},
                "metadata": {
                    "invocationId": run_id,
                    "startedOn": receipt.started,
                    "finishedOn": receipt.finished,
                },
            },
        },
    }))
}

/// What went in, by digest.
fn inputs(receipt: &Receipt, bundle: Option<&Bundle>) -> Vec<Value> {
    let mut inputs = Vec::new();
    if let Some(digest) = receipt.bundle.as_deref().and_then(|digest| digest.strip_prefix("sha256:")) {
        inputs.push(json!({"name": "bundle", "digest": {"sha256": digest}}));
    }
    if let Some(file) = &receipt.vendor_file {
        let uri = without_secrets(&Value::from(file.url.as_str()));
        inputs.push(json!({"name": file.file_name, "uri": uri, "digest": {"sha256": file.sha256}}));
    }
    let files = bundle.into_iter().flat_map(|bundle| &bundle.files);
    let known = receipt.vendor_file.as_ref().map(|file| file.sha256.as_str());
    for file in files.filter(|file| Some(file.digest.hex().as_str()) != known) {
        inputs.push(json!({"name": file.title, "digest": {"sha256": file.digest.hex()}}));
    }
    inputs
}

/// A statement in an envelope (DSSE), signed by the key.
pub fn envelope(statement: &str, key: &PrivateKey) -> Result<Value> {
    // The pre-authentication encoding of DSSE v1.
    let signed = format!("DSSEv1 {} {PAYLOAD_TYPE} {} {statement}", PAYLOAD_TYPE.len(), statement.len());
    let signature = STANDARD.encode(key.sign(signed.as_bytes())?);
    Ok(json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": STANDARD.encode(statement),
        "signatures": [{"sig": signature}],
    }))
}
