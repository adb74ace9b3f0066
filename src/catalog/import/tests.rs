use super::*;
use crate::catalog::check;
use proptest::prelude::*;
use std::sync::LazyLock;

static BASE: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().unwrap());

const EXTENSION: &str = include_str!("../../../tests/fixtures/catalog/resources.json");
const IMAGES: &str = include_str!("../../../tests/fixtures/catalog/versions.json");

fn imported(text: &str) -> Imported {
    import(text, &BASE).unwrap()
}

fn problems(catalog: &Catalog) -> Vec<String> {
    let problems = check::check(catalog).into_iter().filter(|finding| finding.kind.is_problem());
    problems.map(|finding| finding.to_string()).collect()
}

#[test]
fn the_extensions_catalogue_is_taken_with_its_kernel_headers() {
    let imported = imported(EXTENSION);
    let rows: Vec<String> = imported
        .catalog
        .drivers
        .iter()
        .map(|row| format!("{} {} {} {}", row.version, row.line, row.distro, row.kernel_devel.is_some()))
        .collect();
    let want = [
        "5.5-1.0.3.2 5.5 rhel7.4 true",
        "5.5-1.0.3.2 5.5 ubuntu20.04 false",
        "4.9-4.1.7.0 4.9-lts rhel7.6 true",
    ];
    assert_eq!(rows, want);
    let devel = imported.catalog.drivers[0].kernel_devel.clone().unwrap();
    assert_eq!(devel.version, "3.10.0-693.21.1.el7.x86_64");
    assert!(devel.url.unwrap().ends_with("/kernel-devel-3.10.0-693.21.1.el7.x86_64.rpm"));
    assert!(imported.catalog.drivers.iter().all(|row| row.sha256.is_none()));
    // Ubuntu 20.04 is there for two adapters; the package is one.
    assert_eq!(imported.taken.len(), 4);
    let left = [
        "CX6 Windows: not Linux",
        "CX6 Ubuntu 21.04: says distribution ubuntu21.04, but names `MLNX_OFED_LINUX-5.5-1.0.3.2-ubuntu20.04-x86_64.tgz`",
        "CX6 SUSE 15.3: not a distribution this program knows",
        "CX3-Pro Ubuntu 18.04: line `5.5` is not for cx3-pro",
        "CX3-Pro RHEL/CentOS 7.5: has no address",
        "CX3-Pro RHEL/CentOS 7.4: no release line is known for mlnx_ofed 3.4-1.0.0.0",
    ];
    assert_eq!(imported.left, left);
    assert_eq!(problems(&imported.catalog), [""; 0]);
}

#[test]
fn the_images_versions_are_taken_in_both_shapes() {
    let imported = imported(IMAGES);
    let rows: Vec<String> = imported
        .catalog
        .drivers
        .iter()
        .map(|row| {
            format!("{} {} {} {} {}", row.driver, row.version, row.distro, row.arch, row.sha256.is_some())
        })
        .collect();
    let want = [
        "doca 3.2.2 ubuntu24.04 x86_64 true",
        "doca 3.2.2 ubuntu24.04 aarch64 true",
        "doca 3.2.1 rhel10 x86_64 false",
        "doca 2.8.0 rhel8.10 x86_64 true",
        "mlnx_ofed 24.01-0.3.3.1 rhel8.7 x86_64 true",
        "mlnx_ofed 5.7-1.0.2.0 sles15.4 x86_64 false",
    ];
    assert_eq!(rows, want);
    let url = &imported.catalog.drivers[4].url;
    assert_eq!(
        url,
        "https://content.mellanox.com/ofed/MLNX_OFED-24.01-0.3.3.1/MLNX_OFED_LINUX-24.01-0.3.3.1-rhel8.7-x86_64.tgz"
    );
    let left = [
        "doca ubuntu24.04 aarch64 some_host: a variant for one kind of machine",
        "doca ubuntu24.04 riscv64: not an architecture this program knows",
        "doca ubuntu24.04-other: not a distribution this program knows",
        "doca ubuntu26.04 x86_64: `https://linux.mellanox.com/public/repo/doca/3.4.0/ubuntu26.04/x86_64/` is not a vendor package",
        "doca ol9.6 x86_64: says distribution ol9.6, but names `doca-host-3.2.1-044000_25.10_rhel9.x86_64.rpm`",
        "doca rocky8.10 x86_64: `doca-host-2.8.0-204000_24.07_rhel810.x86_64.rpm` has another digest here than before",
        "doca azurelinux3.0: says version 3.2.9, but names `doca-host-3.2.1-044000_25.10_alinux32.x86_64.rpm`",
        "mofed ubuntu20.04: names no version",
        "the rest: 2 sections are not drivers",
    ];
    assert_eq!(imported.left, left);
    assert_eq!(problems(&imported.catalog), [""; 0]);
    // A rebuild this program did not know installs what the list says it installs.
    let on = imported.catalog.serves(&imported.catalog.drivers[2]);
    assert_eq!(on, ["rhel10".parse().unwrap(), "almalinux10.1".parse::<Distro>().unwrap()]);
}

#[test]
fn what_was_imported_reads_back_as_a_catalogue() {
    for text in [EXTENSION, IMAGES] {
        let imported = imported(text);
        let yaml = imported.to_yaml().unwrap();
        assert!(yaml.starts_with("# Imported: "), "{yaml}");
        assert_eq!(yaml.lines().filter(|line| line.starts_with("# Left: ")).count(), imported.left.len());
        assert_eq!(Catalog::parse("imported", &yaml).unwrap(), imported.catalog);
    }
}

#[test]
fn other_files_are_refused_in_one_line() {
    for text in ["", "{", "[]", "{\"nvidia\": {}}", "null", "{\"Driver\": 1}"] {
        let error = import(text, &BASE).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::BadSettings);
        assert!(error.to_string().starts_with("nothing to import: "), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_the_importers_panic(text in ".{0,120}", word in ".{0,40}", at in 0..4096_usize) {
        let _ = import(&text, &BASE);
        for file in [EXTENSION, IMAGES] {
            let cut = file.floor_char_boundary(at.min(file.len()));
            let _ = import(&format!("{}{word}{}", &file[..cut], &file[cut..]), &BASE);
        }
    }

    #[test]
    fn whatever_was_imported_reads_back(
        at in prop::sample::select(vec!["20.04", "24.04", "x86_64", "MLNX_OFED_LINUX-", "3.10.0-693.21.1.el7", "16E5"]),
        word in "[-a-zA-Z0-9_.:/ '#]{0,30}|\\PC{0,20}|[\n\r\u{85}\u{2028}]a: b|[0-9.]{0,6}",
    ) {
        let quoted = serde_json::to_string(&word).unwrap();
        for file in [EXTENSION, IMAGES] {
            let imported = import(&file.replace(at, &quoted[1..quoted.len() - 1]), &BASE).unwrap();
            let read = Catalog::parse("imported", &imported.to_yaml().unwrap()).unwrap();
            prop_assert_eq!(read, imported.catalog);
        }
    }
}
