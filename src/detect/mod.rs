//! The first step: collects facts about a root from its files alone. On a running VM it also asks the metadata service
//! for what no file tells, and waits for an adapter that appears late.

pub mod bug_report;
pub mod support_bundle;
mod wait;

use crate::drivers;
use crate::facts::modules::Place;
use crate::facts::rule_findings::RuleFindings;
use crate::facts::stack_users::StackUser;
use crate::facts::{
    Facts, MODULES, azure, compute, enrolled_keys, imds, modules, naming, ofed, os, pci, rdma, rule_findings,
    secure_boot, stack_users, surroundings, vmbus, waagent,
};
use crate::host::Host;
use crate::ledger::RECEIPT;
use crate::packages::Manager;
use crate::settings::Settings;
use crate::target::Driver;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Packages whose presence tells which RDMA stack is installed.
const STACK: [&str; 6] = [
    "rdma-core",
    "libibverbs1",
    "ibverbs-providers",
    "infiniband-diags",
    "mlnx-ofed-kernel-dkms",
    "doca-ofed",
];

/// How long the metadata service may take. Without it the hardware still tells the most important facts.
const IMDS_PATIENCE: Duration = Duration::from_secs(4);

/// Reads a root's facts. Starts no program and uses no network.
pub fn detect(host: &Host) -> Result<Facts> {
    let os = os::read(&host.root);
    let (receipt, known) = receipt(host);
    let rule_files = rule_findings::read(host, known);
    let (modules, users) = modules_and_users(host, &os.kernels);
    Ok(Facts {
        schema_version: 1,
        modules,
        packages: stack(host, &os)?,
        azure: azure::is_azure(host),
        vmbus: vmbus::read(host),
        compute: compute::size_of(host, None),
        functions: pci::read(host),
        verbs: rdma::devices(host),
        loaded: rdma::modules(host),
        secure_boot: secure_boot::read(host),
        enrolled_certificates: enrolled_keys::read(host),
        waagent: waagent::read(host, &os.kernels),
        hpc_image: azure::hpc_image(host),
        ofed: vendor_driver(host, receipt.as_ref()),
        naming: naming::find(host, &rule_files.rules),
        surroundings: surroundings::read(host, &rule_files, users),
        rule_files,
        served_kernels: receipt.map(|plan| plan.target.kernels).unwrap_or_default(),
        os,
    })
}

/// Reads a root's facts, and on the running system asks the metadata service for the VM size where no file tells it.
pub fn detect_with_size(host: &Host) -> Result<Facts> {
    let mut facts = detect(host)?;
    // Only on a Hyper-V guest is that address known to be the metadata service.
    if host.is_running_system() && facts.vmbus.is_some() && facts.compute.vm_size.is_none() {
        ask_metadata_service(host, imds::ADDRESS, &mut facts);
    }
    Ok(facts)
}

/// The facts of a running VM. Waits for an InfiniBand function that should exist and has not appeared yet.
pub fn detect_live(host: &Host, settings: &Settings) -> Result<Facts> {
    let facts = if settings.vm_size.is_some() { detect(host) } else { detect_with_size(host) }?;
    wait::for_device(host, facts, settings)
}

fn ask_metadata_service(host: &Host, address: &str, facts: &mut Facts) {
    match imds::fetch(address, IMDS_PATIENCE) {
        Ok(compute) => facts.compute = std::mem::take(&mut facts.compute).or(compute),
        Err(error) => host.events.info(format!("the VM size is not known: {error:#}")),
    }
}

/// By kernel and module.
type Places = BTreeMap<String, BTreeMap<String, Place>>;

/// By kernel, the place of each module that is checked, and the modules that use `ib_core`.
fn modules_and_users(host: &Host, kernels: &[String]) -> (Places, BTreeMap<String, Vec<StackUser>>) {
    let names = MODULES.map(str::to_owned);
    let (mut places, mut users) = (Places::new(), BTreeMap::new());
    for kernel in kernels {
        let mut of_kernel = Vec::new();
        let found = modules::read(&host.root, kernel, &names, |module| {
            of_kernel.extend(stack_users::of_module(module));
        });
        places.insert(kernel.clone(), names.iter().cloned().zip(found.iter().map(Place::from)).collect());
        if !of_kernel.is_empty() {
            of_kernel.sort();
            users.insert(kernel.clone(), of_kernel);
        }
    }
    (places, users)
}

fn stack(host: &Host, os: &os::Os) -> Result<BTreeMap<String, String>> {
    let manager =
        os.distro.as_ref().zip(os.family).and_then(|(distro, family)| Manager::in_family(family, distro));
    let Some(manager) = manager else { return Ok(BTreeMap::new()) };
    let mut versions = manager.installed_by_its_files(&host.root)?.unwrap_or_default().versions;
    versions.retain(|name, _| STACK.contains(&name.as_str()));
    Ok(versions)
}

fn vendor_driver(host: &Host, of_receipt: Option<&ReceiptPlan>) -> Option<ofed::Ofed> {
    let mut found = ofed::read(host)?;
    found.by_ofedctl = of_receipt.is_some_and(ReceiptPlan::is_ours);
    Some(found)
}

/// The part of a receipt that tells who installed the modules, and for which kernels. Nothing else is read, so that
/// receipts of other versions can be used.
#[derive(Debug, Serialize, Deserialize)]
struct ReceiptPlan {
    driver: Driver,
    #[serde(default)]
    distribution_modules: bool,
    /// A driver of somebody else that this program built for more kernels. It still belongs to somebody else.
    #[serde(default)]
    rebuilds: Option<Value>,
    /// A driver of somebody else that was installed already, and that this program only configured.
    #[serde(default)]
    present: Option<Value>,
    #[serde(default)]
    target: ReceiptTarget,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ReceiptTarget {
    #[serde(default)]
    kernels: Vec<String>,
}

impl ReceiptPlan {
    /// Whether this program installed the driver itself, and not only the configuration around it.
    fn is_ours(&self) -> bool {
        self.brings_modules() && self.rebuilds.is_none() && self.present.is_none()
    }

    fn brings_modules(&self) -> bool {
        drivers::ops(self.driver).is_vendors() || self.distribution_modules
    }
}

/// That part, and what the files of rules said at the last run.
fn receipt(host: &Host) -> (Option<ReceiptPlan>, Option<RuleFindings>) {
    let text = host.root.read_text(RECEIPT).ok().flatten().unwrap_or_default();
    let mut receipt: Value = serde_json::from_str(&text).unwrap_or_default();
    (taken(&mut receipt, "plan"), taken(&mut receipt, "rule_files"))
}

fn taken<T: serde::de::DeserializeOwned>(receipt: &mut Value, key: &str) -> Option<T> {
    serde_json::from_value(receipt.get_mut(key)?.take()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn host() -> (tempfile::TempDir, Host) {
        on_an_empty_root(Cancel::never())
    }

    #[test]
    fn an_empty_root_has_facts_too() {
        let (_dir, host) = host();
        let facts = detect(&host).unwrap();
        assert!(facts.vmbus.is_none() && facts.functions.is_empty() && facts.ofed.is_none());
        let summary = "unknown distribution unknown architecture; VM size unknown; 0 InfiniBand functions; \
            kernels: no kernel";
        assert_eq!(facts.summary(None), summary);
        assert!(facts.summary(Some("Standard_HB120rs_v3")).contains("; Standard_HB120rs_v3; 0 "));
    }

    #[test]
    fn a_driver_of_our_own_is_known_by_the_receipt() {
        let (_dir, host) = host();
        host.root.write_text("/etc/init.d/openibd", "").unwrap();
        assert!(!detect(&host).unwrap().ofed.unwrap().by_ofedctl);
        for (driver, ours) in [("doca", true), ("mlnx_ofed", true), ("inbox", false), ("", false)] {
            host.root.write_text(RECEIPT, &format!(r#"{{"plan": {{"driver": "{driver}"}}}}"#)).unwrap();
            assert_eq!(detect(&host).unwrap().ofed.unwrap().by_ofedctl, ours, "{driver}");
        }
        // A driver that was installed before belongs to somebody else, whatever was configured around it.
        let plan = r#"{"plan": {"driver": "doca", "present": {"release": "x", "hpc_image": true}}}"#;
        host.root.write_text(RECEIPT, plan).unwrap();
        assert!(!detect(&host).unwrap().ofed.unwrap().by_ofedctl);
        // The distribution's packages may include the vendor's service as well.
        let plan = r#"{"plan": {"driver": "inbox", "distribution_modules": true}}"#;
        host.root.write_text(RECEIPT, plan).unwrap();
        assert!(detect(&host).unwrap().ofed.unwrap().by_ofedctl);
    }

    #[test]
    fn the_metadata_service_tells_the_size_or_nothing_is_lost() {
        let (_dir, host) = host();
        let mut facts = detect(&host).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let body = r#"{"compute": {"vmSize": "Standard_HC44rs"}}"#;
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        ask_metadata_service(&host, &address, &mut facts);
        server.join().unwrap();
        assert_eq!(facts.compute.vm_size.as_deref(), Some("Standard_HC44rs"));
        assert_eq!(facts.compute.source, Some(compute::Source::Imds));
        let told = facts.clone();
        ask_metadata_service(&host, &address, &mut facts);
        assert_eq!(facts, told);
    }
}
