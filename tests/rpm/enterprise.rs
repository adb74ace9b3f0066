//! The vendor's driver on Enterprise Linux 7 through yum, and on Oracle Linux with its two kinds of kernels.

use crate::common::image;
use crate::common::program;
use crate::common::vendor::shop::Shop;
use crate::common::web::Web;
use crate::packages::{Key, Repository, Rpm};
use crate::roots::{CENTOS7, Identity};
use crate::scene::{Scene, tools};
use crate::vendor_packages;
use ofedctl::cache::Cache;
use ofedctl::catalog::Catalog;
use ofedctl::target::KernelDevel;
use std::path::Path;

const CENTOS76: Identity = Identity { kernel: "3.10.0-957.12.2.el7.x86_64", ..CENTOS7 };
const ORACLE79: Identity = Identity { id: "ol", version: "7.9", kernel: "5.4.17-2136.330.7.5.el7uek.x86_64" };
/// The kernel that is compatible with Red Hat's, as images of Oracle Linux have it beside their own.
const RED_HATS: &str = "3.10.0-1160.119.1.0.3.el7.x86_64";

/// The package of a kernel's headers.
pub(crate) fn headers(name: &'static str, kernel: &'static str) -> Rpm {
    let (version, release) = kernel.trim_end_matches(".x86_64").split_once('-').unwrap();
    Rpm { release, ..Rpm::plain(name, version, "") }
}

#[test]
fn mlnx_ofed_is_built_on_centos_7_with_headers_that_only_the_catalogue_knows_of() {
    let shop = Shop::of(|folder| drop(vendor_packages::tgz(folder, "5.4-1.0.3.0", "rhel7.6", "rhel7.6")));
    let (key, folder) = (Key::new(), crate::common::scratch());
    headers("kernel-devel", CENTOS76.kernel).build(folder.path());
    key.sign(folder.path());
    let vault = Web::serve(folder.path());
    let mut catalog = Catalog::parse("test", &std::fs::read_to_string(shop.catalog()).unwrap()).unwrap();
    for row in catalog.drivers.iter_mut().filter(|row| row.file_name().contains("rhel7.6")) {
        let url = format!("{}/kernel-devel-3.10.0-957.12.2.el7.noarch.rpm", vault.address());
        row.kernel_devel = Some(KernelDevel { version: CENTOS76.kernel.to_owned(), url: Some(url) });
    }
    std::fs::write(shop.catalog(), serde_yaml::to_string(&catalog).unwrap()).unwrap();

    let repository = Repository::of(&tools());
    let first = Scene::new(CENTOS76, &shop, &repository);
    first.root.write("etc/centos-release", "CentOS Linux release 7.6.1810 (Core)\n");
    first.root.write("etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-7", &key.public());
    let before = first.packages();
    first.stage(&[]).expect(0, "staged");
    let baked = first.bake(&[]);
    baked.expect(0, "installed");
    assert!(!baked.stderr.contains("--distro"), "{}", baked.stderr);
    assert!(first.packages().contains(&"kernel-devel-3.10.0-957.12.2.el7".to_owned()));
    let module = first.found(&format!("module mlx5_core for {}", CENTOS76.kernel));
    assert!(module.starts_with("extra/mlnx-ofa_kernel/"), "{module}");
    assert_eq!(first.builds(), [format!("mlnx-ofa_kernel {}", CENTOS76.kernel)]);
    first.bake(&[]).expect(0, "already-installed");
    image::ask("uninstall", &first.root).expect(0, "uninstalled");
    assert_eq!(first.packages(), before);
}

#[test]
fn oracles_own_kernel_and_red_hats_each_have_modules_by_their_own_headers() {
    let shop = Shop::of(|folder| drop(vendor_packages::tgz(folder, "5.4-3.0.3.0", "ol7.9", "ol7.9")));
    let oracles = ["kernel-uek-devel", "kernel-devel"];
    let of_both = [headers(oracles[0], ORACLE79.kernel), headers(oracles[1], RED_HATS)];
    let newer = headers(oracles[0], "5.4.17-2136.999.el7uek.x86_64");
    let repository = Repository::of(&[&tools()[..], &of_both, &[newer]].concat());

    let own = Scene::new(ORACLE79, &shop, &repository);
    own.stage(&[]).expect(0, "staged");
    let baked = own.bake(&[]);
    baked.expect(0, "installed");
    assert!(!baked.stderr.contains("--distro"), "{}", baked.stderr);
    assert_eq!(own.found(&format!("built for {}", ORACLE79.kernel)), "6 modules");
    assert_eq!(own.builds(), [format!("mlnx-ofa_kernel {}", ORACLE79.kernel)]);
    let brought: Vec<String> =
        own.packages().into_iter().filter(|name| name.starts_with("kernel-")).collect();
    assert_eq!(brought, ["kernel-uek-devel-5.4.17-2136.330.7.5.el7uek"]);

    // Packages of built modules are for one kernel. For two it is DKMS's work, and a later image needs no compiler.
    let both = Scene::new(ORACLE79, &shop, &repository);
    both.add_kernel(RED_HATS);
    let before = both.packages();
    both.stage(&[]).expect(0, "staged");
    both.bake(&[]).expect(0, "installed");
    for kernel in [RED_HATS, ORACLE79.kernel] {
        assert_eq!(both.found(&format!("built for {kernel}")), "6 modules");
        assert_eq!(both.found(&format!("dkms mlnx-ofa_kernel for {kernel}")), "installed");
        assert!(both.found(&format!("module mlx5_core for {kernel}")).starts_with("updates/"));
    }
    assert_eq!(both.builds().len(), 2, "{:?}", both.builds());
    let again = both.again(&repository);
    again.add_kernel(RED_HATS);
    again.bake(&[]).expect(0, "installed");
    assert_eq!(again.found(&format!("built for {RED_HATS}")), "6 modules");
    assert_eq!(again.builds(), Vec::<String>::new(), "something was compiled");

    image::ask("uninstall", &both.root).expect(0, "uninstalled");
    assert_eq!(both.packages(), before);
}

#[test]
fn doca_of_a_major_release_is_staged_for_every_minor_one_and_rebuild() {
    let shop = Shop::of(|folder| drop(vendor_packages::host_package(folder, "3.2.2", "25.10", "rhel9")));
    let kernels = [
        ("rhel9.6", "5.14.0-570.12.1.el9_6.x86_64"),
        ("almalinux9.4", "5.14.0-427.13.1.el9_4.x86_64"),
        ("rocky9.7", "5.14.0-611.5.1.el9_7.x86_64"),
    ];
    let headers = kernels.map(|(_, kernel)| headers("kernel-devel", kernel));
    let shell = Rpm { head: "Provides: /bin/sh", ..Rpm::plain("bash", "5", "") };
    let repository = Repository::of(&[&tools()[..], &headers, &[shell]].concat());
    let sources = crate::common::scratch();
    std::fs::create_dir_all(sources.path().join("etc/yum.repos.d")).unwrap();
    std::fs::write(sources.path().join("etc/yum.repos.d/test.repo"), repository.file("")).unwrap();
    let folder = crate::common::scratch();
    let path = |path: &Path| path.display().to_string();
    let (sources, catalog, cache) = (path(sources.path()), path(&shop.catalog()), path(folder.path()));
    for (distro, kernel) in kernels {
        let all = ["stage", "--json", "--distro", distro, "--kernel", kernel, "--nic", "cx7"];
        let all = [&all[..], &["--sources", &sources, "--catalog", &catalog, "--cache", &cache]].concat();
        program::run(&all).expect(0, "staged");
    }
    let bundles = Cache::open(folder.path()).unwrap().bundles().unwrap();
    for (distro, kernel) in kernels {
        let bundle = bundles.iter().find(|bundle| bundle.config.distro.to_string() == distro).unwrap();
        let has = |title: &str| bundle.files.iter().any(|file| file.title == title);
        assert!(has("doca-host-3.2.2-044000_25.10_rhel9.x86_64.rpm"), "{distro}");
        assert!(has(&format!("kernel-devel-{}.noarch.rpm", kernel.trim_end_matches(".x86_64"))), "{distro}");
        assert_eq!(bundle.files.iter().filter(|file| file.title.starts_with("kernel-")).count(), 1);
    }
}
