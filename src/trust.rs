//! How far a vendor's file can be trusted, and what is known of one that came.
//!
//! Nothing runs as root which the level in force (the setting `trust`) does not cover. What covers a file is decided
//! again wherever it is used, from catalogue, keys and settings.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// What vouches for a vendor's file, or has to; the stronger, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// It came over TLS from the vendor's own host, and whoever has its digest from then on takes no other file.
    #[default]
    FirstUse,
    /// A key of the vendor that this program pins, or that the settings name, signs all of it that runs.
    Signed,
    /// Somebody published its digest, or the user gives it.
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

    /// The level of a file whose digest is known: also of plans that were written before there were levels.
    pub const fn of_digest() -> Self {
        Self::Digest
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A vendor's file as it was taken: what bundles and receipts remember, so that no other file of that name is taken
/// where nobody published its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VendorFile {
    /// Its name.
    pub file_name: String,
    /// The SHA-256 of what came, in hexadecimal.
    pub sha256: String,
    /// What vouched for it then. A record, never an argument.
    pub trust: Trust,
    /// Where it came from, without secrets.
    pub url: String,
}

/// The vendor's own hosts, with what the paths of its drivers begin with: the places that its documents, azhpc-images,
/// azhpc-extensions and microsoft/lisa download from.
const VENDOR_PLACES: [(&str, &str); 4] = [
    ("content.mellanox.com", "/"),
    ("www.mellanox.com", "/downloads/"),
    ("linux.mellanox.com", "/public/"),
    ("developer.download.nvidia.com", "/"),
];

/// Whether an address is a place of the vendor's own, over TLS.
pub fn is_vendors(url: &str) -> bool {
    let Some(("https", rest)) = url.split_once("://") else { return false };
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    // Compared as a whole: a user name, another port or a fragment makes it another place.
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let places = VENDOR_PLACES.iter().filter(|(name, _)| host.eq_ignore_ascii_case(name));
    !path.contains("/../") && { places }.any(|(_, begin)| path.starts_with(begin))
}

/// An address as it is asked: the vendor's by TLS, also where a list gives it without, as the live extension's does.
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
