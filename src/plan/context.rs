//! The input of a decision. When an image is baked, the machine that bakes it is not the target, so its size and its
//! hardware are ignored.

use crate::facts::Facts;
use crate::facts::secure_boot::SecureBoot;
use crate::facts::vm_size::{RdmaSize, SizeVerdict, verdict};
use crate::settings::Settings;
use crate::target::Mode;

/// The whole input of a decision, except the catalogue.
pub(super) struct PlanContext<'a> {
    pub(super) settings: &'a Settings,
    /// The root's facts.
    pub(super) facts: Option<&'a Facts>,
    /// The facts again, but only where the root is that of the machine the driver is for.
    pub(super) live: Option<&'a Facts>,
    /// The size of that machine.
    pub(super) vm_size: Option<String>,
}

impl<'a> PlanContext<'a> {
    pub(super) fn new(facts: Option<&'a Facts>, mode: Mode, settings: &'a Settings) -> Self {
        let live = facts.filter(|_| mode == Mode::Live);
        let vm_size = settings.vm_size.clone().or_else(|| live?.compute.vm_size.clone());
        Self { settings, facts, live, vm_size }
    }

    /// What the size's name tells.
    pub(super) fn verdict(&self) -> Option<SizeVerdict> {
        self.vm_size.as_deref().map(verdict)
    }

    /// The properties of the size, if it has InfiniBand.
    pub(super) fn rdma_size(&self) -> Option<RdmaSize> {
        match self.verdict()? {
            SizeVerdict::Rdma(size) => Some(size),
            SizeVerdict::LegacyNd { .. } | SizeVerdict::NotRdma => None,
        }
    }

    /// Whether the machine loads only signed modules.
    pub(super) fn secure_boot(&self) -> bool {
        self.live.is_some_and(|facts| facts.secure_boot == SecureBoot::On)
    }
}
