//! The mounts of a sandbox: the root with all file systems mounted below it, private folders for files that must not
//! outlive the program, and folders of this machine that the program may read.

use super::mount_table::reachable_mounts;
use super::place::{OWN, bind, bind_in, mount_in};
use super::{SCRATCH, Sandbox, kernel, relay};
use crate::host::fs::{Root, fd_path};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The devices that every program may expect (file-hierarchy(7)).
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Parts of `/proc` that act on the machine, and not on a process (as OCI runtimes have it).
const KERNEL_FILES: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The folder where the tree of a lookup in `/` is assembled; every system has it.
const ANY_FOLDER: &str = "/tmp";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Mounts all that the program is to see, and changes the root to it.
pub(super) fn lay_out(sandbox: &Sandbox) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make mounts private")?;
    let from_here = FromHere::open(sandbox)?;
    if sandbox.has_own_tree() {
        let tree = bind_tree(&sandbox.root)?;
        let limits = if sandbox.is_lookup() { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        limit_mounts(&tree, limits | MsFlags::MS_NODEV)?;
        // Opened again, because the path now leads to the bound tree.
        let root = Root::open(&tree)?;
        make_private_folders(&root, sandbox)?;
        make_devices(&root)?;
        show_or_hide_sys(&root, sandbox)?;
        kernel::answer_with_kernel(&root, sandbox)?;
        from_here.show(&root)?;
        hide(&root, sandbox)?;
        return change_root(&tree);
    }
    let root = Root::open(&sandbox.root)?;
    if sandbox.sealed {
        make_private_folders(&root, sandbox)?;
        show_or_hide_sys(&root, sandbox)?;
    }
    // This must come before anything is shown below /run/ofedctl, which a private folder may hide.
    kernel::answer_with_kernel(&root, sandbox)?;
    from_here.show(&root)?;
    hide(&root, sandbox)
}

/// Puts an empty device over the file that the program must not read. One that a private folder hides already is fine.
fn hide(root: &Root, sandbox: &Sandbox) -> Result<()> {
    match sandbox.hidden.as_deref().filter(|path| root.exists(path)) {
        Some(path) => bind(Path::new("/dev/null"), &root.pin(path)?.1),
        None => Ok(()),
    }
}

/// Files and folders of this machine that are shown to the program, opened before anything is mounted over them.
struct FromHere {
    views: Vec<(File, String)>,
    scratch: Option<File>,
    covers: Vec<(String, String)>,
    /// For a program that uses the relay: its `resolv.conf`, and this machine's `hosts` file.
    names: Option<(String, String)>,
}

impl FromHere {
    fn open(sandbox: &Sandbox) -> Result<Self> {
        let open =
            |path: &Path| File::open(path).with_context(|| format!("cannot open `{}`", path.display()));
        let views = sandbox.views.iter().map(|(from, to)| Ok((open(from)?, to.clone())));
        let names = || (relay::resolver_file(), std::fs::read_to_string(HOSTS).unwrap_or_default());
        Ok(Self {
            views: views.collect::<Result<_>>()?,
            scratch: sandbox.scratch.as_deref().map(open).transpose()?,
            covers: sandbox.covers.clone(),
            names: sandbox.relayed.as_ref().map(|_| names()),
        })
    }

    fn show(self, root: &Root) -> Result<()> {
        for (from, to) in &self.views {
            bind_in(root, &fd_path(from), to, true)?;
            remount(&root.pin(to)?.1, MsFlags::MS_RDONLY)
                .with_context(|| format!("cannot make `{to}` read-only"))?;
        }
        if let Some(scratch) = &self.scratch {
            bind_in(root, &fd_path(scratch), SCRATCH, true)?;
            let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
            remount(&root.pin(SCRATCH)?.1, flags).context("cannot limit the scratch folder")?;
        }
        for (name, path) in self.covers.iter().filter(|(_, path)| root.exists(path)) {
            bind(&root.pin(&format!("{SCRATCH}/{name}"))?.1, &root.pin(path)?.1)?;
            let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
            remount(&root.pin(path)?.1, flags).with_context(|| format!("cannot limit `{path}`"))?;
        }
        let Some((servers, hosts)) = &self.names else { return Ok(()) };
        show_resolv_conf(root, servers)?;
        match root.read_text(HOSTS)? {
            None => Ok(()),
            Some(theirs) => {
                let own = format!("{OWN}/hosts");
                root.write_text(&own, &format!("{theirs}\n{hosts}"))?;
                bind(&root.pin(&own)?.1, &root.pin(HOSTS)?.1)
            }
        }
    }
}

/// Shows a `resolv.conf` where the root's programs look for theirs; the path may be a dangling link.
fn show_resolv_conf(root: &Root, text: &str) -> Result<()> {
    let own = format!("{OWN}/resolv.conf");
    root.write_text(&own, text)?;
    let place = final_path(root, RESOLV_CONF);
    if !root.exists(&place) && root.append(&place, 0o644).is_err() {
        let (folder, _) = place.rsplit_once('/').unwrap_or_default();
        make_writable_copy(root, folder)?;
        root.append(&place, 0o644)?;
    }
    bind(&root.pin(&own)?.1, &root.pin(&place)?.1)
}

/// The final target of a path, whether or not it exists.
fn final_path(root: &Root, path: &str) -> String {
    const MOST_LINKS: usize = 40;
    let mut path = PathBuf::from(path);
    for _ in 0..MOST_LINKS {
        let Some(target) = root.link_target(&path.display().to_string()) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path.display().to_string()
}

/// Allows new entries in a read-only folder: a private folder is mounted over it, in which its old entries are shown.
fn make_writable_copy(root: &Root, folder: &str) -> Result<()> {
    let (old, old_path) = root.pin(folder)?;
    let names = root.list(folder);
    let links: Vec<_> = names.iter().map(|name| root.link_target(&format!("{folder}/{name}"))).collect();
    mount_in(root, folder, "tmpfs", "mode=755")?;
    for (name, link) in names.iter().zip(links) {
        let path = format!("{folder}/{name}");
        if let Some(to) = link {
            root.make_link(&path, &to)?;
        } else {
            let from = old_path.join(name);
            bind_in(root, &from, &path, from.is_dir())?;
        }
    }
    drop(old);
    Ok(())
}

/// Binds the root and all mounts below it into one tree. Returns the path of the tree. The root is bound on itself, so
/// that mounts inside the root belong to the new tree.
fn bind_tree(root: &Path) -> Result<PathBuf> {
    let tree = if root == Path::new("/") { Path::new(ANY_FOLDER) } else { root };
    let before = reachable_mounts(root)?;
    mount(Some(root), tree, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("cannot show `{}` inside the sandbox", root.display()))?;
    let after: Vec<PathBuf> = reachable_mounts(tree)?.into_iter().map(|found| found.point).collect();
    for missing in before.into_iter().map(|found| found.point) {
        let below = missing.strip_prefix(root).unwrap_or(&missing);
        let there = if below.as_os_str().is_empty() { tree.to_owned() } else { tree.join(below) };
        if !after.contains(&there) {
            bail!("`{}` is mounted in the root and cannot be shown inside the sandbox", missing.display());
        }
    }
    Ok(tree.to_owned())
}

/// Sets limits on every mount of a tree.
fn limit_mounts(tree: &Path, limits: MsFlags) -> Result<()> {
    for found in reachable_mounts(tree)? {
        let flags = limits | found.flags;
        remount(&fd_path(&found.open), flags)
            .with_context(|| format!("cannot limit what `{}` allows", found.point.display()))?;
    }
    Ok(())
}

fn remount(path: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, None::<&str>)
}

fn make_private_folders(root: &Root, sandbox: &Sandbox) -> Result<()> {
    mount_in(root, "/proc", "proc", "")?;
    let proc = if sandbox.is_lookup() { &["/proc"][..] } else { &KERNEL_FILES };
    for path in proc {
        make_read_only(root, path)?;
    }
    mount_in(root, "/run", "tmpfs", "mode=755")?;
    root.make_dirs("/run/lock", 0o755)?;
    // Files that a killed program leaves in /tmp must not become part of an image.
    if !root.exists("/tmp") {
        // The folder stays in the image, so it gets the usual mode of /tmp.
        root.make_dirs("/tmp", 0o1777)?;
        let (_handle, pinned) = root.pin("/tmp")?;
        std::fs::set_permissions(pinned, Permissions::from_mode(0o1777)).context("cannot open up `/tmp`")?;
    }
    mount_in(root, "/tmp", "tmpfs", "mode=1777")?;
    if sandbox.is_lookup() && root.is_dir("/var/tmp") {
        mount_in(root, "/var/tmp", "tmpfs", "mode=1777")?;
    }
    Ok(())
}

/// Creates a `/dev` with a few harmless devices instead of the machine's disks.
fn make_devices(root: &Root) -> Result<()> {
    mount_in(root, "/dev", "tmpfs", "mode=755")?;
    for name in DEVICES {
        bind_in(root, &Path::new("/dev").join(name), &format!("/dev/{name}"), false)?;
    }
    root.make_dirs("/dev/shm", 0o1777)?;
    for (link, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        root.make_link(&format!("/dev/{link}"), Path::new(to))?;
    }
    Ok(())
}

/// Programs of the running system may read `/sys`. In an image it is hidden, because the image must not be configured
/// for the hardware of the machine that bakes it.
fn show_or_hide_sys(root: &Root, sandbox: &Sandbox) -> Result<()> {
    if !sandbox.is_another_root() {
        return make_read_only(root, "/sys");
    }
    // A `/sys` that the caller has mounted in the root is hidden as well.
    if root.list("/sys").is_empty() { Ok(()) } else { mount_in(root, "/sys", "tmpfs", "mode=755") }
}

/// Makes a path and what is mounted below it read-only; one that does not exist is fine.
fn make_read_only(root: &Root, path: &str) -> Result<()> {
    if !root.exists(path) {
        return Ok(());
    }
    let point = std::fs::read_link(root.pin(path)?.1).with_context(|| format!("cannot find `{path}`"))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&point), &point, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot show `{path}` inside the root"))?;
    limit_mounts(&point, MsFlags::MS_RDONLY)
}

/// Makes a tree the root of this process, and detaches everything else of the machine.
fn change_root(tree: &Path) -> Result<()> {
    let cannot = "cannot change the root";
    nix::unistd::chdir(tree).context(cannot)?;
    match nix::unistd::pivot_root(".", ".") {
        // The old root is now mounted over the new one.
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).context(cannot)?,
        // On a system that runs from its initramfs the root cannot be moved (pivot_root(2)).
        Err(Errno::EINVAL) => {
            mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).context(cannot)?;
            nix::unistd::chroot(".").context(cannot)?;
        }
        Err(error) => return Err(error).context(cannot),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_to_where_nothing_is_yet() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(final_path(&root, "/etc/resolv.conf"), "/etc/resolv.conf");
        root.make_dirs("/etc", 0o755).unwrap();
        root.make_link("/etc/resolv.conf", Path::new("../run/systemd/resolve/stub-resolv.conf")).unwrap();
        assert_eq!(final_path(&root, "/etc/resolv.conf"), "/etc/../run/systemd/resolve/stub-resolv.conf");
    }
}
