use super::package_names::FileName;
use super::*;
use crate::outcome::Reason;
use proptest::prelude::*;
use proptest::sample::select;

/// Every package the sources name, one a line; see the head of the file.
const PACKAGES: &str = include_str!("../../tests/fixtures/catalog/packages.txt");

const SMALL: &str = "schema_version: 1
lines:
  5.8-lts: {driver: mlnx_ofed, release: '5.8', nics: [cx5, cx6, cx7], lts: true}
";

fn embedded() -> &'static Catalog {
    static EMBEDDED: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());
    &EMBEDDED
}

fn distro(word: &str) -> Distro {
    word.parse().unwrap()
}

fn chosen(catalog: &Catalog, word: &str, nic: Nic) -> Vec<String> {
    let rows = catalog.candidates(&distro(word), Arch::X86_64, nic);
    rows.into_iter().map(|row| format!("{} {}", row.driver, row.version)).collect()
}

#[test]
fn every_package_the_sources_name_is_led_to() {
    let catalog = embedded();
    let mut seen = 0;
    for line in PACKAGES.lines().filter(|line| !line.starts_with('#')) {
        let [url, sha256, on, arch, driver, version, nic] =
            <[&str; 7]>::try_from(line.split(' ').collect::<Vec<_>>()).unwrap();
        let nics: Vec<Nic> = if nic == "-" { Nic::ALL.to_vec() } else { vec![nic.parse().unwrap()] };
        let found = nics.into_iter().any(|nic| {
            catalog.candidates(&distro(on), arch.parse().unwrap(), nic).into_iter().any(|row| {
                let at =
                    [&row.url].into_iter().chain(&row.mirrors).chain(&row.repository).any(|at| at == url);
                let same = row.driver.name() == driver && row.version.as_str() == version;
                at && same && (sha256 == "-" || row.sha256.as_deref() == Some(sha256))
            })
        });
        assert!(found, "{line}");
        seen += 1;
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn every_file_name_agrees_with_its_row() {
    for row in &embedded().drivers {
        let file = FileName::parse(row.file_name()).unwrap();
        assert_eq!((file.driver, &file.version), (row.driver, &row.version), "{}", row.url);
        // The one package of sources is for a distribution that has no other.
        let (distro, arch) = (file.distro.unwrap_or(distro("mariner2")), file.arch.unwrap_or(Arch::X86_64));
        assert_eq!((distro, arch), (row.distro.clone(), row.arch), "{}", row.url);
    }
}

#[test]
fn rows_are_in_the_order_that_is_promised() {
    let catalog = embedded();
    let key = |row: &Row| (row.driver, row.version.clone());
    assert!(catalog.drivers.is_sorted_by(|a, b| key(a) >= key(b)), "by driver, then version, newest first");
}

#[test]
fn the_newest_comes_first_whichever_driver_it_is() {
    let catalog = embedded();
    let ubuntu = chosen(catalog, "ubuntu22.04", Nic::Cx7);
    assert_eq!(ubuntu[..4], ["doca 3.3.0", "doca 3.2.2", "doca 3.2.1", "doca 3.1.0"]);
    assert!(ubuntu.contains(&"mlnx_ofed 5.8-1.1.2.1".to_owned()));
    let pro = chosen(catalog, "ubuntu20.04", Nic::Cx3Pro);
    assert_eq!(pro[0], "mlnx_ofed 4.9-7.1.0.0");
    assert!(pro.iter().all(|row| row.starts_with("mlnx_ofed 4.9-")), "{pro:?}");
    assert_eq!(chosen(catalog, "rocky9.4", Nic::Cx8)[0], "doca 3.2.3");
    assert_eq!(chosen(catalog, "azurelinux3.0", Nic::Cx6), [""; 0], "alinux32 is Alibaba's");
    assert_eq!(chosen(catalog, "centos7.4", Nic::Cx5)[0], "mlnx_ofed 5.5-1.0.3.2");
    for nothing in ["ol9.4", "rhel8", "debian12", "fedora40", "rhel8.11"] {
        assert_eq!(chosen(catalog, nothing, Nic::Cx6), [""; 0], "{nothing}");
    }
}

#[test]
fn a_limit_is_the_first_kernel_that_fails() {
    let line = &embedded().lines["4.9-lts"];
    assert!(line.builds_for("5.4.0-1109-azure") && line.builds_for("4.18.0-193.el8.x86_64"));
    assert!(
        !line.builds_for("5.6") && !line.builds_for("5.6.0-1-azure") && !line.builds_for("5.15.0-1041-azure")
    );
}

#[test]
fn the_inbox_stack_is_there_where_no_package_is() {
    let catalog = embedded();
    let packages = |word: &str| {
        catalog.inbox(&distro(word), Arch::X86_64, Nic::Cx6).map(|inbox| inbox.packages.join(" "))
    };
    let debian = "rdma-core ibverbs-providers ibverbs-utils rdmacm-utils infiniband-diags perftest";
    for word in ["debian11", "debian12", "debian13", "ubuntu18.04", "ubuntu26.04"] {
        assert_eq!(packages(word).as_deref(), Some(debian), "{word}");
    }
    let rpm = "rdma-core libibverbs libibverbs-utils librdmacm-utils infiniband-diags perftest";
    for word in ["rhel8.6", "centos7.9", "almalinux9.6", "rocky10.0", "ol8.10", "sles15.4"] {
        assert_eq!(packages(word).as_deref(), Some(rpm), "{word}");
    }
    let azure = format!("{rpm} mlnx-ofa_kernel mlnx-ofa_kernel-modules");
    assert_eq!(packages("azurelinux3.0"), Some(azure));
    assert_eq!(packages("ubuntu16.04"), None);
}

#[test]
fn what_is_not_public_has_no_address() {
    let catalog = embedded();
    let private: Vec<&Row> = catalog.drivers.iter().filter(|row| !row.is_public()).collect();
    assert_eq!(private.len(), 1);
    assert_eq!(private[0].addresses().count(), 0);
    assert_eq!(private[0].file_name(), "doca-host_3.1.0-091513-25.07-ubuntu2404_arm64.deb");
    let copied = catalog.drivers.iter().find(|row| row.url.contains("azhpcstor")).unwrap();
    assert_eq!(copied.addresses().count(), 2);
}

#[test]
fn faults_are_named_with_file_and_line() {
    let wrong = |text: &str| {
        let error = Catalog::parse("mine.yaml", text).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::BadSettings);
        error.to_string()
    };
    assert_eq!(wrong("schema_version: 2\nlines: {}\n"), "`mine.yaml` line 1: schema_version 2 is not 1");
    let typo = wrong(&SMALL.replace("release", "relaese"));
    assert!(typo.starts_with("`mine.yaml` line 3: ") && typo.contains("relaese"), "{typo}");
    let twice = wrong(&format!("{SMALL}  5.8-lts: {{driver: doca, release: '3', nics: []}}\n"));
    assert!(twice.starts_with("`mine.yaml` line ") && twice.contains("5.8-lts"), "{twice}");
    let driver = wrong(&SMALL.replace("mlnx_ofed", "ofed"));
    assert!(driver.contains("line 3") && driver.contains("mlnx_ofed"), "{driver}");
    assert!(wrong(&format!("# {}\n{SMALL}", "x".repeat(16 << 20))).contains("larger than 16 MiB"));
}

#[test]
fn a_catalogue_reads_back_as_it_was_written() {
    let catalog = embedded();
    let text = serde_yaml::to_string(catalog).unwrap();
    assert_eq!(Catalog::parse("written", &text).unwrap(), *catalog);
}

/// A row like the vendor's, for one of the embedded catalogue's lines.
fn any_row() -> impl Strategy<Value = Row> {
    let distros = ["rhel8.6", "rhel9", "ubuntu22.04", "ubuntu99.04", "debian12"];
    (
        select(embedded().lines.clone().into_iter().collect::<Vec<_>>()),
        select(distros.to_vec()),
        "[0-9]{1,2}",
        any::<bool>(),
    )
        .prop_map(|((name, line), on, number, digest)| Row {
            driver: line.driver,
            version: Version::new(format!("{}-{number}", line.release)),
            line: name,
            distro: distro(on),
            arch: Arch::X86_64,
            url: format!("https://example.com/{number}"),
            sha256: digest.then(|| "0".repeat(64)),
            mirrors: Vec::new(),
            repository: None,
            kernel_devel: None,
            note: None,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}", tail in "[-a-z0-9: {}\\[\\]\n&*'.]{0,80}") {
        let _ = Catalog::parse("any", &text);
        let _ = Catalog::parse("any", &format!("{SMALL}{tail}"));
    }

    #[test]
    fn another_row_never_takes_a_candidate_away(row in any_row(), at in 0..170_usize) {
        let before = embedded();
        let mut after = before.clone();
        after.drivers.insert(at, row.clone());
        for word in ["rhel8.6", "rocky9.6", "ubuntu22.04", "ubuntu24.04", "debian12"] {
            for nic in Nic::ALL {
                let old = before.candidates(&distro(word), Arch::X86_64, nic);
                let mut new = after.candidates(&distro(word), Arch::X86_64, nic);
                new.retain(|candidate| **candidate != row);
                prop_assert_eq!(old, new);
            }
        }
    }

    #[test]
    fn a_candidate_is_never_for_something_else(at in 0..1000_usize, arch in select(vec![Arch::X86_64, Arch::Aarch64]), nic in select(Nic::ALL.to_vec())) {
        let catalog = embedded();
        let line = PACKAGES.lines().skip(2).cycle().nth(at).unwrap();
        let on = distro(line.split(' ').nth(2).unwrap());
        let rows = catalog.candidates(&on, arch, nic);
        for row in &rows {
            prop_assert!(row.arch == arch && catalog.line(row).unwrap().nics.contains(&nic));
            prop_assert!(catalog.serves(row).iter().any(|served| served.covers(&on)));
        }
        let ofed = |row: &&Row| Version::new(catalog.line(row).unwrap().ofed_release());
        prop_assert!(rows.is_sorted_by(|a, b| ofed(a) >= ofed(b)));
    }
}

#[test]
fn the_built_in_catalogue_names_nothing_twice() {
    Catalog::parse("catalog.yaml", &super::EMBEDDED).unwrap();
}
