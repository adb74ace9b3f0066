//! `ofedctl catalog`: what a catalogue covers, what is wrong with it, catalogues made from others' lists, and newer ones
//! from a registry.

use super::answer::{Answer, Call, outcome_json, to_json};
use super::cache::SetArgs;
use super::columns;
use super::terminal;
use crate::amounts::count;
use crate::cache::PrivateKey;
use crate::cache::remote::{is_in_registry, pull_catalog, push_catalog};
use crate::catalog::Catalog;
use crate::catalog::check::{self, Finding};
use crate::catalog::compare::{Change, changes};
use crate::catalog::coverage::Coverage;
use crate::catalog::import;
use crate::catalog::in_force::{UPDATED, issued, origin, with_origin};
use crate::host::{Host, read_here, write_here};
use crate::outcome::{Cause, Outcome, Reason, shown};
use crate::remedies::{Door, Situation};
use crate::settings::Settings;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Bring a newer catalogue from a registry; it must be signed by `public_key`
    Update {
        /// From where: `oci://HOST/NAME:TAG`; where the last one came from when not given
        address: Option<String>,
        /// Only write it to this file, to be named as `catalog` in the settings
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Settings
        #[command(flatten)]
        settings: SetArgs,
    },
    /// Write a catalogue to a registry, for `update`
    Push {
        /// The catalogue
        file: PathBuf,
        /// Where to, as `oci://HOST/NAME:TAG`
        to: String,
        /// The key to sign it with: ECDSA P-256, in PEM, not encrypted
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Settings
        #[command(flatten)]
        settings: SetArgs,
    },
    /// Show what another catalogue would choose otherwise
    Diff {
        /// The other catalogue: a file, or `oci://HOST/NAME:TAG`
        other: String,
        /// The catalogue to compare it with; the one in force when none is named
        file: Option<PathBuf>,
        /// Settings
        #[command(flatten)]
        settings: SetArgs,
    },
}

impl CatalogArgs {
    /// Whether what it prints is a catalogue.
    pub(super) const fn prints_document(&self) -> bool {
        matches!(self.verb, CatalogVerb::Import { .. })
    }
}

pub(super) fn catalog(call: &Call, args: &CatalogArgs) -> Result<Answer> {
    match &args.verb {
        CatalogVerb::List { file } => list(&open(file.as_deref())?),
        CatalogVerb::Check { file } => check(&open(file.as_deref())?),
        CatalogVerb::Import { file, out } => import(call, file, out.as_deref()),
        CatalogVerb::Update { address, out, settings } => {
            let (host, settings) = with_network(call, settings)?;
            update(&host, address.as_deref(), out.as_deref(), &settings)
        }
        CatalogVerb::Push { file, to, key, settings } => {
            let (host, settings) = with_network(call, settings)?;
            push(&host, (file, to), key.as_deref(), &settings)
        }
        CatalogVerb::Diff { other, file, settings } => {
            let (host, settings) = with_network(call, settings)?;
            let before = match file {
                Some(file) => open(Some(file))?,
                None => Catalog::from_settings(&settings)?,
            };
            diff(&before, &other_catalog(&host, other, &settings)?)
        }
    }
}

/// The machine and its settings, for commands that may work with a registry.
fn with_network(call: &Call, given: &SetArgs) -> Result<(Host, Settings)> {
    let host = call.host(Path::new("/"))?;
    let settings = given.load(&host)?;
    call.note(None, &settings);
    Ok((host.within(Duration::from_secs(settings.deadline)), settings))
}

fn open(file: Option<&Path>) -> Result<Catalog> {
    let catalog = file.map(|file| file.to_string_lossy().into_owned());
    Catalog::from_settings(&Settings { catalog, ..Settings::default() })
}

fn list(catalog: &Catalog) -> Result<Answer> {
    let coverage = Coverage::from_catalog(catalog);
    Ok(Answer::listed(coverage.to_text(columns::of_results()), to_json(&coverage)?))
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
        None => Outcome::new(
            Reason::Verified,
            format!("{}, {}", count(catalog.drivers.len(), "row"), count(notes, "note")),
        ),
        Some(first) => {
            let what = format!("{} in the catalogue, the first: {first}", count(problems.len(), "problem"));
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
            let taken = count(imported.catalog.drivers.len(), "package");
            let left = count(imported.left.len(), "entry");
            format!("{}: {taken} taken, {left} left\n", out.display())
        }
    };
    Ok(Answer::listed(text, json))
}

/// Brings a catalogue. Without `out` it is in force from then on, so it must not be older than the one in force.
fn update(host: &Host, address: Option<&str>, out: Option<&Path>, settings: &Settings) -> Result<Answer> {
    if settings.offline {
        let what = "`offline` is set, and a newer catalogue comes from a registry";
        return Err(Reason::BadSettings.error(what));
    }
    if let (Some(file), None) = (&settings.catalog, out) {
        let what =
            format!("the settings name `{file}` as `catalog`, which stays in force: say `--out {file}`");
        return Err(Reason::BadSettings.error(what));
    }
    let (_, before) = Catalog::text(settings)?;
    let none =
        || Reason::Usage.error("no catalogue was brought before: name an address, `oci://HOST/NAME:TAG`");
    let address = address.or_else(|| origin(&before)).ok_or_else(none)?;
    let text = pull_catalog(host, address, settings)?;
    let after = sound(&text, address)?;
    let Some(day) = &after.issued else {
        let what = format!("the catalogue at `{address}` does not say when it was issued");
        return Err(Cause::CatalogFaulty.error(what));
    };
    if out.is_none() && Some(day.as_str()) < issued(&before) {
        let what = format!(
            "the catalogue at `{address}` was issued on {day}, and the one in force on {}",
            issued(&before).unwrap_or_default()
        );
        return Err(Cause::OlderCatalog.error(what));
    }
    let differences = changes(&Catalog::parse("the catalogue in force", &before)?, &after);
    let text = with_origin(&text, address);
    match out {
        Some(out) => write_here(out, &text)?,
        None => host.root.write_text(UPDATED, &text)?,
    }
    let file = out.map_or_else(|| UPDATED.to_owned(), |out| out.display().to_string());
    let (rows, changed) = (count(after.drivers.len(), "package"), differences.len());
    let said = format!("{file}: issued {day}, {rows}, choices that change: {changed}\n");
    let json = json!({
        "schema_version": 1, "file": file, "address": address, "issued": day, "changes": to_json(&differences)?,
    });
    Ok(Answer::listed(said, json))
}

fn push(host: &Host, (file, to): (&Path, &str), key: Option<&Path>, settings: &Settings) -> Result<Answer> {
    let key = key.map(PrivateKey::read).transpose()?;
    let text = read_here(file)?;
    let catalog = sound(&text, &file.display().to_string())?;
    if catalog.issued.is_none() {
        let what = format!("`{}` has no `issued`, without which nobody's `update` takes it", file.display());
        return Err(Cause::CatalogFaulty.error(what));
    }
    let pinned = push_catalog(host, &text, to, key.as_ref(), settings)?;
    Ok(Answer::listed(format!("{pinned}\n"), json!({"schema_version": 1, "pushed": pinned})))
}

/// A catalogue in whose rows nothing is wrong.
fn sound(text: &str, source: &str) -> Result<Catalog> {
    let catalog = Catalog::parse(source, text)?;
    let findings = check::check(&catalog);
    match findings.iter().find(|finding| finding.kind.is_problem()) {
        None => Ok(catalog),
        Some(first) => Err(Cause::CatalogFaulty.error(format!("`{source}`: {first}"))),
    }
}

fn other_catalog(host: &Host, other: &str, settings: &Settings) -> Result<Catalog> {
    if is_in_registry(other) {
        return Catalog::parse(other, &pull_catalog(host, other, settings)?);
    }
    open(Some(Path::new(other)))
}

fn diff(before: &Catalog, after: &Catalog) -> Result<Answer> {
    let changes: Vec<Change> = changes(before, after);
    let mut text = String::new();
    for change in &changes {
        let _ = writeln!(text, "{change}");
    }
    if changes.is_empty() {
        text.push_str("the same choices everywhere\n");
    }
    Ok(Answer::listed(text, json!({"schema_version": 1, "changes": to_json(&changes)?})))
}
