//! How each package manager's upgrades skip packages: by a list in a file, except that dpkg stores it as the state of a
//! package.

use serde::{Deserialize, Serialize};

/// How a package manager's file lists what upgrades leave alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum HoldList {
    /// `excludepkgs` in the `[main]` section (dnf.conf(5)).
    Excludepkgs,
    /// `exclude` in the `[main]` section (yum.conf(5)).
    Exclude,
    /// A paragraph for each (zypper(8), `addlock`).
    ZyppLocks,
}

/// Where a package manager is told what upgrades leave alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldPlace {
    /// In the state of each package.
    PackageState,
    /// In a file that lists other things, too.
    List {
        /// The file, inside the root.
        path: String,
        /// How it lists them.
        list: HoldList,
    },
    /// In a file with nothing but names, one on each line, whole; no comments (vmware/tdnf, client/config.c and goal.c).
    Names {
        /// The file, inside the root.
        path: String,
    },
}

/// How a package manager is kept from replacing a vendor's RDMA packages by the distribution's, whichever version is
/// higher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VendorGuard {
    /// A file of its own, which tells the origins of packages apart.
    File {
        /// The file, inside the root.
        path: &'static str,
        /// Its text.
        content: String,
    },
    /// Where origins can't be told apart, the packages of these names are held back.
    HoldBack(&'static [&'static str]),
}
