//! What a driver is wanted for, and how it is said that one will not do.

use crate::catalog::Catalog;
use crate::facts::Facts;
use crate::outcome::Reason;
use crate::settings::Settings;
use crate::target::{Nic, Target};

/// What a driver is wanted for.
#[derive(Debug)]
pub struct Requirements<'a> {
    /// What for.
    pub target: &'a Target,
    /// Sets of adapters; a driver must serve all of one set. The better set comes first.
    pub nics: &'a [Vec<Nic>],
    /// The modules that must be there afterwards, the adapter's core module first.
    pub modules: &'a [String],
    /// The facts of the root, where there is one.
    pub facts: Option<&'a Facts>,
    /// Whether the machine lets only signed modules in.
    pub secure_boot: bool,
    /// What there is.
    pub catalog: &'a Catalog,
    /// What is wanted.
    pub settings: &'a Settings,
}

/// Why a driver cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Under which reason a refusal goes.
    pub reason: Reason,
    /// In one line.
    pub why: String,
}

impl Objection {
    /// An objection.
    pub fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// The adapters by name.
pub fn names(nics: &[Nic]) -> String {
    nics.iter().map(|nic| nic.name()).collect::<Vec<_>>().join(", ")
}
