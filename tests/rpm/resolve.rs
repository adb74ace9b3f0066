//! Resolving for a target that is only described: its repositories, keys and database, in a folder.

use crate::common::need::need;
use crate::common::program::{self, Ran};
use crate::common::tree::Tree;
use crate::common::web::Web;
use crate::packages::{Key, Repository, Rpm, index};
use ofedctl::events::Events;
use ofedctl::host::Host;
use ofedctl::host::cancel::Cancel;
use ofedctl::host::fs::Root;
use ofedctl::host::http::NetworkOptions;
use ofedctl::outcome::Reason;
use ofedctl::packages::{Arrived, Base, Manager, Resolution, ResolveRequest};
use ofedctl::settings::Settings;
use ofedctl::target::{Arch, Distro, KernelDevel};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with a target's files.
struct Target {
    folder: tempfile::TempDir,
    kernel_devel: Option<KernelDevel>,
}

impl Target {
    fn new(files: &[(&str, &str)]) -> Self {
        need(&["dnf", "rpm", "createrepo-c"]);
        let target = Self { folder: crate::common::scratch(), kernel_devel: None };
        for (path, text) in files {
            target.put(path, text);
        }
        target
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a package into its database, without its files.
    fn has(&self, rpm: &Rpm) {
        let folder = crate::common::scratch();
        let database = format!("--dbpath={}", self.path().join("var/lib/rpm").display());
        let mut install = Command::new("rpm");
        install.args([&database, "--install", "--justdb", "--nodeps"]).arg(rpm.build(folder.path()));
        assert!(install.status().unwrap().success());
    }

    fn resolve(
        &self,
        base: &dyn for<'a> Fn(&'a Root) -> Base<'a>,
        packages: &[&str],
    ) -> anyhow::Result<Resolution> {
        let host = Host::open(Path::new("/"), Events::silent(), Cancel::never()).unwrap();
        let root = Root::open(self.path()).unwrap();
        let distro: Distro = "almalinux8.10".parse().unwrap();
        let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
        let devel = self.kernel_devel.clone();
        let question = ResolveRequest {
            sources: &root,
            base: &base(&root),
            distro: &distro,
            arch: Arch::X86_64,
            packages: &packages,
            kernels: &[],
            vendor_repo: None,
            kernel_devel: devel.as_ref(),
            in_target: None,
            proxy: None,
        };
        let before = Tree::of(self.path());
        let resolved = Manager::Dnf.resolve(&host, &question);
        assert!(before == Tree::of(self.path()), "resolving changed the target");
        resolved
    }

    fn stage(&self, cache: &Path) -> Ran {
        let sources = self.path().display().to_string();
        let cache = cache.display().to_string();
        let described = ["stage", "--json", "--distro", "almalinux8.10", "--driver", "inbox", "--nic", "cx6"];
        program::run(&[&described[..], &["--sources", &sources, "--cache", &cache]].concat())
    }
}

fn files(resolution: &Resolution) -> Vec<&str> {
    resolution.downloads.iter().map(|download| download.file.as_str()).collect()
}

#[test]
fn the_exact_kernel_headers_are_found_though_the_image_holds_kernels_back() {
    let kernels = [Rpm::plain("kernel-devel", "4.18.0", "gcc"), Rpm::plain("kernel-devel", "4.18.1", "gcc")];
    let repository = Repository::of(&[&kernels[..], &[Rpm::plain("gcc", "8.5", "")]].concat());
    let target = Target::new(&[
        ("etc/yum.repos.d/a.repo", &repository.file("exclude=kernel-d*")),
        ("etc/dnf/dnf.conf", "[main]\nexclude=kernel* opensm*\n"),
    ]);
    let resolution = target.resolve(&|_| Base::Empty, &["kernel-devel-4.18.0-1"]).unwrap();
    assert_eq!(files(&resolution), ["gcc-8.5-1.noarch.rpm", "kernel-devel-4.18.0-1.noarch.rpm"]);
    let error = target.resolve(&|_| Base::Empty, &["kernel-devel-4.18.2-1"]).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::HeadersMissing);
    assert!(error.to_string().contains("kernel-devel-4.18.2-1"), "{error}");
}

#[test]
fn modules_for_the_images_own_kernel_are_taken_and_no_other_kernel() {
    let kernel = |version: &'static str| Rpm::plain("kernel", version, "");
    let modules = |version: &'static str, requires: &'static str| {
        Rpm::plain("mlnx-ofa_kernel-modules", version, requires)
    };
    let older = [kernel("6.6.1"), modules("24.10", "kernel = 6.6.1-1")];
    let newer = [kernel("6.6.2"), modules("24.11", "kernel = 6.6.2-1")];
    let repository = Repository::of(&[older.clone(), newer].concat());
    let target = Target::new(&[("etc/yum.repos.d/a.repo", &repository.file(""))]);
    target.has(&older[0]);
    let resolution = target.resolve(&|root| Base::Root(root), &["mlnx-ofa_kernel-modules"]).unwrap();
    assert_eq!(files(&resolution), ["mlnx-ofa_kernel-modules-24.10-1.noarch.rpm"]);
    // Without an image there is no kernel to keep to.
    let closure = target.resolve(&|_| Base::Empty, &["mlnx-ofa_kernel-modules"]).unwrap();
    assert_eq!(files(&closure), ["kernel-6.6.2-1.noarch.rpm", "mlnx-ofa_kernel-modules-24.11-1.noarch.rpm"]);
}

#[test]
fn a_pinned_minor_release_is_the_variable_the_image_sets() {
    // In the target: what a source names by path is looked for there.
    let target = Target::new(&[(
        "etc/yum.repos.d/a.repo",
        "[a]\nname=a\nbaseurl=file:///srv/$releasever\ngpgcheck=0\n",
    )]);
    for release in ["8", "8.6"] {
        let place = target.path().join("srv").join(release);
        std::fs::create_dir_all(&place).unwrap();
        let version = if release == "8" { "48" } else { "37" };
        Rpm::plain("rdma-core", version, "").build(&place);
        index(&place);
    }
    let resolved = |target: &Target| {
        let resolution = target.resolve(&|_| Base::Empty, &["rdma-core"]).unwrap();
        files(&resolution).join(" ")
    };
    assert_eq!(resolved(&target), "rdma-core-48-1.noarch.rpm");
    target.put("etc/yum/vars/releasever", "8.6\n");
    assert_eq!(resolved(&target), "rdma-core-37-1.noarch.rpm");
}

#[test]
fn what_the_target_has_is_not_fetched_again() {
    let rpms = [Rpm::plain("rdma-core", "48", "pciutils"), Rpm::plain("pciutils", "3.7", "")];
    let repository = Repository::of(&rpms);
    let target = Target::new(&[("etc/yum.repos.d/a.repo", &repository.file(""))]);
    target.has(&rpms[1]);
    let resolution = target.resolve(&|root| Base::Root(root), &["rdma-core"]).unwrap();
    assert_eq!(files(&resolution), ["rdma-core-48-1.noarch.rpm"]);
    let database: PathBuf = target.path().join("var/lib/rpm/rpmdb.sqlite");
    let resolution = target.resolve(&|_| Base::StatusFile(database.clone()), &["rdma-core"]).unwrap();
    assert_eq!(files(&resolution), ["rdma-core-48-1.noarch.rpm"]);
    assert_eq!(files(&target.resolve(&|_| Base::Empty, &["rdma-core"]).unwrap()).len(), 2);
}

#[test]
fn a_repository_that_lacks_a_dependency_is_named_with_it() {
    let repository = Repository::of(&[Rpm::plain("rdma-core", "48", "nowhere-to-be-had")]);
    let target = Target::new(&[("etc/yum.repos.d/a.repo", &repository.file(""))]);
    let error = target.resolve(&|_| Base::Empty, &["rdma-core"]).unwrap_err();
    assert_eq!(Reason::from_error(&error), Reason::ResolveFailed);
    assert!(error.to_string().contains("nowhere-to-be-had"), "{error}");
}

#[test]
fn packages_are_used_only_when_signed_with_the_key_their_repository_names() {
    let (right, wrong) = (Key::new(), Key::new());
    let folder = crate::common::scratch();
    for rpm in crate::bake::stack() {
        rpm.build(folder.path());
    }
    right.sign(folder.path());
    index(folder.path());
    let shop = Web::serve(folder.path());
    let address = shop.address();
    let repository = format!(
        "[a]\nname=a\nbaseurl={address}\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/KEY-$releasever\n"
    );
    let target = Target::new(&[("etc/yum.repos.d/a.repo", &repository)]);
    let cache = crate::common::scratch();

    target.stage(cache.path()).expect(14, "repository-key");
    target.put("etc/pki/rpm-gpg/KEY-8", &wrong.public());
    let refused = target.stage(cache.path());
    refused.expect(14, "repository-key");
    assert!(refused.stdout.contains("rdma-core-48.0-1.noarch.rpm"), "{}", refused.stdout);
    let listed = program::run(&["cache", "list", "--json", "--cache", cache.path().to_str().unwrap()]);
    assert!(!listed.stdout.contains("inbox-almalinux"), "{}", listed.stdout);

    target.put("etc/pki/rpm-gpg/KEY-8", &right.public());
    target.stage(cache.path()).expect(0, "staged");
}

#[test]
fn headers_that_mirrors_have_dropped_come_from_the_address_the_catalogue_knows_if_they_are_signed() {
    let right = Key::new();
    let folder = crate::common::scratch();
    Rpm::plain("kernel-devel", "3.10.0", "").build(folder.path());
    let shop = Web::serve(folder.path());
    let repository = Repository::of(&[Rpm::plain("gcc", "4.8", "")]);
    let mut target = Target::new(&[("etc/yum.repos.d/a.repo", &repository.file(""))]);
    let packages = ["kernel-devel-3.10.0-1", "gcc"];
    let missing = target.resolve(&|_| Base::Empty, &packages).unwrap_err();
    assert_eq!(Reason::from_error(&missing), Reason::HeadersMissing, "{missing:#}");

    let url = format!("{}/kernel-devel-3.10.0-1.noarch.rpm", shop.address());
    target.kernel_devel = Some(KernelDevel { version: "3.10.0-1.x86_64".to_owned(), url: Some(url) });
    let indexed = |target: &Target| {
        let resolution = target.resolve(&|_| Base::Empty, &packages).unwrap();
        assert_eq!(files(&resolution), ["gcc-4.8-1.noarch.rpm", "kernel-devel-3.10.0-1.noarch.rpm"]);
        let path = |url: &str| PathBuf::from(url.strip_prefix("file:").unwrap_or("/nowhere"));
        let arrived = resolution.downloads[1..].iter();
        let arrived: Vec<Arrived> =
            arrived.map(|it| Arrived { file: it.file.clone(), path: path(&it.url) }).collect();
        let host = Host::open(Path::new("/"), Events::silent(), Cancel::never()).unwrap();
        Manager::Yum.index(&host, &resolution, &arrived, NetworkOptions::from_settings(&Settings::default()))
    };
    target.put("etc/pki/rpm-gpg/KEY", &right.public());
    let unsigned = indexed(&target).unwrap_err();
    assert_eq!(Reason::from_error(&unsigned), Reason::RepositoryKey, "{unsigned:#}");
    right.sign(folder.path());
    assert_eq!(indexed(&target).unwrap().len(), 4);
}
