//! The plain words of the field: what a driver is chosen for, and which drivers there are.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// When in a machine's life a run happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An image is being made: no InfiniBand hardware is needed, its target is described, and nothing may start.
    Bake,
    /// A VM that runs: its own hardware decides.
    Live,
}

/// A processor architecture, named as the kernel names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The kernel's name, `uname -m`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// dpkg's name, which is also the OCI name (`GOARCH`).
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The architecture this program was built for.
    pub const fn of_this_program() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }
}

/// A kernel as rpm packages have it in their versions: `uname -r` without the architecture at its end.
pub fn without_arch(kernel: &str) -> &str {
    let of = |arch: Arch| kernel.strip_suffix(arch.name())?.strip_suffix('.');
    of(Arch::X86_64).or_else(|| of(Arch::Aarch64)).unwrap_or(kernel)
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            other => Err(format!("`{other}` is not an architecture: use x86_64 or aarch64")),
        }
    }
}

/// What distributions have in common: their package manager and where they keep things.
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
    /// None this program knows.
    Other,
}

/// The distributions that are known by name, and their families. Others are known by what they are like.
const KNOWN: [(&str, Family); 15] = [
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
];

/// A distribution's name here, by what others call it: os-release of SUSE's and Oracle's editions, azhpc-images, people.
fn known_name(name: &str) -> &str {
    match name.trim_end_matches(['-', '_']) {
        "alma" => "almalinux",
        "rockylinux" | "rocky-linux" => "rocky",
        "oracle" | "oraclelinux" | "oracle-linux" => "ol",
        "redhat" | "redhatenterprise" => "rhel",
        "sles_sap" | "sle_hpc" | "sle-hpc" | "sle" | "suse" => "sles",
        "leap" | "opensuse" => "opensuse-leap",
        "azure-linux" | "azl" => "azurelinux",
        "cblmariner" | "cbl-mariner" => "mariner",
        other => other,
    }
}

/// How many letters have to be put in, left out or changed, or swapped with the next, to make one word of another.
fn edits_between(a: &str, b: &str) -> usize {
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

    /// Reads what os-release calls it, by the names that are used here. A version may be missing, as of what is never
    /// released.
    pub fn of_os_release(id: &str, version: &str) -> Option<Self> {
        let numbers =
            version.len() - version.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let id = id.to_ascii_lowercase();
        let id = known_name(&id);
        let legal = |c: char| c.is_ascii_lowercase() || c == '-' || c == '_';
        let is_word = !id.is_empty() && id.chars().all(legal);
        is_word.then(|| Self::new(id, &version[..numbers])).map(Self::by_its_custom)
    }

    /// With the version that its releases are told apart by.
    fn by_its_custom(mut self) -> Self {
        if matches!(self.id.as_str(), "azurelinux" | "mariner") {
            // 3.0 is all the 3.x there is: updates do not change VERSION_ID.
            self.version.truncate(self.version.find('.').unwrap_or(self.version.len()));
        }
        self
    }

    /// The distribution that may have been meant by a name that no list has.
    pub fn meant(&self) -> Option<Self> {
        let distance = |id: &str| edits_between(id, &self.id);
        let (id, far) = KNOWN.iter().map(|(id, _)| (*id, distance(id))).min_by_key(|(_, far)| *far)?;
        let same_start = id.chars().next() == self.id.chars().next();
        (far > 0 && far <= 2 && same_start).then(|| Self::new(id, &*self.version))
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
        let digits = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
        let (id, version) = text.split_at(digits);
        let id = known_name(id);
        // The vendor's and SUSE's own way to name a service pack: `15sp4`, `15-SP4`.
        let spelled = version.replace(['-', '_'], "").replace("SP", "sp").replacen("sp", ".", 1);
        let version = if id == "sles" { spelled.as_str() } else { version };
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
        // What is written down here may have no version.
        text.parse().or_else(|error| Self::of_os_release(&text, "").filter(|it| it.id == text).ok_or(error))
    }
}

/// A generation of Mellanox/NVIDIA `ConnectX` adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Nic {
    /// ConnectX-3 Pro (mlx4).
    #[serde(rename = "cx3-pro")]
    Cx3Pro,
    /// ConnectX-5.
    #[serde(rename = "cx5")]
    Cx5,
    /// ConnectX-6.
    #[serde(rename = "cx6")]
    Cx6,
    /// ConnectX-7.
    #[serde(rename = "cx7")]
    Cx7,
    /// ConnectX-8.
    #[serde(rename = "cx8")]
    Cx8,
}

impl Nic {
    /// Every generation, oldest first.
    pub const ALL: [Self; 5] = [Self::Cx3Pro, Self::Cx5, Self::Cx6, Self::Cx7, Self::Cx8];

    /// The name used in settings and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cx3Pro => "cx3-pro",
            Self::Cx5 => "cx5",
            Self::Cx6 => "cx6",
            Self::Cx7 => "cx7",
            Self::Cx8 => "cx8",
        }
    }

    /// The kernel driver of this generation's virtual functions.
    pub const fn kernel_driver(self) -> &'static str {
        match self {
            Self::Cx3Pro => "mlx4",
            Self::Cx5 | Self::Cx6 | Self::Cx7 | Self::Cx8 => "mlx5",
        }
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Nic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|nic| nic.name() == text).ok_or_else(|| {
            format!("`{text}` is not an adapter generation: use cx3-pro, cx5, cx6, cx7 or cx8")
        })
    }
}

/// Where a driver comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// The vendor's `MLNX_OFED`: a tgz with its own installer.
    MlnxOfed,
    /// The vendor's DOCA-Host: a package that brings a local repository, and `doca-ofed` from it.
    Doca,
    /// The distribution's own kernel modules and rdma-core.
    Inbox,
}

impl Driver {
    /// The name used in settings, bundles and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlnxOfed => "mlnx_ofed",
            Self::Doca => "doca",
            Self::Inbox => "inbox",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kernel-devel package: the headers that modules are built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KernelDevel {
    /// The kernel, as `uname -r` prints it.
    pub version: String,
    /// Where the package is, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What a driver is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Target {
    /// Distribution and version.
    pub distro: Distro,
    /// Architecture.
    pub arch: Arch,
    /// The kernels that must have working modules, as `uname -r` prints them.
    pub kernels: Vec<String>,
    /// The VM size, where known.
    pub vm_size: Option<String>,
    /// The adapter generation, where known.
    pub nic: Option<Nic>,
    /// What it is like, where its name does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

impl Target {
    /// The family, by what it is like or by its name.
    pub fn family(&self) -> Family {
        self.family.unwrap_or_else(|| self.distro.family())
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
        for wrong in ["", "12", "debian", "Debian12", "debian 12", "debian12b"] {
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
            prop_assume!(known_name(&id) == id && !matches!(&*id, "sles" | "azurelinux" | "mariner"));
            let distro = Distro::new(id, version);
            prop_assert_eq!(distro.to_string().parse::<Distro>(), Ok(distro));
        }
    }
}
