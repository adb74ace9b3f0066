//! The vendor's driver packages for rpm distributions: in the vendor's layout and with its installer's behaviour, made of
//! small real rpm packages and of kernel modules that really have to be compiled.

use crate::common::root::Root;
use crate::common::vendor::modules::{DEPENDENTS, MAIN_OF_RPM, Source, sources};
use crate::packages::{Key, Rpm, index};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const OFED_INFO: &str = include_str!("../common/vendor/files/ofed_info");
const INSTALLER: &str = include_str!("mlnxofedinstall");
const UNINSTALLER: &str = include_str!("ofed_uninstall.sh");
const OPENIBD: &str = include_str!("../common/vendor/files/openibd");
const OPENIBD_SERVICE: &str = include_str!("../common/vendor/files/openibd.service");
/// DOCA's own DKMS, which must not take the place of the distribution's.
const FOREIGN_DKMS: &str = "#!/bin/sh\necho \"this dkms is not the distribution's\" >&2\nexit 1\n";

/// Texts of tests live as long as the test.
pub(crate) fn text(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// The sources of kernel modules as a DKMS package, whose script hides a failed build, as the vendor's do.
fn dkms(name: &'static str, version: &'static str, requires: &'static str) -> Rpm {
    let files = sources(name, version, Source::Good);
    let path = |path: String| text(format!("/usr/src/{name}-{version}/{path}"));
    Rpm {
        files: files.into_iter().map(|(at, content, _)| (path(at), text(content))).collect(),
        post: text(format!(
            "dkms add -m {name} -v {version} >/dev/null 2>&1 || :\ndkms build -m {name} -v {version} >/dev/null 2>&1 || :"
        )),
        preun: text(format!("dkms remove -m {name} -v {version} --all >/dev/null 2>&1 || :")),
        ..Rpm::plain(text(format!("{name}-dkms")), version, requires)
    }
}

/// `ofed_info` and the service.
pub(crate) fn service(release: &str, version: &'static str) -> Vec<Rpm> {
    let info = text(OFED_INFO.replace("@RELEASE@", release));
    vec![
        Rpm {
            files: vec![("/usr/bin/ofed_info", info), ("/usr/sbin/ofed_uninstall.sh", UNINSTALLER)],
            ..Rpm::plain("ofed-scripts", version, "")
        },
        Rpm {
            files: vec![
                ("/etc/infiniband/openib.conf", "ONBOOT=yes\n"),
                ("/etc/init.d/openibd", OPENIBD),
                ("/usr/lib/systemd/system/openibd.service", OPENIBD_SERVICE),
            ],
            ..Rpm::plain(MAIN_OF_RPM, version, "ofed-scripts")
        },
    ]
}

/// The vendor's build of rdma-core, with a version that is below the distribution's.
fn user_space() -> Vec<Rpm> {
    vec![
        Rpm {
            files: vec![("/etc/rdma/mlx4.conf", "# the vendor's\n")],
            ..Rpm::plain("rdma-core", "25", "test-libnl3")
        },
        Rpm::plain("libibverbs", "25", "rdma-core = 25"),
    ]
}

/// `doca-host-<version>-<build>_<ofed>_<distro>.x86_64.rpm`: a package that brings a repository of packages and the
/// file that names it, and nothing else.
pub(crate) fn host_package(folder: &Path, version: &str, ofed: &str, distro: &str) -> PathBuf {
    host_package_with(folder, version, ofed, distro, &[])
}

/// The same with more packages, which the profile package needs.
pub(crate) fn host_package_with(
    folder: &Path,
    version: &str,
    ofed: &str,
    distro: &str,
    more: &[Rpm],
) -> PathBuf {
    let repository = crate::common::scratch();
    let release = format!("{ofed}-1.7.1");
    let kernel = text(format!("{ofed}.OFED.{ofed}.1.7.1.1"));
    let mut all = service(&release, kernel);
    all.push(dkms(MAIN_OF_RPM, kernel, "dkms, gcc, make, mlnx-ofa_kernel"));
    for (name, _) in DEPENDENTS {
        all.push(dkms(name, kernel, "dkms, mlnx-ofa_kernel-dkms"));
    }
    all.extend(user_space());
    all.push(Rpm { files: vec![("/usr/sbin/dkms", FOREIGN_DKMS)], ..Rpm::plain("dkms", "99", "") });
    let mut needs = "libibverbs = 25, mlnx-ofa_kernel-dkms, iser-dkms, isert-dkms, srp-dkms".to_owned();
    for rpm in more {
        needs = format!("{needs}, {}", rpm.name);
    }
    all.push(Rpm::plain("doca-ofed", text(version.to_owned()), text(needs)));
    all.extend(more.iter().cloned());
    for rpm in &all {
        rpm.build(repository.path());
    }
    index(repository.path());

    let build = format!("044000_{ofed}_{distro}");
    let place = format!("/usr/share/doca-host-{version}-044000-{ofed}-{distro}/repo");
    let spec = format!(
        "Name: doca-host\nVersion: {version}\nRelease: {build}\nSummary: made by a test\nLicense: MIT\nAutoReqProv: no\n\
         %description\nMade by a test.\n%install\nmkdir -p %{{buildroot}}{place} %{{buildroot}}/etc/yum.repos.d\n\
         cp -a {}/. %{{buildroot}}{place}/\n\
         printf '[doca]\\nname=doca\\nbaseurl=file://{place}\\ngpgcheck=0\\n' >%{{buildroot}}/etc/yum.repos.d/doca.repo\n\
         %files\n{place}\n%config /etc/yum.repos.d/doca.repo\n",
        repository.path().display()
    );
    let work = crate::common::scratch();
    std::fs::write(work.path().join("a.spec"), spec).unwrap();
    let mut build = Command::new("rpmbuild");
    build.args(["-bb", "--target", "x86_64"]).arg(work.path().join("a.spec"));
    build.arg("--define").arg(format!("_topdir {}", work.path().display()));
    build.arg("--define").arg(format!("_rpmdir {}", folder.display()));
    build.args(["--define", "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm"]);
    let output = build.args(["--define", "__os_install_post %{nil}"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(format!("doca-host-{version}-044000_{ofed}_{distro}.x86_64.rpm"))
}

/// `MLNX_OFED_LINUX-<version>-<distro>-x86_64.tgz`; `tag` is what its file `distro` says.
pub(crate) fn tgz(folder: &Path, version: &str, distro: &str, tag: &str) -> PathBuf {
    let (release, build) = version.split_once('-').unwrap();
    let release = text(release.to_owned());
    let all = Rpm {
        release: text(format!("{build}.{distro}")),
        post: names_release(version),
        ..Rpm::plain("mlnx-ofed-all-user-only", release, "ofed-scripts, libibverbs = 25")
    };
    tgz_of(
        folder,
        (version, distro, tag),
        &[all, dkms(MAIN_OF_RPM, release, "dkms, mlnx-ofa_kernel")],
        &|_| (),
    )
}

/// The script of a metapackage, which writes the release where `ofed_info` tells it, if that is there by then.
fn names_release(version: &str) -> &'static str {
    text(format!(
        "[ ! -e /usr/bin/ofed_info ] || sed -i 's/OFED-internal-[0-9.-]*/MLNX_OFED_LINUX-{version}/' /usr/bin/ofed_info"
    ))
}

/// Where the library sets of a bundle for rpm lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `MLNX_OFED` 4.9 LTS: its own set in `RPMS`, that of rdma-core beside it.
    Of49,
    /// `MLNX_OFED` 5.0.
    Of50,
    /// Later ones, which have one set.
    One,
}

/// What a signed bundle has of kernel modules.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Brings<'a> {
    /// Built ones, for one kernel.
    Built(&'a [PathBuf], &'a str),
    /// Their sources.
    Sources,
}

/// A bundle whose packages are signed, with the key beside them. The metapackages do what the installer does besides
/// packages.
pub(crate) fn signed_tgz(
    folder: &Path,
    (version, distro): (&str, &str),
    brings: Brings,
    layout: Layout,
    key: &Key,
) -> PathBuf {
    let (release, build) = version.split_once('-').unwrap();
    let release = text(release.to_owned());
    let (modules, needed, suffix) = match brings {
        Brings::Sources => (dkms(MAIN_OF_RPM, release, "dkms, mlnx-ofa_kernel"), "", "-user-only"),
        Brings::Built(files, kernel) => {
            let place = text(format!("/usr/lib/modules/{kernel}/extra/mlnx-ofa_kernel"));
            let kmod = Rpm {
                copies: files.iter().map(|module| (module.clone(), place)).collect(),
                post: text(format!("depmod {kernel}")),
                ..Rpm::plain("kmod-mlnx-ofa_kernel", release, "mlnx-ofa_kernel")
            };
            (kmod, ", kmod-mlnx-ofa_kernel", "")
        }
    };
    let all = |libraries: &str| Rpm {
        release: text(format!("{build}.{distro}")),
        post: names_release(version),
        ..Rpm::plain(
            text(format!("mlnx-ofed-all{suffix}")),
            release,
            text(format!("ofed-scripts, mlnx-ofa_kernel, libibverbs = {libraries}{needed}")),
        )
    };
    tgz_of(folder, (version, distro, distro), &[modules.clone(), all("25")], &|top| {
        let own = match layout {
            Layout::One => None,
            Layout::Of49 => Some(top.join("RPMS")),
            Layout::Of50 => Some(top.join("RPMS/MLNX_LIBS")),
        };
        let mut sets = vec![top.join("RPMS")];
        if let Some(own) = own {
            std::fs::rename(top.join("RPMS"), top.join("RPMS_UPSTREAM_LIBS")).unwrap();
            std::fs::create_dir_all(&own).unwrap();
            let libraries = Rpm::plain("libibverbs", "41mlnx1", "");
            for rpm in service(release, release).iter().chain(&[modules.clone(), libraries, all("41mlnx1")]) {
                rpm.build(&own);
            }
            sets = vec![own, top.join("RPMS_UPSTREAM_LIBS")];
        }
        for set in sets {
            key.sign(&set);
            index(&set);
        }
        std::fs::write(top.join("RPM-GPG-KEY-Mellanox"), key.public()).unwrap();
    })
}

fn tgz_of(
    folder: &Path,
    (version, distro, tag): (&str, &str, &str),
    more: &[Rpm],
    finish: &dyn Fn(&Path),
) -> PathBuf {
    let scratch = crate::common::scratch();
    let name = format!("MLNX_OFED_LINUX-{version}-{distro}-x86_64");
    let top = scratch.path().join(&name);
    let release = text(version.split('-').next().unwrap().to_owned());
    std::fs::create_dir_all(top.join("RPMS")).unwrap();
    std::fs::create_dir_all(top.join("src")).unwrap();
    for rpm in service(release, release).iter().chain(&user_space()).chain(more) {
        rpm.build(&top.join("RPMS"));
    }
    for (file, content) in
        [(".mlnx", version), (".arch", "x86_64"), ("distro", tag), ("mlnxofedinstall", INSTALLER)]
    {
        std::fs::write(top.join(file), format!("{}\n", content.trim_end())).unwrap();
    }
    std::fs::set_permissions(top.join("mlnxofedinstall"), PermissionsExt::from_mode(0o755)).unwrap();
    let source = format!("MLNX_OFED_SRC-{version}");
    for (path, content, _) in sources(MAIN_OF_RPM, release, Source::Good) {
        let path = scratch.path().join(&source).join(MAIN_OF_RPM).join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let pack = |file: PathBuf, member: &str| {
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-czf"]).arg(&file).arg("-C").arg(scratch.path()).arg(member);
        assert!(tar.status().unwrap().success());
        file
    };
    pack(top.join(format!("src/{source}.tgz")), &source);
    finish(&top);
    pack(folder.join(format!("{name}.tgz")), &name)
}

/// The modules of the main package, compiled in a root for its kernel; they lie in the root.
pub(crate) fn compiled(root: &Root, kernel: &str) -> Vec<PathBuf> {
    for (path, content, _) in sources(MAIN_OF_RPM, "24.10", Source::Good) {
        root.write(&format!("var/modules/{path}"), &content);
    }
    let made =
        root.inside(&["make", "-C", &format!("/lib/modules/{kernel}/build"), "M=/var/modules", "modules"]);
    assert!(made.status.success(), "{made:?}");
    let files =
        std::fs::read_dir(root.path().join("var/modules")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "ko")).collect()
}
