//! Basic types: the target for which a driver is chosen, and the drivers that exist.

mod distro;
mod releases;

pub use distro::{Distro, Family};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Whether a run works on an image or on a running VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An image is baked: no InfiniBand hardware is needed, the user describes the target, and no service may start.
    Bake,
    /// A running VM: its own hardware decides.
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

/// What a version is compared by: numbers as numbers, so that 6.1.0-9 comes before 6.1.0-10.
pub fn natural(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let words = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (word, after) = after.split_at(words);
        parts.push((number.parse().unwrap_or(u64::MAX), word));
        rest = after;
    }
    parts
}

/// A kernel release as rpm versions contain it: `uname -r` without the architecture at its end.
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
    /// The vendor's DOCA-Host: a package that contains a local repository, from which `doca-ofed` is installed.
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

/// The system for which a driver is wanted.
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
    /// Its family, where its name does not tell (`ID_LIKE` of os-release).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

impl Target {
    /// The family, by the field `family` or by the distribution's name.
    pub fn family(&self) -> Family {
        self.family.unwrap_or_else(|| self.distro.family())
    }
}
