//! The modules that use `ib_core` and belong neither to the RDMA stack nor to a vendor's driver. A vendor's driver brings an
//! `ib_core` of its own. What was built against another one is refused by the kernel, with `disagrees about version of
//! symbol`, until it is built again (`Mellanox/nv_peer_memory` issue 79; cifsd-team/ksmbd issue 574).

use super::modules::{self, Indexed};
use crate::host::fs::Root;
use serde::{Deserialize, Serialize};

const CORE: &str = "ib_core";
/// Modules that hand a GPU's memory to the adapter. They ask for a symbol that only a vendor's `ib_core` has, so that depmod
/// may find none for them.
const OF_GPUS: [&str; 2] = ["nv_peer_mem", "nvidia_peermem"];
/// Others that users know by name, of file systems and of MPI, and the kernel's own.
const OTHERS: [&str; 11] = [
    "beegfs",
    "cifs",
    "knem",
    "ko2iblnd",
    "ksmbd",
    "nvme_rdma",
    "nvmet_rdma",
    "rpcrdma",
    "smbdirect",
    "smc",
    "xpmem",
];

/// A module that uses `ib_core`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StackUser {
    /// Its name, with underscores.
    pub module: String,
    /// Its file, relative to the kernel's module folder.
    pub path: String,
    /// The file of the `ib_core` that depmod has found for it, relative to the same folder; none where no `ib_core` has the
    /// symbols that it asks for.
    pub core: Option<String>,
}

impl StackUser {
    /// Whether it came with the kernel.
    pub fn is_kernels_own(&self) -> bool {
        self.path.starts_with("kernel/")
    }
}

/// Finds the users for one kernel, by name.
pub fn find(root: &Root, kernel: &str) -> Vec<StackUser> {
    let mut found = Vec::new();
    modules::read(root, kernel, &[], |module| found.extend(of_module(module)));
    found.sort();
    found
}

/// The user that a module is; none where it is something else. Nearly all of some thousand modules are something else, so
/// the module's own name is looked at before the files that it needs.
pub fn of_module(module: Indexed) -> Option<StackUser> {
    let is_one_of = |names: &[&str]| names.iter().any(|name| module.is(name));
    let of_gpus = is_one_of(&OF_GPUS);
    if !of_gpus && !is_one_of(&OTHERS) {
        return None;
    }
    let core = module.needs.split_whitespace().find(|it| modules::has_name(it, CORE)).map(str::to_owned);
    if core.is_none() && !of_gpus {
        return None;
    }
    let path = module.path;
    Some(StackUser { module: modules::name_of(path), path: path.to_owned(), core })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_uses_ib_core_is_found_with_the_one_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lib/modules/6.1");
        std::fs::create_dir_all(&folder).unwrap();
        let dep = "updates/dkms/ib_core.ko:\n\
            updates/dkms/ib_uverbs.ko: updates/dkms/ib_core.ko\n\
            updates/dkms/nvidia-peermem.ko.zst: updates/dkms/nvidia.ko.zst updates/dkms/ib_core.ko\n\
            kernel/fs/smb/server/ksmbd.ko: kernel/crypto/x.ko updates/dkms/ib_core.ko\n\
            kernel/fs/smb/client/cifs.ko: kernel/crypto/x.ko\n\
            kernel/net/sunrpc/xprtrdma/rpcrdma.ko: kernel/drivers/infiniband/core/ib_core.ko\n\
            extra/nv_peer_mem.ko: \n";
        std::fs::write(folder.join("modules.dep"), dep).unwrap();
        let found = find(&Root::open(dir.path()).unwrap(), "6.1");
        let said: Vec<_> =
            found.iter().map(|it| (it.module.as_str(), it.core.is_some(), it.is_kernels_own())).collect();
        assert_eq!(
            said,
            [
                ("ksmbd", true, true),
                ("nv_peer_mem", false, false),
                ("nvidia_peermem", true, false),
                ("rpcrdma", true, true)
            ]
        );
    }
}
