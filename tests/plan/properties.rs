//! What holds for every target and every catalogue.

use crate::machine::{CATALOG, machine, modules};
use ofedctl::catalog::versions::Version;
use ofedctl::catalog::{Catalog, Row};
use ofedctl::facts::Facts;
use ofedctl::facts::modules::Place;
use ofedctl::facts::secure_boot::SecureBoot;
use ofedctl::plan::{Described, plan};
use ofedctl::plan_document::Plan;
use ofedctl::settings::{DriverChoice, Settings};
use ofedctl::target::{Arch, Driver, Mode, Nic};
use ofedctl::trust::protected;
use proptest::prelude::*;
use proptest::sample::select;

const DISTROS: [&str; 14] = [
    "ubuntu16.04",
    "ubuntu18.04",
    "ubuntu20.04",
    "ubuntu22.04",
    "ubuntu24.04",
    "centos7.6",
    "rhel8.2",
    "rhel8.6",
    "almalinux8.10",
    "rocky9.6",
    "debian12",
    "sles15.4",
    "azurelinux3",
    "fedora42",
];

/// A target, when, and what is asked for.
fn any_target() -> impl Strategy<Value = (Facts, Mode, Settings)> {
    let machines = (
        select(DISTROS.to_vec()),
        select(vec![Arch::X86_64, Arch::Aarch64]),
        select(vec!["3.10.0-957.el7.x86_64", "5.4.0-1109-azure", "6.8.0-1027-azure"]),
        select(vec![Place::Kernel, Place::BuiltIn, Place::Missing]),
        select(vec![SecureBoot::On, SecureBoot::Off]),
    );
    let wishes = (
        select(vec![Mode::Bake, Mode::Live]),
        proptest::option::of(select(Nic::ALL.to_vec())),
        select(vec![DriverChoice::Auto, DriverChoice::Auto, DriverChoice::Doca, DriverChoice::MlnxOfed]),
    );
    (machines, wishes).prop_map(|((distro, arch, kernel, place, secure_boot), (mode, nic, driver))| {
        let mut facts = machine(distro, arch, kernel);
        facts.modules.insert(kernel.to_owned(), modules(place));
        facts.secure_boot = secure_boot;
        (facts, mode, Settings { nic, driver, ..Settings::default() })
    })
}

/// A package of any line, newer than all of it.
fn newer_row() -> impl Strategy<Value = Row> {
    let lines: Vec<_> = CATALOG.lines.clone().into_iter().collect();
    let arch = select(vec![Arch::X86_64, Arch::Aarch64]);
    (select(lines), select(DISTROS.to_vec()), arch, any::<bool>(), any::<bool>()).prop_map(
        |((name, line), distro, arch, digest, public)| Row {
            driver: line.driver,
            version: Version::new(format!("{}-99.0.0.0", line.release)),
            line: name,
            distro: distro.parse().unwrap(),
            arch,
            url: if public { "https://example.com/new.tgz".to_owned() } else { "new.tgz".to_owned() },
            sha256: digest.then(|| "0".repeat(64)),
            mirrors: Vec::new(),
            repository: None,
            kernel_devel: None,
            note: None,
        },
    )
}

fn planned(catalog: &Catalog, (facts, mode, settings): &(Facts, Mode, Settings)) -> anyhow::Result<Plan> {
    plan(&Described::default(), Some(facts), *mode, catalog, settings)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_newer_row_never_makes_a_target_unsupported(target in any_target(), row in newer_row(), at in 0..170_usize) {
        let mut after = CATALOG.clone();
        after.drivers.insert(at, row);
        if planned(&CATALOG, &target).is_ok() {
            prop_assert!(planned(&after, &target).is_ok(), "{:?}", planned(&after, &target));
        }
    }

    #[test]
    fn a_plan_never_names_a_row_for_something_else(target in any_target(), row in newer_row()) {
        let mut catalog = CATALOG.clone();
        catalog.drivers.insert(0, row);
        let Ok(plan) = planned(&catalog, &target) else { return Ok(()) };
        let Plan { driver, artifact, packages, .. } = &plan;
        let to = &plan.target;
        let nics = to.nic.map_or_else(|| vec![Nic::Cx5, Nic::Cx6], |nic| vec![nic]);
        match artifact {
            None => {
                let alike = catalog.inbox_of_family(&to.distro, to.family()).is_some();
                let fits = |nic: &Nic| alike || catalog.inbox(&to.distro, to.arch, *nic).is_some();
                prop_assert!(*driver == Driver::Inbox && !packages.is_empty() && nics.iter().all(fits));
            }
            Some(artifact) => {
                let is_it = |row: &&Row| protected(&row.url) == artifact.url && row.version.as_str() == plan.driver_version.as_deref().unwrap();
                let row = catalog.drivers.iter().find(is_it).unwrap();
                let line = catalog.line(row).unwrap();
                prop_assert!(row.driver == *driver && row.arch == to.arch && row.is_public());
                prop_assert!(catalog.serves(row).iter().any(|served| served.covers(&to.distro)));
                prop_assert!(nics.iter().all(|nic| line.nics.contains(nic)));
                prop_assert!(to.kernels.iter().all(|kernel| line.builds_for(kernel)));
                prop_assert_eq!(&row.sha256, &artifact.sha256);
                prop_assert_eq!(row.trust(), Some(artifact.trust));
                let place = &target.0.modules[&to.kernels[0]]["mlx5_core"];
                prop_assert!(*place != Place::BuiltIn);
                prop_assert!(target.1 == Mode::Bake || target.0.secure_boot == SecureBoot::Off);
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(target in any_target(), order in any::<prop::sample::Index>()) {
        let mut turned = CATALOG.clone();
        let at = order.index(turned.drivers.len());
        turned.drivers.rotate_left(at);
        let said = |result: anyhow::Result<Plan>| result.map(|plan| plan.to_text()).map_err(|error| format!("{error:#}"));
        prop_assert_eq!(said(planned(&CATALOG, &target)), said(planned(&CATALOG, &target)));
        let driver = |result: anyhow::Result<Plan>| result.map(|plan| plan.driver_name()).ok();
        prop_assert_eq!(driver(planned(&CATALOG, &target)), driver(planned(&turned, &target)));
    }
}
