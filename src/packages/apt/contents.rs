//! Whether packages are what the index of their repository says. apt goes by the index alone, and dpkg reads a package when
//! its turn comes: one for another architecture would be refused when half of the others are unpacked.

use super::super::{REPOSITORY, Transaction};
use super::INDEX;
use super::install::TEMPORARY;
use crate::host::Host;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;
use std::collections::HashMap;

/// What makes a package the one that was resolved.
const FIELDS: [&str; 3] = ["Package", "Version", "Architecture"];
/// Prints these fields of each package that is named, behind its name. dpkg-deb unpacks them to where temporary files are.
const SCRIPT: &str = "mkdir -p -m 1777 \"$TMPDIR\"; for file; do echo \"Filename: $file\"; \
    dpkg-deb --field \"$file\" Package Version Architecture || exit; echo; done";

/// Refuses packages of the local repository that are not what its index says.
pub(super) fn require(host: &Host, transaction: &Transaction) -> Result<()> {
    let index = host.root.read_text(&format!("{REPOSITORY}/{INDEX}"))?.unwrap_or_default();
    let said = by_name(&index);
    if said.is_empty() {
        return Ok(());
    }
    let mut files: Vec<String> = said.keys().map(|name| format!("{REPOSITORY}/{name}")).collect();
    files.retain(|file| host.root.owner(file).is_some());
    files.sort_unstable();
    let show = Cmd::shell(SCRIPT, "dpkg-deb").args(files).env("TMPDIR", TEMPORARY).captured();
    let show = show.inside(transaction.sandbox(host));
    let shown = host.run(&show)?.check(Reason::CacheUnreadable, "reading the packages of the bundle")?;
    for (name, is) in by_name(&shown.stdout) {
        if let Some(said) = said.get(name).filter(|said| **said != is) {
            let what =
                format!("`{name}` is {}, and the index of the bundle says {}", is.join(" "), said.join(" "));
            return Err(Reason::CacheUnreadable.error(what.escape_default().to_string()));
        }
    }
    Ok(())
}

/// The fields of each stanza, by the last part of its file's name.
fn by_name(stanzas: &str) -> HashMap<&str, [&str; 3]> {
    let entry = |stanza| {
        let field = |key: &str| {
            let is_it = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == key);
            Some(str::lines(stanza).find(is_it)?.split_once(':')?.1.trim())
        };
        let [package, version, arch] = FIELDS.map(field);
        Some((field("Filename")?.rsplit('/').next()?, [package?, version?, arch?]))
    };
    stanzas.split("\n\n").filter_map(entry).collect()
}
