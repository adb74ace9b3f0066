//! How much of a vendor's driver to install, and which of its sets of packages.

use serde::{Deserialize, Serialize};

/// How much of DOCA-Host to install: its profiles that bring kernel modules (DOCA's installation guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DocaProfile {
    /// What `MLNX_OFED` was: drivers, libraries and tools.
    #[default]
    DocaOfed,
    /// That, and the libraries of DOCA for networking.
    DocaNetworking,
    /// Everything.
    DocaAll,
}

impl DocaProfile {
    /// The package that needs all others of the profile.
    pub const fn package(self) -> &'static str {
        match self {
            Self::DocaOfed => "doca-ofed",
            Self::DocaNetworking => "doca-networking",
            Self::DocaAll => "doca-all",
        }
    }
}

/// How much of `MLNX_OFED` to install: those of its groups of packages that bring kernel modules for InfiniBand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OfedProfile {
    /// Everything, which is what its installer does by itself.
    #[default]
    All,
    /// Without subnet managers, diagnostics and MPI.
    Basic,
    /// What clusters compute with.
    Hpc,
    /// What a virtual machine needs.
    Guest,
    /// The kernel modules alone; libraries stay the distribution's.
    KernelOnly,
}

impl OfedProfile {
    /// The package that needs all others of the profile (`create_mlnx_ofed_installers.pl` of 5.0).
    pub const fn package(self) -> &'static str {
        match self {
            Self::All => "mlnx-ofed-all",
            Self::Basic => "mlnx-ofed-basic",
            Self::Hpc => "mlnx-ofed-hpc",
            Self::Guest => "mlnx-ofed-guest",
            Self::KernelOnly => "mlnx-ofed-kernel-only",
        }
    }
}

/// Which of the two sets of libraries of `MLNX_OFED` 4.9 and 5.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LibrarySet {
    /// Built from rdma-core, as the distributions' are: the default from 5.0 on.
    Upstream,
    /// The vendor's own older ones, 4.9's default.
    Mlnx,
}

impl LibrarySet {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Mlnx];

    /// The name used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Mlnx => "mlnx",
        }
    }

    /// The folder of the bundle that holds it.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Upstream => "UPSTREAM_LIBS",
            Self::Mlnx => "MLNX_LIBS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a setting's text stands for.
    fn named<T: serde::de::DeserializeOwned>(text: &str) -> T {
        serde_json::from_value(text.into()).unwrap()
    }

    /// DOCA-Host's repository has these metapackages, and `create_mlnx_ofed_installers.pl` of 5.0 makes those.
    #[test]
    fn a_profile_is_installed_by_the_metapackage_that_the_vendor_calls_the_same() {
        for name in ["doca-ofed", "doca-networking", "doca-all"] {
            assert_eq!(named::<DocaProfile>(name).package(), name);
        }
        for name in ["all", "basic", "hpc", "guest", "kernel-only"] {
            assert_eq!(named::<OfedProfile>(name).package(), format!("mlnx-ofed-{name}"));
        }
    }

    /// `DEBS/UPSTREAM_LIBS` and `DEBS/MLNX_LIBS` of 4.9 and 5.0.
    #[test]
    fn a_set_of_libraries_lies_in_the_folder_that_has_its_name() {
        for set in LibrarySet::ALL {
            assert_eq!(named::<LibrarySet>(set.name()), set);
            assert_eq!(set.folder(), format!("{}_LIBS", set.name().to_uppercase()));
        }
    }
}
