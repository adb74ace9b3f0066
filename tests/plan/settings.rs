//! What the settings ask for is done, or refused in clear words; what an image holds already is left alone.

use crate::machine::{CATALOG, machine, modules, planned, refused};
use ofedctl::edits::Edit;
use ofedctl::facts::Facts;
use ofedctl::facts::azure::HpcImage;
use ofedctl::facts::modules::Place;
use ofedctl::facts::ofed::Ofed;
use ofedctl::facts::rdma::LoadedModule;
use ofedctl::facts::secure_boot::SecureBoot;
use ofedctl::outcome::{Cause, Outcome, Reason};
use ofedctl::plan::{Described, plan};
use ofedctl::plan_document::Plan;
use ofedctl::settings::{DocaProfile, DriverChoice, RdmaNames, ReplaceDriver, Settings};
use ofedctl::target::{Arch, Driver, Mode, Nic};

const KERNEL: &str = "5.15.0-1074-azure";
const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn choosing(driver: DriverChoice, version: Option<&str>, sha256: Option<&str>) -> Settings {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let (driver_version, sha256) = (text(version), text(sha256));
    Settings { driver, driver_version, sha256, nic: Some(Nic::Cx6), ..Settings::default() }
}

fn on(distro: &str, settings: &Settings) -> anyhow::Result<Plan> {
    let described =
        Described { distro: distro.parse().ok(), arch: Some(Arch::X86_64), ..Described::default() };
    plan(&described, None, Mode::Bake, &CATALOG, settings)
}

#[test]
fn a_profile_of_doca_is_asked_for_by_its_own_package() {
    for (profile, package) in [
        (DocaProfile::DocaOfed, "doca-ofed"),
        (DocaProfile::DocaNetworking, "doca-networking"),
        (DocaProfile::DocaAll, "doca-all"),
    ] {
        for distro in ["ubuntu22.04", "almalinux8.10"] {
            let settings = Settings { doca_profile: profile, ..choosing(DriverChoice::Doca, None, None) };
            let plan = on(distro, &settings).unwrap();
            let doca: Vec<&String> = plan.packages.iter().filter(|name| name.starts_with("doca")).collect();
            assert_eq!(doca, [package], "{distro}");
        }
    }
}

#[test]
fn a_named_driver_and_version_is_taken() {
    for (distro, driver, version, taken) in [
        ("ubuntu22.04", DriverChoice::Auto, None, "doca 3.2.2"),
        ("ubuntu22.04", DriverChoice::Doca, None, "doca 3.2.2"),
        ("ubuntu22.04", DriverChoice::Doca, Some("3.3.0"), "doca 3.3.0"),
        ("ubuntu22.04", DriverChoice::Auto, Some("3.2"), "doca 3.2.2"),
        ("ubuntu22.04", DriverChoice::Auto, Some("24.01"), "mlnx_ofed 24.01-0.3.3.1"),
        ("ubuntu22.04", DriverChoice::Inbox, None, "inbox"),
        ("debian12", DriverChoice::Auto, None, "inbox"),
        ("rhel8.2", DriverChoice::Auto, None, "mlnx_ofed 5.5-1.0.3.2"),
        ("rhel8.2", DriverChoice::Auto, Some("5.5-1.0.3.2"), "mlnx_ofed 5.5-1.0.3.2"),
        ("ubuntu18.04", DriverChoice::MlnxOfed, None, "mlnx_ofed 23.04-1.1.3.0"),
    ] {
        let plan = on(distro, &choosing(driver, version, None)).unwrap();
        assert_eq!(plan.driver_name(), taken, "{distro} {driver:?} {version:?}");
        assert_eq!(plan.artifact.is_some(), plan.driver != Driver::Inbox);
        assert!(!plan.packages.is_empty() && !plan.edits.is_empty() && !plan.why.is_empty());
    }
}

#[test]
fn a_named_driver_that_does_not_fit_is_refused() {
    for (distro, driver, version, says) in [
        ("debian12", DriverChoice::Doca, None, "no doca that drives cx6"),
        ("ubuntu26.04", DriverChoice::MlnxOfed, None, "no mlnx_ofed"),
        ("ubuntu22.04", DriverChoice::Auto, Some("9.9"), "no vendor driver 9.9"),
        ("ubuntu22.04", DriverChoice::MlnxOfed, Some("3.2.2"), "it has doca 3.3.0"),
        ("nixos24.11", DriverChoice::Inbox, None, "no driver of nixos24.11's own"),
    ] {
        let (reason, said) = refused(on(distro, &choosing(driver, version, None)));
        assert_eq!(reason, Reason::ImageUnsupported, "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_digest_goes_with_a_version_and_does_not_overrule_the_catalogue() {
    let refusal = |settings: &Settings| refused(on("rhel8.2", settings));
    for wrong in [
        choosing(DriverChoice::Auto, None, Some(DIGEST)),
        choosing(DriverChoice::Inbox, Some("5.5"), None),
        choosing(DriverChoice::Auto, Some("5.5-1.0.3.2"), Some("abc")),
    ] {
        assert_eq!(refusal(&wrong).0, Reason::BadSettings, "{wrong:?}");
    }
    let plan = on("rhel8.2", &choosing(DriverChoice::Auto, Some("5.5-1.0.3.2"), Some(DIGEST))).unwrap();
    assert_eq!(plan.artifact.as_ref().unwrap().sha256, Some(DIGEST.to_lowercase()));
    assert!(plan.to_text().contains("its digest is the settings' word"), "{}", plan.to_text());
    let (reason, said) =
        refused(on("ubuntu22.04", &choosing(DriverChoice::Doca, Some("3.2.2"), Some(DIGEST))));
    assert!(reason == Reason::BadSettings && said.contains("and not the given"), "{said}");
}

#[test]
fn the_old_adapter_gets_the_old_line_while_kernels_let_it() {
    let pro = |kernels: &[&str]| {
        let kernels = kernels.iter().map(|kernel| (*kernel).to_owned()).collect();
        on("ubuntu20.04", &Settings { nic: Some(Nic::Cx3Pro), kernels, ..Settings::default() }).unwrap()
    };
    assert_eq!(pro(&["5.4.0-1109-azure"]).driver_name(), "mlnx_ofed 4.9-6.0.6.0");
    assert_eq!(pro(&["5.4.0-1109-azure"]).modules[..2], ["mlx4_core", "mlx4_ib"]);
    let newer = pro(&["5.4.0-1109-azure", "5.15.0-1064-azure"]);
    assert_eq!(newer.driver_name(), "inbox");
    let said = newer.to_text();
    assert!(said.contains("below 5.6 (") && said.contains("not for 5.15.0-1064-azure"), "{said}");
}

#[test]
fn with_no_adapter_known_the_driver_serves_all_usual_ones() {
    let settings = Settings::default();
    let plan = on("ubuntu22.04", &settings).unwrap();
    assert!(
        plan.target.nic.is_none() && plan.to_text().contains("drives cx5, cx6, cx7"),
        "{}",
        plan.to_text()
    );
    // Debian 11's own kernel is too old for the newest of them.
    let plan = on("debian11", &settings).unwrap();
    assert!(plan.driver == Driver::Inbox && plan.to_text().contains("give --vm-size or --nic"));
}

fn with_ofed(release: &str, doca_host: Option<&str>) -> Facts {
    let mut facts = machine("ubuntu22.04", Arch::X86_64, KERNEL);
    facts.modules.insert(KERNEL.to_owned(), modules(Place::Added));
    facts.ofed = Some(Ofed {
        release: Some(release.to_owned()),
        version: release.split_once('-').map(|(_, version)| version.to_owned()),
        doca_host: doca_host.map(str::to_owned),
        ..Ofed::default()
    });
    facts
}

#[test]
fn a_driver_that_an_image_holds_is_left_alone() {
    let mut facts = with_ofed("OFED-internal-25.10-1.7.1", Some("3.2.1"));
    facts.hpc_image = Some(HpcImage::default());
    // Even where the catalogue has nothing for it.
    facts.os.distro = "fedora42".parse().ok();
    for settings in
        [choosing(DriverChoice::Auto, None, None), choosing(DriverChoice::Doca, Some("3.2"), None)]
    {
        let plan = planned(&facts, Mode::Live, &settings).unwrap();
        assert_eq!((plan.driver_name().as_str(), plan.packages.len()), ("doca 3.2.1", 0));
        // Only what is around it is planned, but not the list of whoever brought it.
        assert!(plan.edits.iter().any(|edit| edit.path() == Some("/etc/waagent.conf")), "{}", plan.to_text());
        assert!(!plan.edits.iter().any(|edit| matches!(edit, Edit::SetComponent { .. })));
        let present = plan.present.unwrap();
        assert!(present.hpc_image && present.release == "OFED-internal-25.10-1.7.1");
    }
    for settings in [
        choosing(DriverChoice::Inbox, None, None),
        choosing(DriverChoice::MlnxOfed, None, None),
        choosing(DriverChoice::Auto, Some("3.3"), None),
    ] {
        let (reason, said) = refused(planned(&facts, Mode::Live, &settings));
        assert_eq!(reason, Reason::DriverPresent);
        assert!(said.ends_with("is asked for, but OFED-internal-25.10-1.7.1 is installed"), "{said}");
        assert!(reason.remedy().contains("replace_driver"));
    }
}

#[test]
fn a_driver_in_the_way_is_taken_out_where_the_settings_let_it() {
    let facts = with_ofed("OFED-internal-25.10-1.7.1", Some("3.2.1"));
    let choosing =
        |driver| Settings { replace_driver: ReplaceDriver::Replace, ..choosing(driver, None, None) };
    let plan = planned(&facts, Mode::Bake, &choosing(DriverChoice::Inbox)).unwrap();
    assert_eq!(plan.replaces.as_deref(), Some("OFED-internal-25.10-1.7.1"));
    assert!(plan.to_text().contains("take out   OFED-internal-25.10-1.7.1"), "{}", plan.to_text());
    // One that is right is not in the way.
    let plan = planned(&facts, Mode::Bake, &choosing(DriverChoice::Auto)).unwrap();
    assert!(plan.present.is_some() && plan.replaces.is_none());
    // A repository alone is no driver.
    let mut repository = with_ofed("", Some("3.2.1"));
    repository.ofed.as_mut().unwrap().release = None;
    repository.modules.insert(KERNEL.to_owned(), modules(Place::Kernel));
    assert_eq!(planned(&repository, Mode::Bake, &choosing(DriverChoice::Auto)).unwrap().replaces, None);
}

#[test]
fn the_edits_are_those_of_the_driver_and_the_settings() {
    let subjects = |distro: &str, settings: &Settings| {
        on(distro, settings).unwrap().edits.iter().map(Edit::subject).collect::<Vec<_>>()
    };
    let inbox = Settings {
        rdma_names: RdmaNames::Distribution,
        memlock: false,
        nofile: false,
        ..choosing(DriverChoice::Inbox, None, None)
    };
    let few = subjects("debian12", &inbox);
    for (wanted, is_there) in [
        ("/etc/modules-load.d/ofedctl.conf", true),
        ("/etc/waagent.conf", true),
        ("/etc/udev/rules.d/60-rdma-persistent-naming.rules", false),
        ("limits", false),
        ("/opt/azurehpc", false),
    ] {
        assert_eq!(few.iter().any(|subject| subject.contains(wanted)), is_there, "{wanted} in {few:?}");
    }
    let vendors = Settings { kernel_hold: true, ..choosing(DriverChoice::Doca, None, None) };
    let all = subjects("ubuntu22.04", &vendors);
    for wanted in [
        "/etc/udev/rules.d/60-rdma-persistent-naming.rules",
        "/etc/systemd/system/openibd.service.d/ofedctl.conf",
        "openibd.service",
        "/etc/apt/preferences.d/ofedctl",
        "/opt/azurehpc/component_versions.txt",
    ] {
        assert!(all.iter().any(|subject| subject == wanted), "{wanted} is not among {all:?}");
    }
    assert!(all.last().unwrap().starts_with("linux-image-*"), "{all:?}");
    let plan = on("ubuntu22.04", &vendors).unwrap();
    assert!(plan.edits.iter().all(|edit| plan.to_text().contains(&edit.subject())), "{}", plan.to_text());
    let rhel = Settings { kernel_hold: true, ..choosing(DriverChoice::Auto, None, None) };
    assert!(on("rhel8.2", &rhel).unwrap().to_text().contains("/etc/dnf/dnf.conf: kernel kernel-core "));
}

#[test]
fn a_driver_of_our_own_or_for_another_kernel_is_planned_for() {
    let auto = choosing(DriverChoice::Auto, None, None);
    let mut ours = with_ofed("MLNX_OFED_LINUX-5.8-1.1.2.1", None);
    assert!(planned(&ours, Mode::Bake, &auto).unwrap().present.is_some());
    ours.ofed.as_mut().unwrap().by_ofedctl = true;
    assert!(planned(&ours, Mode::Bake, &auto).unwrap().present.is_none());
    let mut stale = with_ofed("MLNX_OFED_LINUX-5.8-1.1.2.1", None);
    stale.os.kernels.push("6.8.0-1027-azure".to_owned());
    stale.modules.insert("6.8.0-1027-azure".to_owned(), modules(Place::Kernel));
    let (reason, said) = refused(planned(&stale, Mode::Bake, &auto));
    assert_eq!(reason, Reason::DriverPresent);
    assert!(said.contains("no mlx5_core for the kernel 6.8.0-1027-azure"), "{said}");
    stale.ofed.as_mut().unwrap().by_ofedctl = true;
    assert!(planned(&stale, Mode::Bake, &auto).unwrap().present.is_none());
}

/// Azure/azhpc-images issue 372: the kernel of an HPC image was updated, and the sources of its driver lay there. Issues
/// 119 and 182: the new kernel has only links to the modules of the old one, which openibd refuses.
#[test]
fn a_driver_that_lacks_a_new_kernel_is_built_for_it_from_the_sources_that_are_there() {
    const NEW: &str = "6.8.0-1027-azure";
    let auto = choosing(DriverChoice::Auto, None, None);
    let mut facts = with_ofed("OFED-internal-25.10-1.7.1", Some("3.2.1"));
    facts.ofed.as_mut().unwrap().dkms_sources = Some("25.10.OFED.25.10.1.7.1.1".to_owned());
    facts.os.kernels.push(NEW.to_owned());
    for (place, said) in [(Place::Kernel, "has no mlx5_core for the kernel"), (Place::Linked, "weak-updates")]
    {
        facts.modules.insert(NEW.to_owned(), modules(place));
        let plan = planned(&facts, Mode::Bake, &auto).unwrap();
        assert_eq!(plan.rebuilds.as_ref().unwrap().kernels, [NEW]);
        assert_eq!(
            (plan.driver_name().as_str(), &plan.present, &plan.replaces),
            ("doca 3.2.1", &None, &None)
        );
        assert_eq!(plan.packages, [&format!("linux-headers-{NEW}"), "dkms", "gcc", "make"]);
        assert!(plan.artifact.is_none() && plan.why[0].contains(said), "{}", plan.to_text());
        let subjects: Vec<String> = plan.edits.iter().map(Edit::subject).collect();
        assert!(subjects.contains(&format!("initramfs of {NEW}")), "{subjects:?}");
        assert!(subjects.contains(&"/etc/waagent.conf".to_owned()), "{subjects:?}");
    }
    // Who asks for it has the driver replaced, and another one is never built in its place.
    facts.modules.insert(NEW.to_owned(), modules(Place::Kernel));
    let replace = Settings { replace_driver: ReplaceDriver::Replace, ..auto.clone() };
    assert!(planned(&facts, Mode::Bake, &replace).unwrap().replaces.is_some());
    let other = choosing(DriverChoice::Doca, Some("3.3"), None);
    assert_eq!(refused(planned(&facts, Mode::Bake, &other)).0, Reason::DriverPresent);
    // A module that is part of the kernel leaves nothing to build.
    facts.modules.insert(NEW.to_owned(), modules(Place::BuiltIn));
    assert_eq!(refused(planned(&facts, Mode::Bake, &auto)).0, Reason::DriverPresent);
    facts.ofed.as_mut().unwrap().dkms_sources = None;
    // Without sources its own kernels can be named, so that replacing it is not the only way on.
    facts.modules.insert(NEW.to_owned(), modules(Place::Kernel));
    let error = planned(&facts, Mode::Bake, &auto).unwrap_err();
    assert_eq!(Outcome::from(&error).cause, Some(Cause::DriverLacksKernel), "{error:#}");
    let own = facts.os.kernels[0].clone();
    let named = Settings { kernels: vec![own], ..auto.clone() };
    assert!(planned(&facts, Mode::Bake, &named).unwrap().present.is_some());
    facts.modules.insert(NEW.to_owned(), modules(Place::Linked));
    let plan = planned(&facts, Mode::Bake, &auto).unwrap();
    assert!(
        plan.present.is_some() && plan.to_text().contains("is only linked there (weak-updates)"),
        "{}",
        plan.to_text()
    );
}

#[test]
fn an_image_gets_all_its_kernels_and_a_vm_the_one_it_runs_and_those_it_had() {
    const OTHERS: [&str; 2] = ["5.15.0-1053-azure", "6.8.0-1027-azure"];
    let auto = choosing(DriverChoice::Auto, None, None);
    let mut facts = machine("ubuntu22.04", Arch::X86_64, "5.15.0-1074-azure");
    for (at, kernel) in [(0, OTHERS[0]), (2, OTHERS[1])] {
        facts.os.kernels.insert(at, kernel.to_owned());
        facts.modules.insert(kernel.to_owned(), modules(Place::Kernel));
    }
    let kernels = |facts: &Facts, mode, settings| planned(facts, mode, settings).unwrap().target.kernels;
    let all = [OTHERS[0], "5.15.0-1074-azure", OTHERS[1]];
    assert_eq!(kernels(&facts, Mode::Bake, &auto), all);
    assert_eq!(kernels(&facts, Mode::Live, &auto), [all[1]]);
    let named = Settings { kernels: vec![OTHERS[1].to_owned()], ..auto.clone() };
    assert_eq!(kernels(&facts, Mode::Live, &named), [OTHERS[1]]);
    facts.served_kernels = vec![OTHERS[0].to_owned(), "gone".to_owned()];
    assert_eq!(kernels(&facts, Mode::Live, &auto), all[..2]);
    // In a container, say, or after an update that took the old kernel away.
    facts.os.running_kernel = Some("6.18.0".to_owned());
    assert_eq!(kernels(&facts, Mode::Live, &auto), all);
}

#[test]
fn a_driver_that_is_there_for_the_kernel_that_runs_is_there() {
    let auto = choosing(DriverChoice::Auto, None, None);
    let mut facts = with_ofed("MLNX_OFED_LINUX-5.8-1.1.2.1", None);
    facts.os.kernels.push("6.8.0-1027-azure".to_owned());
    facts.modules.insert("6.8.0-1027-azure".to_owned(), modules(Place::Kernel));
    assert!(planned(&facts, Mode::Live, &auto).unwrap().present.is_some());
    facts.os.running_kernel = Some("6.8.0-1027-azure".to_owned());
    assert_eq!(refused(planned(&facts, Mode::Live, &auto)).0, Reason::DriverPresent);
}

#[test]
fn plans_for_other_kernels_do_the_same() {
    let auto = choosing(DriverChoice::Auto, None, None);
    let on =
        |kernel: &str, settings| planned(&machine("rhel8.10", Arch::X86_64, kernel), Mode::Live, settings);
    let plan = |kernel: &str| on(kernel, &auto).unwrap();
    let [one, other] = ["4.18.0-553.el8_10.x86_64", "4.18.0-553.5.1.el8_10.x86_64"].map(plan);
    assert!(one.packages != other.packages && one.edits != other.edits, "{one:?}");
    assert!(one.does_the_same(&other) && other.does_the_same(&one));
    let settings = Settings { memlock: false, ..auto.clone() };
    assert!(!one.does_the_same(&on("4.18.0-553.5.1.el8_10.x86_64", &settings).unwrap()));
}

#[test]
fn a_driver_that_secure_boot_keeps_out_is_not_there() {
    let auto = choosing(DriverChoice::Auto, None, None);
    let mut facts = with_ofed("OFED-internal-25.10-1.7.1", Some("3.2.1"));
    facts.secure_boot = SecureBoot::On;
    assert_eq!(refused(planned(&facts, Mode::Live, &auto)).0, Reason::SecureBoot);
    facts.loaded = vec![LoadedModule { name: "mlx5_core".to_owned(), version: None, srcversion: None }];
    assert!(planned(&facts, Mode::Live, &auto).unwrap().present.is_some());
}
