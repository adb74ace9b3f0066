//! Trust levels of a vendor's file, and the record of a file that was downloaded. No vendor's file runs as root unless
//! its level is at least the one that the setting `trust` demands. The level is decided again at each use, from
//! catalogue, keys and settings.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// How a vendor's file is verified, or has to be. A stronger level compares as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// It was downloaded over TLS from the vendor's own host. Its digest is recorded then, and no other file is
    /// accepted later.
    #[default]
    FirstUse,
    /// Everything in it that runs is signed with a vendor's key that is built into this program or named in the
    /// settings.
    Signed,
    /// Its digest is published, or the user gives it.
    Digest,
}

impl Trust {
    /// The name used in settings and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstUse => "first-use",
            Self::Signed => "signed",
            Self::Digest => "digest",
        }
    }

    /// The level of a file whose digest is known. Also the level in plans that were written before levels existed.
    pub const fn of_digest() -> Self {
        Self::Digest
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The record of a vendor's file in bundles and receipts. It ensures that no other file of that name is accepted later
/// where no digest is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VendorFile {
    /// Its name.
    pub file_name: String,
    /// The SHA-256 of the downloaded file, in hexadecimal.
    pub sha256: String,
    /// How it was verified at that time. It is only a record: the level is decided again at each use.
    pub trust: Trust,
    /// Where it came from, without secrets.
    pub url: String,
}

/// A repository whose packages a target's own package manager named, and who vouches for them. What an image's own code says
/// counts for that image alone; what this program itself found signed counts wherever the key is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Origin {
    /// Its address, or what the target calls it.
    pub repository: String,
    /// The keys by which this program found all of these packages signed, by fingerprint or its end. None where it found
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Packages that lay in the target itself, and their paths there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The digest of what the target's own files say of it, where they do not name it by its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<String>,
}

/// The vendor's own hosts, with the path prefixes of its drivers. These are the places from which the vendor's
/// documents, azhpc-images, azhpc-extensions and microsoft/lisa download.
const VENDOR_PLACES: [(&str, &str); 4] = [
    ("content.mellanox.com", "/"),
    ("www.mellanox.com", "/downloads/"),
    ("linux.mellanox.com", "/public/"),
    ("developer.download.nvidia.com", "/"),
];

/// Whether an address is on the vendor's own host, over TLS.
pub fn is_vendors(url: &str) -> bool {
    let Some(("https", rest)) = url.split_once("://") else { return false };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    // The whole authority is compared: with a user name or another port it is another server.
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let places = VENDOR_PLACES.iter().filter(|(name, _)| host.eq_ignore_ascii_case(name));
    !path.contains("/../") && { places }.any(|(_, begin)| path.starts_with(begin))
}

/// The address that is requested: the vendor's always with TLS, even where a list has `http:`, as that of the published
/// extension does.
pub fn protected(url: &str) -> Cow<'_, str> {
    let by_tls = url.strip_prefix("http://").map(|rest| format!("https://{rest}"));
    by_tls.filter(|url| is_vendors(url)).map_or(Cow::Borrowed(url), Cow::Owned)
}

/// The host of an address, for messages.
pub fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_vendors_own_places_over_tls_are_the_vendors() {
        for url in [
            "https://content.mellanox.com/ofed/MLNX_OFED-5.5-1.0.3.2/x.tgz",
            "https://CONTENT.mellanox.com:443/ofed/x.tgz",
            "https://www.mellanox.com/downloads/DOCA/x.deb",
            "https://linux.mellanox.com/public/repo/doca/x",
        ] {
            assert!(is_vendors(url), "{url}");
        }
        for url in [
            "http://content.mellanox.com/ofed/x.tgz",
            "https://content.mellanox.com.example/ofed/x.tgz",
            "https://content.mellanox.com@example.org/x.tgz",
            "https://example.org/content.mellanox.com/x.tgz",
            "https://content.mellanox.com:8443/x.tgz",
            "https://content.mellanox.com#@example.org/x.tgz",
            "https://content.mellanox.com?@example.org/x.tgz",
            "https://www.mellanox.com/search?q=/downloads/",
            "https://www.mellanox.com/downloads/../upload/x.tgz",
            "https://mirror.example/ofed/x.tgz",
            "file:///content.mellanox.com/x.tgz",
            "content.mellanox.com/x.tgz",
            "",
        ] {
            assert!(!is_vendors(url), "{url}");
        }
    }

    #[test]
    fn a_vendors_address_is_asked_by_tls_and_no_other_is_changed() {
        let by_tls = protected("http://content.mellanox.com/ofed/x.tgz");
        assert_eq!(by_tls, "https://content.mellanox.com/ofed/x.tgz");
        for url in ["http://mirror.example/x.tgz", "https://content.mellanox.com/x", "x.tgz"] {
            assert_eq!(protected(url), url);
        }
        assert_eq!(host_of("https://me:secret@host:8/a?b"), "host:8");
    }

    #[test]
    fn a_stronger_level_is_the_greater() {
        assert!(Trust::Digest > Trust::Signed && Trust::Signed > Trust::FirstUse);
    }

    proptest::proptest! {
        #[test]
        fn no_address_makes_it_panic(url in ".{0,60}") {
            let _ = (is_vendors(&url), protected(&url).len(), host_of(&url).len());
        }
    }
}
