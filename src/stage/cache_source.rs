//! Opens and verifies the cache from which a run installs, wherever it lies.

use crate::cache::remote::{is_address, is_in_registry, is_remote};
use crate::cache::{Bundle, Cache, Digest, Key, Writer};
use crate::host::Host;
use crate::host::download::jitter_of;
use crate::host::fs::Root;
use crate::host::owner::owners;
use crate::host::room;
use crate::host::temp::Folder;
use crate::outcome::Reason;
use crate::settings::Settings;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An open cache. A cache given as a file is unpacked into a folder, which is removed when this value is dropped.
#[derive(Debug)]
pub struct Opened {
    /// The cache.
    pub cache: Cache,
    /// The bundles that may be used, if not all: the local copy of a registry may hold others.
    only: Option<Vec<Digest>>,
    /// Blobs that this run downloaded and verified.
    fresh: Vec<Digest>,
    /// Whether only signed bundles count.
    is_signed: bool,
    unpacked: Option<Folder>,
}

impl Opened {
    /// Whether a bundle of the cache may be used.
    pub fn offers(&self, bundle: &Bundle) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&bundle.digest))
    }

    /// Whether built files may be added to bundles: not in a copy of a remote cache, and not if only signed bundles
    /// count, because the result would be unsigned.
    pub const fn may_grow(&self) -> bool {
        self.unpacked.is_none() && self.only.is_none() && !self.is_signed
    }
}

/// Opens the cache the settings name: a folder, a file made by `cache export`, the address of such a file, or a place
/// in a registry. A cache elsewhere is copied into the folder `cache_copy` first, as far as files are missing there.
pub fn open(host: &Host, settings: &Settings) -> Result<Opened> {
    if is_remote(&settings.cache) {
        return fetch(host, settings);
    }
    let path = Path::new(&settings.cache);
    let (only, fresh, is_signed) = (None, Vec::new(), settings.public_key.is_some());
    if !path.is_file() {
        return Ok(Opened {
            cache: Cache::open(path)?.owned_by(owners(settings)?)?,
            only,
            fresh,
            is_signed,
            unpacked: None,
        });
    }
    let folder = Folder::large("cache")?;
    let size = std::fs::metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?.len();
    room::require(folder.path(), size)?;
    host.events.info(format!("unpacking `{}`", path.display()));
    let cache = Cache::open_or_create(folder.path())?;
    writer(host, &cache, settings)?.import_owned(path, Some(owners(settings)?))?;
    Ok(Opened { cache, only, fresh, is_signed, unpacked: Some(folder) })
}

fn fetch(host: &Host, settings: &Settings) -> Result<Opened> {
    let cache = Cache::open_or_create(Path::new(&settings.cache_copy))?.owned_by(owners(settings)?)?;
    let mut writer = writer(host, &cache, settings)?;
    let (only, fresh) = if is_in_registry(&settings.cache) {
        let pulled = writer.pull(&settings.cache, settings)?;
        (vec![pulled.bundle.digest], pulled.fresh)
    } else {
        let imported = writer.import_from(&settings.cache, settings)?;
        (imported.bundles.iter().map(|bundle| bundle.digest).collect(), Vec::new())
    };
    drop(writer);
    Ok(Opened { cache, only: Some(only), fresh, is_signed: settings.public_key.is_some(), unpacked: None })
}

fn writer<'h>(host: &'h Host, cache: &Cache, settings: &Settings) -> Result<Writer<'h>> {
    cache.writer(host, Duration::from_secs(settings.lock_timeout))
}

/// Verifies every file of a bundle before any of them is used, and its signature if the settings name a key. Files that
/// this run verified while it wrote them are not read again. Returns the cache to install from: this one if only root
/// can change it, else a copy that only root can reach, so that the installed bytes are those that were verified.
pub fn hash_blobs<'h>(
    host: &'h Host,
    opened: &Opened,
    bundle: &Bundle,
    settings: &Settings,
) -> Result<Proven<'h>> {
    let cache = &opened.cache;
    if let Some(key) = Key::from_settings(settings)? {
        key.check(cache, &bundle.digest)?;
    }
    let (proven, report) = if cache.is_roots_alone(bundle) {
        let mut unread = bundle.clone();
        unread.files.retain(|file| !opened.fresh.contains(&file.digest));
        let proven = Proven { cache: cache.clone(), copy: None };
        (proven, cache.verify(host, Some(std::slice::from_ref(&unread)))?)
    } else {
        let mut needs = room::Needs::default();
        needs.add(COPY, bundle.size_in_all);
        needs.require(&host.root)?;
        let copy = Copy::make(&host.root)?;
        let copied = cache.copy_for_root(host, bundle, &copy.folder)?;
        let report = copied.verify_files(host, bundle)?;
        (Proven { cache: copied, copy: Some(copy) }, report)
    };
    let Some(damage) = report.damaged.first() else { return Ok(proven) };
    let more = match report.damaged.len() {
        1 => String::new(),
        damaged => format!(" and {} more are damaged", damaged - 1),
    };
    Err(anyhow::Error::from(damage).context(format!("in the cache `{}`{more}", cache.dir().display())))
}

/// The source of an installation.
#[derive(Debug)]
pub struct Proven<'h> {
    /// A cache with the bundle's files.
    pub cache: Cache,
    #[expect(dead_code, reason = "held so that it is removed at the end")]
    copy: Option<Copy<'h>>,
}

/// The folder inside the root for a temporary copy of a cache that others than root can change.
const COPY: &str = "/var/lib/ofedctl/blobs";

/// The folder of a copy, removed when dropped.
#[derive(Debug)]
struct Copy<'h> {
    root: &'h Root,
    folder: PathBuf,
}

impl<'h> Copy<'h> {
    fn make(root: &'h Root) -> Result<Self> {
        // A run that was killed may have left this folder.
        root.remove_all(COPY)?;
        root.make_dirs(COPY, 0o700)?;
        let (_handle, pinned) = root.pin(COPY)?;
        // The sandbox shows the folder by its resolved path on this machine.
        let folder = pinned.read_link().context("cannot find the folder for the files of the bundle")?;
        Ok(Self { root, folder })
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        let _ = self.root.remove_all(COPY);
    }
}

/// Delays the pull of a cache, so that a thousand machines that boot together do not all ask the registry at the same
/// moment. The delay follows from `name` and is always the same for one machine.
///
/// There is no wait when the cache is at hand: a folder or a file, or a bundle pinned by digest that was pulled
/// before.
pub fn wait_turn(host: &Host, settings: &Settings, name: &str) -> Result<()> {
    // Most of the deadline must stay for the work.
    let spread = Duration::from_secs(settings.pull_spread.min(settings.deadline / 4));
    if !is_remote(&settings.cache) || spread.is_zero() || is_at_hand(settings) {
        return Ok(());
    }
    let turn = jitter_of(name, spread);
    host.events.info(format!(
        "pulling the cache in {} s, at this machine's turn within {} s (`pull_spread`)",
        turn.as_secs(),
        spread.as_secs()
    ));
    host.cancel.wait(turn)
}

fn is_at_hand(settings: &Settings) -> bool {
    let pinned = settings.cache.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok());
    let Some(digest) = pinned.filter(|_| !is_address(&settings.cache)) else { return false };
    let bundles = Cache::open(Path::new(&settings.cache_copy)).and_then(|cache| cache.bundles());
    bundles.is_ok_and(|bundles| bundles.iter().any(|bundle| bundle.digest == digest))
}

/// Refuses to fill a cache that is not a folder of this machine.
pub(super) fn refuse_to_fill(dir: &Path) -> Result<()> {
    let name = dir.to_string_lossy();
    if !is_remote(&name) {
        return Ok(());
    }
    let name = crate::host::http::without_secrets(&name);
    Err(Reason::Usage.error(format!("`{name}` cannot be filled: fill a folder, then `ofedctl cache push`")))
}
