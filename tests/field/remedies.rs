//! What is advised leads on: each cause of a failure is provoked on each distribution that can have it, what its remedy
//! names of this program is done, and the failure is gone. What it advises of other programs stands in a table with sources.

use crate::common::deb::{Deb, Repository};
use crate::common::image;
use crate::common::program::{self, Ran};
use crate::common::root::debian_root;
use crate::common::{need::need_root, scratch};
use ofedctl::outcome::Cause;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");
const KERNEL: &str = "5.15.0-1074-azure";
const MODULES: [&str; 6] = ["mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib"];
/// One of each family, as os-release names them.
const DISTROS: [&str; 6] = ["ubuntu22.04", "debian12", "almalinux9.6", "ol9.6", "sles15.5", "azurelinux3.0"];

/// Where causes are provoked, and what is advised is done: the file below `tests`, and the test.
const PROVOKED: &[(Cause, &str, &str)] = &[
    (Cause::FileUnreadable, "field/remedies.rs", "what_is_named_wrongly_is_right_when_named_as_advised"),
    (Cause::FolderUnwritable, "field/remedies.rs", "what_is_named_wrongly_is_right_when_named_as_advised"),
    (Cause::CatalogFaulty, "field/remedies.rs", "what_is_named_wrongly_is_right_when_named_as_advised"),
    (Cause::CloudInitMissing, "field/remedies.rs", "what_is_named_wrongly_is_right_when_named_as_advised"),
    (
        Cause::SizeUnknown,
        "field/remedies.rs",
        "settings_that_are_advised_end_the_refusal_of_a_described_target",
    ),
    (Cause::NoDigest, "field/remedies.rs", "settings_that_are_advised_end_the_refusal_of_a_described_target"),
    (
        Cause::KernelOutOfRange,
        "field/remedies.rs",
        "settings_that_are_advised_end_the_refusal_of_a_described_target",
    ),
    (Cause::NoKernel, "field/remedies.rs", "kernels_and_modules_that_are_advised_end_the_refusal_of_a_root"),
    (
        Cause::KernelNotThere,
        "field/remedies.rs",
        "kernels_and_modules_that_are_advised_end_the_refusal_of_a_root",
    ),
    (
        Cause::KernelWithoutModules,
        "field/remedies.rs",
        "kernels_and_modules_that_are_advised_end_the_refusal_of_a_root",
    ),
    (
        Cause::ModuleBuiltIn,
        "field/remedies.rs",
        "kernels_and_modules_that_are_advised_end_the_refusal_of_a_root",
    ),
    (Cause::OtherDriver, "field/remedies.rs", "a_driver_in_the_way_goes_or_stays_as_advised"),
    (
        Cause::ModulesRefused,
        "field/remedies.rs",
        "under_secure_boot_the_distributions_own_driver_is_what_is_advised",
    ),
    (Cause::CacheEmpty, "field/remedies.rs", "a_cache_that_lacks_something_is_filled_as_advised"),
    (Cause::BundleUnknown, "field/remedies.rs", "a_cache_that_lacks_something_is_filled_as_advised"),
    (Cause::TargetNotStaged, "field/remedies.rs", "a_cache_that_lacks_something_is_filled_as_advised"),
    (
        Cause::NothingRebuilds,
        "field/updates.rs",
        "a_new_kernel_is_kept_away_or_built_for_or_left_alone_as_the_setting_says",
    ),
    (
        Cause::UsrReadOnly,
        "field/updates.rs",
        "suses_way_through_a_snapshot_leads_on_where_the_running_system_is_refused",
    ),
    (
        Cause::PackageNotWhole,
        "field/interrupted.rs",
        "a_package_of_somebody_else_that_is_half_installed_is_named_with_the_way_out",
    ),
];

/// What is advised of other things than this program: words of the remedy, and where they are from.
const ELSEWHERE: &[(Cause, &str, &str)] = &[
    (Cause::NoProc, "mount -t proc proc /proc", "proc(5); done in field/releases.rs"),
    (
        Cause::SigningKeyUnusable,
        "unencrypted RSA key",
        "scripts/sign-file.c of Linux; done in vendor/signing_keys.rs",
    ),
    (Cause::SigningKeyMissing, "module_signing_key", "done in vendor/signed_modules.rs"),
    (
        Cause::CertificateNotEnrolled,
        "mokutil",
        "mokutil(1); azure-docs, trusted-launch-secure-boot-custom-uefi",
    ),
    (Cause::OtherDriverWithoutUninstaller, "the way it was installed", "no program is there to be run"),
    (Cause::BundleLacksKernel, "mlnx_ofed_installer", "done in rpm/vendor_kernels.rs"),
    (Cause::SourcesMissing, "Stage again", "the file is damaged, and only another one helps"),
    (Cause::BuildPlaceNoexec, "remount,exec", "mount(8); done in vendor/failures.rs"),
    (
        Cause::BuildWithoutModule,
        "driver_version",
        "the vendor's build, of which only another release differs",
    ),
    (Cause::CatalogUnsigned, "public_key", "done in registry/catalog.rs"),
    (Cause::OlderCatalog, "--out", "done in registry/catalog.rs"),
    (Cause::OlderBundle, "allow_older", "done in bake_failures.rs"),
    (Cause::RecordsDamaged, "/var/backups/dpkg.status", "dpkg(1), FILES; done in field/broken_state.rs"),
    (Cause::DriverLacksKernel, "sources of the same release", "provoked in plan/settings.rs"),
    (Cause::TooLittleRoom, "Free the named file system", "df(1); provoked in bake_failures.rs"),
];

/// The packages that are advised for kernels, by the distribution.
const PACKAGES: &[(&str, &[&str], &str)] = &[
    ("ubuntu22.04", &["linux-azure", "linux-modules-extra"], "packages.ubuntu.com, jammy"),
    ("debian12", &["linux-image-amd64"], "packages.debian.org, bookworm"),
    ("almalinux9.6", &["kernel", "kernel-modules-extra"], "AlmaLinux BaseOS"),
    (
        "ol9.6",
        &["kernel-uek", "kernel", "kernel-uek-modules", "kernel-modules-extra"],
        "Oracle Linux 9, UEKR7",
    ),
    ("sles15.5", &["kernel-azure", "kernel-default"], "SLE Module Public Cloud and Basesystem"),
    ("azurelinux3.0", &["kernel"], "microsoft/azurelinux, SPECS/kernel"),
];

#[test]
fn every_cause_is_provoked_or_its_advice_has_a_source() {
    for cause in Cause::ALL {
        let provoked: Vec<_> = PROVOKED.iter().filter(|(it, ..)| it == cause).collect();
        let elsewhere: Vec<_> = ELSEWHERE.iter().filter(|(it, ..)| it == cause).collect();
        assert_eq!(provoked.len() + elsewhere.len(), 1, "{}: give it one row", cause.token());
        for (_, file, test) in provoked {
            let text = std::fs::read_to_string(Path::new(HOUSE).join("tests").join(file)).unwrap();
            assert!(text.contains(&format!("fn {test}()")), "{}: {file} has no {test}", cause.token());
            assert!(text.matches(cause.token()).count() > 0, "{}: {file} does not ask for it", cause.token());
        }
        for (_, words, source) in elsewhere {
            let remedy = ofedctl::remedies::Situation::default().remedy(cause.reason(), Some(*cause));
            assert!(remedy.contains(words) && !source.is_empty(), "{}: {remedy}", cause.token());
        }
    }
}

fn put(folder: &TempDir, path: &str, text: &str) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A root of a distribution with these lines in the list of its kernel's modules.
fn root_of(distro: &str, modules: &str) -> TempDir {
    let folder = scratch();
    let at = distro.find(|c: char| c.is_ascii_digit()).unwrap();
    let (id, version) = distro.split_at(at);
    put(&folder, "etc/os-release", &format!("ID={id}\nVERSION_ID=\"{version}\"\n"));
    put(&folder, "var/lib/dpkg/status", "");
    put(&folder, &format!("lib/modules/{KERNEL}/modules.dep"), modules);
    folder
}

/// The kernel's own modules, as its package brings them.
fn own_modules() -> String {
    MODULES.map(|module| format!("kernel/drivers/{module}.ko:\n")).concat()
}

fn plan(more: &[&str]) -> Ran {
    program::run(&[&["plan", "--json", "--arch", "x86_64", "--set", "nic=cx6"], more].concat())
}

/// The cause of a failure, and what is advised.
fn failure(ran: &Ran) -> (String, String) {
    let answer = ran.json();
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    (text("cause"), text("remedy"))
}

/// Every `--set KEY=VALUE` of a remedy.
fn settings_in(remedy: &str) -> Vec<String> {
    let spans = remedy.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.strip_prefix("--set ").map(str::to_owned)).collect()
}

/// Provokes a cause, and does what is advised by settings, one after the other: each must lead on.
#[track_caller]
fn settings_lead_on(cause: &str, ask: impl Fn(&[&str]) -> Ran) {
    let (found, remedy) = failure(&ask(&[]));
    assert_eq!(found, cause);
    let settings = settings_in(&remedy);
    assert!(!settings.is_empty(), "{remedy}");
    for setting in settings {
        let again = ask(&["--set", &setting]);
        assert_ne!(failure(&again).0, cause, "{setting}");
        assert_ne!(again.code, 1, "{setting}: {}", again.stdout);
    }
}

#[test]
fn settings_that_are_advised_end_the_refusal_of_a_described_target() {
    for distro in DISTROS {
        let sized =
            ["plan", "--json", "--distro", distro, "--arch", "x86_64", "--vm-size", "Standard_HB120rs_v9"];
        settings_lead_on("size-unknown", |more| program::run(&[&sized[..], more].concat()));
    }
    // microsoft/pai issue 2470: nobody published the digest of this distribution's files.
    let strict = ["--distro", "ubuntu16.04", "--set", "driver=mlnx_ofed", "--set", "trust=digest"];
    settings_lead_on("no-digest", |more| plan(&[&strict[..], more].concat()));
    // uclasystem/hermit issue 8 and siderolabs/pkgs issue 637: an OFED older than the kernel.
    for distro in ["ubuntu20.04", "ubuntu18.04"] {
        let old = [
            "--distro",
            distro,
            "--kernel",
            "6.2.0-1-azure",
            "--set",
            "nic=cx3-pro",
            "--set",
            "driver=mlnx_ofed",
        ];
        settings_lead_on("kernel-out-of-range", |more| plan(&[&old[..], more].concat()));
        // A version that is named is to be left out, too.
        let named = [&old[..], &["--set", "driver_version=4.9-4.1.7.0"]].concat();
        let (cause, remedy) = failure(&plan(&named));
        assert!(cause == "kernel-out-of-range" && remedy.contains("`driver_version`"), "{cause}: {remedy}");
        assert_eq!(failure(&plan(&["--distro", distro, "--kernel", "6.2.0-1-azure"])).0, "");
    }
}

#[test]
fn kernels_and_modules_that_are_advised_end_the_refusal_of_a_root() {
    need_root();
    for (distro, packages, source) in PACKAGES {
        assert!(!source.is_empty());
        let ask = |folder: &TempDir, more: &[&str]| {
            plan(&[&["--root", folder.path().to_str().unwrap(), "--set", "driver=inbox"], more].concat())
        };
        let advised = |remedy: &str| {
            let words: Vec<&str> =
                remedy.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c))).collect();
            assert!(packages.iter().any(|package| words.contains(package)), "{distro}: {remedy}");
        };
        // What its package brings is laid there in its place.
        let folder = root_of(distro, "");
        std::fs::remove_dir_all(folder.path().join("lib/modules")).unwrap();
        let (cause, remedy) = failure(&ask(&folder, &[]));
        assert_eq!(cause, "no-kernel", "{distro}");
        advised(&remedy);
        put(&folder, &format!("lib/modules/{KERNEL}/modules.dep"), "");
        let (cause, remedy) = failure(&ask(&folder, &[]));
        assert_eq!(cause, "kernel-without-modules", "{distro}");
        advised(&remedy);
        put(&folder, &format!("lib/modules/{KERNEL}/modules.dep"), &own_modules());
        assert_ne!(failure(&ask(&folder, &[])).0, "kernel-without-modules", "{distro}");

        let (cause, remedy) = failure(&ask(&folder, &["--kernel", "4.4.0-1-none"]));
        assert!(cause == "kernel-not-there" && remedy.contains("or none"), "{distro}: {remedy}");
        assert_ne!(failure(&ask(&folder, &[])).0, "kernel-not-there", "{distro}");
    }
    // microsoft/azure-linux-kernel issue 28.
    for distro in ["ubuntu22.04", "almalinux9.6"] {
        let folder = root_of(distro, &own_modules());
        put(&folder, &format!("lib/modules/{KERNEL}/modules.builtin"), "kernel/drivers/mlx5_core.ko\n");
        let root = folder.path().to_str().unwrap();
        let ask = |more: &[&str]| plan(&[&["--root", root, "--set", "driver=doca"], more].concat());
        settings_lead_on("module-built-in", ask);
    }
}

#[test]
fn a_driver_in_the_way_goes_or_stays_as_advised() {
    need_root();
    let installed = MODULES.map(|module| format!("updates/dkms/{module}.ko:\n")).concat();
    let folder = root_of("ubuntu22.04", &installed);
    let release =
        "#!/bin/bash\nif [ \"$1\" == \"-s\" ]; then\n\techo \"MLNX_OFED_LINUX-5.8-1.1.2.1:\"\n\texit 0\nfi\n";
    put(&folder, "usr/bin/ofed_info", release);
    put(&folder, "etc/init.d/openibd", "#!/bin/sh\n");
    let root = folder.path().to_str().unwrap();
    let ask = |more: &[&str]| plan(&[&["--root", root], more].concat());
    let doca = |more: &[&str]| ask(&[&["--set", "driver=doca"], more].concat());
    settings_lead_on("other-driver", doca);
    let (_, remedy) = failure(&doca(&[]));
    assert!(remedy.contains("name neither `driver` nor `driver_version`"), "{remedy}");
    assert_eq!(ask(&[]).code, 0);
}

#[test]
fn under_secure_boot_the_distributions_own_driver_is_what_is_advised() {
    // Azure/azhpc-images issue 298.
    for host in ["hb120rs_v3-ubuntu20.04", "hb176rs_v4-alma8-gen2", "rhel8.2"] {
        let folder = scratch();
        let from = format!("{HOUSE}/tests/fixtures/hosts/{host}/.");
        assert!(Command::new("cp").args(["-a", &from]).arg(folder.path()).status().unwrap().success());
        let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        std::fs::create_dir_all(folder.path().join(variable).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(variable), [6, 0, 0, 0, 1]).unwrap();
        let root = folder.path().to_str().unwrap();
        let ask = |more: &[&str]| {
            program::run(&[&["plan", "--json", "--root", root, "--set", "driver=mlnx_ofed"], more].concat())
        };
        settings_lead_on("modules-refused", ask);
    }
}

#[test]
fn what_is_named_wrongly_is_right_when_named_as_advised() {
    need_root();
    let folder = scratch();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // A catalogue that is not there, one that is wrong, and one that is right.
    let check = |file: &str| program::run(&["catalog", "check", "--json", file]);
    assert_eq!(failure(&check(&path("none"))).0, "file-unreadable");
    let good = std::fs::read_to_string(Path::new(HOUSE).join("src/catalog/catalog.yaml")).unwrap();
    put(&folder, "bad.yaml", &good.replacen("arch: x86_64", "arch: aarch64", 1));
    assert_eq!(failure(&check(&path("bad.yaml"))).0, "catalog-faulty");
    put(&folder, "good.yaml", &good);
    assert_eq!(check(&path("good.yaml")).code, 0);
    // A folder for Packer's plugins below a file, and one that can be made.
    put(&folder, "file", "");
    let setup = |place: &str| program::run(&["packer", "setup", "--json", "--plugin-path", place]);
    assert_eq!(failure(&setup(&path("file/plugins"))).0, "folder-unwritable");
    assert_eq!(setup(&path("plugins")).code, 0);
    // So with a cache, whose staging then ends elsewhere: nobody is at that proxy.
    let stage = |cache: &str| {
        let target = ["stage", "--json", "--distro", "debian12", "--nic", "cx6", "--arch", "x86_64"];
        let alone = ["--set", "proxy=http://127.0.0.1:9", "--set", "retries=0", "--cache", cache];
        failure(&program::run(&[&target[..], &alone].concat())).0
    };
    assert_eq!(stage(&path("file/cache")), "folder-unwritable");
    assert_ne!(stage(&path("cache")), "folder-unwritable");
    // An image without cloud-init.
    let root = root_of("debian12", &own_modules());
    let setup = |more: &[&str]| {
        let root = root.path().to_str().unwrap();
        program::run(&[&["cloud-init", "setup", "--json", "--root", root], more].concat())
    };
    let (cause, remedy) = failure(&setup(&[]));
    assert!(cause == "cloud-init-missing" && remedy.contains("`--unit`"), "{cause}: {remedy}");
    assert_eq!(setup(&["--unit"]).code, 0);
}

#[test]
fn a_cache_that_lacks_something_is_filled_as_advised() {
    let root = debian_root("trixie");
    let files = vec![("/usr/share/perftest/data", "data\n")];
    let repository = Repository::of(&[Deb { name: "perftest", version: "99", files, ..Deb::default() }]);
    root.add_source(&repository.source_line());
    let cache = root.beside("cache");
    let (cause, remedy) = failure(&image::bake(&root, &cache));
    assert!(cause == "cache-empty" && remedy.contains("`ofedctl stage`"), "{cause}: {remedy}");
    image::stage(&root, &cache).expect(0, "staged");

    let place = cache.display().to_string();
    let out = cache.with_file_name("out.tar").display().to_string();
    let export =
        |tag: &str| program::run(&["cache", "export", "--json", "--cache", &place, "--out", &out, tag]);
    let (cause, remedy) = failure(&export("no-such-bundle"));
    assert!(cause == "bundle-unknown" && remedy.contains("`ofedctl cache list`"), "{cause}: {remedy}");
    let listed = program::run(&["cache", "list", "--json", "--cache", &place]).json();
    let tag = listed["bundles"][0]["tag"].as_str().unwrap_or_else(|| panic!("{listed:#}")).to_owned();
    assert_eq!(export(&tag).code, 0);

    // Another release than the one that it was staged for.
    let other = debian_root("bookworm");
    let (cause, remedy) = failure(&image::bake(&other, &cache));
    assert!(cause == "target-not-staged" && remedy.contains("`ofedctl stage`"), "{cause}: {remedy}");
}
