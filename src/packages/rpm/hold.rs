//! The packages that are held back in the files of the rpm-based managers.

use super::super::{HoldList, HoldPlace};

/// What rdma-core is split into on rpm distributions and what goes with it, under the names that the vendor's packages
/// have, too (the packages of `MLNX_OFED` for RHEL and SLES; rdma-core's own spec files; Azure/azhpc-images also exclude
/// `opensm*`).
pub(super) const RDMA_PACKAGES: [&str; 30] = [
    "rdma",
    "rdma-core",
    "rdma-core-devel",
    "libibverbs",
    "libibverbs1",
    "libibverbs-devel",
    "libibverbs-utils",
    "librdmacm",
    "librdmacm1",
    "librdmacm-devel",
    "librdmacm-utils",
    "libibumad",
    "libibumad3",
    "libibumad-devel",
    "libibmad*",
    "libibnetdisc*",
    "infiniband-diags",
    "infiniband-diags-compat",
    "infiniband-diags-devel",
    "ibacm",
    "iwpmd",
    "srp_daemon",
    "python3-pyverbs",
    "opensm",
    "opensm-*",
    "mstflint",
    "perftest",
    "ucx",
    "ucx-*",
    "openmpi*",
];

/// A list in a manager's file.
pub(super) fn in_list(path: &str, list: HoldList) -> HoldPlace {
    HoldPlace::List { path: path.to_owned(), list }
}
