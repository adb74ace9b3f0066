//! `ofedctl cache`: looking after a cache.

use super::answer::{Answer, Call, outcome_json, to_json};
use super::args::pairs;
use super::words;
use crate::amounts::{count, size};
use crate::cache::remote::{is_address, is_in_registry};
use crate::cache::{Bundle, Cache, Imported, PrivateKey, Writer};
use crate::config;
use crate::host::Host;
use crate::host::room;
use crate::host::temp::Folder;
use crate::outcome::{Cause, Outcome, Reason};
use crate::settings::{Settings, nearest_of};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `cache`.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// The cache: a folder; for `list` and `verify` also a file that `export` wrote
    #[arg(long, value_name = "CACHE", default_value = "/var/cache/ofedctl", global = true)]
    pub(super) cache: PathBuf,
    /// What to do with it
    #[command(subcommand)]
    pub(super) verb: CacheVerb,
}

/// What can be done with a cache.
#[derive(Debug, Subcommand)]
pub(super) enum CacheVerb {
    /// List the bundles
    List {
        /// Print their names alone, one a line
        #[arg(long)]
        names: bool,
    },
    /// Compare every file with its digest
    Verify,
    /// Write bundles to one file (an OCI archive)
    Export {
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The bundles; all when none is named
        #[arg(value_name = "TAG", value_parser = words::BUNDLES, hide_possible_values = true)]
        tags: Vec<String>,
    },
    /// Read bundles from a file made by `export`, skopeo or oras
    Import {
        /// The file to read
        file: PathBuf,
    },
    /// Write a bundle to a registry; blobs it has already do not move
    Push {
        /// Where to, as `oci://HOST/NAME:TAG`
        to: String,
        /// The bundle; needed when the cache holds several
        #[arg(long, value_name = "TAG", value_parser = words::BUNDLES, hide_possible_values = true)]
        bundle: Option<String>,
        /// A repository of the same registry that may have some of its blobs
        #[arg(long, value_name = "NAME")]
        mount_from: Option<String>,
        /// Settings
        #[command(flatten)]
        settings: SetArgs,
    },
    /// Bring a bundle in, from a registry or from the address of an exported file
    Pull {
        /// From where: `oci://HOST/NAME:TAG`, `oci://HOST/NAME@sha256:…` or `https://…`
        from: String,
        /// Settings
        #[command(flatten)]
        settings: SetArgs,
    },
    /// Sign a bundle with a private key, as `cosign sign --key` does; `push` takes the signature
    /// along
    Sign {
        /// The key: ECDSA P-256, in PEM, not encrypted
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The bundle; needed when the cache holds several
        #[arg(long, value_name = "TAG", value_parser = words::BUNDLES, hide_possible_values = true)]
        bundle: Option<String>,
    },
    /// Remove what no bundle needs
    Gc {
        /// Remove damaged files too, so that `stage` fetches them again
        #[arg(long)]
        damaged: bool,
        /// Remove these bundles first
        #[arg(long = "remove", value_name = "TAG", value_parser = words::BUNDLES, hide_possible_values = true)]
        remove: Vec<String>,
    },
}

/// Settings for what works with a network.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// Set any key that `ofedctl explain settings` lists
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SetArgs {
    pub(super) fn load(&self, host: &Host) -> Result<Settings> {
        config::load(Some(&host.root), pairs(&self.set)?)
    }
}

pub(super) fn cache(call: &Call, args: &CacheArgs) -> Result<Answer> {
    let host = call.host(Path::new("/"))?;
    host.events.begin(crate::events::Step::Stage);
    match &args.verb {
        CacheVerb::List { names } => list(&Readable::open(&host, &args.cache)?.cache, *names),
        CacheVerb::Verify => verify(&host, &Readable::open(&host, &args.cache)?.cache),
        CacheVerb::Export { out, tags } => export(&host, &Cache::open(&args.cache)?, out, tags),
        CacheVerb::Import { file } => import(&mut writer(&host, &Cache::open_or_create(&args.cache)?)?, file),
        CacheVerb::Push { to, bundle, mount_from, settings } => {
            let settings = settings.load(&host)?;
            let host = host.within(Duration::from_secs(settings.deadline));
            let cache = Cache::open(&args.cache)?;
            let bundle = chosen(&cache, bundle.as_deref())?;
            push(&host, &cache, &bundle, (to, mount_from.as_deref()), &settings)
        }
        CacheVerb::Pull { from, settings } => {
            let settings = settings.load(&host)?;
            let host = host.within(Duration::from_secs(settings.deadline));
            pull(&mut writer(&host, &Cache::open_or_create(&args.cache)?)?, from, &settings)
        }
        CacheVerb::Sign { key, bundle } => {
            let (cache, key) = (Cache::open(&args.cache)?, PrivateKey::read(key)?);
            let bundle = chosen(&cache, bundle.as_deref())?;
            sign(&mut writer(&host, &cache)?, &bundle, &key)
        }
        CacheVerb::Gc { damaged, remove } => {
            gc(&mut writer(&host, &Cache::open(&args.cache)?)?, *damaged, remove)
        }
    }
}

fn writer<'h>(host: &'h Host, cache: &Cache) -> Result<Writer<'h>> {
    cache.writer(host, Duration::from_secs(Settings::default().lock_timeout))
}

/// A cache to read: a folder, or an exported file that is unpacked, and so verified, into a folder for the time being.
struct Readable {
    cache: Cache,
    _unpacked: Option<Folder>,
}

impl Readable {
    fn open(host: &Host, path: &Path) -> Result<Self> {
        if !path.is_file() {
            return Ok(Self { cache: Cache::open(path)?, _unpacked: None });
        }
        let folder = Folder::large("cache")?;
        let bytes =
            std::fs::metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?;
        room::require(folder.path(), bytes.len())?;
        let cache = Cache::open_or_create(folder.path())?;
        writer(host, &cache)?.import(path)?;
        Ok(Self { cache, _unpacked: Some(folder) })
    }
}

fn list(cache: &Cache, names_alone: bool) -> Result<Answer> {
    let bundles = cache.bundles()?;
    let mut text = String::new();
    for bundle in &bundles {
        let _ = writeln!(text, "{}", bundle.tag);
        if !names_alone {
            let (files, bytes) = (count(bundle.files.len(), "file"), size(bundle.size_in_all));
            let _ = writeln!(text, "    {files}, {bytes}, made {}\n    {}", bundle.created, bundle.digest);
        }
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
        Outcome::new(
            Reason::Verified,
            format!("{}, {}{unused}", count(report.blobs, "file"), size(report.bytes)),
        )
    } else {
        Outcome::new(
            Reason::DigestMismatch,
            format!("damaged: {} of {}", report.damaged.len(), count(report.blobs, "file")),
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
    let notices = licence_notices(host, &exported.bundles);
    let text = format!(
        "{}, {}, {} in {}\n",
        count(exported.bundles.len(), "bundle"),
        count(exported.blobs, "file"),
        size(exported.bytes),
        out.display()
    );
    let json = json!({"schema_version": 1, "file": out, "bundles": to_json(&exported.bundles)?, "licences": notices});
    Ok(Answer::listed(text, json))
}

fn import(writer: &mut Writer, file: &Path) -> Result<Answer> {
    imported_answer(&writer.import(file)?)
}

fn imported_answer(imported: &Imported) -> Result<Answer> {
    let mut text = String::new();
    for bundle in &imported.bundles {
        let _ = writeln!(text, "{}", bundle.tag);
    }
    let _ = writeln!(
        text,
        "{}; new: {}",
        count(imported.bundles.len(), "bundle"),
        count(imported.new_blobs, "file")
    );
    let json =
        json!({"schema_version": 1, "bundles": to_json(&imported.bundles)?, "new_files": imported.new_blobs});
    Ok(Answer::listed(text, json))
}

/// The bundle to push or sign: the one named, or the only one.
fn chosen(cache: &Cache, tag: Option<&str>) -> Result<Bundle> {
    let dir = cache.dir().display();
    let mut all = cache.bundles()?;
    let tags = all.iter().map(|bundle| bundle.tag.as_str()).collect::<Vec<_>>().join(", ");
    match (tag, all.len()) {
        (_, 0) => Err(Cause::CacheEmpty.error(format!("there is no bundle in `{dir}`"))),
        (None, 1) => Ok(all.remove(0)),
        (None, _) => {
            Err(Reason::Usage.error(format!("`{dir}` holds several bundles; say --bundle and one of {tags}")))
        }
        (Some(tag), _) => {
            let near = nearest_of(tag, all.iter().map(|bundle| bundle.tag.as_str()));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let unknown = format!("there is no bundle `{tag}` in `{dir}`, only {tags}{hint}");
            all.into_iter()
                .find(|bundle| bundle.tag == tag)
                .ok_or_else(|| Cause::BundleUnknown.error(unknown))
        }
    }
}

fn push(
    host: &Host,
    cache: &Cache,
    bundle: &Bundle,
    (to, mount_from): (&str, Option<&str>),
    settings: &Settings,
) -> Result<Answer> {
    let pushed = cache.push(host, bundle, to, mount_from, settings)?;
    let text = format!(
        "{}\n{}, {} sent; {} taken over, {} there before\n",
        pushed.pinned,
        count(pushed.sent, "file"),
        size(pushed.sent_bytes),
        pushed.mounted,
        pushed.present
    );
    let notices = licence_notices(host, std::slice::from_ref(bundle));
    Ok(Answer::listed(text, json!({"schema_version": 1, "pushed": to_json(&pushed)?, "licences": notices})))
}

/// Says of bundles that are given away under whose licences their vendor's files are, each once.
fn licence_notices(host: &Host, bundles: &[Bundle]) -> BTreeSet<String> {
    let notices: BTreeSet<String> = bundles.iter().filter_map(Bundle::licence_notice).collect();
    for notice in &notices {
        host.events.warn(notice.as_str());
    }
    notices
}

fn pull(writer: &mut Writer, from: &str, settings: &Settings) -> Result<Answer> {
    if is_address(from) {
        return imported_answer(&writer.import_from(from, settings)?);
    }
    if !is_in_registry(from) {
        let message = format!("`{from}` is neither oci://HOST/NAME:TAG nor https://…");
        return Err(Reason::Usage.error(message));
    }
    let pulled = writer.pull(from, settings)?;
    let text = format!(
        "{}\n{}\nnew: {}, {}\n",
        pulled.bundle.tag,
        pulled.bundle.digest,
        count(pulled.new_blobs, "file"),
        size(pulled.new_bytes)
    );
    Ok(Answer::listed(text, json!({"schema_version": 1, "pulled": to_json(&pulled)?})))
}

fn sign(writer: &mut Writer, bundle: &Bundle, key: &PrivateKey) -> Result<Answer> {
    let signed = writer.sign(bundle, key)?;
    let word = if signed.is_new { "signed" } else { "signed before by this key" };
    let text = format!("{}\n{}\n{word}\n", bundle.tag, bundle.digest);
    Ok(Answer::listed(text, json!({"schema_version": 1, "signed": to_json(&signed)?})))
}

fn gc(writer: &mut Writer, damaged: bool, remove: &[String]) -> Result<Answer> {
    let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
    if !remove.is_empty() {
        writer.remove(&remove)?;
    }
    let freed = writer.gc(damaged)?;
    let text = format!("{}, {} removed\n", count(freed.files, "file"), size(freed.bytes));
    Ok(Answer::listed(text, json!({"schema_version": 1, "removed": to_json(&freed)?})))
}
