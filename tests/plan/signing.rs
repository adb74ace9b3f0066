//! Modules that are signed: which machine they are planned for.

use crate::machine::{CATALOG, machine, refused};
use ofedctl::facts::Facts;
use ofedctl::facts::secure_boot::SecureBoot;
use ofedctl::outcome::Reason;
use ofedctl::plan::{Described, plan};
use ofedctl::plan_document::{ModuleSigning, Plan};
use ofedctl::settings::{DriverChoice, Settings};
use ofedctl::target::{Arch, Mode};

const KERNEL: &str = "5.15.0-1064-azure";

fn signed(facts: &Facts, mode: Mode, sha256: &str) -> anyhow::Result<Plan> {
    let (subject, certificate) = ("CN=mine".to_owned(), String::new());
    let module_signing = Some(ModuleSigning { subject, sha256: sha256.to_owned(), certificate });
    let described = Described { module_signing, ..Described::default() };
    let settings = Settings { driver: DriverChoice::Doca, ..Settings::default() };
    plan(&described, Some(facts), mode, &CATALOG, &settings)
}

#[test]
fn secure_boot_takes_signed_modules_only_by_a_certificate_that_is_enrolled() {
    let mut facts = machine("ubuntu22.04", Arch::X86_64, KERNEL);
    facts.secure_boot = SecureBoot::On;
    let (reason, said) = refused(signed(&facts, Mode::Live, "aa"));
    assert_eq!(reason, Reason::SecureBoot);
    assert!(said.contains("CN=mine") && said.contains("does not know"), "{said}");
    facts.enrolled_certificates = vec!["bb".to_owned(), "aa".to_owned()];
    let planned = signed(&facts, Mode::Live, "aa").unwrap();
    assert_eq!(planned.module_signing.as_ref().unwrap().sha256, "aa");
    assert!(planned.to_text().contains("sign       its modules, by CN=mine"), "{}", planned.to_text());
    assert!(!planned.to_text().contains("UEFI keys"), "{}", planned.to_text());

    // For an image nobody knows which keys its machines will have.
    let planned = signed(&machine("ubuntu22.04", Arch::X86_64, KERNEL), Mode::Bake, "aa").unwrap();
    assert!(planned.why.iter().any(|it| it.contains("UEFI keys")), "{}", planned.to_text());
}

#[test]
fn a_kernel_before_4_3_takes_no_such_signature() {
    let facts = machine("ubuntu22.04", Arch::X86_64, "3.10.0-1160.el7.x86_64");
    let (reason, said) = refused(signed(&facts, Mode::Bake, "aa"));
    assert_eq!(reason, Reason::KernelUnsupported, "{said}");
    assert!(said.contains("older than 4.3"), "{said}");
}
