//! Every cell of distribution x version x architecture x adapter x kernel class, as a table one can review.

use crate::hold;
use crate::machine::{CATALOG, machine, modules, planned};
use ofedctl::facts::modules::Place;
use ofedctl::facts::secure_boot::SecureBoot;
use ofedctl::outcome::Outcome;
use ofedctl::settings::Settings;
use ofedctl::target::{Arch, Mode, Nic};
use std::fmt::Write;

/// Releases of the distributions, beside those the catalogue names.
const DISTROS: &str = "
    ubuntu16.04 ubuntu18.04 ubuntu20.04 ubuntu22.04 ubuntu24.04 ubuntu26.04 debian10 debian11 debian12 debian13
    centos7.4 centos7.5 centos7.6 centos7.7 centos7.8 centos7.9 centos8.1 centos8.2 centos8.3 centos8.4 centos8.5
    rhel7.4 rhel7.5 rhel7.6 rhel7.7 rhel7.8 rhel7.9 rhel8.1 rhel8.2 rhel8.3 rhel8.4 rhel8.5 rhel8.6 rhel8.7 rhel8.8
    rhel8.9 rhel8.10 rhel9.0 rhel9.1 rhel9.2 rhel9.3 rhel9.4 rhel9.5 rhel9.6 rhel9.7 rhel9.8 rhel10.0 rhel10.1
    almalinux8.3 almalinux8.6 almalinux8.7 almalinux8.8 almalinux8.10 almalinux9.4 almalinux9.6 almalinux9.7
    almalinux10.0 rocky8.6 rocky8.7 rocky8.9 rocky8.10 rocky9.4 rocky9.6 rocky9.7 rocky10.0 ol7.9 ol8.10 ol9.6 ol10.0
    sles12.5 sles15.1 sles15.2 sles15.3 sles15.4 sles15.5 sles15.6 sles15.7 azurelinux3 mariner2 fedora42";

/// A kernel that every line builds for, and one that the oldest does not.
const OLD: &str = "5.4.0-1109-azure";
const NEW: &str = "6.8.0-1027-azure";

fn cells(distro: &str, arch: Arch, nic: Option<Nic>) -> String {
    let settings = Settings { nic, ..Settings::default() };
    let taken = |kernel: &str, place: Place, mode: Mode| {
        let mut facts = machine(distro, arch, kernel);
        facts.modules.insert(kernel.to_owned(), modules(place));
        facts.secure_boot = if mode == Mode::Live { SecureBoot::On } else { SecureBoot::Off };
        match planned(&facts, mode, &settings) {
            Ok(plan) => plan.driver_name(),
            Err(error) => {
                let outcome = Outcome::from(&error);
                format!("{} {}", outcome.exit_code().number(), outcome.reason)
            }
        }
    };
    format!(
        "{:<23} {:<23} {:<23} {:<23} {}",
        taken(OLD, Place::Kernel, Mode::Bake),
        taken(NEW, Place::Kernel, Mode::Bake),
        taken(NEW, Place::Missing, Mode::Bake),
        taken(NEW, Place::BuiltIn, Mode::Bake),
        taken(NEW, Place::Kernel, Mode::Live)
    )
}

#[test]
fn every_cell_is_as_it_was_reviewed() {
    let served = CATALOG.drivers.iter().flat_map(|row| CATALOG.serves(row)).map(ToString::to_string);
    let known: Vec<&str> = DISTROS.split_whitespace().collect();
    let further: Vec<String> = served.filter(|distro| !known.contains(&distro.as_str())).collect();
    let mut distros: Vec<&str> = known.into_iter().chain(further.iter().map(String::as_str)).collect();
    let mut seen = std::collections::BTreeSet::new();
    distros.retain(|distro| seen.insert(*distro));
    let mut table = format!(
        "# What is taken for each kind of target; `any` is for no known adapter. Kernels: old {OLD}, new {NEW}.\n\
         {:<13} {:<8} {:<29} {:<23} {:<23} {:<23} {:<23} {}\n",
        "# distro",
        "arch",
        "adapters",
        "old",
        "new",
        "new, no modules",
        "new, built in",
        "new, Secure Boot on"
    );
    for distro in distros {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let mut lines: Vec<(Vec<&str>, String)> = Vec::new();
            for nic in Nic::ALL.map(Some).into_iter().chain([None]) {
                let name = nic.map_or("any", Nic::name);
                let cells = cells(distro, arch, nic);
                match lines.iter_mut().find(|(_, same)| *same == cells) {
                    Some((names, _)) => names.push(name),
                    None => lines.push((vec![name], cells)),
                }
            }
            for (names, cells) in lines {
                let _ = writeln!(table, "{distro:<13} {:<8} {:<29} {cells}", arch.name(), names.join(","));
            }
        }
    }
    hold("choices.txt", &table);
}
