//! Parses the vendor's file names, and the names of distributions in them.

use super::versions::Version;
use crate::target::{Arch, Distro, Driver};
use std::path::Path;

/// The vendor's address of `MLNX_OFED` releases.
const MLNX_OFED_PLACE: &str = "https://content.mellanox.com/ofed";

/// A parsed file name of the vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// The driver.
    pub driver: Driver,
    /// Its version.
    pub version: Version,
    /// For DOCA-Host, the OFED release inside.
    pub ofed: Option<String>,
    /// The distribution it was built for; sources have none.
    pub distro: Option<Distro>,
    /// The architecture it was built for; sources have none.
    pub arch: Option<Arch>,
}

impl FileName {
    /// Reads a file name (the last part of an address). `None`: it is not one of the vendor's forms.
    ///
    /// The forms, as in the addresses of azhpc-images and azhpc-extensions:
    /// `MLNX_OFED_LINUX-<version>-<distro>-<arch>.tgz`, `MLNX_OFED_SRC-[debian-]<version>.tgz`,
    /// `doca-host_<version>-<build>-<ofed>-<distro>_<arch>.deb` and
    /// `doca-host-<version>-<build>_<ofed>_<distro>.<arch>.rpm`.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix("MLNX_OFED_LINUX-") {
            let (rest, arch) = rest.strip_suffix(".tgz")?.rsplit_once('-')?;
            let (version, tag) = rest.rsplit_once('-')?;
            return Self::built(Driver::MlnxOfed, version, None, tag, arch);
        }
        if let Some(rest) = name.strip_prefix("MLNX_OFED_SRC-") {
            let version = rest.strip_suffix(".tgz")?.trim_start_matches("debian-");
            let version = Version::new(version);
            return Some(Self { driver: Driver::MlnxOfed, version, ofed: None, distro: None, arch: None });
        }
        if let Some(rest) = name.strip_prefix("doca-host_") {
            let (rest, arch) = rest.strip_suffix(".deb")?.rsplit_once('_')?;
            let (version, rest) = rest.split_once('-')?;
            let (_build, rest) = rest.split_once('-')?;
            let (ofed, tag) = rest.rsplit_once('-')?;
            return Self::built(Driver::Doca, version, Some(ofed), tag, arch);
        }
        let (rest, arch) = name.strip_prefix("doca-host-")?.strip_suffix(".rpm")?.rsplit_once('.')?;
        let (version, rest) = rest.split_once('-')?;
        let (_build, rest) = rest.split_once('_')?;
        let (ofed, tag) = rest.split_once('_')?;
        Self::built(Driver::Doca, version, Some(ofed), tag, arch)
    }

    /// A file of a name that is none of the vendor's forms: a version for a distribution. Its ending tells the driver, because
    /// `MLNX_OFED` comes as an archive and DOCA-Host as a package.
    pub fn renamed(name: &str, version: Version, distro: Distro, arch: Arch) -> Option<Self> {
        let driver = match Path::new(name).extension()?.to_str()? {
            "tgz" => Driver::MlnxOfed,
            "deb" | "rpm" => Driver::Doca,
            _ => return None,
        };
        Some(Self { driver, version, ofed: None, distro: Some(distro), arch: Some(arch) })
    }

    /// The vendor's file of a version for a distribution, if its address is made of nothing else, as that of `MLNX_OFED` is.
    /// `built_for` is the distribution that it was built for.
    pub fn with_address(version: &Version, built_for: &Distro, arch: Arch) -> Option<(Self, String)> {
        // DOCA's versions have no dash, and the addresses of DOCA-Host a number of the build.
        version.as_str().contains('-').then_some(())?;
        let url = mlnx_ofed_url(version, built_for, arch);
        let (version, distro) = (version.clone(), Some(built_for.clone()));
        Some((Self { driver: Driver::MlnxOfed, version, ofed: None, distro, arch: Some(arch) }, url))
    }

    fn built(driver: Driver, version: &str, ofed: Option<&str>, tag: &str, arch: &str) -> Option<Self> {
        Some(Self {
            driver,
            version: Version::new(version),
            ofed: ofed.map(str::to_owned),
            distro: Some(distro_of_tag(tag)?),
            arch: Some(arch.parse().ok()?),
        })
    }
}

/// The last part of an address.
pub fn file_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The distribution a tag names: `rhel8.6`, `rhel87`, `rhel810`, `ubuntu2204`, `sles15sp4`; `alinux32` is Alibaba Cloud
/// Linux 3.2, whose os-release says `alinux` and `3`. NVIDIA's table of supported systems lists Azure Linux beside it.
fn distro_of_tag(tag: &str) -> Option<Distro> {
    let digits = tag.find(|c: char| c.is_ascii_digit())?;
    let (id, version) = tag.split_at(digits);
    let version = version.replace("sp", ".");
    let (major, minor) = match version.split_once('.') {
        Some((major, minor)) => (major, minor),
        // Without a dot the major version has one digit in 7, 8 and 9, and in Alibaba Cloud Linux; else two.
        None if id == "alinux" || version.starts_with(['7', '8', '9']) => version.split_at(1),
        None => version.split_at_checked(2)?,
    };
    // The os-release of these distributions has no minor version that matters.
    if minor.is_empty() || matches!(id, "debian" | "alinux" | "azurelinux" | "mariner") {
        return format!("{id}{major}").parse().ok();
    }
    format!("{id}{major}.{minor}").parse().ok()
}

/// The name of a distribution in the vendor's installer and package names: `ubuntu22.04`, `ol7.9`, `sles15sp4` (its
/// output on SLES is "Detected sles15sp0"). For `CentOS` it is that of RHEL: azhpc-images call the installer there
/// without `--distro`, which they pass on `AlmaLinux` and Rocky Linux.
pub fn tag_of(distro: &Distro) -> String {
    match distro.id.as_str() {
        "sles" => distro.to_string().replacen('.', "sp", 1),
        "centos" => format!("rhel{}", distro.version),
        _ => distro.to_string(),
    }
}

/// The vendor's address of an `MLNX_OFED` package, built as in the installers of azhpc-images.
pub fn mlnx_ofed_url(version: &Version, distro: &Distro, arch: Arch) -> String {
    let distro = tag_of(distro);
    format!("{MLNX_OFED_PLACE}/MLNX_OFED-{version}/MLNX_OFED_LINUX-{version}-{distro}-{arch}.tgz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> String {
        FileName::parse(name).map_or_else(
            || "-".to_owned(),
            |file| {
                let distro = file.distro.map_or_else(|| "-".to_owned(), |distro| distro.to_string());
                let arch = file.arch.map_or("-", Arch::name);
                format!("{} {} {} {distro} {arch}", file.driver, file.version, file.ofed.unwrap_or_default())
            },
        )
    }

    #[test]
    fn every_form_is_taken_apart() {
        for (name, want) in [
            (
                "MLNX_OFED_LINUX-5.8-2.0.3.0-ubuntu22.04-x86_64.tgz",
                "mlnx_ofed 5.8-2.0.3.0  ubuntu22.04 x86_64",
            ),
            ("MLNX_OFED_LINUX-5.7-1.0.2.0-sles15sp4-aarch64.tgz", "mlnx_ofed 5.7-1.0.2.0  sles15.4 aarch64"),
            (
                "MLNX_OFED_LINUX-23.10-0.5.5.0-debian12.1-x86_64.tgz",
                "mlnx_ofed 23.10-0.5.5.0  debian12 x86_64",
            ),
            ("MLNX_OFED_SRC-23.10-1.1.9.0.tgz", "mlnx_ofed 23.10-1.1.9.0  - -"),
            ("MLNX_OFED_SRC-debian-23.10-1.1.9.0.tgz", "mlnx_ofed 23.10-1.1.9.0  - -"),
            ("doca-host_3.2.2-035000-25.10-ubuntu2404_arm64.deb", "doca 3.2.2 25.10 ubuntu24.04 aarch64"),
            ("doca-host_2.9.1-018000-24.10-debian125_amd64.deb", "doca 2.9.1 24.10 debian12 x86_64"),
            ("doca-host-2.8.0-204000_24.07_rhel810.x86_64.rpm", "doca 2.8.0 24.07 rhel8.10 x86_64"),
            ("doca-host-3.2.1-044000_25.10_rhel9.x86_64.rpm", "doca 3.2.1 25.10 rhel9 x86_64"),
            ("doca-host-3.2.1-044000_25.10_rhel10.x86_64.rpm", "doca 3.2.1 25.10 rhel10 x86_64"),
            ("doca-host-3.2.1-044000_25.10_alinux32.x86_64.rpm", "doca 3.2.1 25.10 alinux3 x86_64"),
            ("doca-host-3.2.1-044000_25.10_rhel9.riscv64.rpm", "-"),
            ("MLNX_OFED_LINUX-5.8.iso", "-"),
            ("", "-"),
        ] {
            assert_eq!(parsed(name), want, "{name}");
        }
    }

    #[test]
    fn an_address_that_is_made_says_what_it_was_made_of() {
        let version = Version::new("5.7-1.0.2.0");
        for distro in ["sles15.4", "rhel8.10", "ubuntu22.04"] {
            let distro: Distro = distro.parse().unwrap();
            let url = mlnx_ofed_url(&version, &distro, Arch::X86_64);
            let file = FileName::parse(file_name(&url)).unwrap();
            assert_eq!((file.version, file.distro), (version.clone(), Some(distro)));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_the_reader_panic(name in "(MLNX_OFED_LINUX-|MLNX_OFED_SRC-|doca-host[-_])?.{0,60}(.tgz|.deb|.rpm)?") {
            let _ = FileName::parse(&name);
        }
    }
}
