//! The vendor's signing keys. An archive contains the key itself (`RPM-GPG-KEY-Mellanox`); this module pins the
//! accepted keys by fingerprint and by the releases that they sign.
//!
//! Sources: `Release.gpg` of the bundles of 4.1 and 5.0, a 4.9 of December 2022, and the key files of 2020 and 2024. The
//! vendor's two older keys are DSA with SHA-1: v1 B35DA2F24879E6493C9F1C8101048FA7A9E4B643 (2013) and v2
//! 0DAED433E148394D18F3BA51C5ED83E26224C050 (2014; the debs of 4.1, and rpms up to 5.4-1.0.3.0). What they sign counts as
//! unsigned, so they are not in the list.

use crate::catalog::VendorKey;
use crate::catalog::versions::Version;
use crate::packages::Format;
use crate::packages::openpgp::Signer;

/// A key, and the releases that it signs.
struct Pinned {
    fingerprint: &'static str,
    /// The first release whose packages for Debian it signs; it signs all later ones as well.
    debs_from: &'static str,
    /// The same for rpm.
    rpms_from: &'static str,
}

/// v3: RSA 2048, SHA-256, of January 2018, without an end. 4.3 is the first release after that. Rpms were still signed by v2
/// in July 2021, with 5.4-1.0.3.0; that those of DOCA's time are signed by v3 follows from the name of its key file,
/// `RPM-GPG-KEY-Mellanox-SHA256`. Where that is not so, a package is refused that only a signature could vouch for.
///
/// "NVIDIA DOCA Host": RSA 4096, of January 2026. Since then the vendor signs its repositories with it, older releases of
/// them too, from that of OFED 24.10 on (Azure/AgentBaker, pull requests 9256 and 9394; NVIDIA/cuda-quantum, 5456). Of
/// `MLNX_OFED`, 24.10 is the one line that still gets releases.
const PINNED: [Pinned; 2] = [
    Pinned { fingerprint: "CAE649B3B3929F8470D4D33BA024F6F0E6D6A281", debs_from: "4.3", rpms_from: "23.10" },
    Pinned {
        fingerprint: "70454E6BF5D9C2D3B78709E8DC726C5E41B9CC50",
        debs_from: "24.10",
        rpms_from: "24.10",
    },
];

/// The fingerprints of the keys that sign a release: those pinned here, and those that the catalogue names.
fn keys_of<'a>(format: Format, release: &str, named: &'a [VendorKey]) -> impl Iterator<Item = &'a str> {
    let release = Version::new(release);
    let from = |key: &Pinned| match format {
        Format::Deb => Version::new(key.debs_from),
        Format::Rpm => Version::new(key.rpms_from),
    };
    let pinned: Vec<&str> =
        PINNED.iter().filter(|key| release >= from(key)).map(|key| key.fingerprint).collect();
    let named = named.iter().filter(move |key| release >= key.from).map(|key| key.fingerprint.as_str());
    pinned.into_iter().chain(named)
}

/// Whether the vendor signs the packages of a release with a key that is not weak.
pub(super) fn signs(format: Format, release: &str, named: &[VendorKey]) -> bool {
    keys_of(format, release, named).next().is_some()
}

/// Whether a signature counts as the vendor's: made with a key that is pinned for this release, or with one that the
/// user named.
pub(super) fn covers(
    signer: &Signer,
    (format, release): (Format, &str),
    named: &[VendorKey],
    named_by_user: bool,
) -> bool {
    !signer.is_weak && (named_by_user || keys_of(format, release, named).any(|key| key == signer.fingerprint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_strong_pinned_key_of_the_release_or_the_users_own_counts() {
        const V2: &str = "0DAED433E148394D18F3BA51C5ED83E26224C050";
        const V3: &str = "CAE649B3B3929F8470D4D33BA024F6F0E6D6A281";
        const SINCE_2026: &str = "70454E6BF5D9C2D3B78709E8DC726C5E41B9CC50";
        let table = [
            (SINCE_2026, false, "24.10-4.1.4.0", false, true),
            (SINCE_2026, false, "23.10-3.2.2.0", false, false),
            (V3, false, "5.0-2.1.8.0", false, true),
            (V3, false, "4.9-7.1.0.0", false, true),
            (V3, false, "24.10-3.2.5.0", false, true),
            (V3, false, "4.1-1.0.2.0", false, false),
            (V3, true, "5.0-2.1.8.0", false, false),
            (V2, true, "4.1-1.0.2.0", false, false),
            (V2, true, "4.1-1.0.2.0", true, false),
            ("ABCD", false, "5.0-2.1.8.0", false, false),
            ("ABCD", false, "5.0-2.1.8.0", true, true),
        ];
        for (fingerprint, is_weak, release, named, wanted) in table {
            let signer = Signer { fingerprint: fingerprint.to_owned(), is_weak };
            let of = (Format::Deb, release);
            assert_eq!(covers(&signer, of, &[], named), wanted, "{fingerprint} {release} {named}");
        }
        assert!(signs(Format::Deb, "5.0-2.1.8.0", &[]) && !signs(Format::Deb, "4.1-1.0.2.0", &[]));
        // v2 signs rpms of 2021 still.
        assert!(signs(Format::Rpm, "24.10-3.2.5.0", &[]) && !signs(Format::Rpm, "5.4-1.0.3.0", &[]));
    }

    #[test]
    fn a_key_that_the_catalogue_names_counts_from_its_first_release_on() {
        let named = VendorKey {
            fingerprint: "ABCD".to_owned(),
            from: Version::new("26.01"),
            source: "release notes".to_owned(),
        };
        let named = [named];
        let signer = |is_weak| Signer { fingerprint: "ABCD".to_owned(), is_weak };
        assert!(covers(&signer(false), (Format::Deb, "26.01-1.0.0.0"), &named, false));
        assert!(!covers(&signer(false), (Format::Rpm, "22.10-1.0.0.0"), &named, false));
        assert!(!covers(&signer(true), (Format::Rpm, "26.01-1.0.0.0"), &named, false));
    }
}
