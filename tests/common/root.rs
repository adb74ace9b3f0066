//! Real Debian roots, made once per checkout and unpacked anew for every test.

use super::{archive, need};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a cloud image has at least, with the kernel that has InfiniBand modules.
const PACKAGES: &str = "linux-image-amd64,systemd-sysv,udev,kmod,zstd,ca-certificates";
/// An image with the kernel for clouds, which has no InfiniBand modules and is small, and with what modules are built
/// with and the vendor's packages need beside it.
const BUILDING: &str = "linux-image-cloud-amd64,linux-headers-cloud-amd64,systemd-sysv,udev,kmod,zstd,ca-certificates,\
    dkms,gcc,make,perl,procps,pciutils,lsof,libnl-3-200,libnl-route-3-200";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked root of its own; removed when dropped.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

/// What a cloud image has beside that.
const CLOUD_PACKAGES: &str =
    "cloud-init,dbus,iproute2,ifupdown,isc-dhcp-client,e2fsprogs,procps,initramfs-tools";

/// A fresh Debian root of a suite, such as `bookworm`.
pub fn debian_root(suite: &str) -> Root {
    root_of(&debian_tar(suite))
}

/// A fresh root from a packed one.
pub fn root_of(tar: &Path) -> Root {
    let folder = super::scratch();
    let path = folder.path().join("root");
    unpack(tar, &path);
    Root { path, _folder: folder }
}

/// A fresh root in which kernel modules can be built: with DKMS, a compiler and the headers of its kernel. It is a layer,
/// as [`layered`] says.
pub fn building_root(suite: &str) -> Root {
    layered(&building_tar(suite))
}

/// That root, packed.
pub fn building_tar(suite: &str) -> PathBuf {
    packed(&format!("{suite}+building"), suite, BUILDING)
}

/// A fresh root with cloud-init, and what a machine boots with.
pub fn cloud_root(suite: &str) -> Root {
    layered(&packed(&format!("cloud-{suite}"), suite, &format!("{PACKAGES},{CLOUD_PACKAGES}")))
}

/// The same in which kernel modules can be built, with two kernels: the usual one, and that for clouds.
pub fn building_cloud_root(suite: &str) -> Root {
    let packages = format!("{PACKAGES},linux-headers-amd64,{CLOUD_PACKAGES},{BUILDING}");
    layered(&packed(&format!("cloud-building-{suite}"), suite, &packages))
}

/// A fresh root from a packed one: a layer over one that all tests share. It is mounted for the calling thread and the
/// programs that this starts, and for nobody else.
pub fn layered(tar: &Path) -> Root {
    let shared = tar.with_extension("root");
    {
        let _lock = super::lock(&tar.with_extension("root.lock"));
        if !shared.exists() {
            let unfinished = tar.with_extension("root.unfinished");
            let _ = std::fs::remove_dir_all(&unfinished);
            unpack(tar, &unfinished);
            std::fs::rename(unfinished, &shared).unwrap();
        }
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let folder = super::scratch();
    let [path, upper, work] = ["root", "upper", "work"].map(|name| folder.path().join(name));
    for folder in [&path, &upper, &work] {
        std::fs::create_dir(folder).unwrap();
    }
    // The merged root takes its own mode from the upper layer.
    std::fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (shared, upper, work) = (shared.display(), upper.display(), work.display());
    let layers = format!("lowerdir={shared},upperdir={upper},workdir={work}");
    mount(Some("overlay"), &path, Some("overlay"), MsFlags::empty(), Some(layers.as_str())).unwrap();
    Root { path, _folder: folder }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Fails where nothing is mounted.
        let _ = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// The packed root of a suite: made by mmdebstrap the first time anyone asks.
pub fn debian_tar(suite: &str) -> PathBuf {
    packed(suite, suite, PACKAGES)
}

/// The same with what one reaches a machine by: an SSH server, and sudo.
pub fn guest_tar(suite: &str) -> PathBuf {
    packed(&format!("{suite}+guest"), suite, &format!("{PACKAGES},openssh-server,sudo"))
}

/// A packed root of a suite with these packages, kept under a name of its own that no other name begins with.
pub fn packed(name: &str, suite: &str, packages: &str) -> PathBuf {
    need::need_root();
    need::need(&["mmdebstrap", "debian-archive-keyring"]);
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap.args(["--variant=minbase", "--format=tar", &format!("--keyring={KEYRING}")]);
    bootstrap.arg(format!("--include={packages}"));
    bootstrap.args(archive::options().iter().map(|option| format!("--aptopt={option}")));
    let source = archive::mirror().map(|mirror| format!("deb {mirror} {suite} main"));
    let recipe = format!("{bootstrap:?} {source:?}");
    let hash = &super::sha256(recipe.as_bytes())[..12];

    let folder = super::kept("test-roots");
    let tar = folder.join(format!("{name}-{hash}.tar"));
    let _lock = super::lock(&folder.join(format!("{name}.lock")));
    if !tar.exists() {
        let unfinished = folder.join(format!("{name}.unfinished"));
        let made = bootstrap.arg(suite).arg(&unfinished).args(source).stdin(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "{recipe}:\n{}", String::from_utf8_lossy(&made.stderr));
        // Made by another recipe; nobody asks for them any more.
        for old in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if old.file_name().unwrap().to_str().unwrap().starts_with(&format!("{name}-")) {
                let _ = std::fs::remove_file(&old);
                let _ = std::fs::remove_dir_all(&old);
            }
        }
        std::fs::rename(unfinished, &tar).unwrap();
    }
    tar
}

/// Unpacks a packed root into a folder that does not exist yet.
pub fn unpack(tar: &Path, into: &Path) {
    std::fs::create_dir(into).unwrap();
    let mut unpack = Command::new("tar");
    unpack.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]).arg(tar).arg("-C").arg(into);
    assert!(unpack.status().unwrap().success(), "cannot unpack {}", tar.display());
}

impl Root {
    /// The folder that is its `/`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder beside it that lives as long, such as for a cache.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// A file inside, as text; empty when there is none.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path.join(path)).unwrap_or_default()
    }

    /// Writes a file inside, with its folders.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The only source its apt has from now on, in place of Debian's archive, or beside it.
    pub fn add_source(&self, line: &str) {
        self.write("etc/apt/sources.list.d/test.list", &format!("{line}\n"));
    }

    /// Runs a program inside, with no network and without touching this machine.
    pub fn inside(&self, program: &[&str]) -> Output {
        self.enter("mount -t proc proc \"$0/proc\"; exec chroot \"$0\" \"$@\"", program)
    }

    /// The same, where the root is a file system of its own with the devices of one, as in a VM.
    pub fn booted(&self, program: &[&str]) -> Output {
        let mounts = "mount --bind \"$0\" \"$0\"; cd \"$0\"; mount -t proc proc proc; mount --bind /dev dev";
        self.enter(&format!("{mounts}; exec chroot . \"$@\""), program)
    }

    fn enter(&self, script: &str, program: &[&str]) -> Output {
        let mut unshare = super::program::in_namespaces(script);
        unshare.arg(&self.path).args(program).env("LC_ALL", "C").output().unwrap()
    }

    /// What `dpkg --verify` finds wrong; empty when every installed file is as its package brought it.
    pub fn dpkg_verify(&self) -> String {
        let output = self.inside(&["dpkg", "--verify"]);
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    /// The version of an installed package.
    pub fn installed(&self, package: &str) -> Option<String> {
        let output = self.inside(&["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package]);
        Some(String::from_utf8(output.stdout).unwrap().strip_prefix("installed ")?.to_owned())
    }
}
