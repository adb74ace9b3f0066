//! VM sizes that are mistyped, retired or without InfiniBand, and the sizes that are named in their place.

use crate::common::program::{self, Ran};
use ofedctl::facts::vm_size::{SizeVerdict, retirement, verdict};
use ofedctl::outcome::{Cause, Reason};
use ofedctl::remedies::{Door, Situation};
use ofedctl::settings::{DriverChoice, Settings};

fn plan(size: &str, more: &[&str]) -> Ran {
    let wanted = ["plan", "--json", "--distro", "ubuntu22.04", "--vm-size", size];
    program::run(&[&wanted[..], more].concat())
}

/// Everything after `Standard_` that a text names, with the prefix.
fn sizes_in(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)));
    words.filter(|word| word.starts_with("Standard_")).collect()
}

#[test]
fn a_retired_size_without_sr_iov_is_refused_with_sizes_that_can_be_had() {
    // azhpc-images 28: NC24r and NC24rs_v2, whose users were sent to sizes that were about to end as well.
    let ran = plan("Standard_NC24r", &[]);
    let answer = ran.json();
    ran.expect(13, "size-legacy-nd");
    let said = answer["message"].as_str().unwrap();
    assert!(said.contains("Azure retires the series of Standard_NC24r: 2023-09-06"), "{said}");
    let remedy = answer["remedy"].as_str().unwrap();
    let named: Vec<&str> = sizes_in(said).into_iter().chain(sizes_in(remedy)).collect();
    let others: Vec<&&str> = named.iter().filter(|size| **size != "Standard_NC24r").collect();
    assert!(!others.is_empty(), "{answer}");
    for size in others {
        assert!(matches!(verdict(size), SizeVerdict::Rdma(_)) && retirement(size).is_none(), "{size}");
    }
    // A retiring size is planned, and the plan tells its end.
    let ran = plan("Standard_HC44rs", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let why = ran.json()["why"].to_string();
    assert!(why.contains("2027-05-31; in its place: Standard_HB368rs_v5"), "{why}");
}

#[test]
fn no_remedy_names_a_size_that_is_retired_or_has_no_infiniband() {
    let mut named = 0;
    for distro in ["ubuntu22.04", "debian12", "almalinux9.6", "ol8.10", "sles15.5", "azurelinux3.0", "arch1"]
    {
        for (door, driver) in Door::ALL.iter().flat_map(|door| {
            [DriverChoice::Auto, DriverChoice::Inbox, DriverChoice::Doca].map(|driver| (*door, driver))
        }) {
            let settings = Some(Settings { driver, ..Settings::default() });
            let situation = Situation { distro: distro.parse().ok(), settings, door };
            let causes = Cause::ALL.iter().map(|cause| (cause.reason(), Some(*cause)));
            for (reason, cause) in causes.chain(Reason::ALL.iter().map(|reason| (*reason, None))) {
                let remedy = situation.remedy(reason, cause);
                for size in sizes_in(&remedy) {
                    named += 1;
                    assert!(matches!(verdict(size), SizeVerdict::Rdma(_)), "{reason}: {size}");
                    assert_eq!(retirement(size), None, "{reason}: {remedy}");
                }
            }
        }
    }
    assert!(named > 0);
}

#[test]
fn a_mistyped_size_is_refused_with_the_nearest_names_unless_the_adapter_is_named() {
    for (size, near) in [
        ("Standard_HB120rsv3", "did you mean Standard_HB120rs_v3"),
        ("HB176rsv4", "did you mean Standard_HB176rs_v4"),
        ("Standard_ND96isrH100_v5", "Standard_ND96isr_H100_v5"),
    ] {
        let ran = plan(size, &[]);
        let said = ran.json()["message"].as_str().unwrap().to_owned();
        ran.expect(1, "size-unknown");
        assert_eq!(ran.json()["cause"], "size-unknown");
        let remedy = ran.json()["remedy"].as_str().unwrap().to_owned();
        assert!(remedy.contains("`--set nic=cx7`"), "{remedy}");
        assert!(said.contains(near), "{said}");
        assert_eq!(plan(size, &["--nic", "cx7"]).code, 0, "{size}");
    }
}
