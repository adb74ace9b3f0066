//! The rpm distributions by their own identity files: what they are found to be, who installs there, and what is
//! planned.

use crate::hold;
use crate::machine::CATALOG;
use ofedctl::detect::detect;
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::outcome::Outcome;
use ofedctl::packages::Manager;
use ofedctl::plan::{Described, plan};
use ofedctl::settings::{DriverChoice, Settings};
use ofedctl::target::{Mode, Nic};
use std::fmt::Write;
use std::path::Path;

#[test]
fn every_rpm_distribution_is_known_by_its_own_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/identities");
    let entries = std::fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries.filter(|it| it.path().is_dir()).map(|it| it.file_name()).collect();
    names.sort();
    let mut table = String::from(
        "# tree, distribution, who installs, kernel; driver for cx6, for cx7, and without a vendor's\n",
    );
    for name in &names {
        let host = Host::open(&folder.join(name), Events::silent(), Cancel::never()).unwrap();
        let facts = detect(&host).unwrap();
        let distro = facts.os.distro.clone().unwrap();
        let manager = Manager::for_distro(&distro).unwrap();
        let taken = |driver: DriverChoice, nic: Nic| {
            let settings = Settings { driver, nic: Some(nic), ..Settings::default() };
            match plan(&Described::default(), Some(&facts), Mode::Bake, &CATALOG, &settings) {
                Ok(plan) => plan.driver_name(),
                Err(error) => Outcome::from(&error).reason.to_string(),
            }
        };
        let _ = writeln!(
            table,
            "{:<13} {:<15} {:<7} {:<33} {:<23} {:<23} {}",
            name.to_str().unwrap(),
            distro.to_string(),
            manager.program(),
            facts.os.kernels.join(" "),
            taken(DriverChoice::Auto, Nic::Cx6),
            taken(DriverChoice::Auto, Nic::Cx7),
            taken(DriverChoice::Inbox, Nic::Cx6),
        );
    }
    hold("identities.txt", &table);
}
