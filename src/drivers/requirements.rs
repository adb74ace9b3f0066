//! The requirements for a driver, and the objection to one that does not meet them.

use crate::catalog::Catalog;
use crate::facts::Facts;
use crate::outcome::{Cause, Reason};
use crate::settings::Settings;
use crate::target::{Nic, Target};

/// The requirements for a driver.
#[derive(Debug)]
pub struct Requirements<'a> {
    /// The target system.
    pub target: &'a Target,
    /// Sets of adapters; a driver must serve all of one set. The better set comes first.
    pub nics: &'a [Vec<Nic>],
    /// The modules that must exist afterwards, the adapter's core module first.
    pub modules: &'a [String],
    /// The facts of the root, where there is one.
    pub facts: Option<&'a Facts>,
    /// Why the machine would not load modules that are built for it.
    pub unsigned: Option<Objection>,
    /// Whether modules that are built are signed.
    pub signs: bool,
    /// The catalogue of drivers.
    pub catalog: &'a Catalog,
    /// The settings in force.
    pub settings: &'a Settings,
}

/// Why a driver cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The reason code of the refusal.
    pub reason: Reason,
    /// What exactly stands against it, where a remedy depends on that.
    pub cause: Option<Cause>,
    /// The explanation, in one line.
    pub why: String,
}

impl Objection {
    /// An objection.
    pub fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, cause: None, why: why.into() }
    }

    /// An objection of this cause.
    pub fn with_cause(cause: Cause, why: impl Into<String>) -> Self {
        Self { reason: cause.reason(), cause: Some(cause), why: why.into() }
    }
}

/// The adapters by name.
pub fn names(nics: &[Nic]) -> String {
    nics.iter().map(|nic| nic.name()).collect::<Vec<_>>().join(", ")
}
