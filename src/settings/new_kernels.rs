//! What becomes of a driver when a newer kernel comes.

use serde::{Deserialize, Serialize};

/// What becomes of a driver whose modules are for the kernels that are there, when a newer kernel comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NewKernels {
    /// Nothing, and the plan tells what installs kernels by itself.
    #[default]
    Leave,
    /// None comes: the kernel packages are put on hold.
    Hold,
    /// The driver is built for it: by DKMS, or else at its first boot by this program, if `cloud-init setup` has put that
    /// into the image. Where neither can, this is refused.
    Rebuild,
}
