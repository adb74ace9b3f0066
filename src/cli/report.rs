//! `ofedctl report`: what a run did to a root, as a page to look at, a bill of materials, or a statement of provenance.

use super::answer::{Answer, Call};
use super::args::RootArgs;
use crate::cache::{Bundle, Cache, PrivateKey};
use crate::config;
use crate::detect::detect_with_size;
use crate::events::Step;
use crate::evidence::{self, Evidence};
use crate::host::{Host, write_here};
use crate::ledger::Receipt;
use crate::outcome::Reason;
use crate::settings::Layer;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The root to look at
    #[command(flatten)]
    pub(super) root: RootArgs,
    /// The file to write; a page as its name ends: `.html`, `.md` or `.json`
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Write what was installed as a bill of materials in JSON
    #[arg(long, value_name = "FORM", conflicts_with = "provenance")]
    pub(super) sbom: Option<Sbom>,
    /// Write how it was installed as an in-toto statement with SLSA provenance
    #[arg(long)]
    pub(super) provenance: bool,
    /// Sign with this key: ECDSA P-256, in PEM, not encrypted. A statement is put
    /// into a DSSE envelope; anything else gets a signature beside it, `FILE.sig`
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
}

/// The forms of a bill of materials.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Sbom {
    /// `CycloneDX` 1.6
    Cyclonedx,
    /// SPDX 2.3
    Spdx,
}

pub(super) fn report(call: &Call, args: &ReportArgs) -> Result<Answer> {
    // A name or key that cannot work is told before anything is read.
    let form = args.form()?;
    let key = args.key.as_deref().map(PrivateKey::read).transpose()?;
    let host = call.host(&args.root.root)?;
    host.events.begin(Step::Detect);
    let evidence = Evidence::gather(&host, detect_with_size(&host)?)?;
    let text = match form {
        Form::Html => evidence.to_html(),
        Form::Markdown => evidence.to_markdown(),
        Form::Json => written(&evidence.to_json()?)?,
        Form::Sbom(Sbom::Cyclonedx) => {
            written(&config::without_secrets(&evidence::cyclonedx(evidence.installed()?)))?
        }
        Form::Sbom(Sbom::Spdx) => written(&config::without_secrets(&evidence::spdx(evidence.installed()?)))?,
        Form::Provenance => provenance(&host, &evidence, key.as_ref())?,
    };
    write_here(&args.out, &text)?;
    let mut files = vec![args.out.clone()];
    if let (Some(key), false) = (&key, matches!(form, Form::Provenance)) {
        let mut beside = args.out.clone().into_os_string();
        beside.push(".sig");
        let beside = PathBuf::from(beside);
        write_here(&beside, &(STANDARD.encode(key.sign(text.as_bytes())?) + "\n"))?;
        files.push(beside);
    }
    let told: Vec<String> = files.iter().map(|file| format!("{}\n", file.display())).collect();
    let json = json!({"schema_version": 1, "files": files, "bytes": text.len(), "verdict": evidence.verdict});
    Ok(Answer::listed(told.concat(), json))
}

#[derive(Clone, Copy)]
enum Form {
    Html,
    Markdown,
    Json,
    Sbom(Sbom),
    Provenance,
}

impl ReportArgs {
    fn form(&self) -> Result<Form> {
        if self.provenance {
            return Ok(Form::Provenance);
        }
        if let Some(sbom) = self.sbom {
            return Ok(Form::Sbom(sbom));
        }
        match self.out.extension().and_then(|end| end.to_str()) {
            Some("html") => Ok(Form::Html),
            Some("md") => Ok(Form::Markdown),
            Some("json") => Ok(Form::Json),
            _ => Err(Reason::Usage
                .error(format!("`{}` ends neither in `.html` nor `.md` nor `.json`", self.out.display()))),
        }
    }
}

fn provenance(host: &Host, evidence: &Evidence, key: Option<&PrivateKey>) -> Result<String> {
    let receipt = evidence.installed()?;
    let bundle = bundle(host, receipt);
    let statement = evidence::statement(receipt, evidence.run.as_ref(), bundle.as_ref())?;
    match key {
        None => written(&statement),
        Some(key) => written(&evidence::envelope(&written(&statement)?, key)?),
    }
}

/// The bundle of a receipt, where the cache of the settings is a folder and still holds it.
fn bundle(host: &Host, receipt: &Receipt) -> Option<Bundle> {
    let settings = config::load(Some(&host.root), Layer::default()).ok()?;
    let bundles = Cache::open(Path::new(&settings.cache)).ok()?.bundles().ok()?;
    bundles.into_iter().find(|bundle| receipt.bundle.as_deref() == Some(bundle.digest.to_string().as_str()))
}

fn written(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value).context("cannot write the document")? + "\n")
}
