//! Distributions: their names, the other names in use for them, and their families.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A family of distributions, which share a package manager and the paths of configuration files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// apt and dpkg.
    Debian,
    /// dnf or yum, and rpm.
    Rhel,
    /// zypper and rpm.
    Suse,
    /// tdnf and rpm.
    Azure,
    /// A family that this program does not know.
    Other,
}

/// The distributions that are known by name, and their families. Others are known by what they are like.
const KNOWN: [(&str, Family); 24] = [
    ("debian", Family::Debian),
    ("ubuntu", Family::Debian),
    ("rhel", Family::Rhel),
    ("centos", Family::Rhel),
    ("almalinux", Family::Rhel),
    ("rocky", Family::Rhel),
    ("ol", Family::Rhel),
    ("fedora", Family::Rhel),
    ("amzn", Family::Rhel),
    ("sles", Family::Suse),
    ("sled", Family::Suse),
    ("opensuse-leap", Family::Suse),
    ("opensuse-tumbleweed", Family::Suse),
    ("azurelinux", Family::Azure),
    ("mariner", Family::Azure),
    // What their os-release has in ID_LIKE: without a root only the name is there to tell.
    ("linuxmint", Family::Debian),
    ("pop", Family::Debian),
    ("kali", Family::Debian),
    ("raspbian", Family::Debian),
    ("neon", Family::Debian),
    ("cloudlinux", Family::Rhel),
    ("eurolinux", Family::Rhel),
    ("scientific", Family::Rhel),
    ("virtuozzo", Family::Rhel),
];

/// Other names of distributions: in os-release of SUSE's and Oracle's editions, in azhpc-images, in Azure's
/// marketplace, and in common use.
const ALIASES: [(&str, &str); 27] = [
    ("alma", "almalinux"),
    ("rockylinux", "rocky"),
    ("rocky-linux", "rocky"),
    ("oracle", "ol"),
    ("oraclelinux", "ol"),
    ("oracle-linux", "ol"),
    ("redhat", "rhel"),
    ("redhatenterprise", "rhel"),
    ("centosstream", "centos"),
    ("centos-stream", "centos"),
    ("stream", "centos"),
    ("sles_sap", "sles"),
    ("sles-sap", "sles"),
    ("sle_hpc", "sles"),
    ("sle-hpc", "sles"),
    ("sle", "sles"),
    ("suse", "sles"),
    ("leap", "opensuse-leap"),
    ("opensuse", "opensuse-leap"),
    ("tumbleweed", "opensuse-tumbleweed"),
    ("azure-linux", "azurelinux"),
    ("azl", "azurelinux"),
    ("cblmariner", "mariner"),
    ("cbl-mariner", "mariner"),
    ("amazon", "amzn"),
    ("amazonlinux", "amzn"),
    ("centos_stream", "centos"),
];

/// Code names of releases and their version numbers (distro-info-data). Rolling suites such as Debian sid have no
/// number.
const CODENAMES: [(&str, &str, &str); 16] = [
    ("bionic", "ubuntu", "18.04"),
    ("focal", "ubuntu", "20.04"),
    ("jammy", "ubuntu", "22.04"),
    ("noble", "ubuntu", "24.04"),
    ("plucky", "ubuntu", "25.04"),
    ("questing", "ubuntu", "25.10"),
    ("resolute", "ubuntu", "26.04"),
    ("buster", "debian", "10"),
    ("bullseye", "debian", "11"),
    ("bookworm", "debian", "12"),
    ("trixie", "debian", "13"),
    ("forky", "debian", "14"),
    ("duke", "debian", "15"),
    ("sid", "debian", ""),
    ("unstable", "debian", ""),
    ("testing", "debian", ""),
];

/// The name used in this program for a distribution's other name.
fn known_name(name: &str) -> &str {
    let name = name.trim_end_matches(['-', '_']);
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| known)
}

/// A version without its dot, as Azure's marketplace and virtual machines' names have it: `2204`, `96`, `810`.
fn with_dot(family: Family, id: &str, version: &str) -> Option<String> {
    let has_minor = family == Family::Rhel && !matches!(id, "fedora" | "amzn");
    let major = match version.as_bytes() {
        [_, _, _, _] if id == "ubuntu" => 2,
        [b'7'..=b'9', _] | [b'7'..=b'9', _, _] if has_minor => 1,
        [b'1', _, _] if has_minor => 2,
        _ => return None,
    };
    let (major, minor) = version.split_at_checked(major)?;
    version.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{major}.{minor}"))
}

/// The edit distance of two words: the number of letters to insert, delete, change, or swap with the next
/// (Damerau-Levenshtein).
pub(super) fn edits_between(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let above = &rows[i - 1];
            let mut least =
                (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// A distribution and its version, written as one word: `debian12`, `ubuntu22.04`, `rhel8.6`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(into = "String", try_from = "String")]
pub struct Distro {
    /// The `ID` of os-release, except that Azure Linux is `azurelinux` and Mariner is `mariner`.
    pub id: String,
    /// The most exact version known: `22.04`, `8.6`, `12`.
    pub version: String,
}

impl Distro {
    /// A distribution by id and version.
    pub fn new(id: impl Into<String>, version: impl Into<String>) -> Self {
        Self { id: id.into(), version: version.into() }
    }

    /// The family, by id.
    pub fn family(&self) -> Family {
        KNOWN.iter().find(|(id, _)| *id == self.id).map_or(Family::Other, |(_, family)| *family)
    }

    /// A distribution from `ID` and `VERSION_ID` of os-release, with the name used in this program. The version may be
    /// missing, as in rolling suites.
    pub fn of_os_release(id: &str, version: &str) -> Option<Self> {
        let numbers =
            version.len() - version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let id = id.to_ascii_lowercase();
        let id = known_name(&id);
        let legal = |c: char| c.is_ascii_lowercase() || c == '-' || c == '_';
        let is_word = !id.is_empty() && id.chars().all(legal);
        is_word.then(|| Self::new(id, &version[..numbers])).map(Self::by_its_custom)
    }

    /// Reads a release's name: `noble`, `debian-bookworm`.
    fn by_codename(text: &str) -> Option<Self> {
        let (name, id, version) = CODENAMES.iter().find(|(name, ..)| text.ends_with(name))?;
        let before = text.strip_suffix(name)?.trim_end_matches(['-', '_']);
        (before.is_empty() || known_name(before) == *id).then(|| Self::new(*id, *version))
    }

    /// Shortens the version to the part that tells this distribution's releases apart.
    fn by_its_custom(mut self) -> Self {
        if matches!(self.id.as_str(), "azurelinux" | "mariner") {
            // Updates within 3.x do not change VERSION_ID, so only the major version counts.
            self.version.truncate(self.version.find('.').unwrap_or(self.version.len()));
        }
        self
    }

    /// The distribution that a mistyped name may mean, for a suggestion.
    pub fn meant(&self) -> Option<Self> {
        let aliases = ALIASES.iter().map(|(alias, id)| (*alias, *id));
        let names = KNOWN.iter().map(|(id, _)| (*id, *id)).chain(aliases);
        let far = |name: &str| edits_between(name, &self.id);
        let (name, id) = names.min_by_key(|(name, _)| far(name))?;
        let same_start = name.chars().next() == self.id.chars().next();
        // In a short name, two wrong letters would be most of it.
        let most = if self.id.len() < 5 { 1 } else { 2 };
        ((1..=most).contains(&far(name)) && same_start).then(|| Self::new(id, &*self.version))
    }

    /// Whether `other` is this distribution or a more exactly named version of it: `rhel9` covers `rhel9.6`.
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.version.strip_prefix(&self.version);
        self.id == other.id && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl fmt::Display for Distro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.id, self.version)
    }
}

impl FromStr for Distro {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(released) = Self::by_codename(&lower) {
            return Ok(released);
        }
        let digits = lower.find(|c: char| c.is_ascii_digit()).unwrap_or(lower.len());
        let (id, version) = lower.split_at(digits);
        let id = known_name(id);
        // The vendor's and SUSE's own way to name a service pack: `15sp4`, `15-SP4`.
        let spelled = version.replace(['-', '_'], "").replacen("sp", ".", 1);
        let version = if id == "sles" { spelled.as_str() } else { version };
        let dotted = with_dot(Self::new(id, version).family(), id, version);
        let version = dotted.as_deref().unwrap_or(version);
        let well_formed = !id.is_empty()
            && id.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '_')
            && version.chars().all(|c| c.is_ascii_digit() || c == '.');
        if well_formed && !version.is_empty() {
            Ok(Self::new(id, version).by_its_custom())
        } else {
            Err(format!("`{text}` is not a distribution and version, such as debian12 or ubuntu22.04"))
        }
    }
}

impl From<Distro> for String {
    fn from(distro: Distro) -> Self {
        distro.to_string()
    }
}

impl TryFrom<String> for Distro {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // A name that this program wrote may have no version.
        text.parse().or_else(|error| Self::of_os_release(&text, "").filter(|it| it.id == text).ok_or(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_distribution_is_one_word() {
        let distro: Distro = "ubuntu22.04".parse().unwrap();
        assert_eq!((distro.id.as_str(), distro.version.as_str()), ("ubuntu", "22.04"));
        assert_eq!(distro.family(), Family::Debian);
        assert_eq!("ol1.0".parse::<Distro>().unwrap().version, "1.0");
        for wrong in ["", "12", "debian", "debian 12", "debian12b"] {
            assert!(wrong.parse::<Distro>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_names_that_others_use_are_understood() {
        let table = [
            ("alma9.8", "almalinux9.8"),
            ("ubuntu_24.04", "ubuntu24.04"),
            ("ol8.10", "ol8.10"),
            ("oracle8.10", "ol8.10"),
            ("sles_sap15.4", "sles15.4"),
            ("sles15sp4", "sles15.4"),
            ("sle-hpc15-SP5", "sles15.5"),
            ("rhel-9.6", "rhel9.6"),
            ("azurelinux3.0", "azurelinux3"),
            ("leap15.6", "opensuse-leap15.6"),
            ("RHEL-9.6", "rhel9.6"),
            ("SLES15-SP5", "sles15.5"),
            ("Ubuntu2204", "ubuntu22.04"),
            ("rhel810", "rhel8.10"),
            ("almalinux96", "almalinux9.6"),
            ("rhel101", "rhel10.1"),
            ("rhel10", "rhel10"),
            ("fedora42", "fedora42"),
            ("CentOS-Stream9", "centos9"),
            ("ubuntu-noble", "ubuntu24.04"),
            ("trixie", "debian13"),
            ("debian-sid", "debian"),
        ];
        for (name, wanted) in table {
            assert_eq!(name.parse::<Distro>().unwrap().to_string(), wanted, "{name}");
        }
        let written = Distro::of_os_release("arch", "").unwrap();
        assert_eq!(Distro::try_from(String::from(written.clone())), Ok(written));
    }

    #[test]
    fn a_mistyped_name_suggests_the_one_that_was_meant() {
        let table = [
            ("ubunut22.04", Some("ubuntu22.04")),
            ("debain12", Some("debian12")),
            ("rockey9.6", Some("rocky9.6")),
            ("alama9.6", Some("almalinux9.6")),
            ("oracel8.10", Some("ol8.10")),
            ("gentoo2.17", None),
            ("ubuntu22.04", None),
        ];
        for (name, wanted) in table {
            let meant = name.parse::<Distro>().unwrap().meant();
            assert_eq!(meant.map(|distro| distro.to_string()).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn a_shorter_version_covers_the_longer_ones() {
        let covers = |short: &str, long: &str| {
            short.parse::<Distro>().unwrap().covers(&long.parse::<Distro>().unwrap())
        };
        assert!(
            covers("rhel9", "rhel9.6") && covers("rhel9.6", "rhel9.6") && covers("mariner2", "mariner2.0")
        );
        assert!(!covers("rhel8.1", "rhel8.10") && !covers("rhel9.6", "rhel9") && !covers("rhel9", "rocky9"));
    }

    proptest! {
        #[test]
        fn a_distribution_reads_back_as_it_was_written(id in "[a-z]{2,10}", version in "[0-9]{1,2}(\\.[0-9]{1,2})?") {
            prop_assume!(known_name(&id) == id && id != "rhel" && !matches!(&*id, "sles" | "azurelinux" | "mariner"));
            let distro = Distro::new(id, version);
            prop_assert_eq!(distro.to_string().parse::<Distro>(), Ok(distro));
        }
    }
}
