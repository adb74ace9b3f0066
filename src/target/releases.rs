//! How distributions number their releases, so that a number which nobody can have meant is told from one that is
//! merely newer than this program.
//!
//! Sources: Debian's and Ubuntu's distro-info-data, endoflife.date for the others.

use super::distro::{Distro, edits_between};

/// The numbers of a distribution's releases.
struct Numbering {
    ids: &'static [&'static str],
    oldest: u32,
    /// The newest that has come out or has a name.
    newest: u32,
    /// How many more may have come out before somebody next looks at this table.
    ahead: u32,
    minors: Minors,
}

/// What stands behind the dot.
enum Minors {
    /// Nothing that tells releases apart.
    Free,
    /// Numbers up to this one.
    UpTo(u32),
    /// One of these.
    OneOf(&'static [&'static str]),
}

const NUMBERINGS: [Numbering; 9] = [
    Numbering { ids: &["debian"], oldest: 8, newest: 15, ahead: 2, minors: Minors::Free },
    Numbering { ids: &["ubuntu"], oldest: 14, newest: 26, ahead: 4, minors: Minors::OneOf(&["04", "10"]) },
    Numbering {
        ids: &["rhel", "centos", "almalinux", "rocky", "ol"],
        oldest: 6,
        newest: 10,
        ahead: 1,
        // The tenth is a release's last one (Red Hat's life cycle).
        minors: Minors::UpTo(10),
    },
    Numbering { ids: &["fedora"], oldest: 30, newest: 44, ahead: 8, minors: Minors::UpTo(0) },
    Numbering { ids: &["sles", "sled"], oldest: 11, newest: 16, ahead: 1, minors: Minors::UpTo(7) },
    Numbering { ids: &["opensuse-leap"], oldest: 15, newest: 16, ahead: 1, minors: Minors::UpTo(6) },
    Numbering { ids: &["azurelinux"], oldest: 3, newest: 4, ahead: 1, minors: Minors::Free },
    Numbering { ids: &["mariner"], oldest: 1, newest: 2, ahead: 0, minors: Minors::Free },
    Numbering { ids: &["linuxmint"], oldest: 17, newest: 22, ahead: 2, minors: Minors::UpTo(3) },
];

impl Numbering {
    fn has(&self, version: &str) -> bool {
        let (major, minor) = version.split_once('.').unwrap_or((version, ""));
        let in_time =
            major.parse().is_ok_and(|major| (self.oldest..=self.newest + self.ahead).contains(&major));
        in_time
            && match self.minors {
                Minors::Free => true,
                Minors::UpTo(last) => minor.is_empty() || minor.parse().is_ok_and(|minor: u32| minor <= last),
                Minors::OneOf(those) => minor.is_empty() || those.contains(&minor),
            }
    }

    /// Every release by its number.
    fn all(&self) -> impl Iterator<Item = String> {
        let with_minor = |major: u32| {
            let minors: Vec<String> = match self.minors {
                Minors::Free | Minors::UpTo(0) => Vec::new(),
                Minors::UpTo(last) => (0..=last).map(|minor| minor.to_string()).collect(),
                Minors::OneOf(those) => those.iter().map(|&minor| minor.to_owned()).collect(),
            };
            std::iter::once(major.to_string())
                .chain(minors.into_iter().map(move |minor| format!("{major}.{minor}")))
        };
        (self.oldest..=self.newest).flat_map(with_minor)
    }

    /// The one release that a mistyped number may mean: with the same digits, else with one wrong.
    fn meant(&self, version: &str) -> Option<String> {
        let sorted = |text: &str| {
            let mut digits: Vec<u8> = text.bytes().collect();
            digits.sort_unstable();
            digits
        };
        let near: Vec<String> = self.all().filter(|it| edits_between(it, version) == 1).collect();
        let same_digits = near.iter().find(|it| sorted(it) == sorted(version));
        same_digits.cloned().or_else(|| <[String; 1]>::try_from(near).ok().map(|[only]| only))
    }
}

impl Distro {
    /// Why there can be no such release, and which may be meant; none where there may be.
    pub fn doubt(&self) -> Option<String> {
        let numbering = NUMBERINGS.iter().find(|it| it.ids.contains(&self.id.as_str()))?;
        if self.version.is_empty() || numbering.has(&self.version) {
            return None;
        }
        let id = &self.id;
        let known = format!("{id}{} to {id}{}", numbering.oldest, numbering.newest);
        let meant = numbering.meant(&self.version);
        let meant = meant.map(|version| format!(": did you mean {id}{version}?")).unwrap_or_default();
        Some(format!(
            "`{self}` is no release that is known ({known} are){meant}; where it exists, `--root` looks at the image itself"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_release_has_is_doubted_with_the_one_that_was_meant() {
        let table = [
            ("debian21", Some("did you mean debian12?")),
            ("debian77", Some("debian8 to debian15 are); where")),
            ("ubuntu22.40", Some("did you mean ubuntu22.04?")),
            ("ubuntu24.05", Some("did you mean ubuntu24.04?")),
            ("rhel9.66", Some("did you mean rhel9.6?")),
            ("almalinux19", Some("is no release")),
            ("sles15.9", Some("is no release")),
            ("fedora402", Some("is no release")),
            ("mariner3", Some("is no release")),
        ];
        for (name, wanted) in table {
            let doubt = name.parse::<Distro>().unwrap().doubt();
            assert!(
                doubt.as_deref().zip(wanted).is_some_and(|(it, part)| it.contains(part)),
                "{name}: {doubt:?}"
            );
        }
    }

    #[test]
    fn a_release_that_may_exist_is_not_doubted() {
        let names = [
            "debian12",
            "debian14",
            "debian12.5",
            "ubuntu16.04",
            "ubuntu25.04",
            "ubuntu26.10",
            "ubuntu28.04",
            "ubuntu24",
            "rhel7.9",
            "rhel8.10",
            "almalinux10.2",
            "rocky11",
            "centos9",
            "ol8",
            "fedora42",
            "sles16",
            "sles15.7",
            "leap15.6",
            "azurelinux4",
            "mariner2",
            "linuxmint22",
            "kali2025.4",
            "amzn2023",
            "gentoo2.17",
        ];
        for name in names {
            assert_eq!(name.parse::<Distro>().unwrap().doubt(), None, "{name}");
        }
        assert_eq!(Distro::new("debian", "").doubt(), None, "sid");
    }
}
