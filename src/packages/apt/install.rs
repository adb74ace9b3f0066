//! Installs with apt from a local repository only. Sources, lists and caches of the root are neither used nor changed:
//! the packages and all files that apt writes meanwhile are in a private `/run`.

use super::super::diagnose::{self, Doing, Speaker};
use super::super::{REPOSITORY, Transaction};
use super::states::{self, Entries, Entry, Needs};
use super::{contents, dpkg};
use crate::amounts::count;
use crate::host::Host;
use crate::host::fs::{Content, Root};
use crate::host::run::Cmd;
use crate::outcome::{Cause, Reason};
use anyhow::Result;

/// The folder for apt's lists and caches during the installation, inside the root's private `/run`.
const SCRATCH: &str = "/run/ofedctl/apt";
pub(super) const SOURCE_LIST: &str = "/var/lib/ofedctl/repo/sources.list";
/// The preferences file that excludes packages of a vendor's repository.
pub(super) const PREFERENCES: &str = "/var/lib/ofedctl/repo/preferences";
/// The folder of programs that package scripts run instead of the image's own.
const PROGRAMS: &str = "/var/lib/ofedctl/repo/bin";
const PATH: &str = "/var/lib/ofedctl/repo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The vendor's package scripts call DKMS themselves, for the kernel that `uname` names or the newest in `/boot` (the
/// postinst of mlnx-ofed-kernel, iser, isert, srp, knem and kernel-mft of 5.0), and hide what fails.
const NO_BUILDS: &str = "#!/bin/sh\n# Made by ofedctl, which builds the modules when all packages are in.\n\
    case $1 in build|install|autoinstall) exit 0 ;; esac\nexec /usr/sbin/dkms \"$@\"\n";
/// Where apt and package scripts put what they need for a moment. A bake has a `/tmp` of its own; a running VM's would
/// keep apt's links to packages after a kill (apt's `pkgDPkgPM::Go` makes `apt-dpkg-install-XXXXXX`), and this folder goes
/// with the repository in any case.
const TEMPORARY: &str = "/var/lib/ofedctl/repo/tmp";
const CONFIG: &str = "/var/lib/ofedctl/repo/apt.conf";

/// Lets dpkg not sync each file: a run that dies is repaired by the next one, so one sync at the end is enough.
const UNSYNCED: &str = "--force-unsafe-io";

pub(super) fn lay_out(root: &Root) -> Result<()> {
    // apt still checks the digests in the index; this program has verified the index itself.
    root.write_text(SOURCE_LIST, &format!("deb [trusted=yes] file:{REPOSITORY} ./\n"))?;
    let own: Vec<String> = own_places().iter().map(|(key, place)| format!("{key} \"{place}\";")).collect();
    root.write_text(CONFIG, &(own.join("\n") + "\n"))
}

/// The folders that apt reads and writes. Package scripts also run helpers of apt (debconf's dpkg-preconfigure);
/// [`CONFIG`] keeps those out of the image's own caches.
fn own_places() -> [(&'static str, String); 5] {
    [
        ("Dir::Etc::preferences", PREFERENCES.to_owned()),
        ("Dir::Etc::sourcelist", SOURCE_LIST.to_owned()),
        ("Dir::Etc::sourceparts", "-".to_owned()),
        ("Dir::State::lists", format!("{SCRATCH}/lists")),
        ("Dir::Cache", format!("{SCRATCH}/cache")),
    ]
}

/// Repairs by dpkg's own table of states: unconfigured packages are configured, partly unpacked ones and those
/// whose settings files are not noted are unpacked again from their file, and partly removed ones are removed.
pub(super) fn repair(host: &Host, transaction: &Transaction) -> Result<()> {
    host.events.info("finishing a package transaction that was interrupted");
    let files = contents::files(&host.root)?;
    require_files(&states::read(&host.root)?, &files)?;
    dpkg::finish(host, transaction.sandbox(host))?;
    let (mut again, mut gone) = (Vec::new(), Vec::new());
    for ((name, arch), entry) in states::read(&host.root)? {
        let file = files.iter().find(|file| file.is_of(&name, &arch));
        match (entry.needs(), file) {
            (Needs::Unpacking | Needs::Removing, Some(file)) => again.push(file.path.clone()),
            (Needs::Removing, None) => gone.push(name),
            (Needs::Nothing, Some(file)) if entry.is_amid_settings => again.push(file.path.clone()),
            _ => {}
        }
    }
    if !again.is_empty() {
        host.events.info(format!("unpacking {} again", count(again.len(), "package")));
        let mut unpack = Cmd::new("dpkg").args(dpkg::KEEP_SETTINGS);
        if transaction.sealed {
            unpack = unpack.arg(UNSYNCED);
        }
        host.run(&unpack.arg("--unpack").args(again).inside(transaction.sandbox(host)))?;
    }
    if !gone.is_empty() {
        let purge = Cmd::new("dpkg").args([dpkg::HALF_TOO, "--purge"]).args(gone);
        host.run(&purge.inside(transaction.sandbox(host)))?;
    }
    dpkg::finish(host, transaction.sandbox(host))?;
    // What dpkg alone cannot finish, apt can finish with the local packages; apt 3 does so only if no package is
    // requested. The installation reports what is still wrong afterwards.
    host.run(&cmd(host, transaction, &[])).map(drop)
}

/// Fails where a package must be unpacked again whose file is not there: dpkg and apt refuse every change until then.
fn require_files(entries: &Entries, files: &[contents::File]) -> Result<()> {
    let lacks = |((name, arch), entry): &(&(String, String), &Entry)| {
        entry.needs() == Needs::Unpacking && !files.iter().any(|file| file.is_of(name, arch))
    };
    let lacking: Vec<&str> = entries.iter().filter(lacks).map(|((name, _), _)| name.as_str()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Cause::PackageNotWhole.error(format!("the bundle has no file of {}", lacking.join(", "))))
}

/// The names and sizes in an index; `Installed-Size` counts blocks of 1024 bytes (deb-control(5)).
pub(super) fn unpacked_sizes(index: &str) -> Vec<(String, u64)> {
    let package = |stanza: &str| {
        let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let blocks: u64 = field("Installed-Size: ")?.parse().ok()?;
        Some((field("Package: ")?.to_owned(), blocks.saturating_mul(1024)))
    };
    index.split("\n\n").filter_map(package).collect()
}

pub(super) fn install(host: &Host, transaction: &Transaction) -> Result<()> {
    contents::require(host, transaction, TEMPORARY)?;
    if transaction.holds_dkms {
        let bytes = NO_BUILDS.as_bytes().to_vec();
        host.root.write(&format!("{PROGRAMS}/dkms"), &Content { bytes, mode: 0o755, uid: 0, gid: 0 })?;
    }
    let finished = host.run(&cmd(host, transaction, transaction.packages))?;
    let doing = Doing::Installing(Speaker::Apt);
    let reason = diagnose::reason_on(host, &finished.output, doing, Reason::PackageManager)?;
    finished.check(reason, &format!("installing {}", transaction.packages.join(" "))).map(drop)
}

pub(super) fn mark_as_dependencies(host: &Host, transaction: &Transaction, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let script = format!("mkdir -p {SCRATCH}/cache/archives/partial && exec apt-mark auto \"$@\"");
    let mark = Cmd::shell(&script, "apt-mark").args(names).env("APT_CONFIG", CONFIG);
    let finished = host.run(&mark.inside(transaction.sandbox(host)))?;
    diagnose::require_success(host, finished, Speaker::Apt, "marking dependencies as such").map(drop)
}

/// The command that reads the repository's index and then installs, in one shell, because both need the same private
/// `/run`.
fn cmd(host: &Host, transaction: &Transaction, packages: &[String]) -> Cmd {
    // The options are also passed on the command line, because the image's own apt.conf.d overrides a file in
    // $APT_CONFIG.
    let mut options: Vec<String> = own_places().iter().map(|(key, place)| format!("{key}={place}")).collect();
    options.extend([
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Dpkg::Use-Pty=0".to_owned(),
        // A dump of what apt's planner was asked; where /var/log is full, apt would fail for it.
        "Dir::Log::Planner=/dev/null".to_owned(),
        format!("DPkg::Path={PATH}"),
        format!("DPkg::Lock::Timeout={}", transaction.patience.as_secs()),
    ]);
    options.extend(dpkg::KEEP_SETTINGS.map(|option| format!("Dpkg::Options::={option}")));
    if transaction.sealed {
        options.push(format!("Dpkg::Options::={UNSYNCED}"));
    }
    let options = options.iter().map(|option| format!("-o {option}")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mkdir -p {SCRATCH}/lists/partial {SCRATCH}/cache/archives/partial && mkdir -p -m 1777 {TEMPORARY} && \
         options=$1 && shift && \
         apt-get $options -qq update && exec apt-get $options --yes --fix-broken --no-install-recommends install \"$@\""
    );
    let cmd = Cmd::shell(&script, "apt-get").arg(options).args(packages);
    let cmd = cmd.env("APT_CONFIG", CONFIG).env("PATH", PATH);
    let cmd = if transaction.sealed { cmd } else { cmd.env("TMPDIR", TEMPORARY) };
    cmd.inside(transaction.sandbox(host))
}

/// The command for a program whose own calls of apt use only the local repository, through `$APT_CONFIG`, with the
/// lists read beforehand.
pub(super) fn around(host: &Host, transaction: &Transaction, program: &[String]) -> Cmd {
    let script = format!(
        "mkdir -p {SCRATCH}/lists/partial {SCRATCH}/cache/archives/partial && \
         apt-get -qq -o APT::Sandbox::User=root -o Acquire::Languages=none update && exec \"$@\""
    );
    Cmd::shell(&script, program.first().map_or("apt-get", String::as_str))
        .args(program.iter().cloned())
        .env("APT_CONFIG", CONFIG)
        .inside(transaction.sandbox(host))
}
