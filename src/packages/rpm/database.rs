//! rpm's database, which only rpm can read: its form has changed three times (Berkeley DB, ndb, `SQLite`). So rpm of the
//! target is asked, inside the target, and only its own database is looked at.

use super::super::diagnose::{self, Speaker};
use super::super::{Installed, removal};
use super::database_copy::reading;
use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::host::sandbox::Sandbox;
use crate::outcome::Reason;
use anyhow::Result;
use std::collections::BTreeMap;

/// Name, version and release with the epoch where there is one, and architecture.
const FORMAT: &str = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\n";

/// Packages that are installed side by side, one for each kernel, so that a version is part of the name they are
/// known by. Keys are kept as packages, too.
fn is_one_of_many(name: &str) -> bool {
    name == "gpg-pubkey" || name.starts_with("kernel-") || name == "kernel"
}

/// What rpm says is installed.
pub(super) fn installed(host: &Host) -> Result<Installed> {
    let query = Cmd::new("rpm").args(["--query", "--all", "--queryformat", FORMAT]).captured();
    let finished = run_query(host, query)?;
    let finished = finished.check(Reason::PackageManager, "reading rpm's database")?;
    Ok(parse(&finished.stdout))
}

fn parse(text: &str) -> Installed {
    let mut installed = Installed::default();
    for (name, version) in text.lines().filter_map(|line| line.split_once('\t')) {
        let version = version.trim();
        if is_one_of_many(name) {
            installed.versions.insert(format!("{name}-{version}"), version.to_owned());
            continue;
        }
        // An upgrade that was interrupted leaves both. 32-bit and 64-bit packages have one version.
        let known = installed.versions.insert(name.to_owned(), version.to_owned());
        if known.is_some_and(|known| known != version) {
            installed.broken.push(name.to_owned());
        }
    }
    installed
}

/// Name, architecture, place in the database, which grows, and how rpm is told of exactly this one.
const INSTANCES: &str = "%{NAME}\\t%{ARCH}\\t%{DBINSTANCE}\\t%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n";

/// The packages of which a newer one is written down as well: their names, and how rpm is told of exactly them.
pub(super) fn older_ones(host: &Host) -> Result<Vec<(String, String)>> {
    let query = Cmd::new("rpm").args(["--query", "--all", "--queryformat", INSTANCES]).captured();
    let finished = run_query(host, query)?;
    let finished = finished.check(Reason::PackageManager, "reading rpm's database")?;
    Ok(parse_older(&finished.stdout))
}

fn parse_older(text: &str) -> Vec<(String, String)> {
    let mut newest: BTreeMap<(&str, &str), (u64, &str)> = BTreeMap::new();
    let mut older = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[name, arch, instance, full] = fields.as_slice() else { continue };
        let Ok(instance) = instance.parse() else { continue };
        if is_one_of_many(name) {
            continue;
        }
        let Some(known) = newest.insert((name, arch), (instance, full)) else { continue };
        let (less, more) =
            if known.0 < instance { (known, (instance, full)) } else { ((instance, full), known) };
        newest.insert((name, arch), more);
        // rpm cannot be told of one of two that are the same in all but their place.
        if less.1 != more.1 {
            older.push((name.to_owned(), less.1.to_owned()));
        }
    }
    older
}

/// `rpm --verify`, which compares every file with what its package says of it.
pub(super) fn verify(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    // Times differ where an image was copied, and dependencies were the resolver's business.
    let verify = Cmd::new("rpm").args(["--verify", "--nomtime", "--nodeps"]).args(packages).captured();
    let finished = run_query(host, verify)?;
    if finished.code != 0 && finished.stdout.trim().is_empty() {
        return Err(finished.error(Reason::PackageManager, "verifying the installed packages"));
    }
    Ok(finished.stdout.lines().filter(|line| is_damage(line)).map(|line| line.trim().to_owned()).collect())
}

/// `rpm --query --list`.
pub(super) fn files(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let finished = run_query(host, Cmd::new("rpm").args(["--query", "--list"]).args(packages).captured())?;
    let finished = finished.check(Reason::PackageManager, "listing the files of packages")?;
    // A package without files says so in a sentence.
    Ok(finished.stdout.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect())
}

/// What `rpm --erase --test` says of packages that need those to be removed.
pub(in super::super) fn needed_by_others(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    let exact = exact_names(host, packages)?;
    if exact.is_empty() {
        return Ok(Vec::new());
    }
    let simulation = Cmd::new("rpm").args(["--erase", "--test"]).args(exact);
    removal::needed_by_others(host, simulation, dependents)
}

/// The lines that name what needs what: `\tlibibverbs.so.1()(64bit) is needed by (installed) perftest-4.5-1.x86_64`.
fn dependents(output: &str) -> Vec<String> {
    let is_one = |line: &&str| line.contains(" is needed by ");
    output.lines().filter(is_one).map(|line| line.trim().to_owned()).collect()
}

/// A package's architecture, and the one name that no other package has.
const EXACT: &str = "%{ARCH}\\t%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\\n";

/// What `rpm --erase` is to be told. It refuses a name that stands for two packages (`"libibverbs" specifies multiple
/// packages`), so each is named with its version and architecture.
fn exact_names(host: &Host, packages: &[String]) -> Result<Vec<String>> {
    let query = Cmd::new("rpm").args(["--query", "--queryformat", EXACT]).args(packages).captured();
    let finished = run_query(host, query)?.check(Reason::PackageManager, "listing packages")?;
    Ok(of_this_machine(&finished.stdout))
}

/// Those of this machine's architecture. A library of 32 bits beside one of them is somebody else's and stays.
fn of_this_machine(listed: &str) -> Vec<String> {
    let is_native = |arch: &str| [std::env::consts::ARCH, "noarch", "(none)"].contains(&arch);
    let rows = listed.lines().filter_map(|line| line.split_once('\t'));
    rows.filter(|(arch, _)| is_native(arch)).map(|(_, exact)| exact.to_owned()).collect()
}

/// `rpm --erase`, which never removes more than it is told, and nothing that others need.
pub(super) fn erase(host: &Host, packages: &[String], sealed: bool) -> Result<()> {
    let exact = exact_names(host, packages)?;
    if exact.is_empty() {
        return Ok(());
    }
    let sandbox = Sandbox::offline(&host.root, sealed);
    let finished = host.run(&Cmd::new("rpm").arg("--erase").args(exact).inside(sandbox))?;
    diagnose::require_success(host, finished, Speaker::Rpm, "removing packages").map(drop)
}

/// Runs rpm where it only has something to answer.
fn run_query(host: &Host, cmd: Cmd) -> Result<Finished> {
    if host.is_running_system() {
        return host.run(&cmd);
    }
    let (_copy, cmd) = reading(&host.root, cmd)?;
    host.run(&cmd)
}

/// Lines are `S.5....T.  c /etc/x` or `missing     /usr/bin/x`; a letter before the path marks configuration (`c`),
/// and what may differ by its nature: ghosts (`g`), documents and licences that an image may leave out (`d`, `l`).
fn is_damage(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let tests = words.next().unwrap_or_default();
    let is_file = tests == "missing" || (tests.len() == 9 && tests.contains('.'));
    is_file && words.next().is_some_and(|word| !matches!(word, "c" | "d" | "g" | "l"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_known_by_name_and_version_and_others_by_name() {
        let text = "rdma-core\t48.0-1.el8\nkernel-devel\t4.18.0-553.el8_10\nkernel-devel\t4.18.0-477.el8\n\
            glibc\t2.28-1.el8\nglibc\t2.28-1.el8\nperl\t4:5.26.3-1.el8\ntorn\t1-1\ntorn\t1-2\n";
        let installed = parse(text);
        let names: Vec<&str> = installed.versions.keys().map(String::as_str).collect();
        let kernels = ["kernel-devel-4.18.0-477.el8", "kernel-devel-4.18.0-553.el8_10"];
        assert_eq!(names, ["glibc", kernels[0], kernels[1], "perl", "rdma-core", "torn"]);
        assert_eq!(installed.versions["perl"], "4:5.26.3-1.el8");
        assert_eq!(installed.broken, ["torn"]);
    }

    #[test]
    fn of_two_architectures_that_of_this_machine_is_removed() {
        let arch = std::env::consts::ARCH;
        let listed = format!(
            "i686\tlibibverbs-48-1.i686\n{arch}\tlibibverbs-48-1.{arch}\nnoarch\tperftest-4-1.noarch\nodd\n"
        );
        let wanted = [format!("libibverbs-48-1.{arch}"), "perftest-4-1.noarch".into()];
        assert_eq!(of_this_machine(&listed), wanted);
    }

    #[test]
    fn of_two_versions_the_one_that_was_written_down_first_is_the_older() {
        let text = "rdma-core\tx86_64\t9\trdma-core-48-1.x86_64\nglibc\ti686\t3\tglibc-2-1.i686\n\
            rdma-core\tx86_64\t4\trdma-core-47-1.x86_64\nglibc\tx86_64\t2\tglibc-2-1.x86_64\n\
            kernel-core\tx86_64\t5\tkernel-core-5-1.x86_64\nkernel-core\tx86_64\t6\tkernel-core-6-1.x86_64\n";
        assert_eq!(parse_older(text), [("rdma-core".to_owned(), "rdma-core-47-1.x86_64".to_owned())]);
    }

    #[test]
    fn a_changed_configuration_file_is_no_damage() {
        assert!(is_damage("S.5......    /usr/bin/ibstat"));
        assert!(is_damage("missing     /usr/bin/ibstat"));
        assert!(!is_damage("S.5......  c /etc/rdma/modules/rdma.conf"));
        assert!(!is_damage("missing   d /usr/share/doc/rdma-core/README"));
        assert!(!is_damage("package perftest is not installed") && !is_damage(""));
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_the_readers_panic(text in "(kernel-|S\\.5|missing|[a-z\t \n]){0,60}") {
            parse(&text);
            let _ = text.lines().filter(|line| is_damage(line)).count();
        }
    }
}
