//! How much of DOCA-Host is wanted.

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
