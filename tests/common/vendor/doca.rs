//! `doca-host_<version>-<build>-<ofed>-<distro>_<arch>.deb`: a package that brings a repository of packages and the
//! source that names it, and nothing else.

use super::mlnx_ofed::{service, user_space};
use super::modules::{self, DEPENDENTS, Source};
use super::package::{self, Package};
use crate::common::need;
use std::path::{Path, PathBuf};

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Doca<'a> {
    /// `3.2.1`
    pub version: &'a str,
    /// The OFED release inside, `25.10`.
    pub ofed: &'a str,
    /// `ubuntu22.04`, `debian12`
    pub distro: &'a str,
    /// Whether its modules can be built.
    pub source: Source,
}

impl Default for Doca<'_> {
    fn default() -> Self {
        Self { version: "3.2.1", ofed: "25.10", distro: "ubuntu22.04", source: Source::Good }
    }
}

/// The vendor's build number.
const BUILD: &str = "044000";
/// DOCA's own DKMS, which must not take the place of the distribution's (azhpc-images pins it away).
const FOREIGN_DKMS: &str = "#!/bin/sh\necho \"this dkms is not the distribution's\" >&2\nexit 1\n";

/// Makes the package in a folder.
pub fn host_package(folder: &Path, wanted: &Doca) -> PathBuf {
    need::need(&["dpkg-dev"]);
    let Doca { version, ofed, distro, .. } = wanted;
    let tag = distro.replace('.', "");
    let full = format!("{version}-{BUILD}-{ofed}-{tag}");
    let place = format!("usr/share/doca-host-{full}/repo");
    let repository = crate::common::scratch();
    for package in packages(wanted) {
        package.build(&repository.path().join("pool"));
    }
    package::index(repository.path(), "DOCA-HOST");

    let mut host = Package::built("doca-host", &full)
        .file("etc/apt/sources.list.d/doca.list", format!("deb [trusted=yes] file:///{place} ./\n"));
    for (path, content) in files_below(repository.path()) {
        host = host.file(&format!("{place}/{path}"), content);
    }
    host.build(folder)
}

/// What the repository holds.
fn packages(wanted: &Doca) -> Vec<Package> {
    let Doca { version, ofed, source, .. } = wanted;
    let release = format!("{ofed}-1.7.1");
    let kernel_version = format!("{ofed}.OFED.{ofed}.1.7.1.1");
    let user_version = format!("{}mlnx54-1.{}", ofed.replace('.', ""), release.replace(['.', '-'], ""));
    let mut all = service(&release, &kernel_version);
    let needs = "dkms, gcc, make, perl, kmod, ofed-scripts, mlnx-ofed-kernel-utils";
    all.push(modules::dkms_package("mlnx-ofed-kernel", &kernel_version, *source, needs));
    for (name, _) in DEPENDENTS {
        all.push(modules::dkms_package(name, &kernel_version, *source, "dkms, mlnx-ofed-kernel-dkms"));
    }
    all.extend(user_space(&user_version, "libnl-3-200, libnl-route-3-200, libc6"));
    all.push(
        Package::built("openmpi", "4.1.9a1-1.2510171")
            .field("Depends", "libc6")
            .file("etc/pmix-mca-params.conf", "# the vendor's\n")
            .program("usr/mpi/gcc/openmpi-4.1.9a1/bin/mpirun", "#!/bin/sh\necho mpirun\n"),
    );
    all.push(Package::new("dkms", "99.3.2.0-doca").program("usr/sbin/dkms", FOREIGN_DKMS));
    let meta = |name: &str, depends: &str| Package::new(name, version).field("Depends", depends);
    let user = format!("rdma-core (= {user_version}), ibverbs-utils, openmpi (= 4.1.9a1-1.2510171)");
    all.push(meta("doca-ofed-userspace", &user));
    let kernel = "mlnx-ofed-kernel-dkms, iser-dkms, isert-dkms, srp-dkms";
    all.push(meta("doca-ofed", &format!("doca-ofed-userspace (= {version}), {kernel}, ofed-scripts")));
    all.push(meta("doca-networking", &format!("doca-ofed (= {version})")));
    all.push(meta("doca-all", &format!("doca-networking (= {version})")));
    all
}

fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for path in std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(folder).unwrap().display().to_string();
            files.push((below, std::fs::read(&path).unwrap()));
        }
    }
    files
}
