//! Refusals: their order, and what they tell.

use crate::machine::{CATALOG, function, machine, modules, planned, refused};
use ofedctl::facts::Facts;
use ofedctl::facts::modules::Place;
use ofedctl::facts::pci::PciKind;
use ofedctl::outcome::Reason;
use ofedctl::plan::{Described, plan};
use ofedctl::settings::{DriverChoice, Settings};
use ofedctl::target::{Arch, Mode, Nic};
use ofedctl::trust::Trust;

const KERNEL: &str = "5.15.0-1074-azure";

fn vm(size: Option<&str>) -> Facts {
    let mut facts = machine("ubuntu22.04", Arch::X86_64, KERNEL);
    facts.compute.vm_size = size.map(str::to_owned);
    facts
}

/// A machine with which everything is wrong; what is refused first is mended first.
#[test]
fn what_is_wrong_is_said_in_the_order_of_the_codes() {
    let mut settings = Settings { sha256: Some("x".to_owned()), ..Settings::default() };
    let mut facts = vm(Some("Standard_D4s_v5"));
    (facts.vmbus, facts.functions, facts.os.distro) = (None, Vec::new(), None);
    let reason = |facts: &Facts, settings: &Settings| refused(planned(facts, Mode::Live, settings)).0;
    assert_eq!(reason(&facts, &settings), Reason::BadSettings);
    settings.sha256 = None;
    assert_eq!(reason(&facts, &settings), Reason::NoVmbus);
    facts.vmbus = vm(None).vmbus;
    assert_eq!(reason(&facts, &settings), Reason::SizeNotRdma);
    facts.compute.vm_size = Some("Standard_H16r".to_owned());
    assert_eq!(reason(&facts, &settings), Reason::SizeLegacyNd);
    facts.compute.vm_size = Some("Standard_HB120rs_v3".to_owned());
    assert_eq!(reason(&facts, &settings), Reason::NoIbDevice);
    facts.functions = vm(None).functions;
    assert_eq!(reason(&facts, &settings), Reason::ImageUnsupported);
    facts.os.distro = "ubuntu22.04".parse().ok();
    facts.os.kernels.clear();
    assert_eq!(reason(&facts, &settings), Reason::KernelUnsupported);
    facts.os.kernels = vec![KERNEL.to_owned()];
    planned(&facts, Mode::Live, &settings).unwrap();
}

#[test]
fn a_refusal_tells_what_was_seen() {
    let mut facts = vm(Some("Standard_ND96isr_H100_v5"));
    facts.functions = vec![function("101a", PciKind::AcceleratedNetworking, Some(Nic::Cx5))];
    let (reason, said) = refused(planned(&facts, Mode::Live, &Settings::default()));
    assert_eq!(reason, Reason::NoIbDevice);
    for part in [
        "Standard_ND96isr_H100_v5 should have 8 InfiniBand functions",
        "distribution ubuntu22.04",
        KERNEL,
        "0101:00:00.0 15b3:101a (Accelerated Networking, Ethernet)",
        "1 x 44c4f61d-4444-4400-9d52-802e27ede19f",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn while_baking_only_a_size_that_is_said_counts() {
    let mut facts = vm(Some("Standard_D4s_v5"));
    (facts.vmbus, facts.functions) = (None, Vec::new());
    let baked = |size: Option<&str>, nic: Option<Nic>| {
        let settings = Settings { vm_size: size.map(str::to_owned), nic, ..Settings::default() };
        planned(&facts, Mode::Bake, &settings)
    };
    assert_eq!(baked(None, None).unwrap().target.vm_size, None);
    assert_eq!(baked(Some("Standard_HB120rs_v3"), None).unwrap().target.nic, Some(Nic::Cx6));
    assert_eq!(refused(baked(Some("Standard_ND96is_H100_v5"), None)).0, Reason::SizeNotRdma);
    assert_eq!(refused(baked(Some("standard_a9"), None)).0, Reason::SizeLegacyNd);
    // A name newer than any rule: the user's word on the adapter goes before it.
    assert_eq!(baked(Some("Standard_XYZ_v9"), Some(Nic::Cx7)).unwrap().target.nic, Some(Nic::Cx7));
    let (reason, said) = refused(baked(Some("Standard_ND128isr_NDR_GB200_v6"), None));
    assert!(reason == Reason::ImageUnsupported && said.contains("aarch64"), "{said}");
}

#[test]
fn hardware_goes_before_the_name() {
    let live = |facts: &Facts| planned(facts, Mode::Live, &Settings::default());
    // Sizes without InfiniBand by their names, and yet it is there.
    for size in ["Standard_NC24r", "Standard_D4s_v5", "Standard_XYZ_v9"] {
        let plan = live(&vm(Some(size))).unwrap();
        assert_eq!((plan.target.nic, plan.target.vm_size.as_deref()), (None, Some(size)));
    }
    // A size that has moved between the two: what is on the bus decides.
    let mut moved = vm(Some("Standard_NC24rs_v2"));
    moved.functions = vec![function("1004", PciKind::InfiniBand, Some(Nic::Cx3Pro))];
    moved.os.distro = "ubuntu18.04".parse().ok();
    assert_eq!(live(&moved).unwrap().target.nic, Some(Nic::Cx3Pro));
    moved.functions.clear();
    assert_eq!(refused(live(&moved)).0, Reason::NoIbDevice);
    moved.vmbus.as_mut().unwrap().network_direct = true;
    assert_eq!(refused(live(&moved)).0, Reason::SizeLegacyNd);
    // The device's number against the size's name.
    let mut other = vm(Some("Standard_HB120rs_v3"));
    other.functions = vec![function("1018", PciKind::InfiniBand, Some(Nic::Cx5))];
    let plan = live(&other).unwrap();
    assert!(plan.target.nic == Some(Nic::Cx5) && plan.to_text().contains("although"), "{}", plan.to_text());
    let mut odd = vm(Some("Standard_NC24rs_v3"));
    odd.functions = vec![function("101e", PciKind::InfiniBand, None)];
    assert_eq!(live(&odd).unwrap().target.nic, None);
}

#[test]
fn a_kernel_that_is_not_there_or_lacks_modules_is_refused() {
    let mut facts = vm(None);
    let with = |facts: &Facts, kernels: &[&str], driver| {
        let kernels = kernels.iter().map(|kernel| (*kernel).to_owned()).collect();
        planned(facts, Mode::Bake, &Settings { kernels, driver, ..Settings::default() })
    };
    let (reason, said) = refused(with(&facts, &["6.0"], DriverChoice::Auto));
    assert!(reason == Reason::KernelUnsupported && said.contains(KERNEL), "{said}");
    facts.modules.insert(KERNEL.to_owned(), modules(Place::Missing));
    let (reason, said) = refused(with(&facts, &[], DriverChoice::Inbox));
    assert!(reason == Reason::KernelUnsupported && said.contains("mlx5_core"), "{said}");
    // Another kernel of the image that nobody asked for does not matter.
    facts.os.kernels.push("6.0".to_owned());
    facts.modules.insert("6.0".to_owned(), modules(Place::Kernel));
    with(&facts, &["6.0"], DriverChoice::Inbox).unwrap();
}

#[test]
fn secure_boot_is_named_where_it_alone_is_in_the_way() {
    let mut facts = vm(None);
    facts.secure_boot = ofedctl::facts::secure_boot::SecureBoot::On;
    let with = |facts: &Facts, driver| {
        planned(facts, Mode::Live, &Settings { driver, nic: Some(Nic::Cx7), ..Settings::default() })
    };
    let plan = with(&facts, DriverChoice::Auto).unwrap();
    assert_eq!(plan.driver_name(), "inbox");
    assert!(plan.to_text().contains("not      doca"), "{}", plan.to_text());
    assert!(plan.rejected.iter().any(|it| it.why.contains("Secure Boot")), "{}", plan.to_text());
    let (reason, said) = refused(with(&facts, DriverChoice::Doca));
    assert_eq!(reason, Reason::SecureBoot, "{said}");
    assert!(reason.remedy().contains("Standard") && reason.remedy().contains("`driver` `inbox`"));
    let mut on_rpm = machine("almalinux8.10", Arch::X86_64, "4.18.0-553.16.1.el8_10.x86_64");
    on_rpm.secure_boot = facts.secure_boot;
    assert_eq!(with(&on_rpm, DriverChoice::Auto).unwrap().driver_name(), "inbox");
    assert_eq!(refused(with(&on_rpm, DriverChoice::Doca)).0, Reason::SecureBoot);
    // Switching it off would not help where the kernel has the module built in.
    facts.modules.insert(KERNEL.to_owned(), modules(Place::BuiltIn));
    let (reason, said) = refused(with(&facts, DriverChoice::Doca));
    assert!(reason == Reason::KernelUnsupported && said.contains("built into the kernel"), "{said}");
    assert_eq!(with(&facts, DriverChoice::Auto).unwrap().driver_name(), "inbox");
}

#[test]
fn what_no_catalogue_has_is_said_with_what_it_has() {
    let described = |distro: &str| Described {
        distro: distro.parse().ok(),
        arch: Some(Arch::X86_64),
        ..Described::default()
    };
    let settings = Settings { nic: Some(Nic::Cx6), ..Settings::default() };
    let (reason, said) = refused(plan(&described("nixos24.11"), None, Mode::Bake, &CATALOG, &settings));
    assert!(reason == Reason::ImageUnsupported && said.contains("nixos24.11 x86_64"), "{said}");
    let strict = Settings { trust: Trust::Digest, driver: DriverChoice::MlnxOfed, ..settings.clone() };
    let (reason, said) = refused(plan(&described("ubuntu16.04"), None, Mode::Bake, &CATALOG, &strict));
    assert!(reason == Reason::ImageUnsupported && said.contains("`trust: digest` is set"), "{said}");
    let (reason, said) = refused(plan(&Described::default(), None, Mode::Bake, &CATALOG, &settings));
    assert!(reason == Reason::Usage && said.contains("--distro"), "{said}");
}

#[test]
fn a_size_that_nobody_knows_is_refused_with_the_nearest_when_a_user_gives_it() {
    let baked = |size: &str, nic: Option<Nic>| {
        let settings = Settings { vm_size: Some(size.to_owned()), nic, ..Settings::default() };
        planned(&vm(None), Mode::Bake, &settings)
    };
    for (size, near) in [
        ("Standard_HB120rsv3", "did you mean Standard_HB120rs_v3"),
        ("Standard_HB120rs_v33", "did you mean Standard_HB120rs_v3"),
        ("Standard_HB500rs_v9", "Standard_HB"),
        ("Standard_XYZ_v9", "no VM size is known"),
    ] {
        let (reason, said) = refused(baked(size, None));
        assert!(reason == Reason::SizeUnknown && said.contains(near), "{said}");
        assert_eq!(baked(size, Some(Nic::Cx7)).unwrap().target.nic, Some(Nic::Cx7));
        let live = Settings { vm_size: Some(size.to_owned()), ..Settings::default() };
        assert_eq!(refused(planned(&vm(None), Mode::Live, &live)).0, Reason::SizeUnknown);
    }
    assert_eq!(refused(baked("Standard_D4s_v5", None)).0, Reason::SizeNotRdma);
    // The cloud itself tells it: newer than this program, and the adapter is there.
    let told = planned(&vm(Some("Standard_HB500rs_v9")), Mode::Live, &Settings::default()).unwrap();
    let why = told.why.join("; ");
    assert!(
        why.contains("Standard_HB500rs_v9 is not known to this program, so the adapter decides"),
        "{why}"
    );
    let old = baked("Standard_HB120rs_v2", None).unwrap().why.join("; ");
    let end =
        "Azure retires the series of Standard_HB120rs_v2: 2027-05-31; in its place: Standard_HB368rs_v5, ";
    assert!(old.contains(end), "{old}");
}
