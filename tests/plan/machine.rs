//! Machines made of facts, for what no fixture tree shows.

use ofedctl::catalog::Catalog;
use ofedctl::detect::detect;
use ofedctl::events::Events;
use ofedctl::facts::modules::Place;
use ofedctl::facts::pci::{PciFunction, PciKind};
use ofedctl::facts::vmbus::Vmbus;
use ofedctl::facts::{Facts, MODULES};
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::outcome::Reason;
use ofedctl::plan::{Described, plan};
use ofedctl::plan_document::Plan;
use ofedctl::settings::Settings;
use ofedctl::target::{Arch, Mode, Nic};
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub(crate) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

/// A VM with everything in order: one InfiniBand function of any mlx5 kind, and one kernel with its own modules.
pub(crate) fn machine(distro: &str, arch: Arch, kernel: &str) -> Facts {
    let mut facts = EMPTY.clone();
    facts.os.distro = Some(distro.parse().unwrap());
    facts.os.arch = Some(arch);
    facts.os.kernels = vec![kernel.to_owned()];
    facts.os.running_kernel = Some(kernel.to_owned());
    facts.modules = BTreeMap::from([(kernel.to_owned(), modules(Place::Kernel))]);
    facts.vmbus = Some(Vmbus {
        devices: 1,
        netvsc: 0,
        pci_passthrough: 1,
        classes: BTreeMap::from([("44c4f61d-4444-4400-9d52-802e27ede19f".to_owned(), 1)]),
        pci_bound: 1,
        network_direct: false,
    });
    facts.functions = vec![function("101e", PciKind::InfiniBand, None)];
    facts
}

static EMPTY: LazyLock<Facts> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    detect(&Host::open(dir.path(), Events::silent(), Cancel::never()).unwrap()).unwrap()
});

pub(crate) fn modules(place: Place) -> BTreeMap<String, Place> {
    MODULES.iter().map(|name| ((*name).to_owned(), place)).collect()
}

pub(crate) fn function(device: &str, kind: PciKind, generation: Option<Nic>) -> PciFunction {
    PciFunction {
        address: "0101:00:00.0".to_owned(),
        vendor: "15b3".to_owned(),
        device: device.to_owned(),
        kind,
        driver: None,
        generation,
    }
}

/// Plans with the built-in catalogue.
pub(crate) fn planned(facts: &Facts, mode: Mode, settings: &Settings) -> anyhow::Result<Plan> {
    plan(&Described::default(), Some(facts), mode, &CATALOG, settings)
}

/// The reason of a refusal, and its one line.
#[track_caller]
pub(crate) fn refused(result: anyhow::Result<Plan>) -> (Reason, String) {
    let error = result.map(|plan| plan.to_text()).unwrap_err();
    let said = format!("{error:#}");
    assert!(!said.contains('\n'), "{said}");
    (Reason::from_error(&error), said)
}
