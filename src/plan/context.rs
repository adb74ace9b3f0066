//! The input of a decision. When an image is baked, the machine that bakes it is not the target, so its size and its
//! hardware are ignored.

use crate::drivers::Objection;
use crate::facts::Facts;
use crate::facts::secure_boot::SecureBoot;
use crate::facts::vm_size::{RdmaSize, SizeVerdict, verdict};
use crate::outcome::Cause;
use crate::plan_document::ModuleSigning;
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
    /// By whom modules that are built are signed.
    pub(super) signing: Option<&'a ModuleSigning>,
}

impl<'a> PlanContext<'a> {
    pub(super) fn new(
        facts: Option<&'a Facts>,
        mode: Mode,
        settings: &'a Settings,
        signing: Option<&'a ModuleSigning>,
    ) -> Self {
        let live = facts.filter(|_| mode == Mode::Live);
        let vm_size = settings.vm_size.clone().or_else(|| live?.compute.vm_size.clone());
        Self { settings, facts, live, vm_size, signing }
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

    /// Why this machine would not load modules that are built for it, if it would not.
    pub(super) fn unsigned(&self) -> Option<Objection> {
        let live = self.live.filter(|_| self.secure_boot())?;
        Some(match self.signing {
            None => Objection::with_cause(
                Cause::ModulesRefused,
                "Secure Boot is on, and its modules are built on the machine, where nobody signs them",
            ),
            Some(signing) if live.enrolled_certificates.contains(&signing.sha256) => return None,
            Some(ModuleSigning { subject, sha256, .. }) => Objection::with_cause(
                Cause::CertificateNotEnrolled,
                format!(
                    "Secure Boot is on, and the firmware does not know the certificate of {subject} (sha256 {sha256}), by \
                     whom its modules are signed"
                ),
            ),
        })
    }

    /// What is to be known of signed modules in an image.
    pub(super) fn signed(&self, ModuleSigning { subject, sha256, .. }: &ModuleSigning) -> Option<String> {
        self.live.is_none().then(|| {
            format!(
                "its modules are signed by {subject}; where Secure Boot is on, a VM loads them only if the image's version has \
                 the certificate {sha256} among its UEFI keys"
            )
        })
    }

    /// Whether the machine loads only signed modules.
    pub(super) fn secure_boot(&self) -> bool {
        self.live.is_some_and(|facts| facts.secure_boot == SecureBoot::On)
    }
}
