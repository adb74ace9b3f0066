//! Calls of dpkg: lists, verifies, removes, holds and repairs installed packages.

use super::super::diagnose::{self, Speaker};
use super::super::removal;
use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::Sandbox;
use crate::outcome::Reason;
use anyhow::Result;
use std::fmt::Write;

/// Options that keep changed configuration files, without a question.
pub(super) const KEEP_SETTINGS: [&str; 2] = ["--force-confdef", "--force-confold"];
/// The option to remove also packages that a killed run left half installed.
pub(super) const HALF_TOO: &str = "--force-remove-reinstreq";

/// `dpkg --verify`, which compares every file with its digest at packaging time.
pub(super) fn verify(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let mut cmd = Cmd::new("dpkg").arg("--verify").args(packages).captured();
    if !host.is_running_system() {
        cmd = cmd.inside(Sandbox::offline(&host.root, true));
    }
    damage(&host.run(&cmd)?)
}

/// What `dpkg --verify` found. It ends with 1 when it lists differences, and with 2 when it had to stop. Of a package
/// whose list of files is lost it only warns, and compares nothing.
fn damage(finished: &Finished) -> Result<Vec<String>> {
    if finished.code > 1 || finished.code != 0 && finished.stdout.trim().is_empty() {
        return Err(finished.error(Reason::PackageManager, "verifying the installed packages"));
    }
    let differs = finished.stdout.lines().filter(|line| is_damage(line)).map(str::trim);
    let warned = finished.output.lines().filter_map(|line| line.strip_prefix("dpkg: warning: "));
    let unlisted = warned.filter(|line| line.starts_with("files list file for package "));
    Ok(differs.chain(unlisted).map(str::to_owned).collect())
}

/// `dpkg --listfiles`.
pub(super) fn files(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let sandbox = Sandbox::offline(&host.root, true);
    let list = Cmd::new("dpkg").arg("--listfiles").args(packages).captured();
    let finished = host.run(&list.inside(sandbox))?;
    let finished = finished.check(Reason::PackageManager, "listing the files of packages")?;
    // Every package lists the folders it shares with all others.
    let is_own = |line: &&str| line.starts_with('/') && !host.root.is_dir(line);
    Ok(finished.stdout.lines().filter(is_own).map(str::to_owned).collect())
}

/// Simulates a removal with `dpkg --no-act --purge`, and returns the lines about dependent packages. It writes no log,
/// which would list removals that did not happen.
pub(in super::super) fn needed_by_others(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    let simulation =
        Cmd::new("dpkg").args(["--log=/dev/null", "--no-act", HALF_TOO, "--purge"]).args(packages);
    removal::needed_by_others(host, simulation, |output| of_others(dependents(output), packages))
}

/// Leaves out the lines about packages that will be removed as well, which dpkg also lists.
fn of_others(found: Vec<String>, packages: &[String]) -> Vec<String> {
    let goes = |line: &String| {
        let dependent = line.split([' ', ':']).next().unwrap_or_default();
        packages.iter().any(|package| package.split(':').next() == Some(dependent))
    };
    found.into_iter().filter(|line| !goes(line)).collect()
}

/// The lines that name what depends on what: ` perftest depends on libibverbs1 (>= 34).` Where several packages provide
/// what is needed, the line ends in `; however:`, and the lines below it name those that would go.
fn dependents(output: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in output.lines().filter(|line| line.starts_with(' ')).map(str::trim) {
        if line.contains(" depends on ") || line.contains(" pre-depends on ") {
            let line = line.strip_suffix("; however:").unwrap_or(line);
            found.push(line.trim_end_matches('.').to_owned());
        } else if let (Some((provider, _)), Some(need)) =
            (line.split_once(" which provides "), found.last_mut())
        {
            let _ = write!(need, ", which {} provides", provider.trim_start_matches("Package "));
        }
    }
    found
}

/// `dpkg --purge`, which unlike apt never removes more than it is told.
pub(super) fn purge(host: &Host, packages: &[String], sealed: bool) -> Result<()> {
    let sandbox = Sandbox::offline(&host.root, sealed);
    let finished = host.run(&Cmd::new("dpkg").args([HALF_TOO, "--purge"]).args(packages).inside(sandbox))?;
    diagnose::require_success(host, finished, Speaker::Apt, "removing packages").map(drop)
}

/// Merges the updates of a killed dpkg into its database, and configures unconfigured packages, triggers included.
/// Returns whether dpkg has nothing left to do.
pub(super) fn finish(host: &Host, sandbox: Sandbox) -> Result<bool> {
    let configure = Cmd::new("dpkg").args(KEEP_SETTINGS).args(["--configure", "--pending"]);
    Ok(host.run(&configure.inside(sandbox))?.code == 0)
}

/// Does what `apt-mark hold` and `unhold` do, without apt's caches: it sets dpkg's selection state of each package.
pub(super) fn hold(host: &Host, packages: &[String], on: bool, sealed: bool) -> Result<()> {
    const SCRIPT: &str = "wanted=$1; shift; printf \"%s $wanted\\n\" \"$@\" | dpkg --set-selections";
    let wanted = if on { "hold" } else { "install" };
    let sandbox = Sandbox::offline(&host.root, sealed);
    let cmd = Cmd::shell(SCRIPT, "dpkg").arg(wanted).args(packages).inside(sandbox);
    diagnose::require_success(host, host.run(&cmd)?, Speaker::Apt, "holding packages").map(drop)
}

/// Lines are `??5?????? c /etc/x` or `missing   c /etc/x`; a `c` marks a configuration file.
fn is_damage(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next().is_some() && words.next().is_some_and(|word| word != "c")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As dpkg 1.21 says it.
    #[test]
    fn what_depends_on_what_is_read_from_a_refused_removal() {
        let said = "(Reading database ... 14841 files and directories currently installed.)\n\
            dpkg: dependency problems prevent removal of kmod:\n\
            \u{20}linux-image-6.1.0-50-amd64 depends on kmod.\n initramfs-tools-core depends on kmod.\n\n\
            dpkg: error processing package kmod (--purge):\n dependency problems - not removing\n\
            Would remove or purge zstd (1.5.4+dfsg2-5) ...\n\
            Errors were encountered while processing:\n kmod\n";
        let wanted = ["linux-image-6.1.0-50-amd64 depends on kmod", "initramfs-tools-core depends on kmod"];
        assert_eq!(dependents(said), wanted);
    }

    /// As dpkg 1.21 says it; the second is of dpkg 1.17 (guardianproject/lildebi 181).
    #[test]
    fn what_is_needed_under_another_name_is_read_with_the_package_that_provides_it() {
        let said = "dpkg: dependency problems prevent removal of mawk:\n base-files depends on awk; however:\n\
            \u{20} Package awk is not installed.\n  Package mawk which provides awk is to be removed.\n\n\
            dpkg: error processing package mawk (--purge):\n dependency problems - not removing\n";
        assert_eq!(dependents(said), ["base-files depends on awk, which mawk provides"]);
        assert_eq!(dependents(" base-files pre-depends on awk.\n"), ["base-files pre-depends on awk"]);
        let found =
            ["perftest depends on libpci3", "libpci3:amd64 depends on pci.ids", "site depends on perftest"];
        let goes = ["perftest", "libpci3"].map(str::to_owned);
        assert_eq!(of_others(found.map(str::to_owned).to_vec(), &goes), ["site depends on perftest"]);
    }

    fn verified(code: i32, stdout: &str, stderr: &str) -> Result<Vec<String>> {
        let [command, name] = ["dpkg --verify", "dpkg"].map(str::to_owned);
        let [stdout, output, tail] = [stdout, stderr, stderr.trim()].map(str::to_owned);
        damage(&Finished { command, name, code, stdout, output, tail, log: None })
    }

    /// As dpkg 1.21 says it and ends.
    #[test]
    fn what_dpkg_could_not_compare_is_not_taken_for_whole() {
        let changed = "??5??????   /usr/bin/ibstat\n??5?????? c /etc/rdma/modules/rdma.conf\n";
        assert_eq!(verified(0, "", "").unwrap(), [""; 0]);
        assert_eq!(verified(1, changed, "").unwrap(), ["??5??????   /usr/bin/ibstat"]);
        let warning = "dpkg: warning: files list file for package 'rdma-core' missing; assuming package has no \
            files currently installed\n";
        let found = verified(0, "", warning).unwrap();
        assert!(
            found.len() == 1 && found[0].starts_with("files list file for package 'rdma-core'"),
            "{found:?}"
        );
        let stopped =
            "dpkg: error: control file 'md5sums' for package 'rdma-core' is missing final newline\n";
        let absent = "dpkg: package 'rdma-core' is not installed\n";
        for (code, stdout, stderr) in [(2, "", stopped), (2, changed, stopped), (1, "", absent)] {
            let error = verified(code, stdout, stderr).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::PackageManager);
            assert!(error.to_string().contains("'rdma-core' is "), "{error}");
        }
    }

    /// dpkg itself takes no name for all packages.
    #[test]
    fn about_no_package_dpkg_is_not_asked() {
        let (_folder, host) = crate::host::testing::on_an_empty_root(crate::host::cancel::Cancel::never());
        assert_eq!(verify(&host, &[]).unwrap(), [""; 0]);
        assert_eq!(files(&host, &[]).unwrap(), [""; 0]);
    }

    #[test]
    fn a_changed_configuration_file_is_no_damage() {
        assert!(is_damage("??5??????   /usr/bin/ibstat"));
        assert!(is_damage("missing     /usr/bin/ibstat"));
        assert!(!is_damage("??5?????? c /etc/rdma/modules/rdma.conf"));
        assert!(!is_damage(""));
    }
}
