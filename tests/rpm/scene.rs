//! A root of some distribution, a cache and a shop of vendor packages, and what users do with them.

use crate::common::image::{self, VM_SIZE};
use crate::common::program::{self, Ran};
use crate::common::root::Root;
use crate::common::vendor::modules::BUILDS;
use crate::common::vendor::shop::Shop;
use crate::packages::{Repository, Rpm};
use crate::roots::Identity;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// All of it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) identity: Identity,
    pub(crate) root: Root,
    catalog: Option<PathBuf>,
    folder: Rc<tempfile::TempDir>,
}

impl Scene {
    /// A fresh root in which modules can be built, whose manager knows this repository, with an empty cache.
    pub(crate) fn new(identity: Identity, shop: &Shop, repository: &Repository) -> Self {
        Self::over(identity, Some(shop.catalog()), repository, Rc::new(crate::common::scratch()))
    }

    /// The same where nothing of a vendor's is wanted.
    pub(crate) fn without_shop(identity: Identity, repository: &Repository) -> Self {
        Self::over(identity, None, repository, Rc::new(crate::common::scratch()))
    }

    /// Another root of the kind with the same cache.
    pub(crate) fn again(&self, repository: &Repository) -> Self {
        Self::over(self.identity, self.catalog.clone(), repository, Rc::clone(&self.folder))
    }

    fn over(
        identity: Identity,
        catalog: Option<PathBuf>,
        repository: &Repository,
        folder: Rc<tempfile::TempDir>,
    ) -> Self {
        let root = identity.building_root();
        let place = if identity.id == "sles" { "etc/zypp/repos.d" } else { "etc/yum.repos.d" };
        root.write(&format!("{place}/test.repo"), &repository.file(""));
        Self { identity, root, catalog, folder }
    }

    /// Fills the cache for the root.
    pub(crate) fn stage(&self, more: &[&str]) -> Ran {
        program::run(&self.arguments("stage", more))
    }

    /// Where neither the program nor what it runs has a network.
    pub(crate) fn bake(&self, more: &[&str]) -> Ran {
        let more = [&["--offline"], more].concat();
        program::finish(program::program_without_network(&self.arguments("bake", &more)))
    }

    fn arguments(&self, command: &str, more: &[&str]) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let (root, cache) = (path(self.root.path()), path(&self.folder.path().join("cache")));
        let all = [command, "--json", "--root", &root, "--cache", &cache, "--vm-size", VM_SIZE];
        let mut all: Vec<String> = all.iter().chain(more).map(|word| (*word).to_owned()).collect();
        all.extend(self.catalog.iter().flat_map(|catalog| ["--catalog".to_owned(), path(catalog)]));
        all
    }

    /// What was compiled in the root, and for which kernels, in that order.
    pub(crate) fn builds(&self) -> Vec<String> {
        self.root.read(BUILDS).lines().map(str::to_owned).collect()
    }

    /// What `verify`, which must end well, found under a name.
    pub(crate) fn found(&self, name: &str) -> String {
        let verified = image::ask("verify", &self.root);
        verified.expect(0, "verified");
        let checks = verified.json()["checks"].clone();
        let check = checks.as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
        let found = check.unwrap_or_else(|| panic!("no check `{name}`: {checks}"))["found"].clone();
        found.as_str().unwrap().to_owned()
    }

    /// Adds a kernel that is another by name alone, with headers of its own.
    pub(crate) fn add_kernel(&self, kernel: &str) {
        let ours = self.identity.kernel;
        let folder = |kernel: &str| format!("/usr/lib/modules/{kernel}");
        let script = format!(
            "set -e\nmkdir {new}\ncp -aL {old}/build {new}/build\ncp {old}/modules.* {new}/\n\
             sed -i 's/{ours}/{kernel}/' {new}/build/include/generated/utsrelease.h {new}/build/.kernelvariables\n",
            old = folder(ours),
            new = folder(kernel),
        );
        let made = self.root.inside(&["sh", "-c", &script]);
        assert!(made.status.success(), "{made:?}");
    }

    /// Installs a package that no repository has, whatever it requires.
    pub(crate) fn give(&self, rpm: &Rpm) {
        let folder = crate::common::scratch();
        std::fs::copy(rpm.build(folder.path()), self.root.path().join("var/given.rpm")).unwrap();
        let installed =
            self.root.inside(&["rpm", "--install", "--nodeps", "--replacefiles", "/var/given.rpm"]);
        assert!(installed.status.success(), "{installed:?}");
        std::fs::remove_file(self.root.path().join("var/given.rpm")).unwrap();
    }

    /// The packages that rpm knows in the root, by name, version and release, in order.
    pub(crate) fn packages(&self) -> Vec<String> {
        let known =
            self.root.inside(&["rpm", "--query", "--all", "--qf", "%{NAME}-%{VERSION}-%{RELEASE}\\n"]);
        let mut known: Vec<String> =
            String::from_utf8(known.stdout).unwrap().lines().map(str::to_owned).collect();
        known.sort();
        known
    }
}

/// What builds modules, with one that the vendor's packages need of the distribution and an rdma-core that is newer than
/// theirs.
pub(crate) fn tools() -> Vec<Rpm> {
    let names =
        ["dkms", "gcc", "lsof", "make", "patch", "pciutils", "perl", "rpm-build", "tcsh", "test-libnl3"];
    let mut all = names.map(|name| Rpm::plain(name, if name == "dkms" { "3.2.2" } else { "1" }, "")).to_vec();
    all.push(Rpm::plain("rdma-core", "61", ""));
    all.push(Rpm::plain("libibverbs", "61", "rdma-core = 61"));
    all
}
