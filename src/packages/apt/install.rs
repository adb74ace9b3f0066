//! Installing with apt from a local repository, and from nothing else.
//!
//! Sources, lists and caches of the root are not used and not changed: a private `/run` holds
//! the packages and everything apt writes on the way.

use super::super::{REPOSITORY, Transaction};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;

/// Where apt keeps its lists and caches meanwhile, inside the root's private `/run`.
const SCRATCH: &str = "/run/ofedctl/apt";
const SOURCE_LIST: &str = "/var/lib/ofedctl/repo/sources.list";

pub(in super::super) fn lay_out(root: &Root) -> Result<()> {
    // The digests in the index are still checked by apt; the index itself was checked by us.
    root.write_text(SOURCE_LIST, &format!("deb [trusted=yes] file:{REPOSITORY} ./\n"))
}

pub(in super::super) fn repair(host: &Host, transaction: &Transaction) -> Result<()> {
    host.events.info("finishing a package transaction that was interrupted");
    let configure = Cmd::new("dpkg").args(["--force-confdef", "--force-confold", "--configure", "--pending"]);
    // What dpkg alone cannot finish, apt can with the packages at hand.
    host.run(&configure.inside(transaction.sandbox(host))).map(drop)
}

pub(in super::super) fn install(host: &Host, transaction: &Transaction) -> Result<()> {
    let finished = host.run(&cmd(host, transaction))?;
    let reason = classify(&finished.tail);
    finished.check(reason, &format!("installing {}", transaction.packages.join(" "))).map(drop)
}

/// What apt's last lines mean. apt resolves before it changes anything, so the first signs mean that the root
/// is untouched.
fn classify(tail: &str) -> Reason {
    const SIGNS: [(&str, Reason); 10] = [
        ("Unable to locate package", Reason::CacheMissing),
        ("has no installation candidate", Reason::CacheMissing),
        ("but it is not installable", Reason::CacheMissing),
        ("but it is not going to be installed", Reason::CacheMissing),
        ("is to be installed", Reason::CacheMissing),
        ("Hash Sum mismatch", Reason::DigestMismatch),
        ("No space left on device", Reason::NoSpace),
        ("have enough free space", Reason::NoSpace),
        ("Could not get lock", Reason::LockTimeout),
        ("Unable to acquire the dpkg frontend lock", Reason::LockTimeout),
    ];
    SIGNS.iter().find(|(sign, _)| tail.contains(sign)).map_or(Reason::PackageManager, |(_, reason)| *reason)
}

/// One shell inside the sandbox reads the repository's index and then installs: both need the same private `/run`.
fn cmd(host: &Host, transaction: &Transaction) -> Cmd {
    let mut options = vec![
        format!("Dir::Etc::sourcelist={SOURCE_LIST}"),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={SCRATCH}/lists"),
        format!("Dir::Cache={SCRATCH}/cache"),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "Dpkg::Options::=--force-confdef".to_owned(),
        "Dpkg::Options::=--force-confold".to_owned(),
        "Dpkg::Use-Pty=0".to_owned(),
        format!("DPkg::Lock::Timeout={}", transaction.patience.as_secs()),
    ];
    if transaction.sealed {
        // A run that dies is repaired by the next one, so one sync at the end serves as well as one per file.
        options.push("Dpkg::Options::=--force-unsafe-io".to_owned());
    }
    let options = options.iter().map(|option| format!("-o {option}")).collect::<Vec<_>>().join(" ");
    let script = format!(
        "mkdir -p {SCRATCH}/lists/partial {SCRATCH}/cache/archives/partial && options=$1 && shift && \
         apt-get $options -qq update && exec apt-get $options --yes --fix-broken --no-install-recommends install \"$@\""
    );
    Cmd::new("/bin/sh")
        .args(["-c", &script, "apt-get", &options])
        .args(transaction.packages)
        .inside(transaction.sandbox(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_says_becomes_the_reason_a_user_can_act_on() {
        let table = [
            ("E: Unable to locate package perftest", Reason::CacheMissing),
            ("rdma-core : Depends: libnl-3-200 but it is not installable", Reason::CacheMissing),
            ("dpkg: error: unable to write: No space left on device", Reason::NoSpace),
            ("E: You don't have enough free space in /var/cache/apt/archives/.", Reason::NoSpace),
            ("E: Could not get lock /var/lib/dpkg/lock-frontend", Reason::LockTimeout),
            (
                "installed perftest package post-installation script returned error exit status 7",
                Reason::PackageManager,
            ),
        ];
        for (tail, reason) in table {
            assert_eq!(classify(tail), reason, "{tail}");
        }
    }
}
