//! The packages in a vendor's file, for rpm: those of DOCA-Host's repository package, and those of an `MLNX_OFED` archive.

use super::super::diagnose::{self, Doing, Speaker};
use super::super::{REPOSITORY, Transaction, VendorRepo};
use super::install::{REPOSITORIES, SCRATCH, configured};
use super::{Dialect, INDEX};
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use crate::target::without_arch;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Packages that need all others of an `MLNX_OFED` archive; the first without kernel modules, which are built on the machine.
const MLNX_OFED_ALL: [&str; 2] = ["mlnx-ofed-all-user-only", "mlnx-ofed-all"];
/// What `mlnxofedinstall` and `mlnx_add_kernel_support.sh` ask for, and what azhpc-images install before them. Not every
/// release of every distribution has all of them.
pub(super) const WANTED_BY_INSTALLER: &[&str] = &[
    "atk",
    "autoconf",
    "automake",
    "cairo",
    "createrepo",
    "elfutils-libelf-devel",
    "ethtool",
    "gcc-gfortran",
    "gdb-headless",
    "gtk2",
    "kernel-modules-extra",
    "kernel-rpm-macros",
    "libnl3",
    "libtool",
    "numactl-libs",
    "numactl-devel",
    "perl-CPAN",
    "perl-Pod-Html",
    "python3",
    "python3-devel",
    "tcl",
    "tcsh",
    "tk",
    "which",
];
/// Folders of a host package are no deeper than this below its own.
const DEEPEST: usize = 4;

/// The package of a kernel's headers, by its exact version: that of `uname -r` without the architecture at its end.
/// Oracle's own kernels have packages of their own.
pub(super) fn headers(kernel: &str) -> String {
    let version = without_arch(kernel);
    let name = if version.ends_with("uek") { "kernel-uek-devel" } else { "kernel-devel" };
    format!("{name}-{version}")
}

pub(super) fn of_host_package(host: &Host, file: &Path, folder: &Path) -> Result<VendorRepo> {
    index_of_host_package(host, file, folder).map(VendorRepo::in_folder)
}

pub(super) fn of_folder(dialect: &Dialect, host: &Host, folder: &Path) -> Result<VendorRepo> {
    let show = folder.display().to_string();
    let make = Cmd::new("createrepo_c").args(["--quiet", "--no-database", &show]);
    host.run(&make)?.check(Reason::WrongPackage, "indexing the vendor's packages")?;
    let all = MLNX_OFED_ALL.into_iter().find(|name| holds(folder, name, 2 * DEEPEST));
    let packages = all.into_iter().map(str::to_owned).collect();
    let wanted = dialect.wanted_by_installer.to_vec();
    Ok(VendorRepo { packages, wanted, ..VendorRepo::in_folder(folder.to_owned()) })
}

/// Whether there is a file of this package below a folder.
fn holds(folder: &Path, package: &str, depth: usize) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let kind = entry.file_type();
        let is_it = || {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(package)?.strip_prefix('-'));
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        match kind {
            Ok(kind) if kind.is_dir() => depth > 0 && holds(&entry.path(), package, depth - 1),
            Ok(kind) => kind.is_file() && is_it(),
            Err(_) => false,
        }
    })
}

/// Takes nothing but the repository's index out of the package, which is large.
fn index_of_host_package(host: &Host, file: &Path, folder: &Path) -> Result<PathBuf> {
    const SCRIPT: &str =
        "rpm2archive - <\"$1\" | tar -xz -C \"$2\" --wildcards --no-same-owner './usr/share/*/repodata/*'";
    let show = |path: &Path| path.display().to_string();
    let read = host.run(&Cmd::shell(SCRIPT, "rpm2archive").args([show(file), show(folder)]))?;
    let root = Root::open(folder)?;
    let found = repository_in(&root);
    // What counts is whether an index came.
    let found = found.ok_or_else(|| {
        read.error(Reason::WrongPackage, &format!("looking for a repository in `{}`", show(file)))
    })?;
    Ok(folder.join(found.trim_start_matches('/')))
}

/// The folder with a repository's index that a host package has brought into a root.
fn repository_in(root: &Root) -> Option<String> {
    let brought = root.list("/usr/share").into_iter().rev().filter(|name| name.starts_with("doca-host"));
    brought
        .map(|name| format!("/usr/share/{name}"))
        .find_map(|folder| repository_below(root, &folder, DEEPEST))
}

fn repository_below(root: &Root, folder: &str, depth: usize) -> Option<String> {
    let (name, subfolder) = INDEX[0];
    if root.exists(&format!("{folder}/{subfolder}/{name}")) {
        return Some(folder.to_owned());
    }
    let below = root.list(folder).into_iter().map(|name| format!("{folder}/{name}"));
    below
        .filter(|path| depth > 0 && root.is_dir(path))
        .find_map(|path| repository_below(root, &path, depth - 1))
}

/// How a manager is to see the vendor's repository. Its packages go before the distribution's of the same names, which
/// may have higher versions; only its DKMS does not, which breaks modules of others (azhpc-images pin it away, too).
/// `gpgcheck` is off because the digest of the file they came in was checked.
pub(super) fn repository_file(folder: &str) -> String {
    format!(
        "[ofedctl-vendor]\nname=vendor\nbaseurl=file://{folder}\nenabled=1\ngpgcheck=0\nrepo_gpgcheck=0\npriority=1\nexcludepkgs=dkms\n"
    )
}

/// Installs the package with rpm, and shows the manager the repository it brought.
pub(super) fn install_host_package(host: &Host, transaction: &Transaction, title: &str) -> Result<()> {
    let file = format!("{REPOSITORY}/{title}");
    let install = Cmd::new("rpm").args(["--upgrade", "--replacepkgs", "--nosignature", &file]);
    let finished = host.run(&install.inside(transaction.sandbox(host)))?;
    let doing = Doing::Installing(Speaker::Rpm);
    let reason = diagnose::reason_on(host, &finished.output, doing, Reason::PackageManager)?;
    finished.check(reason, &format!("installing `{title}`"))?;
    let folder = repository_in(&host.root).ok_or_else(|| {
        let what = format!("`{title}` was installed, and there is no repository in `/usr/share/doca-host*`");
        Reason::WrongPackage.error(what)
    })?;
    host.root.write_text(&format!("{REPOSITORIES}/vendor.repo"), &repository_file(&folder))
}

/// The vendor's installer inside the root. It calls rpm on its own files and no package manager, and refuses to begin
/// where packages are missing: so all that was staged for it is installed first.
pub(super) fn around(dialect: &Dialect, host: &Host, transaction: &Transaction, program: &[String]) -> Cmd {
    // yum 3 fails where there is nothing to do. The installer names what is really missing.
    let install = (dialect.command)(dialect.program, "install");
    let script = format!("{install} {REPOSITORY}/*.rpm; rm -rf {SCRATCH}; exec \"$@\"");
    let cmd = Cmd::shell(&script, program.first().map_or(dialect.program, String::as_str))
        .args(program.iter().cloned());
    configured(cmd, transaction).inside(transaction.sandbox(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_exact_kernel() {
        let table = [
            ("4.18.0-553.16.1.el8_10.x86_64", "kernel-devel-4.18.0-553.16.1.el8_10"),
            ("5.14.0-570.12.1.el9_6.aarch64", "kernel-devel-5.14.0-570.12.1.el9_6"),
            ("6.6.92.2-2.azl3", "kernel-devel-6.6.92.2-2.azl3"),
            ("5.15.0-300.163.18.1.el8uek.x86_64", "kernel-uek-devel-5.15.0-300.163.18.1.el8uek"),
        ];
        for (kernel, package) in table {
            assert_eq!(headers(kernel), package);
        }
    }

    #[test]
    fn the_repository_is_found_wherever_the_host_package_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(repository_in(&root), None);
        for place in ["/usr/share/doca-host-2.9.0-rhel8", "/usr/share/doca-host-3.2.1-rhel9/repo/Packages"] {
            root.write_text(&format!("{place}/repodata/repomd.xml"), "").unwrap();
            assert_eq!(repository_in(&root).as_deref(), Some(place));
        }
    }
}
