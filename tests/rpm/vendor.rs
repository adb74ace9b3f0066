//! A vendor's driver in an rpm root: staged with a network, baked without one, and proven. A second image of the same
//! kernel needs no compiler any more.

use crate::common::image::{self, VM_SIZE};
use crate::common::program::{self, Ran};
use crate::common::root::Root;
use crate::common::vendor::modules::BUILDS;
use crate::common::vendor::shop::Shop;
use crate::packages::{Repository, Rpm};
use crate::roots::{ALMA8, Identity};
use crate::vendor_packages;
use crate::{bake, hold};
use std::path::Path;

/// What the distribution has: headers of two kernels, what builds modules, and a newer rdma-core than the vendor's.
pub(crate) fn packages(identity: Identity) -> Vec<Rpm> {
    let (version, release) = identity.kernel.trim_end_matches(".x86_64").split_once('-').unwrap();
    let headers = |release: &'static str| Rpm { release, ..Rpm::plain("kernel-devel", version, "") };
    let mut all = vec![headers(release), headers("999.el8_10")];
    for name in
        ["dkms", "gcc", "lsof", "make", "patch", "pciutils", "perl", "rpm-build", "tcsh", "test-libnl3"]
    {
        all.push(Rpm::plain(name, if name == "dkms" { "3.2.2" } else { "1" }, ""));
    }
    all.push(Rpm::plain("rdma-core", "61", ""));
    all.push(Rpm::plain("libibverbs", "61", "rdma-core = 61"));
    all.push(Rpm::plain("upgradable", "2", ""));
    all
}

fn distribution(identity: Identity) -> Repository {
    Repository::of(&packages(identity))
}

/// A root whose users hold back what `held` names.
fn root_holding(identity: Identity, repository: &Repository, held: &str) -> Root {
    let root = identity.building_root();
    root.write("etc/yum.repos.d/test.repo", &repository.file(""));
    bake::give(&root, &Rpm::plain("upgradable", "1", ""));
    root.write("etc/dnf/dnf.conf", &format!("[main]\nbest=1\nexclude={held}\n"));
    root
}

pub(crate) fn root(identity: Identity, repository: &Repository) -> Root {
    root_holding(identity, repository, "kernel* rdma-core")
}

/// What an upgrade from the distribution leaves of the vendor's packages.
fn upgraded(root: &Root, repository: &Repository) -> String {
    repository.copy_into(root, "etc/yum.repos.d/test.repo");
    hold::run(root, &["dnf", "-y", "upgrade"]);
    bake::known(root)
}

pub(crate) fn run(command: &str, root: &Root, shop: &Shop, cache: &Path, more: &[&str]) -> Ran {
    let path = |path: &Path| path.display().to_string();
    let (root, catalog, cache) = (path(root.path()), path(&shop.catalog()), path(cache));
    let all =
        [command, "--json", "--root", &root, "--catalog", &catalog, "--cache", &cache, "--vm-size", VM_SIZE];
    let all = [&all[..], more].concat();
    if command == "bake" {
        program::finish(program::program_without_network(&[&all[..], &["--offline"]].concat()))
    } else {
        program::run(&all)
    }
}

fn builds(root: &Root) -> Vec<String> {
    root.read(BUILDS).lines().map(str::to_owned).collect()
}

/// What `verify` found under a name.
fn found(root: &Root, name: &str) -> String {
    let verified = image::ask("verify", root);
    verified.expect(0, "verified");
    let checks = verified.json()["checks"].clone();
    let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
    check.unwrap_or_else(|| panic!("no check `{name}`: {checks}"))["found"].as_str().unwrap().to_owned()
}

#[test]
fn doca_is_baked_from_its_own_repository_and_a_second_time_without_compiling() {
    let shop = Shop::of(|folder| drop(vendor_packages::host_package(folder, "3.2.1", "25.10", "rhel8")));
    let repository = distribution(ALMA8);
    let first = root(ALMA8, &repository);
    let settings = first.read("etc/dnf/dnf.conf");
    let cache = first.beside("cache");
    run("stage", &first, &shop, &cache, &[]).expect(0, "staged");
    let asked = repository.web.requests().len();
    run("bake", &first, &shop, &cache, &[]).expect(0, "installed");
    assert_eq!(repository.web.requests().len(), asked);

    let kernel = ALMA8.kernel;
    assert_eq!(found(&first, "release by ofed_info"), "DOCA-Host 3.2.1, OFED-internal-25.10-1.7.1");
    assert!(found(&first, &format!("module mlx5_core for {kernel}")).starts_with("updates/"));
    let all = ["mlnx-ofa_kernel", "iser", "isert", "srp"].map(|name| format!("{name} {kernel}"));
    assert_eq!(builds(&first), all, "each once, for the image's kernel alone, and the main one first");
    let packages = image::receipt(&first)["packages"].clone();
    assert_eq!((packages["rdma-core"].as_str(), packages["dkms"].as_str()), (Some("25-1"), Some("3.2.2-1")));
    run("bake", &first, &shop, &cache, &[]).expect(0, "already-installed");

    // What the image holds back is as it was, and the vendor's packages stay at an upgrade, which libibverbs 61 would
    // leave without a solution and DOCA's own DKMS would break.
    let held = first.read("etc/dnf/dnf.conf");
    assert!(held.contains("\nexclude=kernel* rdma-core\n") && held.contains("\nexcludepkgs=rdma "), "{held}");
    let known = upgraded(&first, &repository);
    for package in ["rdma-core-25-1", "libibverbs-25-1", "dkms-3.2.2-1", "upgradable-2-1"] {
        assert!(known.contains(package), "{package} is not among {known}");
    }
    image::ask("verify", &first).expect(0, "verified");
    image::ask("uninstall", &first).expect(0, "uninstalled");
    assert_eq!(first.read("etc/dnf/dnf.conf"), settings);

    let second = root(ALMA8, &repository);
    run("bake", &second, &shop, &cache, &[]).expect(0, "installed");
    assert_eq!(found(&second, &format!("built for {kernel}")), "6 modules");
    assert_eq!(builds(&second), Vec::<String>::new(), "something was compiled");
}

#[test]
fn mlnx_ofed_is_rebuilt_by_its_installer_for_the_images_kernel_and_kept() {
    let version = "24.10-3.2.5.0";
    let shop = Shop::of(|folder| drop(vendor_packages::tgz(folder, version, "rhel8.10", "rhel8.10")));
    let repository = distribution(ALMA8);
    let first = root_holding(ALMA8, &repository, "kernel*");
    let cache = first.beside("cache");
    run("stage", &first, &shop, &cache, &[]).expect(0, "staged");
    run("bake", &first, &shop, &cache, &[]).expect(0, "installed");
    let kernel = ALMA8.kernel;
    assert_eq!(found(&first, "release by ofed_info"), format!("MLNX_OFED_LINUX-{version}"));
    assert!(found(&first, &format!("module mlx5_core for {kernel}")).starts_with("extra/mlnx-ofa_kernel/"));
    assert_eq!(builds(&first), [format!("mlnx-ofa_kernel {kernel}")]);
    let known = upgraded(&first, &repository);
    for package in ["rdma-core-25-1", "libibverbs-25-1", "upgradable-2-1"] {
        assert!(known.contains(package), "{package} is not among {known}");
    }

    let second = root(ALMA8, &repository);
    run("bake", &second, &shop, &cache, &[]).expect(0, "installed");
    assert_eq!(found(&second, &format!("built for {kernel}")), "6 modules");
    assert_eq!(builds(&second), Vec::<String>::new(), "something was compiled");
}
