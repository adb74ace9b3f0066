//! What the live extension installs, row by row, beside what is planned here: the same file or a newer one, or a
//! long-term release with a published digest; and that the same file is taken when it is named.
//!
//! Rows: `InfiniBand/resources.json` of Azure/azhpc-extensions, February 2022, and the table of Azure's documentation
//! (hpc-compute-infiniband-linux.md), which also names Ubuntu 22.04, for which there is no file.

use crate::hold;
use crate::machine::{CATALOG, machine, planned};
use ofedctl::catalog::versions::Version;
use ofedctl::outcome::Outcome;
use ofedctl::plan_document::Plan;
use ofedctl::settings::Settings;
use ofedctl::target::{Arch, Driver, Mode, Nic};
use ofedctl::trust::Trust;
use std::fmt::Write;

/// Distribution as the extension calls it, the names it has here, and a kernel of it.
const IMAGES: [(&str, &[&str], &str); 12] = [
    ("Ubuntu 16.04", &["ubuntu16.04"], "4.15.0-1113-azure"),
    ("Ubuntu 18.04", &["ubuntu18.04"], "5.4.0-1109-azure"),
    ("Ubuntu 20.04", &["ubuntu20.04"], "5.4.0-1109-azure"),
    ("Ubuntu 22.04", &["ubuntu22.04"], "5.15.0-1074-azure"),
    ("RHEL/CentOS 7.4", &["rhel7.4", "centos7.4"], "3.10.0-693.21.1.el7.x86_64"),
    ("RHEL/CentOS 7.5", &["rhel7.5", "centos7.5"], "3.10.0-862.11.6.el7.x86_64"),
    ("RHEL/CentOS 7.6", &["rhel7.6", "centos7.6"], "3.10.0-957.27.2.el7.x86_64"),
    ("RHEL/CentOS 7.7", &["rhel7.7", "centos7.7"], "3.10.0-1062.12.1.el7.x86_64"),
    ("RHEL/CentOS 7.8", &["rhel7.8", "centos7.8"], "3.10.0-1127.19.1.el7.x86_64"),
    ("RHEL/CentOS 7.9", &["rhel7.9", "centos7.9"], "3.10.0-1160.119.1.el7.x86_64"),
    ("RHEL/CentOS 8.1", &["rhel8.1", "centos8.1"], "4.18.0-147.8.1.el8_1.x86_64"),
    ("RHEL/CentOS 8.2", &["rhel8.2", "centos8.2"], "4.18.0-193.28.1.el8_2.x86_64"),
];

/// The version that the extension installs for an adapter, where it has a file.
fn installed_live(image: &str, nic: Nic) -> Option<&'static str> {
    match nic {
        _ if image == "Ubuntu 22.04" => None,
        Nic::Cx3Pro => Some("4.9-4.1.7.0"),
        _ => Some("5.5-1.0.3.2"),
    }
}

fn file_name(version: &str, distro: &str) -> String {
    format!("MLNX_OFED_LINUX-{version}-{}-x86_64.tgz", distro.replace("centos", "rhel"))
}

/// The OFED release inside, by which drivers of both kinds are ordered.
fn ofed(plan: &Plan) -> Option<Version> {
    let version = plan.driver_version.as_deref()?;
    let row =
        CATALOG.drivers.iter().find(|row| row.driver == plan.driver && row.version.to_string() == version)?;
    Some(Version::new(CATALOG.line(row)?.ofed.as_deref().unwrap_or(version)))
}

fn relation(live: Option<&str>, plan: &Plan, image: &str) -> (&'static str, String) {
    let against = |version: &str| {
        let rejected = plan
            .rejected
            .iter()
            .find(|it| it.driver == Driver::MlnxOfed && it.versions.iter().any(|v| v == version));
        rejected
            .map_or_else(|| panic!("{image}: nothing is said of {version}: {plan:?}"), |it| it.why.clone())
    };
    match (live, ofed(plan)) {
        (None, _) => ("added", plan.why[0].clone()),
        (Some(live), Some(ofed)) if ofed > Version::new(live) => ("newer", plan.why[0].clone()),
        (Some(live), Some(ofed)) if ofed == Version::new(live) => ("same", trust(plan)),
        (Some(live), Some(_)) => ("older", against(live)),
        (Some(live), None) => ("inbox", against(live)),
    }
}

fn trust(plan: &Plan) -> String {
    plan.artifact.as_ref().map_or_else(String::new, |artifact| format!("trust level {}", artifact.trust))
}

/// That a release is one the vendor calls long-term, and has a published digest.
fn is_sound(plan: &Plan) -> bool {
    let row = CATALOG
        .drivers
        .iter()
        .find(|row| Some(row.file_name()) == plan.artifact.as_ref().map(|it| &*it.file_name));
    row.is_some_and(|row| CATALOG.is_long_term(row) && row.sha256.is_some())
}

#[test]
fn every_row_of_the_live_extension_has_its_file_or_a_newer_one_or_a_reason() {
    let digest = "0123456789abcdef".repeat(4);
    let mut table = String::from(
        "# The live extension's table, and what is planned without further settings. Where `same`, nobody published a\n\
         # digest of the extension's file, and it is taken from the vendor's own host. The second column is the kernel.\n",
    );
    let mut rows = 0;
    for (image, distros, kernel) in IMAGES {
        for nic in [Nic::Cx3Pro, Nic::Cx5, Nic::Cx6] {
            let live = installed_live(image, nic);
            for distro in distros {
                let facts = machine(distro, Arch::X86_64, kernel);
                let settings = Settings { nic: Some(nic), ..Settings::default() };
                let (taken, relation, why, sound) = match planned(&facts, Mode::Bake, &settings) {
                    Ok(plan) => {
                        let (relation, why) = relation(live, &plan, image);
                        (plan.driver_name(), relation, why, is_sound(&plan))
                    }
                    Err(error) => {
                        (Outcome::from(&error).reason.to_string(), "none", error.to_string(), false)
                    }
                };
                let good = ["newer", "same", "added"].contains(&relation) || relation == "older" && sound;
                assert!(good, "{distro} {nic}: {relation} {taken}: {why}");
                let _ = writeln!(
                    table,
                    "{image:<16} {kernel:<27} {distro:<12} {:<8} {:<24} {relation:<6} {taken:<24} {why}",
                    nic.name(),
                    live.map_or("-".to_owned(), |live| format!("mlnx_ofed {live}"))
                );
                rows += 1;

                let Some(live) = live else { continue };
                let named = Settings { driver_version: Some(live.to_owned()), ..settings };
                let pinned = Settings { sha256: Some(digest.clone()), ..named.clone() };
                let artifact = |settings| planned(&facts, Mode::Bake, settings).unwrap().artifact.unwrap();
                let pinned = artifact(&pinned);
                assert_eq!(
                    (pinned.file_name, pinned.sha256),
                    (file_name(live, distro), Some(digest.clone()))
                );
                let artifact = artifact(&named);
                assert_eq!(
                    (&artifact.file_name, artifact.trust),
                    (&file_name(live, distro), Trust::FirstUse)
                );
                assert!(artifact.url.starts_with("https://content.mellanox.com/ofed/"), "{}", artifact.url);
                let has_headers = ["7.4", "7.5", "7.6"].iter().any(|version| distro.ends_with(version));
                assert_eq!(artifact.kernel_devel.is_some(), has_headers, "{distro}");
            }
        }
    }
    assert_eq!(rows, 3 * (4 + 2 * 8));
    hold("live_extension.txt", &table);
}
