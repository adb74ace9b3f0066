//! The folder of an `MLNX_OFED` archive from which packages are installed: the default library set, by its own signed
//! index; for rpm, by the signature of each package.
//!
//! The vendor documents this as the second way to install it. Its layouts: one `DEBS`, as in 4.1 and 24.10; or, in 4.9 and
//! 5.0, `DEBS/MLNX_LIBS` and `DEBS/UPSTREAM_LIBS`, each with an index, metapackages of its own, and links to what both have
//! in `DEBS/COMMON`. When the second went is not known, so the bundle is looked into. `MLNX_LIBS` is the default of 4.9's
//! installer, the other that of 5.0's.

use super::keys;
use crate::catalog::Catalog;
use crate::catalog::versions::Version;
use crate::host::Host;
use crate::host::fs::Root;
use crate::host::has_extension;
use crate::outcome::{Cause, Reason, WithReason};
use crate::packages::openpgp::Signer;
use crate::packages::signed_folder::{self, IndexedPackage};
use crate::packages::{Format, Manager, rpm_folder};
use crate::plan_document::Plan;
use crate::settings::{LibrarySet, Settings};
use crate::trust::Trust;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

const FLAT: &str = "DEBS";
const FLAT_RPM: &str = "RPMS";
/// The key file in an archive.
const KEY: &str = "RPM-GPG-KEY-Mellanox";
/// What the name of the folder with checked packages, beside the archive's own, ends in.
const CHECKED: &str = ".checked";

/// A verified folder of packages.
#[derive(Debug)]
pub(super) struct Folder {
    /// The path, below the root it was opened in, of a folder that shows what was checked of it and nothing else.
    pub(super) path: String,
    /// Its name in the archive.
    pub(super) set: String,
    /// The keys that signed it, if the signature is what verifies it.
    pub(super) key: Option<Vec<u8>>,
    /// Packages that its index names and that are missing.
    pub(super) absent: Vec<String>,
    /// How it was verified.
    pub(super) trust: Trust,
    /// The signer, as text.
    pub(super) signed: String,
}

/// What a folder says of itself, and who vouches for it.
struct Said {
    signer: Option<Signer>,
    /// Name and version of each package.
    packages: Vec<(String, String)>,
    /// Which release its index says it is of.
    labels: Vec<String>,
    absent: Vec<String>,
    /// The kernels that its packages have built modules for, where that counts.
    kernels: Option<BTreeSet<String>>,
}

/// Opens the folder of the planned library set of an unpacked bundle, `top` below `root`, and checks every file of it.
/// A folder that does not reach the trust level in force is refused.
pub(super) fn open(host: &Host, root: &Root, top: &str, plan: &Plan, settings: &Settings) -> Result<Folder> {
    let version = plan.driver_version.as_deref().unwrap_or_default();
    let format = Manager::for_target(&plan.target).map_or(Format::Deb, |manager| manager.format());
    let set = choose(format, root, top, version, settings.library_set)?;
    let (folder, path) = (format!("{top}/{set}"), format!("{top}{CHECKED}"));
    let key = match &settings.vendor_key {
        Some(file) => {
            std::fs::read(file).with_reason(Reason::BadSettings, || format!("cannot read `{file}`"))?
        }
        None => root.read(&format!("{top}/{KEY}"))?.unwrap_or_default(),
    };
    let said = match format {
        Format::Deb => debs(host, root, (&folder, &path), &key)?,
        Format::Rpm => rpms(host, root, (&folder, &path), &key)?,
    };
    serves_kernels(&said, plan, version)?;
    is_of_the_release(&said, plan, version)?;
    let named = Catalog::from_settings(settings)?.vendor_keys;
    let by_user = settings.vendor_key.is_some();
    let covered = said.signer.as_ref().is_some_and(|it| keys::covers(it, (format, version), &named, by_user));
    let trust = level(plan, covered);
    let who = match &said.signer {
        Some(it) if it.is_weak => {
            format!("signed by {}, with a digest that proves little", it.fingerprint)
        }
        Some(it) if covered => format!("signed by {}", it.fingerprint),
        Some(it) => {
            format!("signed by {}, which is no key of the vendor for {version}", it.fingerprint)
        }
        None => "not signed by any key at hand".to_owned(),
    };
    // The signature that the plan expected must exist as well: a file from any other place is accepted only because of
    // it.
    let counted_on = plan.artifact.as_ref().map(|artifact| artifact.trust);
    let least = counted_on.unwrap_or_default().max(settings.trust);
    if trust < least {
        let what =
            format!("`{set}` of MLNX_OFED {version} is {who}, and has to be signed (trust level {least})");
        return Err(Reason::Untrusted.error(what));
    }
    Ok(Folder { path, set, key: covered.then_some(key), absent: said.absent, trust, signed: who })
}

fn debs(host: &Host, root: &Root, (folder, path): (&str, &str), key: &[u8]) -> Result<Said> {
    signed_folder::gather(root, folder, path)?;
    let index = signed_folder::read(host, root, path, key)?;
    let absent = signed_folder::check_files(host, root, path, &index)?;
    let absent = absent.into_iter().map(|package: &IndexedPackage| package.name.clone()).collect();
    let packages = index.packages.into_iter().map(|package| (package.name, package.version)).collect();
    Ok(Said { signer: index.signer, packages, labels: index.labels, absent, kernels: None })
}

fn rpms(host: &Host, root: &Root, (folder, path): (&str, &str), key: &[u8]) -> Result<Said> {
    let found = rpm_folder::gather(host, root, folder, path, key)?;
    let (signer, packages, kernels) = (found.signer, found.packages, Some(found.kernels));
    Ok(Said { signer, packages, labels: Vec::new(), absent: Vec::new(), kernels })
}

/// How the packages are verified: by the archive's digest, by the signature, or by first use.
fn level(plan: &Plan, covered: bool) -> Trust {
    let by_digest = plan.artifact.as_ref().is_some_and(|artifact| artifact.sha256.is_some());
    match (by_digest, covered) {
        (true, _) => Trust::Digest,
        (false, true) => Trust::Signed,
        (false, false) => Trust::FirstUse,
    }
}

/// The set that is wanted, or the default one.
fn choose(
    format: Format,
    root: &Root,
    top: &str,
    version: &str,
    wanted: Option<LibrarySet>,
) -> Result<String> {
    let is_rpm = |name: &String| has_extension(name, "rpm");
    let has = |folder: &String| match format {
        Format::Deb => root.exists(&format!("{top}/{folder}/Packages")),
        Format::Rpm => root.list(&format!("{top}/{folder}")).iter().any(is_rpm),
    };
    let has_two = has(&format!("{FLAT_RPM}_{}", LibrarySet::Upstream.folder()));
    let place = |set: LibrarySet| places(format, set, has_two).into_iter().find(has);
    let default = default_set(version);
    let flat = if format == Format::Deb { FLAT } else { FLAT_RPM }.to_owned();
    if let Some(found) = place(wanted.unwrap_or(default)) {
        return Ok(found);
    }
    let other = LibrarySet::ALL.into_iter().find_map(place);
    match (other, wanted) {
        (None, None) if has(&flat) => Ok(flat),
        (Some(other), None) => Ok(other),
        (other, Some(wanted)) => {
            let there = if other.is_none() { "one set, without a name" } else { default.name() };
            let what = format!("MLNX_OFED {version} has no library set `{}`: it has {there}", wanted.name());
            Err(Reason::BadSettings.error(what))
        }
        (None, None) => {
            let what = match format {
                Format::Deb => {
                    format!("`{flat}` of MLNX_OFED {version} has no index, so it is no repository")
                }
                Format::Rpm => format!("`{flat}` of MLNX_OFED {version} has no packages"),
            };
            Err(Reason::WrongPackage.error(what))
        }
    }
}

/// Where a library set may lie. For rpm, 4.9 has its own set in `RPMS` itself, and the other beside it.
fn places(format: Format, set: LibrarySet, has_two: bool) -> Vec<String> {
    match (format, set) {
        (Format::Deb, set) => vec![format!("{FLAT}/{}", set.folder())],
        (Format::Rpm, set) => {
            let mut places =
                vec![format!("{FLAT_RPM}/{}", set.folder()), format!("{FLAT_RPM}_{}", set.folder())];
            places.extend((set == LibrarySet::Mlnx && has_two).then(|| FLAT_RPM.to_owned()));
            places
        }
    }
}

/// The library set that the installer of a release takes by itself.
fn default_set(version: &str) -> LibrarySet {
    if Version::new(version) >= Version::new("5.0") { LibrarySet::Upstream } else { LibrarySet::Mlnx }
}

/// Removes the library set that is not installed from an unpacked bundle that has both, for debs or for rpms: packages of
/// both have the same names and versions and other contents, and no resolver can tell them apart.
pub(super) fn leave_one_set(unpacked: &Path, version: &str, wanted: Option<LibrarySet>) -> Result<()> {
    let root = Root::open(unpacked)?;
    let set = wanted.unwrap_or_else(|| default_set(version));
    for top in root.list("/") {
        for base in [FLAT, FLAT_RPM] {
            let folder = |set: LibrarySet| format!("/{top}/{base}/{}", set.folder());
            let others = LibrarySet::ALL.into_iter().filter(|it| *it != set);
            if root.is_dir(&folder(set)) {
                others
                    .map(folder)
                    .filter(|other| root.is_dir(other))
                    .try_for_each(|it| root.remove_all(&it))?;
            }
        }
    }
    Ok(())
}

/// The release is bound by the version of the metapackage, which the index covers, and where `Release` says it, by that.
fn is_of_the_release(said: &Said, plan: &Plan, version: &str) -> Result<()> {
    let is_another = |label: &&String| label.starts_with(|c: char| c.is_ascii_digit()) && *label != version;
    if let Some(other) = said.labels.iter().find(is_another) {
        return Err(
            Reason::WrongPackage.error(format!("the folder says it is of {other}, and not of {version}"))
        );
    }
    let Some(name) = metapackage(plan) else { return Ok(()) };
    let Some((_, found)) = said.packages.iter().find(|(package, _)| package == name) else {
        let begin = super::METAPACKAGE;
        let there = said.packages.iter().map(|(name, _)| name.as_str()).filter(|it| it.starts_with(begin));
        let there = there.collect::<Vec<_>>().join(", ");
        return Err(Reason::WrongPackage.error(format!("the folder has no package {name}; it has {there}")));
    };
    // An rpm's goes on with the distribution: `5.0-2.1.8.0.rhel7.7`.
    let rest = found.strip_prefix(version);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
        return Ok(());
    }
    Err(Reason::WrongPackage.error(format!("the folder's {name} is of {found}, and not of {version}")))
}

/// Whether its packages have what the planned kernels need: built modules for the one, or sources.
fn serves_kernels(said: &Said, plan: &Plan, version: &str) -> Result<()> {
    let Some(kernels) = &said.kernels else { return Ok(()) };
    let planned = &plan.target.kernels;
    let lacks = |what: String| {
        let there: Vec<&str> = kernels.iter().map(String::as_str).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Cause::BundleLacksKernel
            .error(format!("MLNX_OFED {version} has {what}; its built modules are for {there}"))
    };
    if has_modules(plan, Format::Rpm) {
        let missing = planned.iter().find(|kernel| !kernels.contains(*kernel));
        return missing.map_or(Ok(()), |kernel| Err(lacks(format!("no modules for {kernel}"))));
    }
    if said.packages.iter().any(|(name, _)| name == super::SOURCES) {
        return Ok(());
    }
    Err(lacks(format!("no package {} for {}", super::SOURCES, planned.join(" and "))))
}

/// Whether its packages are planned, and its installer is not run.
pub(super) fn is_installed_from(plan: &Plan) -> bool {
    metapackage(plan).is_some() || has_sources(plan)
}

/// Whether the planned packages have built modules.
pub(super) fn has_modules(plan: &Plan, format: Format) -> bool {
    format == Format::Rpm && !has_sources(plan)
}

/// Whether the planned packages are those of an rpm bundle's sources.
fn has_sources(plan: &Plan) -> bool {
    plan.packages.iter().any(|name| name == super::SOURCES)
}

/// The planned package that needs the others of the bundle; none where the vendor's installer is to choose them.
pub(super) fn metapackage(plan: &Plan) -> Option<&str> {
    plan.packages.iter().map(String::as_str).find(|name| name.starts_with(super::METAPACKAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_library_sets_the_one_that_is_not_installed_is_removed() {
        for (version, wanted, left) in [
            ("5.0-2.1.8.0", None, "UPSTREAM_LIBS"),
            ("4.9-7.1.0.0", None, "MLNX_LIBS"),
            ("4.9-7.1.0.0", Some(LibrarySet::Upstream), "UPSTREAM_LIBS"),
        ] {
            for base in [FLAT, "RPMS"] {
                let dir = tempfile::tempdir().unwrap();
                let base = dir.path().join(format!("MLNX_OFED_LINUX-{version}")).join(base);
                for name in ["COMMON", "MLNX_LIBS", "UPSTREAM_LIBS"] {
                    std::fs::create_dir_all(base.join(name)).unwrap();
                }
                leave_one_set(dir.path(), version, wanted).unwrap();
                let mut names: Vec<_> =
                    std::fs::read_dir(&base).unwrap().map(|it| it.unwrap().file_name()).collect();
                names.sort();
                assert_eq!(names, ["COMMON", left]);
            }
        }
    }

    #[test]
    fn a_bundle_with_one_set_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let only = dir.path().join("MLNX_OFED_LINUX-5.0/DEBS/MLNX_LIBS");
        std::fs::create_dir_all(&only).unwrap();
        leave_one_set(dir.path(), "5.0-2.1.8.0", None).unwrap();
        assert!(only.exists());
    }

    fn chosen(folders: &[&str], version: &str, wanted: Option<LibrarySet>) -> Result<String> {
        let dir = tempfile::tempdir().unwrap();
        for folder in folders {
            std::fs::create_dir_all(dir.path().join("top").join(folder)).unwrap();
            std::fs::write(dir.path().join("top").join(folder).join("Packages"), "").unwrap();
        }
        choose(Format::Deb, &Root::open(dir.path()).unwrap(), "/top", version, wanted)
    }

    #[test]
    fn a_bundle_of_rpms_has_its_library_sets_in_other_folders() {
        let chosen = |folders: &[&str], version: &str, wanted| {
            let dir = tempfile::tempdir().unwrap();
            for folder in folders {
                let folder = dir.path().join("top").join(folder);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join("a.rpm"), "").unwrap();
            }
            choose(Format::Rpm, &Root::open(dir.path()).unwrap(), "/top", version, wanted)
        };
        assert_eq!(chosen(&["RPMS"], "24.10-3.2.5.0", None).unwrap(), "RPMS");
        let of_5_0 = ["RPMS/MLNX_LIBS", "RPMS_UPSTREAM_LIBS"];
        assert_eq!(chosen(&of_5_0, "5.0-2.1.8.0", None).unwrap(), "RPMS_UPSTREAM_LIBS");
        assert_eq!(chosen(&of_5_0, "5.0-2.1.8.0", Some(LibrarySet::Mlnx)).unwrap(), "RPMS/MLNX_LIBS");
        let of_4_9 = ["RPMS", "RPMS_UPSTREAM_LIBS"];
        assert_eq!(chosen(&of_4_9, "4.9-7.1.0.0", None).unwrap(), "RPMS");
        assert_eq!(chosen(&of_4_9, "4.9-7.1.0.0", Some(LibrarySet::Upstream)).unwrap(), "RPMS_UPSTREAM_LIBS");
    }

    #[test]
    fn a_bundle_is_looked_into_for_its_library_sets() {
        let two = ["DEBS/MLNX_LIBS", "DEBS/UPSTREAM_LIBS", "DEBS_UPSTREAM_LIBS"];
        assert_eq!(chosen(&two, "4.9-7.1.0.0", None).unwrap(), "DEBS/MLNX_LIBS");
        assert_eq!(chosen(&two, "5.0-2.1.8.0", None).unwrap(), "DEBS/UPSTREAM_LIBS");
        assert_eq!(chosen(&two, "5.0-2.1.8.0", Some(LibrarySet::Mlnx)).unwrap(), "DEBS/MLNX_LIBS");
        assert_eq!(chosen(&["DEBS"], "24.10-3.2.5.0", None).unwrap(), "DEBS");
        assert_eq!(chosen(&["DEBS/UPSTREAM_LIBS"], "4.9-1", None).unwrap(), "DEBS/UPSTREAM_LIBS");
        let refused =
            |folders: &[&str], wanted| Reason::from_error(&chosen(folders, "24.10-1", wanted).unwrap_err());
        assert_eq!(refused(&["DEBS"], Some(LibrarySet::Mlnx)), Reason::BadSettings);
        assert_eq!(refused(&[], None), Reason::WrongPackage);
    }
}
