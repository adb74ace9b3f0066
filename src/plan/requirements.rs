//! What a driver is wanted for, and how it is said that one will not do.

use crate::catalog::Catalog;
use crate::facts::Facts;
use crate::outcome::Reason;
use crate::settings::Settings;
use crate::target::{Nic, Target};

/// What a driver is wanted for.
pub(super) struct Requirements<'a> {
    pub(super) target: &'a Target,
    /// Sets of adapters; a driver must serve all of one set. The better set comes first.
    pub(super) nics: &'a [Vec<Nic>],
    /// The modules that must be there afterwards, the adapter's core module first.
    pub(super) modules: &'a [String],
    pub(super) facts: Option<&'a Facts>,
    pub(super) secure_boot: bool,
    pub(super) catalog: &'a Catalog,
    pub(super) settings: &'a Settings,
}

/// Why a driver cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) reason: Reason,
    pub(super) why: String,
}

impl Objection {
    pub(super) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

pub(super) fn names(nics: &[Nic]) -> String {
    nics.iter().map(|nic| nic.name()).collect::<Vec<_>>().join(", ")
}
