//! Resolves with the target's own apt, inside the target, so that its sources, keys, pins, mirror lists and proxies
//! apply as they do there. It writes only to its scratch folder, and none of its hooks run.

use super::super::diagnose;
use super::super::in_target::{InTarget, Lent, inside, run_watched, say_stand_in, why_not};
use super::super::{Resolution, ResolveRequest, VendorRepo};
use super::local_files::local_files;
use super::resolve::{HEARD, READING, installed_set, resolve_closure};
use super::run::{AptRun, List, proxy_lines, write_private};
use super::signed::SignedLists;
use super::sources::without_brought;
use super::vendor_repo::source_and_preferences;
use crate::amounts::count;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::{Cmd, Finished};
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Settings that direct every write to the scratch folder, remove hooks that would run commands chosen by the image
/// (`apt.conf(5)`), and forbid unsigned packages. An index packed by gzip is a third longer than one packed by xz, and
/// unpacked in half the time, which weighs more where the network has 10 MB/s; what the target's settings
/// prefer is still asked for first, and what a source has only otherwise as it has it.
const CONFIGURATION: &str = r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Install::Pre-Invoke;
#clear APT::Install::Post-Invoke;
#clear APT::Install::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear AptCli::Hooks;
Dir::State "SCRATCH/state/";
Dir::State::lists "SCRATCH/state/lists/";
Dir::State::mirrors "SCRATCH/state/mirrors/";
Dir::State::extended_states "SCRATCH/state/extended_states";
Dir::State::status "SCRATCH/status";
Dir::Cache "SCRATCH/cache/";
Dir::Cache::archives "SCRATCH/cache/archives/";
Dir::Cache::pkgcache "SCRATCH/cache/pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Log "SCRATCH/log/";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::GzipIndexes "false";
Acquire::CompressionTypes::Order:: "gz";
Acquire::Retries "2";
"#;
/// Reads the sources and prints the lists that came of them to a file; the code is that of the reading. One program after
/// the other, because each entry into the target takes its time.
const UPDATE: &str = "to=$1 format=$2; shift 2; apt-get \"$@\" update; code=$?
    apt-get \"$@\" indextargets --format \"$format\" >\"$to\" || rm \"$to\"; exit $code";
const LISTS: &str = "lists";
const FOLDERS: [&str; 4] = ["state/lists/partial", "cache/archives/partial", "log", "brought"];

/// Resolves with the target's own apt; none when it cannot run there.
pub(super) fn resolve(host: &Host, request: &ResolveRequest, how: InTarget) -> Result<Option<Resolution>> {
    refuse_unfinished(request.sources)?;
    let mut lent = Lent::new(request.sources, how, &request.proxy.into_iter().collect::<Vec<_>>())?;
    prepare(&lent, request)?;
    let vendor = request.vendor_repo.map(|vendor| lent.show(&vendor.folder, "vendor"));
    let state = lent.scratch().join("state");
    let options = vec!["-c".to_owned(), inside("apt.conf")];
    let mut apt = AptRun::new(options, None, state, Some(lent));
    if let Some(finished) =
        show_sources(host, &apt, request.sources, request.vendor_repo.zip(vendor.as_deref()))?
    {
        return Ok(stands_in(host, &finished));
    }
    host.events.info(format!("asking the target's apt about {}", count(request.packages.len(), "package")));
    let update = Cmd::shell(UPDATE, "apt-get").args([inside(LISTS), List::ASKED.to_owned()]);
    let update = apt.place(update.args(apt.options.iter().cloned()));
    let update = run_watched(host, &update, &apt.scratch(), READING)?;
    if why_not(&update).is_some() {
        return Ok(stands_in(host, &update));
    }
    let trouble = diagnose::diagnose(&update.output, HEARD);
    if update.code != 0 {
        return Err(diagnose::told(host, &update, trouble, READING, request.distro, "apt-get"));
    }
    if let Some(trouble) = &trouble {
        host.events.warn(format!("apt-get update said: {}", trouble.line));
    }
    let scratch = Root::open(&apt.scratch())?;
    let lists = match scratch.read_text(&format!("/{LISTS}"))? {
        Some(printed) => apt.keep_lists(&printed),
        None => apt.package_lists(host)?,
    };
    let kept = apt.lists();
    // The lists are checked while apt resolves by them: both take a processor for themselves.
    let (resolution, signed) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| SignedLists::read(host, &kept, lists, request.sources));
        let resolution = resolve_closure(host, &apt, request, vendor.as_deref(), (&update, trouble));
        (resolution, reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut resolution = resolution?;
    resolution.local = local_files(host, &apt, request.sources, &resolution.downloads)?;
    resolution.origins = signed?.origins(&resolution);
    // A hundred megabytes of lists, which nobody needs any more: a sync of the cache beside them would write them all.
    ["/state", "/cache"].into_iter().try_for_each(|folder| scratch.remove_all(folder))?;
    resolution.lent = apt.lent.take();
    Ok(Some(resolution))
}

fn stands_in(host: &Host, finished: &Finished) -> Option<Resolution> {
    say_stand_in(host, "apt", "apt of this machine", finished, why_not(finished).unwrap_or("it failed"));
    None
}

/// Refuses a target with unmerged dpkg updates, because apt would refuse to work there.
fn refuse_unfinished(root: &Root) -> Result<()> {
    const UPDATES: &str = "/var/lib/dpkg/updates";
    let is_update = |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if !root.list(UPDATES).iter().any(is_update) {
        return Ok(());
    }
    let what = format!(
        "dpkg was interrupted in the target: `{UPDATES}` is not empty; run `dpkg --configure -a` there, then stage again"
    );
    Err(Reason::PackageManager.error(what))
}

fn prepare(lent: &Lent, request: &ResolveRequest) -> Result<()> {
    let scratch = lent.scratch();
    let preparing = || format!("cannot prepare `{}`", scratch.display());
    // apt drops root's rights for downloads, and must still be able to read its configuration.
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o755)).with_context(preparing)?;
    for folder in FOLDERS {
        fs::create_dir_all(scratch.join(folder)).with_context(preparing)?;
    }
    fs::write(scratch.join("status"), installed_set(request)?).with_context(preparing)?;
    let mut configuration = CONFIGURATION.replace("SCRATCH", inside("").trim_end_matches('/'));
    if !nix::unistd::geteuid().is_root() {
        // The namespace has no other user that apt could become.
        configuration += "APT::Sandbox::User \"root\";\n";
    }
    if let Some(proxy) = request.proxy {
        configuration += &proxy_lines(proxy)?;
    }
    write_private(&scratch.join("apt.conf"), &configuration).with_context(preparing)
}

/// Lets apt read copies of the target's sources and preferences. Sources that an installed vendor package added are
/// left out, because its DKMS must not replace the distribution's; the vendor's packages are added if there are any.
/// Returns the failed program if apt cannot run.
fn show_sources(
    host: &Host,
    apt: &AptRun,
    target: &Root,
    vendor: Option<(&VendorRepo, &str)>,
) -> Result<Option<Finished>> {
    let script = "apt-config \"$@\" shell SOURCES Dir::Etc::sourceparts/d PINS Dir::Etc::preferencesparts/d && \
        exec apt-config \"$@\" dump";
    let ask = Cmd::shell(script, "apt-config").args(apt.options.iter().cloned());
    let asked = host.run(&apt.place(ask.captured()))?;
    if why_not(&asked).is_some() {
        return Ok(Some(asked));
    }
    let asked = asked.check(Reason::ResolveFailed, "asking apt where its sources are")?.stdout;
    apt.keep_configuration(&asked);
    let place = |name: &str| {
        let line = asked.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='"));
        line.and_then(|line| line.strip_suffix('\'')).unwrap_or_default().to_owned()
    };
    let (line, pins) = match vendor {
        Some((vendor_repo, folder)) => {
            let key = vendor_repo.key.as_deref().map(|key| lend_key(apt, key)).transpose()?;
            source_and_preferences(vendor_repo, folder, key.as_deref())
        }
        None => Default::default(),
    };
    let table = [
        ("sources", place("SOURCES"), "ofedctl-vendor.list", line.as_str(), "sourceparts"),
        ("preferences", place("PINS"), "ofedctl-vendor", pins, "preferencesparts"),
    ];
    let mut more = architectures(&asked);
    for (name, from, file, text, option) in table {
        let folder = apt.scratch().join(name);
        let copying = || format!("cannot copy `{from}`");
        fs::create_dir_all(&folder).with_context(copying)?;
        for found in target.list(&from) {
            let Some(bytes) = target.read(&format!("{from}/{found}"))? else { continue };
            let is_source = name == "sources";
            let bytes = if is_source {
                without_brought(&String::from_utf8_lossy(&bytes)).into_bytes()
            } else {
                bytes
            };
            fs::write(folder.join(&found), bytes).with_context(copying)?;
        }
        fs::write(folder.join(file), text).with_context(copying)?;
        let _ = writeln!(more, "Dir::Etc::{option} \"{}/\";", inside(name));
    }
    let path = apt.scratch().join("apt.conf");
    let all = fs::read_to_string(&path).context("cannot read apt's configuration")? + &more;
    fs::write(&path, all).context("cannot write apt's configuration")?;
    Ok(None)
}

/// The architectures of a configuration, as settings. Where they are named, apt and its helpers do not run dpkg for them,
/// which they otherwise do some twenty times to read the sources of one image (`APT::Configuration::getArchitectures`).
fn architectures(dump: &str) -> String {
    let named =
        dump.lines().filter_map(|line| line.strip_prefix("APT::Architectures:: \"")?.strip_suffix("\";"));
    let is_one = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let mut settings = String::new();
    for name in named.filter(is_one) {
        let _ = writeln!(settings, "APT::Architectures:: \"{name}\";");
    }
    if settings.is_empty() { settings } else { format!("#clear APT::Architectures;\n{settings}") }
}

/// Copies a key file to where the target's apt can read it. apt decides by the file's suffix whether the keys are text
/// or binary.
fn lend_key(apt: &AptRun, key: &Path) -> Result<String> {
    let name =
        if key.extension().is_some_and(|it| it == "asc") { "vendor-key.asc" } else { "vendor-key.gpg" };
    fs::copy(key, apt.scratch().join(name)).with_context(|| format!("cannot copy `{}`", key.display()))?;
    Ok(inside(name))
}
