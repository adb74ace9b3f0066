//! What else in a root has a hand in network interfaces, kernels and `ib_core`.

use super::interface_naming::{self, InterfaceNaming};
use super::kernel_updates::{self, KernelUpdates};
use super::network_managers::{self, NetworkManagers};
use super::rule_findings::RuleFindings;
use super::stack_users::StackUser;
use crate::host::Host;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What surrounds a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Surroundings {
    /// What names the interfaces of InfiniBand ports.
    #[serde(skip_serializing_if = "is_default")]
    pub naming: InterfaceNaming,
    /// What manages interfaces.
    #[serde(skip_serializing_if = "is_default")]
    pub managers: NetworkManagers,
    /// What installs new kernels by itself.
    #[serde(skip_serializing_if = "is_default")]
    pub updates: KernelUpdates,
    /// The modules of each kernel that use `ib_core`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, Vec<StackUser>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Surroundings {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }
}

/// Reads what surrounds a driver in a root. `files` is what its files of rules and of systemd say, `users` the modules of
/// each kernel that use `ib_core`.
pub fn read(host: &Host, files: &RuleFindings, users: BTreeMap<String, Vec<StackUser>>) -> Surroundings {
    Surroundings {
        naming: interface_naming::read(host, &files.interfaces),
        managers: network_managers::read(host, &files.configured, files.keeps_off.as_deref()),
        updates: kernel_updates::read(host),
        users,
    }
}
