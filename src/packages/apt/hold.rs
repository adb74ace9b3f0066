//! How apt's upgrades skip packages: dpkg stores a hold as the state of a package, and pins distinguish origins.

use super::super::VendorGuard;

/// The packages of kernels, of their headers, and of modules for one kernel only.
pub(super) const KERNEL_PACKAGES: [&str; 6] = [
    "linux-image-*",
    "linux-headers-*",
    "linux-modules-*",
    "linux-azure*",
    "linux-generic*",
    "linux-virtual*",
];

/// Pins that keep the distribution's RDMA packages from replacing the vendor's, whichever version is higher: with a
/// priority below 100, a version is installed only if none is installed (`apt_preferences(5)`).
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
