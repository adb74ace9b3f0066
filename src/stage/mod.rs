//! The third step: provides and verifies every file that the plan needs. With a network it fills the cache; without one
//! it finds the bundle in the cache.

mod artifact;
mod built_artifacts;
mod cache_source;
mod fetch;
pub mod first_use;
pub mod for_agent;
mod origins;
mod vendor_room;

pub use built_artifacts::add_built;
pub use cache_source::{Opened, Proven, hash_blobs, open, wait_turn};

use crate::cache::{APT_INDEX_TYPE, DEB_TYPE, RPM_INDEX_TYPE, RPM_TYPE, VENDOR_TYPE};
use crate::cache::{Bundle, BundleConfig, BundleFile, Cache, Digest, Repository, RepositoryKind, Writer};
use crate::drivers;
use crate::host::Host;
use crate::host::download;
use crate::host::fs::Root;
use crate::host::http::{NetworkOptions, without_secrets};
use crate::ledger::Receipt;
use crate::outcome::{Cause, Reason};
use crate::packages::kernels;
use crate::packages::{Arrived, Base, Format, InTarget, Installed, Manager, Resolution, ResolveRequest};
use crate::plan_document::Plan;
use crate::settings::Settings;
use crate::trust::{Trust, VendorFile};
use anyhow::Result;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The state of the target against which a plan is resolved.
#[derive(Debug)]
pub struct Against<'a> {
    /// The root whose package sources and keys are used.
    pub sources: &'a Root,
    /// The packages that are installed in the target.
    pub base: Base<'a>,
    /// Whether the package sources lie in the target's own root, so that the target's own package manager can resolve.
    pub is_root: bool,
}

/// What to resolve a plan for a root against. A driver that will be removed first cannot be relied on, and only its
/// own uninstaller knows which packages go with it; so the installed set is taken as empty then.
pub fn base_of<'a>(plan: &Plan, root: &'a Root) -> Base<'a> {
    // An unreadable receipt is reported by the run that installs.
    let ours = || Receipt::load(root).ok().flatten();
    let ours_goes = || ours().is_some_and(|receipt| drivers::is_replaced(&receipt.plan, plan));
    if plan.replaces.is_some() || ours_goes() { Base::Empty } else { Base::Root(root) }
}

/// Whether an earlier run of this program installed all that the plan names, for all its kernels.
///
/// A bundle that is resolved against such a root holds the vendor's file and nothing of what comes with it; a clean
/// image would find it first.
pub fn has_all_of(host: &Host, root: &Root, plan: &Plan) -> Result<bool> {
    // An unreadable receipt is reported by the run that installs.
    let Some(Receipt { plan: there, .. }) = Receipt::load(root).ok().flatten() else { return Ok(false) };
    let is_served = |kernel: &String| there.target.kernels.contains(kernel);
    if !there.has_driver_of(plan) || !plan.target.kernels.iter().all(is_served) {
        return Ok(false);
    }
    let installed = manager_of(plan)?.installed(host)?;
    let is_there = |name: &String| installed.version_of(name).is_some();
    Ok(installed.broken.is_empty() && plan.packages.iter().all(is_there))
}

/// The result of staging.
#[derive(Debug)]
pub struct Staged {
    /// The bundle that now serves the plan.
    pub bundle: Bundle,
    /// Files that were not in the cache before.
    pub downloaded: usize,
    /// Their bytes.
    pub downloaded_bytes: u64,
}

/// Fills the cache at `dir` with all that the plan needs and publishes it as a bundle. Publishes no bundle and returns
/// none if the target has every package already, because that bundle would hold nothing that another target needs.
pub fn fill_for_others(
    host: &Host,
    dir: &Path,
    plan: &Plan,
    against: &Against,
    settings: &Settings,
) -> Result<Option<Staged>> {
    fill_unless(host, dir, plan, against, settings, true)
}

/// Like [`fill_for_others`], for the one target that will install from the bundle, whatever it has installed.
pub fn fill(host: &Host, dir: &Path, plan: &Plan, against: &Against, settings: &Settings) -> Result<Staged> {
    let staged = fill_unless(host, dir, plan, against, settings, false)?;
    staged.ok_or_else(|| Reason::Internal.error("nothing was staged"))
}

fn fill_unless(
    host: &Host,
    dir: &Path,
    plan: &Plan,
    against: &Against,
    settings: &Settings,
    skip_empty: bool,
) -> Result<Option<Staged>> {
    cache_source::refuse_to_fill(dir)?;
    let manager = manager_of(plan)?;
    let cache = Cache::open_or_create(dir)?;
    let mut writer = cache.writer(host, Duration::from_secs(settings.lock_timeout))?;
    let vendors = artifact::fetch_vendor_file(host, &writer, manager, (plan, settings))?;
    let request = ResolveRequest {
        sources: against.sources,
        base: &against.base,
        distro: &plan.target.distro,
        arch: plan.target.arch,
        packages: &plan.packages,
        kernels: if plan.distribution_modules { &plan.target.kernels } else { &[] },
        vendor_repo: vendors.as_ref().map(|vendors| &vendors.vendor_repo),
        kernel_devel: plan.artifact.as_ref().and_then(|artifact| artifact.kernel_devel.as_ref()),
        in_target: against.is_root.then_some(InTarget { metadata: settings.allow_metadata }),
        proxy: settings.proxy.as_deref(),
    };
    // What fills a cache for others is a command that can be run again.
    let retries = if skip_empty { 0 } else { settings.retries };
    let is_passing = |reason| {
        use Reason::{DownloadFailed, NameUnknown, ServerBusy, ServerSlow};
        matches!(reason, NameUnknown | DownloadFailed | ServerBusy | ServerSlow)
    };
    let (packages, resolution) = for_agent::resolve(host, plan, |packages| {
        download::again(host, "reading the target's package sources", retries, is_passing, || {
            manager.resolve(host, &ResolveRequest { packages, ..request })
        })
    })?;
    if skip_empty && resolution.downloads.is_empty() && vendors.is_none() {
        return Ok(None);
    }
    refuse_kernels(plan, manager, &resolution)?;
    judge_unsigned(host, &resolution.unsigned, settings)?;
    let way = NetworkOptions::from_settings(settings);
    let way = NetworkOptions { proxy: way.proxy.or(resolution.proxy.as_deref()), ..way };
    let kind = Kind::for_manager(manager);
    let Resolution { downloads, local, .. } = &resolution;
    let fetched = fetch::fetch_all(host, &writer, downloads, local, kind.package, way)?;

    let (mut count, mut bytes) = (fetched.count, fetched.bytes);
    let mut files = fetched.files;
    let index = index(host, manager, (&cache, &mut writer), &resolution, &files, way)?;
    let found = vendors.as_ref().and_then(|vendors| vendors.vendor_repo.trust);
    let licence = vendors.as_ref().and_then(|vendors| vendors.licence.clone());
    let vendor_room =
        vendors.as_ref().map(|vendors| vendor_room::count(manager, vendors, &resolution.at_hand));
    let vendor_room = vendor_room.transpose()?;
    if let Some(vendors) = vendors {
        (count, bytes) = (count + vendors.downloaded.0, bytes + vendors.downloaded.1);
        files.push(vendors.file);
    }
    files.extend(index);
    let vendor_file = files.iter().find(|file| file.media_type == VENDOR_TYPE);
    let vendor_file = vendor_file.zip(plan.artifact.as_ref()).map(|(file, artifact)| VendorFile {
        file_name: file.title.clone(),
        sha256: file.digest.hex(),
        trust: found.unwrap_or(artifact.trust),
        url: without_secrets(&artifact.url),
    });
    let origins = manager.origins(host, &resolution, &arrived(&cache, &files))?;
    let origins = origins::described(against.sources, origins);
    let unsigned = resolution.unsigned;
    let config =
        BundleConfig { packages, vendor_room, unsigned, origins, ..config(plan, manager, vendor_file) };
    let tag = tag(&config, &files);
    // Modules that were built from these very files before stay in the bundle.
    files.extend(built_artifacts::built_for(&cache, &tag));
    files.extend(licence);
    let bundle = writer.publish(&tag, &config, SystemTime::now(), files)?;
    Ok(Some(Staged { bundle, downloaded: count, downloaded_bytes: bytes }))
}

/// No kernel comes into an image that nobody asked for, whichever driver's packages need it.
fn refuse_kernels(plan: &Plan, manager: Manager, resolution: &Resolution) -> Result<()> {
    let kernels = &plan.target.kernels;
    let unasked = kernels::unasked(manager.format(), &resolution.downloads, &plan.packages, kernels);
    if unasked.is_empty() {
        return Ok(());
    }
    let (driver, files) = (plan.driver_name(), unasked.join(", "));
    let what = format!(
        "the packages of {driver} need a kernel that is not there, and would bring it in: {files}; the plan is for {}. \
         Their modules are for that kernel alone: take a release for this one, or boot that one first",
        kernels.join(", ")
    );
    Err(Reason::KernelUnsupported.error(what))
}

/// Checks packages from repositories without a key. Their server decides what is installed as root. The owner of the
/// image has allowed that with `[trusted=yes]` or `gpgcheck=0`, which is enough, as for the target's own manager,
/// unless the setting `trust` demands more than the default.
fn judge_unsigned(host: &Host, unsigned: &[String], settings: &Settings) -> Result<()> {
    if unsigned.is_empty() {
        return Ok(());
    }
    let what = format!("no key vouches for the packages of {}", unsigned.join(", "));
    if settings.trust == Trust::FirstUse {
        host.events.warn(format!("{what}; the package sources say that they are to be trusted all the same"));
        return Ok(());
    }
    Err(Reason::RepositoryKey.error(format!(
        "{what}, and the setting `trust` is `{}`: have the repository signed, or leave that setting at `{}`",
        settings.trust,
        Trust::FirstUse
    )))
}

/// The media types of a manager's files in the cache.
struct Kind {
    repository: RepositoryKind,
    package: &'static str,
    index: &'static str,
}

impl Kind {
    fn for_manager(manager: Manager) -> Self {
        match manager.format() {
            Format::Deb => Self { repository: RepositoryKind::Apt, package: DEB_TYPE, index: APT_INDEX_TYPE },
            Format::Rpm => Self { repository: RepositoryKind::Rpm, package: RPM_TYPE, index: RPM_INDEX_TYPE },
        }
    }
}

fn arrived(cache: &Cache, files: &[BundleFile]) -> Vec<Arrived> {
    let one = |file: &BundleFile| Arrived { file: file.title.clone(), path: cache.blob_path(&file.digest) };
    files.iter().map(one).collect()
}

/// Stores the index that makes the files a repository.
fn index(
    host: &Host,
    manager: Manager,
    (cache, writer): (&Cache, &mut Writer),
    resolution: &Resolution,
    files: &[BundleFile],
    way: NetworkOptions,
) -> Result<Vec<BundleFile>> {
    let arrived = arrived(cache, files);
    let stored = |file: crate::packages::IndexFile| {
        let blob = writer.put(&file.bytes)?;
        let (title, media_type) = (file.name.to_owned(), Kind::for_manager(manager).index.to_owned());
        Ok(BundleFile { title, media_type, digest: blob.digest, size: blob.size })
    };
    manager.index(host, resolution, &arrived, way)?.into_iter().map(stored).collect()
}

fn config(plan: &Plan, manager: Manager, vendor_file: Option<VendorFile>) -> BundleConfig {
    let index = manager.index_files().first().map(|(name, _)| (*name).to_owned());
    BundleConfig {
        schema_version: 1,
        driver: plan.driver,
        driver_version: plan.driver_version.clone(),
        distro: plan.target.distro.clone(),
        arch: plan.target.arch,
        kernels: plan.target.kernels.clone(),
        packages: Vec::new(),
        repository: index.map(|index| Repository { kind: Kind::for_manager(manager).repository, index }),
        vendor_file,
        vendor_room: None,
        unsigned: Vec::new(),
        origins: Vec::new(),
        made_by: concat!("ofedctl ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// A tag that names the bundle's target. It ends in a digest, because the same packages resolved against two different
/// sets of installed packages are two bundles.
fn tag(config: &BundleConfig, files: &[BundleFile]) -> String {
    let mut digests: Vec<String> = files.iter().map(|file| file.digest.to_string()).collect();
    digests.sort_unstable();
    let content = Digest::of_bytes(format!("{:?}{}", config.kernels, digests.concat()).as_bytes()).hex();
    let version = config.driver_version.as_deref().map(|version| format!("-{version}")).unwrap_or_default();
    format!("{}{version}-{}-{}-{}", config.driver, config.distro, config.arch, &content[..12])
}

/// The bundles of a cache that may serve the plan, newest first; an error that names what is there when none does.
///
/// What is `installed` in the target already, a bundle need not have. What another image's own package manager said is good
/// for `root` only as far as that trusts it.
pub fn candidates(
    opened: &Opened,
    plan: &Plan,
    installed: &Installed,
    root: Option<&Root>,
) -> Result<Vec<Bundle>> {
    let cache = &opened.cache;
    let mut all = cache.bundles()?;
    all.retain(|bundle| opened.offers(bundle));
    let target = &plan.target;
    let lacks = |bundle: &Bundle| {
        let is_there = |name: &&String| brings(bundle, name) || installed.version_of(name).is_some();
        let packages = plan.needed_packages().filter(|name| !is_there(name)).cloned();
        // A package with the distribution's modules is for one kernel; a vendor's modules can be built for any.
        let is_for = |kernel: &&String| !plan.distribution_modules || bundle.config.kernels.contains(kernel);
        let kernels = target.kernels.iter().filter(|kernel| !is_for(kernel));
        packages.chain(kernels.map(|kernel| format!("modules for {kernel}"))).collect::<Vec<_>>()
    };
    let serves = |bundle: &&Bundle| {
        let config = &bundle.config;
        (config.driver, &config.driver_version) == (plan.driver, &plan.driver_version)
            && (&config.distro, config.arch) == (&target.distro, target.arch)
    };
    let mut fitting: Vec<Bundle> = Vec::new();
    for bundle in all.iter().filter(serves) {
        if has_artifact(bundle, plan)? {
            fitting.push(bundle.clone());
        }
    }
    if let Some(root) = root {
        fitting = origins::keep_trusted(fitting, root)?;
    }
    fitting.sort_by(|a, b| b.created.cmp(&a.created));
    let nearest = fitting.first().map(|bundle| (bundle.tag.clone(), lacks(bundle)));
    fitting.retain(|bundle| lacks(bundle).is_empty());
    for_agent::sort(&mut fitting, plan, installed);
    if let (true, Some((tag, mut lacks))) = (fitting.is_empty(), nearest) {
        if plan.present.is_some() {
            lacks = for_agent::lacking(plan, installed).cloned().collect();
        }
        return Err(Cause::TargetNotStaged.error(format!(
            "the cache `{}` has a bundle of {} for {} {}, {tag}, but it lacks {}",
            cache.dir().display(),
            plan.driver_name(),
            target.distro,
            target.arch,
            lacks.join(", ")
        )));
    }
    if fitting.is_empty() {
        let there = all.iter().map(|bundle| bundle.tag.as_str()).collect::<Vec<_>>().join(", ");
        let there = if there.is_empty() { "no bundle at all".to_owned() } else { format!("only {there}") };
        return Err(Cause::TargetNotStaged.error(format!(
            "the cache `{}` has no bundle of {} for {} {}; it holds {there}",
            cache.dir().display(),
            plan.driver_name(),
            target.distro,
            target.arch
        )));
    }
    Ok(fitting)
}

/// Whether a bundle has this package. One that was made for a target that had all packages holds none.
fn brings(bundle: &Bundle, name: &String) -> bool {
    let kinds = [DEB_TYPE, RPM_TYPE, VENDOR_TYPE];
    bundle.config.packages.contains(name)
        && bundle.files.iter().any(|file| kinds.contains(&file.media_type.as_str()))
}

/// Whether a bundle holds the vendor's file that the plan names, if it names one.
fn has_artifact(bundle: &Bundle, plan: &Plan) -> Result<bool> {
    let Some(artifact) = &plan.artifact else { return Ok(true) };
    if let Some(sha256) = &artifact.sha256 {
        return Ok(bundle.files.iter().any(|file| file.digest.hex() == *sha256));
    }
    let file = bundle.file(&artifact.file_name).filter(|file| file.media_type == VENDOR_TYPE);
    let Some((found, first)) = file.zip(artifact.first_seen.as_ref()) else { return Ok(file.is_some()) };
    if found.digest.hex() == *first {
        return Ok(true);
    }
    let (name, found) = (&artifact.file_name, found.digest.hex());
    Err(Reason::DigestMismatch.error(format!(
        "the bundle {} has `{name}` as {found}; nobody published a digest of it, it came as {first} the first time, and \
         no other is taken since",
        bundle.tag
    )))
}

/// The package manager of the plan's distribution.
pub fn manager_of(plan: &Plan) -> Result<Manager> {
    let distro = &plan.target.distro;
    Manager::for_target(&plan.target)
        .ok_or_else(|| Reason::ImageUnsupported.error(format!("no package manager is known for {distro}")))
}
