//! `ofedctl cache`: looking after a cache.

use super::answer::{Answer, Call, outcome_json, to_json};
use crate::cache::{Cache, Writer};
use crate::host::Host;
use crate::outcome::{Outcome, Reason};
use crate::settings::Settings;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `cache`.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// The cache's folder
    #[arg(long, value_name = "DIR", default_value = "/var/cache/ofedctl", global = true)]
    pub(super) cache: PathBuf,
    /// What to do with it
    #[command(subcommand)]
    pub(super) verb: CacheVerb,
}

/// What can be done with a cache.
#[derive(Debug, Subcommand)]
pub(super) enum CacheVerb {
    /// List the bundles
    List,
    /// Compare every file with its digest
    Verify,
    /// Write bundles to one file (an OCI archive)
    Export {
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The bundles; all when none is named
        tags: Vec<String>,
    },
    /// Read bundles from a file made by `export`, skopeo or oras
    Import {
        /// The file to read
        file: PathBuf,
    },
    /// Remove what no bundle needs
    Gc {
        /// Remove damaged files too, so that `stage` fetches them again
        #[arg(long)]
        damaged: bool,
        /// Remove these bundles first
        #[arg(long = "remove", value_name = "TAG")]
        remove: Vec<String>,
    },
}

pub(super) fn cache(call: &Call, args: &CacheArgs) -> Result<Answer> {
    let host = call.host(Path::new("/"))?;
    host.events.enter(crate::events::Step::Stage);
    match &args.verb {
        CacheVerb::List => list(&Cache::open(&args.cache)?),
        CacheVerb::Verify => verify(&host, &Cache::open(&args.cache)?),
        CacheVerb::Export { out, tags } => export(&host, &Cache::open(&args.cache)?, out, tags),
        CacheVerb::Import { file } => import(&mut writer(&host, &Cache::open_or_create(&args.cache)?)?, file),
        CacheVerb::Gc { damaged, remove } => {
            gc(&mut writer(&host, &Cache::open(&args.cache)?)?, *damaged, remove)
        }
    }
}

fn writer<'h>(host: &'h Host, cache: &Cache) -> Result<Writer<'h>> {
    cache.writer(host, Duration::from_secs(Settings::default().lock_timeout))
}

fn list(cache: &Cache) -> Result<Answer> {
    let bundles = cache.bundles()?;
    let mut text = String::new();
    for bundle in &bundles {
        let (files, bytes) = (bundle.files.len(), bundle.size_in_all);
        let _ = writeln!(
            text,
            "{}\n    {} files, {bytes} bytes, made {}\n    {}",
            bundle.tag, files, bundle.created, bundle.digest
        );
    }
    Ok(Answer::listed(text, json!({"schema_version": 1, "bundles": to_json(&bundles)?})))
}

fn verify(host: &Host, cache: &Cache) -> Result<Answer> {
    let report = cache.verify(host, None)?;
    let mut text = String::new();
    for damage in &report.damaged {
        let _ = writeln!(text, "{damage}");
    }
    let outcome = if report.is_sound() {
        let unused = match report.unreferenced.len() {
            0 => String::new(),
            unused => format!("; {unused} that no bundle needs"),
        };
        Outcome::new(Reason::Verified, format!("{} files, {} bytes{unused}", report.blobs, report.bytes))
    } else {
        Outcome::new(
            Reason::DigestMismatch,
            format!("{} of {} files are damaged", report.damaged.len(), report.blobs),
        )
    };
    if outcome.is_success() {
        let _ = writeln!(text, "{}", crate::status::verdict(&outcome));
    }
    let mut json = outcome_json(&outcome);
    json["report"] = to_json(&report)?;
    Ok(Answer { outcome, text, json })
}

fn export(host: &Host, cache: &Cache, out: &Path, tags: &[String]) -> Result<Answer> {
    let all = cache.bundles()?;
    let tags: Vec<&str> = if tags.is_empty() {
        all.iter().map(|bundle| bundle.tag.as_str()).collect()
    } else {
        tags.iter().map(String::as_str).collect()
    };
    let exported = cache.export(host, &tags, out)?;
    let text = format!(
        "{} bundles, {} files, {} bytes in {}\n",
        exported.bundles.len(),
        exported.blobs,
        exported.bytes,
        out.display()
    );
    let json = json!({"schema_version": 1, "file": out, "bundles": to_json(&exported.bundles)?});
    Ok(Answer::listed(text, json))
}

fn import(writer: &mut Writer, file: &Path) -> Result<Answer> {
    let imported = writer.import(file)?;
    let mut text = String::new();
    for bundle in &imported.bundles {
        let _ = writeln!(text, "{}", bundle.tag);
    }
    let _ = writeln!(
        text,
        "{} bundles, {} files that were not there before",
        imported.bundles.len(),
        imported.new_blobs
    );
    let json =
        json!({"schema_version": 1, "bundles": to_json(&imported.bundles)?, "new_files": imported.new_blobs});
    Ok(Answer::listed(text, json))
}

fn gc(writer: &mut Writer, damaged: bool, remove: &[String]) -> Result<Answer> {
    let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
    if !remove.is_empty() {
        writer.remove(&remove)?;
    }
    let freed = writer.gc(damaged)?;
    let text = format!("{} files, {} bytes removed\n", freed.files, freed.bytes);
    Ok(Answer::listed(text, json!({"schema_version": 1, "removed": to_json(&freed)?})))
}
