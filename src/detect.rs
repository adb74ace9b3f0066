//! The first step: puts together what can be read about a root, from its files alone.

use crate::facts::{Facts, MODULES, azure, compute, modules, ofed, os, pci, rdma, secure_boot, vmbus};
use crate::host::Host;
use crate::packages::Manager;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Packages whose presence tells which RDMA stack is installed.
const STACK: [&str; 6] = [
    "rdma-core",
    "libibverbs1",
    "ibverbs-providers",
    "infiniband-diags",
    "mlnx-ofed-kernel-dkms",
    "doca-ofed",
];

/// Reads a root's facts. Starts no program.
pub fn detect(host: &Host) -> Result<Facts> {
    let os = os::read(&host.root);
    Ok(Facts {
        schema_version: 1,
        missing_modules: os.kernels.iter().map(|kernel| (kernel.clone(), missing(host, kernel))).collect(),
        packages: stack(host, &os)?,
        vmbus: vmbus::read(host),
        compute: compute::size_of(host, None),
        functions: pci::read(host),
        verbs: rdma::devices(host),
        loaded: rdma::modules(host),
        secure_boot: secure_boot::read(host),
        waagent: azure::waagent(host),
        hpc_image: azure::hpc_image(host),
        ofed: ofed::read(host),
        os,
    })
}

fn missing(host: &Host, kernel: &str) -> BTreeSet<String> {
    let names = MODULES.map(str::to_owned);
    let found = modules::find(&host.root, kernel, &names);
    let gone = names.into_iter().zip(found).filter(|(_, found)| *found == modules::Module::Missing);
    gone.map(|(name, _)| name).collect()
}

fn stack(host: &Host, os: &os::Os) -> Result<BTreeMap<String, String>> {
    let Some(manager) = os.distro.as_ref().and_then(Manager::of) else { return Ok(BTreeMap::new()) };
    let mut versions = manager.installed(&host.root)?.versions;
    versions.retain(|name, _| STACK.contains(&name.as_str()));
    Ok(versions)
}
