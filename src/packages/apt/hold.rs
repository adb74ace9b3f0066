//! How apt is told to leave packages alone when it upgrades: dpkg keeps a hold as the state of a package, and pins tell
//! origins apart.

use super::super::VendorGuard;

/// The packages of kernels, of their headers and of what goes with one kernel only.
pub(super) const KERNEL_PACKAGES: [&str; 6] = [
    "linux-image-*",
    "linux-headers-*",
    "linux-modules-*",
    "linux-azure*",
    "linux-generic*",
    "linux-virtual*",
];

/// The distribution's RDMA packages are not taken in place of the vendor's, whichever has the higher number: below
/// 100 a version is installed only where there is none (`apt_preferences(5)`).
pub(super) fn pins() -> VendorGuard {
    const PACKAGES: &str = "rdma-core ibacm ibverbs-* libibverbs* librdmacm* rdmacm-utils libibumad* libibmad* \
        libibnetdisc* libopensm* opensm infiniband-diags perftest srptools mstflint ucx* libucx* \
        libopenmpi* openmpi*";
    let pin = |origin: &str| format!("Package: {PACKAGES}\nPin: release o={origin}\nPin-Priority: 90\n");
    let pins = ["Debian", "Ubuntu", "UbuntuESM", "UbuntuESMApps"].map(pin).join("\n");
    VendorGuard::File {
        path: "/etc/apt/preferences.d/ofedctl",
        content: format!("Explanation: made by ofedctl: upgrades keep the vendor's RDMA packages.\n{pins}"),
    }
}
