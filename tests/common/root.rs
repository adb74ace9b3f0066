//! Real Debian roots, a fresh one for every test: a layer over those that all tests share.

use super::layers::Layers;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a cloud image has at least, with the kernel that has InfiniBand modules.
const PACKAGES: &str = "linux-image-amd64,systemd-sysv,udev,kmod,zstd,ca-certificates";
/// An image with the kernel for clouds, which has no InfiniBand modules and is small, and with what modules are built
/// with and the vendor's packages need beside it.
const BUILDING: &str = "linux-image-cloud-amd64,linux-headers-cloud-amd64,systemd-sysv,udev,kmod,zstd,ca-certificates,\
    dkms,gcc,make,perl,procps,pciutils,lsof,libnl-3-200,libnl-route-3-200";

/// A root of its own; removed when dropped.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    folder: tempfile::TempDir,
    /// The layers below its own, as overlayfs wants them.
    lower: String,
}

/// What a cloud image has beside that.
const CLOUD_PACKAGES: &str =
    "cloud-init,dbus,iproute2,ifupdown,isc-dhcp-client,e2fsprogs,procps,initramfs-tools";

/// A fresh Debian root of a suite, such as `bookworm`.
pub fn debian_root(suite: &str) -> Root {
    root_of(&debian(suite))
}

/// What it is made of.
pub fn debian(suite: &str) -> Layers {
    Layers::of(suite).with("image", PACKAGES)
}

/// The same with what one reaches a machine by: an SSH server, and sudo.
pub fn guest(suite: &str) -> Layers {
    debian(suite).with("guest", "openssh-server,sudo")
}

/// A fresh root in which kernel modules can be built: with DKMS, a compiler and the headers of its kernel.
pub fn building_root(suite: &str) -> Root {
    root_of(&building(suite))
}

/// What it is made of.
pub fn building(suite: &str) -> Layers {
    Layers::of(suite).with("building", BUILDING)
}

/// A fresh root with cloud-init, and what a machine boots with.
pub fn cloud_root(suite: &str) -> Root {
    let root = root_of(&debian(suite).with("cloud", CLOUD_PACKAGES));
    super::hosts::put_cloud_init(root.path());
    root
}

/// The same in which kernel modules can be built, with two kernels: the usual one, and that for clouds.
pub fn building_cloud_root(suite: &str) -> Root {
    let packages = format!("linux-headers-amd64,{BUILDING}");
    root_of(&debian(suite).with("cloud", CLOUD_PACKAGES).with("cloud+building", &packages))
}

/// A fresh root: a layer of its own over those that all tests share. It is mounted for the calling thread and the
/// programs that this starts, and for nobody else.
pub fn root_of(layers: &Layers) -> Root {
    let folder = folder_with_mounts_of_its_own();
    root_in(folder, layers)
}

/// The same on a disk of its own, which has a GiB of room. [`Root::leave_free`] changes that.
pub fn root_on_a_small_disk(layers: &Layers) -> Root {
    let folder = folder_with_mounts_of_its_own();
    mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1g")).unwrap();
    root_in(folder, layers)
}

fn folder_with_mounts_of_its_own() -> tempfile::TempDir {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    super::scratch()
}

fn root_in(folder: tempfile::TempDir, layers: &Layers) -> Root {
    root_over(folder, layers.lower())
}

fn root_over(folder: tempfile::TempDir, lower: String) -> Root {
    let [path, upper, work] = ["root", "upper", "work"].map(|name| folder.path().join(name));
    for folder in [&path, &upper, &work] {
        std::fs::create_dir(folder).unwrap();
    }
    // The merged root takes its own mode from the upper layer.
    std::fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // Folders of the layers below can be renamed, as in any file system.
    let options =
        format!("redirect_dir=on,lowerdir={},upperdir={},workdir={}", lower, upper.display(), work.display());
    mount(Some("overlay"), &path, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
    Root { path, folder, lower }
}

/// A root on a disk image with a file system of its own, written to the image every second.
pub fn root_on_an_image(image: &Path) -> Root {
    let folder = folder_with_mounts_of_its_own();
    let path = folder.path().join("root");
    std::fs::create_dir(&path).unwrap();
    let mut mount = Command::new("mount");
    let ran = mount.args(["-o", "loop,commit=1"]).args([image, &path]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Root { path, folder, lower: String::new() }
}

/// A root that is mounted nowhere. Any number of roots begin as what it was.
#[derive(Debug)]
pub struct Frozen {
    folder: tempfile::TempDir,
    lower: String,
}

impl Frozen {
    /// A root of its own that is the same.
    pub fn thaw(&self) -> Root {
        let upper = self.folder.path().join("upper");
        root_over(folder_with_mounts_of_its_own(), format!("{}:{}", upper.display(), self.lower))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Fails where nothing is mounted.
        for place in [self.path.as_path(), self.folder.path()] {
            let _ = nix::mount::umount2(place, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

/// The layers of a root of a suite with these packages, kept under a name that no other layer's begins with.
pub fn layers(name: &str, suite: &str, packages: &str) -> Layers {
    Layers::of(suite).with(name, packages)
}

impl Root {
    /// The folder that is its `/`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes its disk, which must be one of its own, so large that this much is free.
    pub fn leave_free(&self, kib: u64) {
        let disk = nix::sys::statvfs::statvfs(self.folder.path()).unwrap();
        let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size() / 1024;
        // A size of nothing would be no limit.
        let size = format!("size={}k", used + kib.max(4));
        let none = None::<&str>;
        mount(none, self.folder.path(), none, MsFlags::MS_REMOUNT, Some(size.as_str())).unwrap();
    }

    /// What was changed in it, as a folder of overlayfs.
    pub fn upper(&self) -> PathBuf {
        self.folder.path().join("upper")
    }

    /// Keeps it as it is, for others to begin with.
    pub fn freeze(mut self) -> Frozen {
        nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH).unwrap();
        let folder = std::mem::replace(&mut self.folder, super::scratch());
        Frozen { folder, lower: std::mem::take(&mut self.lower) }
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
        self.entering("mount -t proc proc \"$0/proc\"; exec chroot \"$0\" \"$@\"", program).output().unwrap()
    }

    /// The same, where the root is a file system of its own with the devices of one, as in a VM.
    pub fn booted(&self, program: &[&str]) -> Output {
        self.booted_command(program).output().unwrap()
    }

    /// The command that does that. What ends it ends all that it started.
    pub fn booted_command(&self, program: &[&str]) -> Command {
        let mounts = "mount --bind \"$0\" \"$0\"; cd \"$0\"; mount -t proc proc proc; mount --bind /dev dev";
        self.entering(&format!("{mounts}; exec chroot . \"$@\""), program)
    }

    fn entering(&self, script: &str, program: &[&str]) -> Command {
        let mut unshare = super::program::in_namespaces(script);
        unshare.arg(&self.path).args(program).env("LC_ALL", "C");
        unshare
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
