//! Installs with the target's own manager from a local repository only. Repositories, caches and settings of the root
//! are neither used nor changed. Files that a manager writes meanwhile lie in a private folder below `/run` and are
//! removed afterwards.

use super::super::diagnose::{self, Doing, Speaker};
use super::super::{REPOSITORY, Transaction};
use super::{Dialect, database, database_copy};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::host::sandbox::Sandbox;
use crate::outcome::Reason;
use anyhow::Result;

/// The folder for the manager's metadata during the installation.
pub(super) const SCRATCH: &str = "/run/ofedctl/packages";
pub(super) const REPOSITORIES: &str = "/var/lib/ofedctl/repo/repositories";
pub(super) const CONFIG: &str = "/var/lib/ofedctl/repo/manager.conf";

pub(super) fn lay_out(dialect: &Dialect, root: &Root) -> Result<()> {
    // Signatures were checked while staging. This program has verified the index, and the manager verifies the packages
    // by the index.
    let keys = "enabled=1\ngpgcheck=0\nrepo_gpgcheck=0\n";
    let repository = format!("[ofedctl]\nname=ofedctl\nbaseurl=file://{REPOSITORY}\n{keys}");
    root.write_text(&format!("{REPOSITORIES}/ofedctl.repo"), &repository)?;
    for (path, text) in dialect.beside {
        root.write_text(path, text)?;
    }
    root.write_text(CONFIG, &(dialect.config)())
}

/// Main settings that leave the image's own out: its repositories, its plugins, which may want a network, what it holds
/// back, and its limit of kernels, which would remove one.
pub(super) fn config() -> String {
    // One file for three managers, each of which passes over what it does not know: yum and dnf call the folder
    // `reposdir`, tdnf `repodir`; yum 3 skips names it does not find unless told not to (yum.conf(5)).
    format!(
        "[main]\nreposdir={REPOSITORIES}\nrepodir={REPOSITORIES}\ncachedir={SCRATCH}\nplugins=0\ngpgcheck=0\n\
         keepcache=0\ninstallonly_limit=0\nobsoletes=1\nexit_on_lock=1\ninstall_weak_deps=0\nbest=1\n\
         skip_missing_names_on_install=0\n"
    )
}

/// With these settings and not the image's, nothing is held back but what the repositories here say.
pub(super) fn command_by_config(program: &str, action: &str) -> String {
    format!("{program} -y -c {CONFIG} {action}")
}

pub(super) fn install(dialect: &Dialect, host: &Host, transaction: &Transaction) -> Result<()> {
    let doing = format!("installing {}", transaction.packages.join(" "));
    run(dialect, host, transaction, "install", transaction.packages, &doing)
}

/// rpm writes a package down before its scripts have run, so what came with a transaction that was killed is
/// installed once more.
pub(super) fn repair(
    dialect: &Dialect,
    host: &Host,
    transaction: &Transaction,
    came: &[String],
) -> Result<()> {
    host.events.info("finishing a package transaction that was interrupted");
    clear_locks(host)?;
    let files = host.root.list(REPOSITORY);
    // What came by another hand is for that hand to repair.
    let ours = |name: &&String| files.iter().any(|file| is_file_of(file, name));
    let came: Vec<String> = came.iter().filter(ours).cloned().collect();
    // An upgrade writes the new package down first and takes out the old one in the end.
    let older = database::older_ones(host)?;
    let older: Vec<String> =
        older.into_iter().filter(|(name, _)| ours(&name)).map(|(_, full)| full).collect();
    if !older.is_empty() {
        host.events.info(format!("taking out what an upgrade replaced: {}", older.join(" ")));
        let erase = Cmd::new("rpm").args(["--erase", "--nodeps"]).args(older);
        let finished = host.run(&erase.inside(transaction.sandbox(host)))?;
        diagnose::require_success(host, finished, Speaker::Rpm, "finishing an interrupted upgrade")?;
    }
    if came.is_empty() {
        return Ok(());
    }
    run(
        dialect,
        host,
        transaction,
        dialect.reinstall,
        &came,
        "repairing packages of an interrupted transaction",
    )
}

/// Berkeley DB's locks outlive their holder. Nobody else is at work: that was waited for.
fn clear_locks(host: &Host) -> Result<()> {
    let Some(folder) = database_copy::folder(&host.root) else { return Ok(()) };
    for name in host.root.list(folder).iter().filter(|name| name.starts_with("__db.")) {
        host.root.remove_file(&format!("{folder}/{name}"))?;
    }
    Ok(())
}

/// A transaction that was killed never ran the triggers of its end: glibc's, and before those the packages' own scripts,
/// rebuild the linker's cache.
pub(super) fn finish(host: &Host, sealed: bool) -> Result<bool> {
    clear_locks(host)?;
    let linker = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].into_iter().find(|path| host.root.exists(path));
    let Some(linker) = linker else { return Ok(true) };
    Ok(host.run(&Cmd::new(linker).inside(Sandbox::offline(&host.root, sealed)))?.code == 0)
}

/// Whether a file, `NAME-VERSION-RELEASE.ARCH.rpm`, is of this package, which may be named with its version.
fn is_file_of(file: &str, package: &str) -> bool {
    let full = file.strip_suffix(".rpm").and_then(|it| it.rsplit_once('.')).map_or("", |(full, _)| full);
    !full.is_empty() && (full == package || full.rsplitn(3, '-').nth(2) == Some(package))
}

pub(super) fn mark_as_dependencies(
    dialect: &Dialect,
    host: &Host,
    transaction: &Transaction,
    names: &[String],
) -> Result<()> {
    let Some(action) = dialect.mark_as_dependency.filter(|_| !names.is_empty()) else { return Ok(()) };
    run(dialect, host, transaction, action, names, "marking dependencies as such")
}

fn run(
    dialect: &Dialect,
    host: &Host,
    transaction: &Transaction,
    action: &str,
    names: &[String],
    doing: &str,
) -> Result<()> {
    let finished = host.run(&cmd(dialect, action, names, transaction).inside(transaction.sandbox(host)))?;
    if dialect.hints.contains(&finished.code) {
        return Ok(());
    }
    let heard = Doing::Installing(dialect.speaker);
    let reason = diagnose::reason_on(host, &finished.output, heard, Reason::PackageManager)?;
    finished.check(reason, doing).map(drop)
}

/// One shell, so that the folder the manager works in is new and does not stay.
fn cmd(dialect: &Dialect, action: &str, names: &[String], transaction: &Transaction) -> Cmd {
    let command = (dialect.command)(dialect.program, action);
    let script = format!(
        "rm -rf {SCRATCH} && mkdir -p {SCRATCH} && {command} \"$@\"; code=$?; rm -rf {SCRATCH}; exit $code"
    );
    configured(Cmd::shell(&script, dialect.program).args(names), transaction)
}

/// Lets zypper, and a zypper that the command's own programs call, read the settings of the local repository.
pub(super) fn configured(cmd: Cmd, transaction: &Transaction) -> Cmd {
    cmd.env("ZYPP_CONF", CONFIG).env("ZYPP_LOCK_TIMEOUT", transaction.patience.as_secs().to_string())
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
}
