//! Installing from a local repository, and from nothing else, with the target's own manager.
//!
//! Repositories, caches and settings of the root are not used and not changed. What a manager writes on the way lies
//! in a folder of its own below `/run` and is gone afterwards.

use super::super::{Manager, REPOSITORY, Transaction};
use super::database;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;

/// Where the manager keeps its metadata meanwhile.
pub(super) const SCRATCH: &str = "/run/ofedctl/packages";
pub(super) const REPOSITORIES: &str = "/var/lib/ofedctl/repo/repositories";
pub(super) const CONFIG: &str = "/var/lib/ofedctl/repo/manager.conf";
/// What zypper is not to install, in place of what the image locks.
const LOCKS: &str = "/var/lib/ofedctl/repo/locks";
/// The vendor's DKMS, where its repository is shown: zypper knows no packages that a repository leaves out.
const VENDORS_DKMS: &str =
    "type: package\nmatch_type: exact\ncase_sensitive: on\nrepo: ofedctl-vendor\nsolvable_name: dkms\n";
/// A package manager that failed with less room than this failed for want of it.
const LITTLE_SPACE: u64 = 16 << 20;

pub(in super::super) fn lay_out(manager: Manager, root: &Root) -> Result<()> {
    // Signatures were checked while staging; the index was checked by us, and the packages are checked by it.
    let keys = "enabled=1\ngpgcheck=0\nrepo_gpgcheck=0\n";
    let repository = format!("[ofedctl]\nname=ofedctl\nbaseurl=file://{REPOSITORY}\n{keys}");
    root.write_text(&format!("{REPOSITORIES}/ofedctl.repo"), &repository)?;
    if manager == Manager::Zypper {
        root.write_text(LOCKS, VENDORS_DKMS)?;
    }
    root.write_text(CONFIG, &config(manager))
}

/// Main settings that leave the image's own out: its repositories, its plugins, which may want a network, what it holds
/// back, and its limit of kernels, which would remove one.
fn config(manager: Manager) -> String {
    if manager == Manager::Zypper {
        // No services: SUSE's add repositories from the network. Headers of several kernels lie side by side, as SUSE's
        // own settings have it; and what the image locks is not held back here either (zypp.conf).
        return format!(
            "[main]\nreposdir = {REPOSITORIES}\nservicesdir = {REPOSITORIES}\ncachedir = {SCRATCH}\n\
             multiversion = provides:multiversion(kernel)\nlocksfile.path = {LOCKS}\n"
        );
    }
    // One file for three managers, each of which passes over what it does not know: yum and dnf call the folder
    // `reposdir`, tdnf `repodir`; yum 3 skips names it does not find unless told not to (yum.conf(5)).
    format!(
        "[main]\nreposdir={REPOSITORIES}\nrepodir={REPOSITORIES}\ncachedir={SCRATCH}\nplugins=0\ngpgcheck=0\n\
         keepcache=0\ninstallonly_limit=0\nobsoletes=1\nexit_on_lock=1\ninstall_weak_deps=0\nbest=1\n\
         skip_missing_names_on_install=0\n"
    )
}

pub(in super::super) fn install(manager: Manager, host: &Host, transaction: &Transaction) -> Result<()> {
    let doing = format!("installing {}", transaction.packages.join(" "));
    run(manager, host, transaction, "install", transaction.packages, &doing)
}

/// rpm writes a package down before its scripts have run, so what came with a transaction that was killed is
/// installed once more.
pub(in super::super) fn repair(
    manager: Manager,
    host: &Host,
    transaction: &Transaction,
    came: &[String],
) -> Result<()> {
    host.events.info("finishing a package transaction that was interrupted");
    if let Some(folder) = database::folder(&host.root) {
        // Berkeley DB's locks outlive their holder. Nobody else is at work: that was waited for.
        for name in host.root.list(folder).iter().filter(|name| name.starts_with("__db.")) {
            host.root.remove_file(&format!("{folder}/{name}"))?;
        }
    }
    let files = host.root.list(REPOSITORY);
    // What came by another hand is for that hand to repair.
    let ours = |name: &&String| files.iter().any(|file| is_file_of(file, name));
    let came: Vec<String> = came.iter().filter(ours).cloned().collect();
    if came.is_empty() {
        return Ok(());
    }
    let action = if manager == Manager::Zypper { "install --force" } else { "reinstall" };
    run(manager, host, transaction, action, &came, "repairing packages of an interrupted transaction")
}

/// Whether a file, `NAME-VERSION-RELEASE.ARCH.rpm`, is of this package, which may be named with its version.
fn is_file_of(file: &str, package: &str) -> bool {
    let full = file.strip_suffix(".rpm").and_then(|it| it.rsplit_once('.')).map_or("", |(full, _)| full);
    !full.is_empty() && (full == package || full.rsplitn(3, '-').nth(2) == Some(package))
}

pub(in super::super) fn mark_as_dependencies(
    host: &Host,
    transaction: &Transaction,
    names: &[String],
) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    run(Manager::Dnf, host, transaction, "mark remove", names, "marking dependencies as such")
}

fn run(
    manager: Manager,
    host: &Host,
    transaction: &Transaction,
    action: &str,
    names: &[String],
    doing: &str,
) -> Result<()> {
    let finished = host.run(&cmd(manager, action, names, transaction).inside(transaction.sandbox(host)))?;
    // zypper's 102 and 103 are hints: a reboot, or a restart of zypper itself, is due (zypper(8)).
    if manager == Manager::Zypper && matches!(finished.code, 102 | 103) {
        return Ok(());
    }
    let reason = match classify(&finished.tail) {
        // With no room left, not even the log could be written to the end.
        Reason::PackageManager if host.root.free_bytes()? < LITTLE_SPACE => Reason::NoSpace,
        reason => reason,
    };
    finished.check(reason, doing).map(drop)
}

/// One shell, so that the folder the manager works in is new and does not stay.
fn cmd(manager: Manager, action: &str, names: &[String], transaction: &Transaction) -> Cmd {
    let script = format!(
        "rm -rf {SCRATCH} && mkdir -p {SCRATCH} && {} \"$@\"; code=$?; rm -rf {SCRATCH}; exit $code",
        command(manager, action)
    );
    configured(Cmd::new("/bin/sh").args(["-c", &script, manager.program()]).args(names), transaction)
}

/// The manager and its options, up to the names.
pub(super) fn command(manager: Manager, action: &str) -> String {
    let program = manager.program();
    if manager == Manager::Zypper {
        return format!(
            "{program} --non-interactive --no-gpg-checks --reposd-dir {REPOSITORIES} --cache-dir {SCRATCH} {action} \
             --no-recommends --auto-agree-with-licenses"
        );
    }
    // With these settings and not the image's, nothing is held back but what the repositories here say.
    format!("{program} -y -c {CONFIG} {action}")
}

/// Lets zypper, and a zypper that the command's own programs call, read the settings of the local repository.
pub(super) fn configured(cmd: Cmd, transaction: &Transaction) -> Cmd {
    cmd.env("ZYPP_CONF", CONFIG).env("ZYPP_LOCK_TIMEOUT", transaction.patience.as_secs().to_string())
}

/// What the managers' last lines mean. They resolve, and test the transaction, before they change anything, so all
/// but the last sign of a full disk mean that the root is untouched.
pub(super) fn classify(tail: &str) -> Reason {
    const SIGNS: [(&str, Reason); 26] = [
        ("Unable to find a match", Reason::CacheMissing),
        ("No match for argument", Reason::CacheMissing),
        ("nothing provides", Reason::CacheMissing),
        ("nothing_provides", Reason::CacheMissing),
        ("No package ", Reason::CacheMissing),
        ("No matching packages", Reason::CacheMissing),
        ("matching packages not found", Reason::CacheMissing),
        ("Requires: ", Reason::CacheMissing),
        ("not found in package names", Reason::CacheMissing),
        ("No provider of", Reason::CacheMissing),
        ("not available", Reason::CacheMissing),
        ("hecksum doesn't match", Reason::DigestMismatch),
        ("hecksum mismatch", Reason::DigestMismatch),
        ("igest verification failed", Reason::DigestMismatch),
        ("more space needed", Reason::NoSpace),
        ("needs at least", Reason::NoSpace),
        ("No space left on device", Reason::NoSpace),
        ("does not verify: ", Reason::RepositoryKey),
        ("GPG check FAILED", Reason::RepositoryKey),
        ("conflicts with", Reason::PackageConflict),
        ("conflicts between attempted installs", Reason::PackageConflict),
        ("onflicts with ", Reason::PackageConflict),
        ("obsoletes ", Reason::PackageConflict),
        ("already locked by", Reason::LockTimeout),
        ("another copy is running", Reason::LockTimeout),
        ("System management is locked", Reason::LockTimeout),
    ];
    Reason::by_sign(&SIGNS, tail, Reason::PackageManager)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_one_package() {
        let file = "kernel-devel-4.18.0-553.el8_10.x86_64.rpm";
        assert!(is_file_of(file, "kernel-devel-4.18.0-553.el8_10") && is_file_of(file, "kernel-devel"));
        assert!(!is_file_of(file, "kernel") && !is_file_of("repodata", "repodata"));
    }

    #[test]
    fn what_the_managers_say_becomes_the_reason_a_user_can_act_on() {
        let table = [
            ("Error: Unable to find a match: perftest", Reason::CacheMissing),
            ("- nothing provides libibverbs needed by rdma-core-48.0-1.el8.x86_64", Reason::CacheMissing),
            ("No package perftest available.", Reason::CacheMissing),
            ("'perftest' not found in package names. Trying capabilities.", Reason::CacheMissing),
            ("At least 25MB more space needed on the / filesystem.", Reason::NoSpace),
            (
                "file /usr/bin/x from install of a-1-1.x86_64 conflicts with file from package b-1-1.x86_64",
                Reason::PackageConflict,
            ),
            ("package a-1-1.x86_64 does not verify: no signature", Reason::RepositoryKey),
            ("package a-1-1.x86_64 conflicts with b provided by b-1-1.x86_64", Reason::PackageConflict),
            ("System management is locked by the application with pid 7 (zypper).", Reason::LockTimeout),
            ("error: %prein(a-1-1.noarch) scriptlet failed, exit status 7", Reason::PackageManager),
        ];
        for (tail, reason) in table {
            assert_eq!(classify(tail), reason, "{tail}");
        }
    }
}
