//! `MLNX_OFED_LINUX-<version>-<distro>-<arch>.tgz` in the vendor's two layouts: flat from 5.1 on, with folders and links
//! among them before.

use super::modules::{self, DEPENDENTS, Source};
use super::package::{self, Package};
use super::signing::Key;
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
    /// Who signs its indices.
    pub key: Option<&'a Key>,
}

impl Default for MlnxOfed<'_> {
    fn default() -> Self {
        Self {
            version: "5.8-2.0.3.0",
            distro: "ubuntu22.04",
            tag: None,
            source: Source::Good,
            depends: "",
            key: None,
        }
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
    let key = wanted.key.map(|key| std::fs::read_to_string(key.file()).unwrap());
    plain("RPM-GPG-KEY-Mellanox", key.as_deref().unwrap_or("no key\n"));
    plain("docs/readme_and_user_manual.txt", "nothing to read\n");
    plain("common.pl", "1;\n");
    packages(&top, wanted);
    kernel_sources(&top.join("src"), wanted);
    pack(folder, scratch.path(), &name)
}

fn packages(top: &Path, wanted: &MlnxOfed) {
    let index = |folder: &str, label: &str| {
        package::index(&top.join(folder), label);
        wanted.key.iter().for_each(|key| key.sign(&top.join(folder)));
    };
    if is_flat(release(wanted)) {
        for package in kernel_packages(wanted).into_iter().chain(set(wanted, Libraries::Upstream)) {
            package.build(&top.join("DEBS"));
        }
        return index("DEBS", "MLNX_OFED");
    }
    // As 4.9 and 5.0 lie on a disk: what both sets have is in a third folder, and has no index of its own.
    for package in kernel_packages(wanted) {
        package.build(&top.join("DEBS/COMMON"));
    }
    for (folder, libraries) in [("MLNX_LIBS", Libraries::Mlnx), ("UPSTREAM_LIBS", Libraries::Upstream)] {
        let folder = format!("DEBS/{folder}");
        for package in set(wanted, libraries) {
            package.build(&top.join(&folder));
        }
        link_all(&top.join("DEBS/COMMON"), &top.join(&folder), "../COMMON");
        index(&folder, "");
    }
    let links = top.join("DEBS_UPSTREAM_LIBS");
    std::fs::create_dir(&links).unwrap();
    link_all(&top.join("DEBS/COMMON"), &links, "../DEBS/COMMON");
    link_all(&top.join("DEBS/UPSTREAM_LIBS"), &links, "../DEBS/UPSTREAM_LIBS");
    index("DEBS_UPSTREAM_LIBS", "");
}

fn link_all(from: &Path, into: &Path, below: &str) {
    for name in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()) {
        if Path::new(&name).extension().is_some_and(|end| end == "deb") && !into.join(&name).exists() {
            symlink(Path::new(below).join(&name), into.join(&name)).unwrap();
        }
    }
}

/// Which libraries a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Libraries {
    Upstream,
    Mlnx,
}

/// The packages of one set: libraries, and the metapackages that need all others.
fn set(wanted: &MlnxOfed, libraries: Libraries) -> Vec<Package> {
    let version = wanted.version;
    let tail = version.replace(['.', '-'], "");
    let depends = |names: &str| match wanted.depends {
        "" => names.to_owned(),
        more => format!("{names}, {more}"),
    };
    let needs = depends("libnl-3-200, libnl-route-3-200, libc6");
    let (mut all, own) = match libraries {
        Libraries::Upstream => {
            let mlnx = format!("{}mlnx1-1.{tail}", release(wanted).replace('.', ""));
            (user_space(&mlnx, &needs).to_vec(), "")
        }
        // Older than the distribution's of the same names, and not to be installed beside its providers.
        Libraries::Mlnx => {
            let mlnx = format!("41mlnx1-OFED.{version}");
            let [_, verbs, utils] = user_space(&mlnx, &needs);
            let provider = Package::built("libmlx5-1", &mlnx)
                .field("Depends", &format!("libibverbs1 (= {mlnx})"))
                .field("Conflicts", "ibverbs-providers");
            (vec![verbs, utils, provider], ", libmlx5-1")
        }
    };
    let kernel =
        "ofed-scripts, mlnx-ofed-kernel-utils, mlnx-ofed-kernel-dkms, iser-dkms, isert-dkms, srp-dkms";
    let metapackage = |name: &str, depends: &str| {
        let postinst = METAPACKAGE.replace("@VERSION@", version);
        Package::new(name, version).field("Depends", depends).script("postinst", &postinst)
    };
    all.push(metapackage("mlnx-ofed-all", &format!("{kernel}, ibverbs-utils{own}")));
    all.push(metapackage("mlnx-ofed-kernel-only", kernel));
    all
}

/// What the metapackages' scripts do beside `depmod` and `ldconfig`: name the release, and take the subnet manager out of
/// the boot (the postinst of `mlnx-ofed-all` 5.0-2.1.8.0).
const METAPACKAGE: &str = "#!/bin/sh
if [ -f /usr/bin/ofed_info ]; then
\tsed -i -e 's/OFED-internal-[0-9.-]*/MLNX_OFED_LINUX-@VERSION@/' -e 's/^\\(if.*X-n.*echo \\).*\\(; exit.*\\)/\\1@VERSION@\\2/' /usr/bin/ofed_info
fi
[ ! -f /etc/init.d/opensmd ] || update-rc.d -f opensmd remove >/dev/null 2>&1 || true
[ ! -e /etc/infiniband/openib.conf ] || sed -i 's/^\\(SDP\\|QIB\\)_LOAD=.*/\\1_LOAD=no/' /etc/infiniband/openib.conf
";

/// The packages that every set has: the service, and the kernel modules as sources.
fn kernel_packages(wanted: &MlnxOfed) -> Vec<Package> {
    let release = release(wanted);
    let needs = "dkms, gcc, make, perl, procps, kmod, ofed-scripts, mlnx-ofed-kernel-utils";
    let mut all = service(wanted.version, &format!("{release}.OFED.{}", wanted.version));
    all.push(modules::dkms_package("mlnx-ofed-kernel", release, wanted.source, needs));
    for (name, _) in DEPENDENTS {
        all.push(modules::dkms_package(name, release, wanted.source, "dkms, mlnx-ofed-kernel-dkms"));
    }
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
