//! The order of driver versions.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// A version as the vendor writes it: `5.8-2.0.3.0`, `24.10-3.2.5.0`, `3.2.1`.
///
/// Numbers are compared as numbers, whatever their length; versions that differ only in how they are
/// written (`5.8.1`, `5.8-1`, `05.8-1`) are ordered by their text, so that the order is total.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(String);

/// One number or word between dots and dashes. Words come before numbers: `1.0-rc1` is older than `1.0-1`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Word(&'a str),
    /// Digits without leading zeros: first by how many there are, then by what they are.
    Number(usize, &'a str),
}

impl Version {
    /// A version by its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a version of that release: `5.8-2.0.3.0` is one of `5.8`, `5.80-1.0` is not.
    pub fn is_of(&self, release: &str) -> bool {
        let rest = self.0.strip_prefix(release);
        !release.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.split(['.', '-', '_', '+']).map(|part| {
            if part.is_empty() || part.bytes().any(|byte| !byte.is_ascii_digit()) {
                return Part::Word(part);
            }
            let digits = part.trim_start_matches('0');
            Part::Number(digits.len(), digits)
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(other.parts()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vendors_versions_are_in_the_order_of_their_release() {
        let in_order = [
            "4.9-4.1.7.0",
            "4.9-7.1.0.0",
            "5.0-1.0.0.0",
            "5.8-2.0.3.0",
            "5.9-0.5.6.0",
            "5.9-0.5.6.0.107",
            "5.9-0.5.9.0",
            "23.04-1.1.3.0",
            "23.10-1.1.9.0",
            "24.10-3.2.5.0",
        ];
        assert!(in_order.is_sorted_by(|a, b| Version::new(*a) < Version::new(*b)));
        assert!(Version::new("2.8.0") < Version::new("2.10.0"));
        assert!(Version::new("1.0-rc1") < Version::new("1.0-1"));
    }

    #[test]
    fn a_release_is_a_whole_beginning() {
        let version = Version::new("5.8-2.0.3.0");
        assert!(version.is_of("5.8") && version.is_of("5") && version.is_of("5.8-2.0.3.0"));
        assert!(!version.is_of("5.8-2.0.3.00") && !version.is_of("") && !Version::new("5.80-1").is_of("5.8"));
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a-z.+-]{0,8}", b in "[0-9a-z.+-]{0,8}", c in "[0-9a-z.+-]{0,8}") {
            let (a, b, c) = (Version::new(a), Version::new(b), Version::new(c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
