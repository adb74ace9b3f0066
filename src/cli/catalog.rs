//! `ofedctl catalog`: what a catalogue covers, what is wrong with it, and catalogues made from others' lists.

use super::answer::{Answer, Call, outcome_json, to_json};
use super::terminal;
use crate::catalog::Catalog;
use crate::catalog::check::{self, Finding};
use crate::catalog::coverage::Coverage;
use crate::catalog::import;
use crate::host::{read_here, write_here};
use crate::outcome::{Cause, Outcome, Reason, shown};
use crate::remedies::{Door, Situation};
use crate::settings::Settings;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Arguments of `catalog`.
#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    /// What to do
    #[command(subcommand)]
    pub(super) verb: CatalogVerb,
}

/// What can be done with a catalogue.
#[derive(Debug, Subcommand)]
pub(super) enum CatalogVerb {
    /// Show which driver is taken for which distribution and adapter
    List {
        /// The catalogue; the built-in one when none is named
        file: Option<PathBuf>,
    },
    /// Look for rows that are wrong, double or never chosen
    Check {
        /// The catalogue; the built-in one when none is named
        file: Option<PathBuf>,
    },
    /// Read the live extension's resources.json or azhpc-images' versions.json
    Import {
        /// The file to read
        file: PathBuf,
        /// The catalogue to write; standard output when not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn catalog(call: &Call, args: &CatalogArgs) -> Result<Answer> {
    match &args.verb {
        CatalogVerb::List { file } => list(&open(file.as_deref())?),
        CatalogVerb::Check { file } => check(&open(file.as_deref())?),
        CatalogVerb::Import { file, out } => import(call, file, out.as_deref()),
    }
}

fn open(file: Option<&Path>) -> Result<Catalog> {
    let catalog = file.map(|file| file.to_string_lossy().into_owned());
    Catalog::from_settings(&Settings { catalog, ..Settings::default() })
}

fn list(catalog: &Catalog) -> Result<Answer> {
    let coverage = Coverage::from_catalog(catalog);
    Ok(Answer::listed(coverage.to_text(), to_json(&coverage)?))
}

fn check(catalog: &Catalog) -> Result<Answer> {
    let findings = check::check(catalog);
    let mut text = String::new();
    for finding in &findings {
        let _ = writeln!(text, "{finding}");
    }
    let problems: Vec<&Finding> = findings.iter().filter(|finding| finding.kind.is_problem()).collect();
    let notes = findings.len() - problems.len();
    let outcome = match problems.first() {
        None => Outcome::new(Reason::Verified, format!("{} rows, {notes} notes", catalog.drivers.len())),
        Some(first) => {
            let what = format!("{} problems in the catalogue, the first: {first}", problems.len());
            Situation::at(Door::Shell).outcome(&Cause::CatalogFaulty.error(what))
        }
    };
    let mut json = outcome_json(&outcome);
    json["findings"] = to_json(&findings)?;
    conceal(&mut json["findings"]);
    Ok(Answer { outcome, text, json })
}

/// What is wrong with an address is said without the secrets in it.
fn conceal(value: &mut Value) {
    match value {
        Value::String(text) => *text = shown::line(text),
        Value::Array(values) => values.iter_mut().for_each(conceal),
        Value::Object(members) => members.values_mut().for_each(conceal),
        _ => {}
    }
}

fn import(call: &Call, file: &Path, out: Option<&Path>) -> Result<Answer> {
    let imported = import::import(&read_here(file)?, &Catalog::embedded()?)?;
    if !call.quiet {
        imported.taken.iter().for_each(|taken| terminal::say(&format!("taken: {taken}")));
        imported.left.iter().for_each(|left| terminal::say(&format!("left: {left}")));
    }
    let yaml = imported.to_yaml()?;
    let json = json!({
        "schema_version": 1,
        "taken": imported.taken,
        "left": imported.left,
        "catalog": to_json(&imported.catalog)?,
    });
    let text = match out {
        None => yaml,
        Some(out) => {
            write_here(out, &yaml)?;
            let (taken, left) = (imported.taken.len(), imported.left.len());
            format!("{}: {taken} packages taken, {left} entries left\n", out.display())
        }
    };
    Ok(Answer::listed(text, json))
}
