//! `ofedctl support-bundle`: one file with what somebody who helps needs to see.

use super::answer::{Answer, Call};
use super::args::SupportBundleArgs;
use crate::amounts::{count, size};
use crate::detect::{detect_with_size, support_bundle};
use crate::events::Step;
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::time::SystemTime;

pub(super) fn support_bundle(call: &Call, args: &SupportBundleArgs) -> Result<Answer> {
    let host = call.host(&args.root.root)?;
    host.events.begin(Step::Detect);
    let facts = detect_with_size(&host)?;
    let file = args.out.clone().unwrap_or_else(|| {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        PathBuf::from(format!("ofedctl-support-{}.tar.gz", now.replace([':', '-'], "")))
    });
    let made = support_bundle::write(&host, &facts, &file)?;
    let shown = file.display();
    let text = format!(
        "{shown}: {}, {}\nNothing secret is in it. Read it before you pass it on: `tar -xzf {shown}`.\n",
        count(made.files, "file"),
        size(made.bytes)
    );
    let json = json!({"schema_version": 1, "file": file, "files": made.files, "bytes": made.bytes});
    Ok(Answer::listed(text, json))
}
