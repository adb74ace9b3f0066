//! What a run did to a root, put together from what it left there, for people (a page) and for other programs (a bill of
//! materials, a statement of provenance). Nothing here changes the root, and none of it contains the time at which it was
//! made: the same root gives the same bytes.

mod changes;
mod html;
mod markdown;
mod provenance;
mod sbom;
mod sections;

pub use changes::FileChange;
pub use provenance::{envelope, statement};
pub use sbom::{cyclonedx, spdx};

use crate::config;
use crate::facts::Facts;
use crate::host::Host;
use crate::ledger::{Receipt, RunRecord};
use crate::outcome::{Outcome, Reason};
use crate::status::{STATUS_FILE, StatusDocument};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What is known of a root and of the last run on it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The version of this form.
    pub schema_version: u32,
    /// How the last run ended, in one line; none while it works.
    pub verdict: Option<Verdict>,
    /// What the root is now, as the schema `detect` has it.
    #[cfg_attr(test, schemars(with = "Value"))]
    pub facts: Facts,
    /// What was installed, as the schema `receipt` has it; null where nothing is.
    #[cfg_attr(test, schemars(with = "Value"))]
    pub receipt: Option<Receipt>,
    /// The record of the last run, as the schema `run` has it; null after `generalize`.
    #[cfg_attr(test, schemars(with = "Value"))]
    pub run: Option<RunRecord>,
    /// Each file that was edited, as it was and as it is.
    pub files: Vec<FileChange>,
}

/// How the last run ended.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// The reason's token.
    pub reason: String,
    /// The exit code.
    pub code: u8,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub remedy: String,
}

impl Evidence {
    /// Reads what is known of a root. Fails where nothing ever ran.
    pub fn gather(host: &Host, facts: Facts) -> Result<Self> {
        let root = &host.root;
        let receipt = Receipt::load(root)?;
        let document = StatusDocument::load(root, STATUS_FILE)?;
        if receipt.is_none() && document.is_none() {
            let what = format!("`{}` has neither a receipt nor a status document", root.path().display());
            return Err(Reason::NeverRun.error(what));
        }
        let of_receipt = || receipt.as_ref().map(|it| Outcome::new(Reason::Installed, it.plan.driver_name()));
        let outcome = document.map_or_else(of_receipt, |document| document.outcome());
        let files = receipt.as_ref().map(|receipt| changes::read(root, receipt)).transpose()?;
        let verdict = outcome.map(|outcome| Verdict {
            reason: outcome.reason.token().to_owned(),
            code: outcome.exit_code().number(),
            message: outcome.message,
            remedy: outcome.remedy,
        });
        let run = RunRecord::load(root);
        Ok(Self { schema_version: 1, verdict, facts, receipt, run, files: files.unwrap_or_default() })
    }

    /// All of it as a document, whose addresses have lost logins and signatures.
    pub fn to_json(&self) -> Result<Value> {
        let value = serde_json::to_value(self).context("cannot write the report as JSON")?;
        Ok(config::without_secrets(&value))
    }

    /// One page that needs no other file and no network.
    pub fn to_html(&self) -> String {
        html::page(&self.title(), &sections::all(self))
    }

    /// The same as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::page(&self.title(), &sections::all(self))
    }

    fn title(&self) -> String {
        let run = self.run.as_ref();
        let host = run.and_then(|run| run.machine.host.clone());
        let distro = self.facts.os.distro.as_ref().map(ToString::to_string);
        let of = host.or(distro).unwrap_or_else(|| "an image".to_owned());
        format!("InfiniBand driver of {of}")
    }

    /// The receipt, without which there is nothing to list.
    pub fn installed(&self) -> Result<&Receipt> {
        self.receipt
            .as_ref()
            .ok_or_else(|| Reason::NeverRun.error("nothing is installed: there is no receipt"))
    }
}

/// An identifier that is the same for the same text, in the form of a UUID (version 8, RFC 9562: its bits are its maker's).
fn uuid_of(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::host::hex(&bytes);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_that_of_its_text_in_the_form_of_version_8() {
        let uuid = uuid_of("a");
        assert_eq!((uuid.len(), uuid.as_bytes()[14], uuid == uuid_of("a")), (36, b'8', true), "{uuid}");
        assert!(uuid != uuid_of("b") && matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{uuid}");
    }
}
