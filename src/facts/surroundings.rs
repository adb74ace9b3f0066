//! What else in a root has a hand in network interfaces, kernels and `ib_core`.

use super::interface_naming::{self, InterfaceNaming};
use super::kernel_updates::{self, KernelUpdates};
use super::naming::Seen;
use super::network_managers::{self, NetworkManagers};
use super::stack_users::{self, StackUser};
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

/// Reads what surrounds a driver in a root. `seen` is what its files of rules and of systemd say.
pub fn read(host: &Host, kernels: &[String], seen: &Seen) -> Surroundings {
    let users = kernels.iter().map(|kernel| (kernel.clone(), stack_users::find(&host.root, kernel)));
    Surroundings {
        naming: interface_naming::read(host, &seen.interfaces),
        managers: network_managers::read(host, seen.keeps_off.as_deref()),
        updates: kernel_updates::read(host),
        users: users.filter(|(_, users)| !users.is_empty()).collect(),
    }
}
