//! A bundle: all files that one target needs, as one OCI manifest with a layer per file.

use super::blob::Blob;
use super::digest::Digest;
use crate::outcome::Reason;
use crate::target::{Arch, Distro, Driver};
use crate::trust::{Origin, VendorFile};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// The artifact type of a bundle's manifest.
pub const BUNDLE_TYPE: &str = "application/vnd.ofedctl.bundle.v1";
/// The media type of a Debian package.
pub const DEB_TYPE: &str = "application/vnd.ofedctl.package.deb.v1";
/// The media type of the `Packages` index that makes a bundle's files a flat apt repository.
pub const APT_INDEX_TYPE: &str = "application/vnd.ofedctl.repository.apt.v1";
/// The media type of an rpm package.
pub const RPM_TYPE: &str = "application/vnd.ofedctl.package.rpm.v1";
/// The media type of the index files that make a bundle's files an rpm repository.
pub const RPM_INDEX_TYPE: &str = "application/vnd.ofedctl.repository.rpm.v1";
/// The media type of a file of the driver's vendor, unchanged.
pub const VENDOR_TYPE: &str = "application/vnd.ofedctl.vendor.v1";
/// The media type of the licence that comes in a vendor's file.
pub const LICENCE_TYPE: &str = "application/vnd.ofedctl.licence.v1";
/// The media type of an archive of kernel modules that were built from a bundle's files, for one kernel.
pub const BUILT_TYPE: &str = "application/vnd.ofedctl.built.v1";
/// The annotation of a layer that holds its file name; `oras pull` writes files by it.
pub(super) const TITLE: &str = "org.opencontainers.image.title";

/// The `ofedctl` member of a bundle's config: which target the bundle serves and what is to be installed from it.
/// Unknown members are ignored, so that bundles of later versions can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BundleConfig {
    /// The version of this document, 1.
    pub schema_version: u32,
    /// Where the driver comes from.
    pub driver: Driver,
    /// The driver's version; none where the distribution decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// The distribution for which packages were resolved.
    pub distro: Distro,
    /// The architecture for which packages were resolved.
    pub arch: Arch,
    /// The kernels for which it contains modules, or for which packages were resolved.
    #[serde(default)]
    pub kernels: Vec<String>,
    /// The packages to request from the package manager.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The package repository that the bundle's files make up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The record of the vendor's file in the bundle, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_file: Option<VendorFile>,
    /// The room that the vendor's file takes in a root, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_room: Option<VendorRoom>,
    /// Repositories whose packages are in the bundle although no key verified them. This is only a record; no decision
    /// uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsigned: Vec<String>,
    /// Where packages came from that a target's own package manager named, and who vouches for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
    /// The program that wrote it, e.g. `ofedctl 0.1.0`.
    #[serde(default)]
    pub made_by: String,
}

/// The room that a vendor's file takes in a root, in bytes: counted while it is staged, because only a look into it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VendorRoom {
    /// What the file unpacks to.
    pub unpacked: u64,
    /// What those of its packages take that are installed.
    pub packages: u64,
}

/// The package repository that a bundle's files form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repository {
    /// Which package manager reads it.
    pub kind: RepositoryKind,
    /// The title of the file that holds its index.
    pub index: String,
}

/// The kinds of package repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RepositoryKind {
    /// A flat apt repository.
    Apt,
    /// An rpm repository, whose index files go into `repodata`.
    Rpm,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BundleFile {
    /// Its name.
    pub title: String,
    /// What it is.
    pub media_type: String,
    /// Its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// A file that was built from a bundle's files and may be kept with them.
#[derive(Debug)]
pub struct Built {
    /// Its name, which tells the module's package and the kernel.
    pub title: String,
    /// Its bytes.
    pub file: File,
}

/// A bundle as it lies in a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bundle {
    /// Its tag in the cache.
    pub tag: String,
    /// The digest of its manifest, which covers the whole bundle.
    pub digest: Digest,
    /// The bytes of all its blobs, shared or not.
    pub size_in_all: u64,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// What it serves.
    pub config: BundleConfig,
    /// Its files, by title.
    pub files: Vec<BundleFile>,
    /// Its config blob.
    #[serde(skip)]
    pub(super) config_blob: Blob,
    /// The size of its manifest.
    #[serde(skip)]
    pub(super) manifest_size: u64,
}

impl Bundle {
    /// All its blobs with their sizes: the files, and the two documents that make them a bundle.
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let documents = [(self.digest, self.manifest_size), (self.config_blob.digest, self.config_blob.size)];
        documents.into_iter().chain(self.files.iter().map(|file| (file.digest, file.size))).collect()
    }

    /// A file by its name.
    pub fn file(&self, title: &str) -> Option<&BundleFile> {
        self.files.iter().find(|file| file.title == title)
    }

    /// What whoever gives it away has to know: the vendor's file in it is under the vendor's licence. None where there is no
    /// such file.
    pub fn licence_notice(&self) -> Option<String> {
        let of = |kind: &str| self.files.iter().find(|file| file.media_type == kind);
        let file = &of(VENDOR_TYPE)?.title;
        Some(match of(LICENCE_TYPE) {
            Some(licence) => format!(
                "`{file}` is NVIDIA's: its licence, in the bundle as `{}`, says to whom it may be given",
                licence.title
            ),
            None => format!(
                "`{file}` is NVIDIA's, and brings no file of its licence: ask NVIDIA to whom it may be given"
            ),
        })
    }
}

/// Checks that titles can be file names of one folder, and that the repository's index is among them.
pub(super) fn check_files(files: &[BundleFile], repository: Option<&Repository>) -> Result<()> {
    let mut titles = BTreeSet::new();
    for file in files {
        let title = &file.title;
        if !is_file_name(title) {
            let message = format!("the title `{}` is not a plain file name", title.escape_default());
            return Err(Reason::CacheUnreadable.error(message));
        }
        if !titles.insert(title.as_str()) {
            return Err(Reason::CacheUnreadable.error(format!("the title `{title}` stands twice")));
        }
    }
    match repository {
        Some(repository) if !titles.contains(repository.index.as_str()) => {
            let index = repository.index.escape_default();
            Err(Reason::CacheUnreadable
                .error(format!("the repository's index `{index}` is not among the files")))
        }
        _ => Ok(()),
    }
}

/// Whether a title is a plain file name. Titles become file names in a folder and must not lead out of it.
fn is_file_name(title: &str) -> bool {
    !matches!(title, "" | "." | "..")
        && title.len() <= 255
        && !title.chars().any(|c| c == '/' || c.is_control())
}

/// Checks that every registry accepts a tag.
pub(super) fn check_tag(tag: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let well_formed = tag.len() <= 128 && tag.chars().all(plain) && !tag.starts_with(['.', '-']);
    if well_formed && !tag.is_empty() {
        return Ok(());
    }
    let tag = tag.escape_default();
    Err(Reason::Usage.error(format!("`{tag}` is not a tag: use up to 128 letters, digits, `_`, `.` and `-`")))
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::*;
    use proptest::prelude::*;

    fn file(title: &str) -> BundleFile {
        BundleFile {
            title: title.into(),
            media_type: DEB_TYPE.into(),
            digest: Digest::of_bytes(b"x"),
            size: 1,
        }
    }

    #[test]
    fn a_title_that_is_not_a_plain_file_name_is_refused() {
        for title in ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\nb", "a\0", &"x".repeat(256)] {
            let error = check_files(&[file(title)], None).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::CacheUnreadable, "{title:?}");
        }
        check_files(&[file("a..b_1.0+x~y_amd64.deb"), file("Packages")], None).unwrap();
        assert!(check_files(&[file("a"), file("a")], None).is_err());
    }

    #[test]
    fn a_repository_without_its_index_is_refused() {
        let repository = Repository { kind: RepositoryKind::Apt, index: "Packages".into() };
        assert!(check_files(&[file("a.deb")], Some(&repository)).is_err());
        check_files(&[file("Packages")], Some(&repository)).unwrap();
    }

    #[test]
    fn members_of_later_versions_are_passed_over() {
        let mut value = serde_json::to_value(config()).unwrap();
        value["schema_version"] = 2.into();
        value["invented_later"] = serde_json::json!({"a": [1]});
        let read: BundleConfig = serde_json::from_value(value).unwrap();
        assert_eq!(read, BundleConfig { schema_version: 2, ..config() });
    }

    #[test]
    fn a_tag_no_registry_takes_is_refused() {
        for tag in ["", ".a", "-a", "a/b", "a:b", "a b", &"x".repeat(129)] {
            assert_eq!(Reason::from_error(&check_tag(tag).unwrap_err()), Reason::Usage, "{tag}");
        }
        check_tag("inbox-debian12-amd64_6.1.0-25").unwrap();
    }

    proptest! {
        #[test]
        fn no_title_leads_out_of_a_folder(title in any::<String>()) {
            if is_file_name(&title) {
                let path = std::path::Path::new("/folder").join(&title);
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/folder")));
                prop_assert_eq!(path.file_name().unwrap().to_str(), Some(title.as_str()));
            }
        }
    }
}
