//! `MLNX_OFED_LINUX-<version>-<distro>-<arch>.tgz` in the vendor's two layouts: flat from 5.1 on, with folders and links
//! among them before.

use super::modules::{self, DEPENDENTS, Source};
use super::package::{self, Package};
use crate::common::need;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const OFED_INFO: &str = include_str!("files/ofed_info");
const SCRIPTS: [(&str, &str); 3] = [
    ("mlnxofedinstall", include_str!("files/mlnxofedinstall")),
    ("mlnx_add_kernel_support.sh", include_str!("files/mlnx_add_kernel_support.sh")),
    ("uninstall.sh", include_str!("files/ofed_uninstall.sh")),
];

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct MlnxOfed<'a> {
    /// `5.8-2.0.3.0`
    pub version: &'a str,
    /// `ubuntu22.04`
    pub distro: &'a str,
    /// What its file `distro` says, when not the same.
    pub tag: Option<&'a str>,
    /// Whether its modules can be built.
    pub source: Source,
    /// What its user space needs of the distribution beside the usual.
    pub depends: &'a str,
}

impl Default for MlnxOfed<'_> {
    fn default() -> Self {
        Self { version: "5.8-2.0.3.0", distro: "ubuntu22.04", tag: None, source: Source::Good, depends: "" }
    }
}

/// Makes the archive in a folder.
pub fn tgz(folder: &Path, wanted: &MlnxOfed) -> PathBuf {
    need::need(&["dpkg-dev"]);
    let arch = if cfg!(target_arch = "aarch64") { "aarch64" } else { "x86_64" };
    let MlnxOfed { version, distro, .. } = wanted;
    let name = format!("MLNX_OFED_LINUX-{version}-{distro}-{arch}");
    let scratch = crate::common::scratch();
    let top = scratch.path().join(&name);
    for (file, text) in SCRIPTS {
        package::put(&top, file, text.as_bytes(), 0o755);
    }
    let plain = |file: &str, text: &str| package::put(&top, file, text.as_bytes(), 0o644);
    plain(".mlnx", &format!("{version}\n"));
    plain(".arch", &format!("{arch}\n"));
    plain("distro", &format!("{}\n", wanted.tag.unwrap_or(distro)));
    plain("LICENSE", "for tests\n");
    plain("RPM-GPG-KEY-Mellanox", "no key\n");
    plain("docs/readme_and_user_manual.txt", "nothing to read\n");
    plain("common.pl", "1;\n");
    packages(&top, wanted);
    kernel_sources(&top.join("src"), wanted);
    pack(folder, scratch.path(), &name)
}

fn packages(top: &Path, wanted: &MlnxOfed) {
    let release = release(wanted);
    let all = all_packages(wanted);
    if is_flat(release) {
        for package in &all {
            package.build(&top.join("DEBS"));
        }
        package::index(&top.join("DEBS"), "MLNX_OFED");
        return;
    }
    for package in &all {
        let is_kernel = package.file_name().contains("-dkms_") || package.file_name().contains("-utils_5");
        package.build(&top.join(if is_kernel { "DEBS/COMMON" } else { "DEBS/UPSTREAM_LIBS" }));
    }
    // Another build of the libraries lies beside; of the one that is chosen there is a folder of links.
    Package::built("libmlx5-1", &format!("41mlnx1-OFED.{}", wanted.version))
        .build(&top.join("DEBS/MLNX_LIBS"));
    let links = top.join("DEBS_UPSTREAM_LIBS");
    std::fs::create_dir(&links).unwrap();
    for folder in ["DEBS/COMMON", "DEBS/UPSTREAM_LIBS"] {
        for entry in std::fs::read_dir(top.join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            symlink(Path::new("..").join(folder).join(&name), links.join(&name)).unwrap();
        }
    }
    package::index(&links, "MLNX_OFED");
}

/// The packages: user space of the vendor's own, the service, and the kernel modules as sources.
fn all_packages(wanted: &MlnxOfed) -> Vec<Package> {
    let release = release(wanted);
    let version = wanted.version;
    let mlnx = format!("{}mlnx1-1.{}", release.replace('.', ""), version.replace(['.', '-'], ""));
    let depends = |names: &str| match wanted.depends {
        "" => names.to_owned(),
        more => format!("{names}, {more}"),
    };
    let kernel = modules::dkms_package(
        "mlnx-ofed-kernel",
        release,
        wanted.source,
        "dkms, gcc, make, perl, procps, kmod, ofed-scripts, mlnx-ofed-kernel-utils",
    );
    let mut all = service(version, &format!("{release}.OFED.{version}"));
    all.push(kernel);
    for (name, _) in DEPENDENTS {
        all.push(modules::dkms_package(name, release, wanted.source, "dkms, mlnx-ofed-kernel-dkms"));
    }
    all.extend(user_space(&mlnx, &depends("libnl-3-200, libnl-route-3-200, libc6")));
    let names = "ofed-scripts, mlnx-ofed-kernel-utils, mlnx-ofed-kernel-dkms, iser-dkms, isert-dkms, srp-dkms, ibverbs-utils";
    all.push(Package::new("mlnx-ofed-all", version).field("Depends", names));
    all
}

/// `ofed_info`, the uninstaller and the service: in both of the vendor's products.
pub(super) fn service(release: &str, version: &str) -> Vec<Package> {
    let scripts = Package::built("ofed-scripts", version)
        .program("usr/bin/ofed_info", OFED_INFO.replace("@RELEASE@", release))
        .program("usr/sbin/ofed_uninstall.sh", SCRIPTS[2].1);
    let utils = Package::built("mlnx-ofed-kernel-utils", version)
        .field("Depends", "ofed-scripts, kmod, pciutils, lsof")
        .file("etc/infiniband/openib.conf", "ONBOOT=yes\nIPOIB_LOAD=yes\nUMAD_LOAD=yes\n")
        .file("etc/modprobe.d/mlnx.conf", "# Module parameters\n")
        .file("lib/systemd/system/openibd.service", include_str!("files/openibd.service"))
        .program("etc/init.d/openibd", include_str!("files/openibd"));
    vec![scripts, utils]
}

/// The vendor's build of rdma-core, which takes the place of the distribution's.
pub(super) fn user_space(version: &str, depends: &str) -> [Package; 3] {
    [
        Package::built("rdma-core", version)
            .field("Depends", "libc6")
            .file("etc/rdma/mlx4.conf", "# the vendor's\n"),
        Package::built("libibverbs1", version)
            .field("Depends", depends)
            .file("usr/lib/libibverbs/libmlx5.so.1", "no library\n"),
        Package::built("ibverbs-utils", version)
            .field("Depends", &format!("libibverbs1 (= {version})"))
            .program("usr/bin/ibv_devinfo", "#!/bin/sh\necho 'No IB devices found'\n"),
    ]
}

/// The sources that kernel packages are rebuilt from: an archive in an archive.
fn kernel_sources(folder: &Path, wanted: &MlnxOfed) {
    let scratch = crate::common::scratch();
    let release = release(wanted);
    let source = format!("mlnx-ofed-kernel-{release}");
    for (path, text, mode) in modules::sources("mlnx-ofed-kernel", release, wanted.source) {
        package::put(scratch.path(), &format!("{source}/{path}"), text.as_bytes(), mode);
    }
    let all = format!("MLNX_OFED_SRC-{}", wanted.version);
    let sources = scratch.path().join(&all).join("SOURCES");
    std::fs::create_dir_all(&sources).unwrap();
    let tar = |file: &Path, member: &str| {
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(file).arg("-C").arg(scratch.path()).arg(member);
        assert!(tar.status().unwrap().success());
    };
    tar(&sources.join(format!("mlnx-ofed-kernel_{release}.orig.tar.gz")), &source);
    std::fs::create_dir_all(folder).unwrap();
    tar(&folder.join(format!("{all}.tgz")), &all);
}

fn pack(folder: &Path, above: &Path, name: &str) -> PathBuf {
    let file = folder.join(format!("{name}.tgz"));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "-czf"]).arg(&file).arg("-C").arg(above).arg(name);
    assert!(tar.status().unwrap().success());
    file
}

fn release<'a>(wanted: &MlnxOfed<'a>) -> &'a str {
    wanted.version.split('-').next().unwrap()
}

fn is_flat(release: &str) -> bool {
    !["4.", "5.0"].iter().any(|old| release.starts_with(old))
}
