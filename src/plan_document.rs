//! The plan as a document: what `plan` prints, the other steps execute and the receipt keeps.
//!
//! It is complete: another program could carry it out with a package manager and a text editor.

use crate::edit::Edit;
use crate::target::{Arch, Distro, Driver, Nic};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What a driver is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A driver that was considered and not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The driver.
    pub driver: Driver,
    /// Its version, where it has one of its own.
    pub version: Option<String>,
    /// Why not, in one line.
    pub why: String,
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this document's form.
    pub schema_version: u32,
    /// What it is for.
    pub target: Target,
    /// The driver chosen.
    pub driver: Driver,
    /// Its version; none for the distribution's own.
    pub driver_version: Option<String>,
    /// Why this one, in a few lines.
    pub why: Vec<String>,
    /// The others, and why not.
    pub rejected: Vec<Rejected>,
    /// What the package manager is asked to install.
    pub packages: Vec<String>,
    /// The edits to make afterwards.
    pub edits: Vec<Edit>,
    /// The modules every kernel must have afterwards.
    pub modules: Vec<String>,
}

impl Plan {
    /// The driver with its version, as one would say it.
    pub fn driver_name(&self) -> String {
        match &self.driver_version {
            Some(version) => format!("{} {version}", self.driver),
            None => self.driver.to_string(),
        }
    }

    /// The plan in lines fit for a change request.
    pub fn to_text(&self) -> String {
        let target = &self.target;
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<10} {value}");
        };
        let size = target.vm_size.as_deref().map(|size| format!(", {size}")).unwrap_or_default();
        let nic = target.nic.map(|nic| format!(", {nic}")).unwrap_or_default();
        line("target", &format!("{} {}{size}{nic}", target.distro, target.arch));
        line("kernels", &target.kernels.join(" "));
        line("driver", &self.driver_name());
        for why in &self.why {
            line("  because", why);
        }
        for rejected in &self.rejected {
            let version =
                rejected.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
            line("  not", &format!("{}{version}: {}", rejected.driver, rejected.why));
        }
        line("install", &self.packages.join(" "));
        for edit in &self.edits {
            line("edit", &format!("{} ({})", edit.path(), edit.why()));
        }
        line("verify", &format!("modules {}", self.modules.join(" ")));
        text
    }
}
