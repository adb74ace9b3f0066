//! The packages in a vendor's file, for apt: those of DOCA-Host's repository package, and those of an `MLNX_OFED` archive.

use super::super::diagnose::{self, Doing, Speaker};
use super::super::{REPOSITORY, Transaction, VendorRepo};
use super::INDEX;
use super::install::{PREFERENCES, SOURCE_LIST};
use crate::host::Host;
use crate::host::fs::{Content, Root};
use crate::host::has_extension;
use crate::host::hex;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Excludes DOCA-Host's own DKMS, which breaks modules of other packages; azhpc-images (`install_doca.sh`) exclude it,
/// too.
pub(super) const NO_FOREIGN_DKMS: &str = "Package: dkms\nPin: release l=DOCA-HOST*\nPin-Priority: -1\n";
/// Repositories in the file system are those with no origin.
pub(super) const GOES_FIRST: &str = "Package: *\nPin: origin \"\"\nPin-Priority: 1001\n";
/// The package that needs all others of an `MLNX_OFED` archive.
const MLNX_OFED_ALL: &str = "mlnx-ofed-all";
/// What `mlnxofedinstall` asks apt for when it builds packages (its list `@required_debs`, and what azhpc-images install
/// before it). Not every release of every distribution has all of them.
const WANTED_BY_INSTALLER: [&str; 16] = [
    "autoconf",
    "automake",
    "autotools-dev",
    "bzip2",
    "chrpath",
    "debhelper",
    "dh-autoreconf",
    "dpatch",
    "ethtool",
    "graphviz",
    "libltdl-dev",
    "m4",
    "pkg-config",
    "python3-distutils",
    "quilt",
    "swig",
];

/// The line of `sources.list` for a vendor's packages, seen by apt in this folder and signed by the key in this file, and
/// the preferences that go with it.
pub(super) fn source_and_preferences(
    vendor_repo: &VendorRepo,
    folder: &str,
    key: Option<&str>,
) -> (String, &'static str) {
    let options = key.map_or_else(|| "trusted=yes".to_owned(), |key| format!("signed-by={key}"));
    let preferences = if vendor_repo.goes_first { GOES_FIRST } else { NO_FOREIGN_DKMS };
    (format!("deb [{options}] file:{folder} ./\n"), preferences)
}

pub(super) fn of_host_package(host: &Host, file: &Path, folder: &Path) -> Result<VendorRepo> {
    index_of_host_package(host, file, folder).map(VendorRepo::in_folder)
}

pub(super) fn of_folder(host: &Host, folder: &Path) -> Result<VendorRepo> {
    let all = index_of_folder(host, folder)?;
    let packages = all.then(|| MLNX_OFED_ALL.to_owned()).into_iter().collect();
    let wanted = WANTED_BY_INSTALLER.to_vec();
    Ok(VendorRepo { packages, wanted, ..VendorRepo::in_folder(folder.to_owned()) })
}

/// Extracts only the repository's index from the package, which is large.
fn index_of_host_package(host: &Host, file: &Path, folder: &Path) -> Result<PathBuf> {
    const SCRIPT: &str = "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" --wildcards --no-same-owner \
        './usr/share/doc/*/copyright' './usr/share/*/Packages*' './usr/share/*/Release*' './usr/share/*/InRelease'";
    let show = |path: &Path| path.display().to_string();
    let read = host.run(&Cmd::shell(SCRIPT, "dpkg-deb").args([show(file), show(folder)]))?;
    // tar complains of each pattern that no member has; what counts is whether an index came.
    let found = find(folder, &|name| name.starts_with(INDEX))?.into_iter().next();
    let Some(index) = found else {
        return Err(
            read.error(Reason::WrongPackage, &format!("looking for a repository in `{}`", show(file)))
        );
    };
    Ok(index.parent().unwrap_or(folder).to_owned())
}

/// Writes an index of all packages below a folder. Returns whether the metapackage that depends on all others is among
/// them.
fn index_of_folder(host: &Host, folder: &Path) -> Result<bool> {
    let debs = find(folder, &|name| has_extension(name, "deb"))?;
    let mut index = String::new();
    for deb in debs {
        let below = deb.strip_prefix(folder).unwrap_or(&deb).display().to_string();
        let fields = Cmd::new("dpkg-deb").arg("--field").arg(deb.display().to_string()).captured();
        let doing = || format!("reading the package `{below}`");
        let fields = host.run(&fields)?.check(Reason::WrongPackage, &doing())?.stdout;
        let (size, sha256) = measure(&deb).with_context(doing)?;
        let fields = fields.trim_end();
        let _ = writeln!(index, "{fields}\nFilename: ./{below}\nSize: {size}\nSHA256: {sha256}\n");
    }
    let doing = || format!("cannot write an index in `{}`", folder.display());
    fs::write(folder.join(INDEX), &index).with_context(doing)?;
    Ok(index.lines().any(|line| line.strip_prefix("Package: ") == Some(MLNX_OFED_ALL)))
}

/// Length and SHA-256 of a file.
fn measure(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 128 << 10]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// The regular files of some name below a folder, sorted.
fn find(folder: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let reading = || format!("cannot look into `{}`", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let kind = entry.file_type().with_context(reading)?;
        if kind.is_dir() {
            found.extend(find(&entry.path(), is_wanted)?);
        } else if kind.is_file() && is_wanted(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Adds a folder of packages inside the root as a source for apt's next transaction. `key` holds the keys with which
/// its index must be signed; none if the folder was verified in another way. Its packages then become the only
/// candidates, as after the vendor's installer: a priority above 1000 also allows downgrades (`apt_preferences(5)`).
pub fn bring_folder(root: &Root, folder: &str, key: Option<&[u8]>) -> Result<()> {
    let options = match key {
        Some(key) => {
            let content = Content { bytes: key.to_vec(), mode: 0o644, uid: 0, gid: 0 };
            let path = format!("{REPOSITORY}/{}", key_name(key));
            root.write(&path, &content)?;
            format!("signed-by={path}")
        }
        None => "trusted=yes".to_owned(),
    };
    let sources = root.read_text(SOURCE_LIST)?.unwrap_or_default();
    root.write_text(SOURCE_LIST, &format!("{sources}deb [{options}] file:{folder} ./\n"))?;
    root.write_text(PREFERENCES, GOES_FIRST)
}

/// The name for a key file. apt decides by the suffix whether the keys are text or binary (`sources.list(5)`).
pub(super) fn key_name(key: &[u8]) -> &'static str {
    if key.starts_with(b"-----BEGIN") { "vendor-key.asc" } else { "vendor-key.gpg" }
}

/// `dpkg --install`, and a source for what it brought.
pub(super) fn install_host_package(host: &Host, transaction: &Transaction, title: &str) -> Result<()> {
    let file = format!("{REPOSITORY}/{title}");
    let install = Cmd::new("dpkg").args(["--force-confdef", "--force-confold", "--install", &file]);
    let finished = host.run(&install.inside(transaction.sandbox(host)))?;
    let doing = Doing::Installing(Speaker::Apt);
    let reason = diagnose::reason_on(host, &finished.output, doing, Reason::PackageManager)?;
    finished.check(reason, &format!("installing `{title}`"))?;
    let folder = host.root.list("/usr/share").into_iter().rev().filter(|name| name.starts_with("doca-host-"));
    let folders = folder.flat_map(|name| [format!("/usr/share/{name}/repo"), format!("/usr/share/{name}")]);
    let is_repository = |folder: &String| host.root.list(folder).iter().any(|file| file.starts_with(INDEX));
    let repository = folders.into_iter().find(is_repository).ok_or_else(|| {
        let what = format!("`{title}` was installed, and there is no repository in `/usr/share/doca-host-*`");
        Reason::WrongPackage.error(what)
    })?;
    let sources = host.root.read_text(SOURCE_LIST)?.unwrap_or_default();
    // The package's digest was checked, and with it all it brings.
    host.root.write_text(SOURCE_LIST, &format!("{sources}deb [trusted=yes] file:{repository} ./\n"))?;
    host.root.write_text(PREFERENCES, NO_FOREIGN_DKMS)?;
    spare_openmpi(host, transaction, &repository)
}

/// A file that DOCA's openmpi brings, and libpmix of the distribution too.
const PMIX_SETTINGS: &str = "/etc/pmix-mca-params.conf";

/// `doca-ofed` depends on its own openmpi in one exact version, which conflicts with the distribution's. If the
/// distribution's is installed, it stays, and an empty package satisfies the dependency (azhpc-images build one with
/// equivs).
fn spare_openmpi(host: &Host, transaction: &Transaction, repository: &str) -> Result<()> {
    const SCRIPT: &str = "dpkg-deb --build \"$1\" /run/openmpi.deb && exec dpkg --install /run/openmpi.deb";
    let index = host.root.read_text(&format!("{repository}/{INDEX}"))?.unwrap_or_default();
    let (Some(version), Some(owner)) = (version_of(&index, "openmpi"), owner_of(&host.root, PMIX_SETTINGS)?)
    else {
        return Ok(());
    };
    if owner == "openmpi" {
        return Ok(());
    }
    host.events.info(format!("{owner} is here, so its MPI stays and DOCA's openmpi {version} is left out"));
    let folder = format!("{REPOSITORY}/openmpi");
    let control = format!(
        "Package: openmpi\nVersion: {version}\nArchitecture: all\nMaintainer: ofedctl\n\
         Description: stands for DOCA's openmpi beside the distribution's\n"
    );
    host.root.write_text(&format!("{folder}/DEBIAN/control"), &control)?;
    let build = Cmd::shell(SCRIPT, "dpkg").arg(&folder);
    let made = host.run(&build.inside(transaction.sandbox(host)))?;
    made.check(Reason::PackageConflict, "keeping the distribution's MPI").map(drop)
}

/// The version of a package in an index.
fn version_of(index: &str, name: &str) -> Option<String> {
    let named = |stanza: &&str| stanza.lines().any(|line| line.strip_prefix("Package: ") == Some(name));
    let stanza = index.split("\n\n").find(named)?;
    stanza.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
}

/// The installed package that brought a file.
fn owner_of(root: &Root, path: &str) -> Result<Option<String>> {
    const LISTS: &str = "/var/lib/dpkg/info";
    for list in root.list(LISTS) {
        let Some(package) = list.strip_suffix(".list") else { continue };
        let text = root.read_text(&format!("{LISTS}/{list}"))?.unwrap_or_default();
        if text.lines().any(|line| line == path) {
            return Ok(Some(package.split(':').next().unwrap_or(package).to_owned()));
        }
    }
    Ok(None)
}
