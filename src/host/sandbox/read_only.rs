//! A root lent to its own programs: they read all of it and can change nothing of it.
//!
//! Tried out for package managers that resolve in the image they belong to. The root is bound, with every mount below
//! it, and all of that is made read-only; what a program writes goes to one scratch folder, which it sees at
//! [`SCRATCH`], and to scratch folders that cover others of the root. The program has few capabilities and can gain
//! none. It reaches the world through a relay (see `relay`), which leaves out the addresses of the machine's
//! own platform. Without root rights all this happens in a user namespace, where the system allows one.
//!
//! As with [`super::Sandbox`], this program starts itself twice, and the end of the first process ends all of it.

use super::{Sandbox, limits, relay};
use crate::host::fs::Root;
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// First argument of the process that makes the namespaces. Not for users.
pub const LEND: &str = "__lend";
/// First argument of the process that becomes the program. Not for users.
pub const LENT: &str = "__lent";
/// Where a program sees its scratch folder.
pub const SCRATCH: &str = "/run/ofedctl-scratch";
/// The namespaces could not be made or filled. This code and the two that follow are those of `env(1)` and the shell.
pub const NOT_LENT: i32 = 125;
/// The program cannot run on this machine: it is for another architecture.
pub const NOT_RUNNABLE: i32 = 126;
/// There is no such program in the root.
pub const NOT_THERE: i32 = 127;

/// The folders that a program finds empty, in memory, whatever the root has there.
const EMPTY: [(&str, &str); 5] = [
    ("/run", "mode=755"),
    ("/tmp", "mode=1777"),
    ("/var/tmp", "mode=1777"),
    ("/dev", "mode=755"),
    ("/sys", "mode=555"),
];

/// What a program is to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOnlyRoot {
    /// The root; `/` is the running system itself.
    pub root: PathBuf,
    /// A private folder of this run, in which [`ReadOnlyRoot::scratch`] lies.
    pub work: PathBuf,
    /// Folders and files in the scratch folder that cover others of the root, as (name, path in the root). What the
    /// root does not have cannot be covered, and is left out.
    pub covers: Vec<(String, String)>,
    /// Folders of this machine that are shown read-only, as (folder, path below `/run`).
    pub views: Vec<(PathBuf, String)>,
    /// The ports that may be asked, beside the usual ones of the web and its proxies.
    pub ports: Vec<u16>,
    /// Whether the metadata service of the machine may be asked, too.
    pub metadata: bool,
}

impl ReadOnlyRoot {
    /// The scratch folder, as this machine sees it.
    pub fn scratch(&self) -> PathBuf {
        self.work.join("scratch")
    }

    fn mount_point(&self) -> PathBuf {
        self.work.join("root")
    }

    /// Makes the folders.
    pub fn prepare(&self) -> Result<()> {
        for folder in [self.scratch(), self.mount_point()] {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        Ok(())
    }
}

/// The command line that runs `program` in a root that is lent.
pub(in super::super) fn wrap(
    lent: &ReadOnlyRoot,
    program: &str,
    args: &[String],
) -> Result<(PathBuf, Vec<String>)> {
    let spec = serde_json::to_string(lent).context("cannot describe the root that is lent")?;
    let mut all = vec![LEND.to_owned(), std::process::id().to_string(), spec, program.to_owned()];
    all.extend_from_slice(args);
    Ok((PathBuf::from("/proc/self/exe"), all))
}

/// Runs as [`LEND`]: makes the namespaces and waits for the program. Returns its exit code.
pub fn lend(args: &[String]) -> Result<u8> {
    Ok(try_to_lend(args).unwrap_or_else(|error| told(&error, NOT_LENT)))
}

fn try_to_lend(args: &[String]) -> Result<u8> {
    let [parent, spec, program @ ..] = args else { bail!("{LEND} is not for users") };
    let lent: ReadOnlyRoot = serde_json::from_str(spec).context("cannot read what is lent")?;
    // A Ctrl-C at the terminal is for the run to handle.
    nix::unistd::setsid().context("cannot start a session")?;
    if !nix::unistd::geteuid().is_root() {
        become_root_of_a_namespace()?;
    }
    // After that, because a change of rights makes the kernel forget it.
    die_with_parent()?;
    if std::os::unix::process::parent_id().to_string() != *parent {
        bail!("the run that started this process is gone");
    }
    // Its threads stay in the network that this process leaves. No thread can be started after the next call.
    let relay = relay::start(lent.metadata)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET,
    )
    .context("cannot make namespaces")?;
    relay.listen(&lent.ports)?;
    let status = Command::new("/proc/self/exe")
        .arg(LENT)
        .arg(spec)
        .args(program)
        .status()
        .context("cannot start the first process of the namespaces")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn die_with_parent() -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to be killed with the parent")
}

/// `user_namespaces(7)`: this user alone is there, and is root.
fn become_root_of_a_namespace() -> Result<()> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).context("this system allows no user namespace")?;
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text).with_context(|| format!("cannot set `{file}`"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {user} 1"))?;
    write("gid_map", format!("0 {group} 1"))
}

/// Runs as [`LENT`]: mounts, changes the root and becomes the program. Returns only on failure.
pub fn become_program(args: &[String]) -> Result<u8> {
    let [spec, program, args @ ..] = args else { bail!("{LENT} is not for users") };
    let lent: ReadOnlyRoot = serde_json::from_str(spec).context("cannot read what is lent")?;
    let enter = || {
        die_with_parent()?;
        show(&lent)?;
        change_root(&lent.mount_point())?;
        limits::give_up(&Sandbox::lookup(&Root::open(Path::new("/"))?, &lent.scratch()))
    };
    if let Err(error) = enter() {
        return Ok(told(&error, NOT_LENT));
    }
    let error = Command::new(program).args(args).env("SYSTEMD_OFFLINE", "1").exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_THERE } else { NOT_RUNNABLE };
    let error = anyhow::Error::new(error).context(format!("cannot start `{program}` inside the root"));
    Ok(told(&error, code))
}

/// Says what failed, where the caller quotes it.
fn told(error: &anyhow::Error, code: i32) -> u8 {
    let _ = writeln!(std::io::stderr(), "ofedctl: {error:#}");
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn show(lent: &ReadOnlyRoot) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("cannot make mounts private")?;
    let top = lent.mount_point();
    bind(&lent.root, &top, MsFlags::MS_REC)?;
    make_read_only(&top)?;
    // Opened now, so that the path leads to the bound tree.
    let root = Root::open(&top)?;
    let hidden = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_in(&root, "/proc", "proc", hidden | MsFlags::MS_RDONLY, "")?;
    for (path, options) in EMPTY {
        let is_needed = matches!(path, "/run" | "/tmp" | "/dev");
        if is_needed || root.is_dir(path) {
            mount_in(&root, path, "tmpfs", MsFlags::MS_NOSUID, options)?;
        }
    }
    devices(&root)?;
    let scratch = lent.scratch();
    root.make_dirs(SCRATCH, 0o755)?;
    bind_in(&root, &scratch, SCRATCH, MsFlags::empty())?;
    for (name, path) in &lent.covers {
        if root.exists(path) {
            bind_in(&root, &scratch.join(name), path, MsFlags::empty())?;
        }
    }
    for (folder, path) in &lent.views {
        root.make_dirs(path, 0o755)?;
        bind_in(&root, folder, path, MsFlags::MS_RDONLY)?;
    }
    name_service(&root, &lent.work)
}

/// A few harmless devices, instead of the machine's disks.
fn devices(root: &Root) -> Result<()> {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let path = format!("/dev/{name}");
        root.append(&path, 0o666)?;
        bind(Path::new(&path), &root.pin(&path)?.1, MsFlags::empty())?;
    }
    root.make_dirs("/dev/shm", 0o1777)?;
    for (link, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        root.make_link(&format!("/dev/{link}"), Path::new(to))?;
    }
    Ok(())
}

/// Lets names be asked of the relay, and adds what this machine's `hosts` knows. Where the root has no such file, the C
/// library asks 127.0.0.1 by itself (`resolv.conf(5)`).
fn name_service(root: &Root, work: &Path) -> Result<()> {
    const RESOLVER: &str = "/etc/resolv.conf";
    const HOSTS: &str = "/etc/hosts";
    let resolver = relay::resolver_file();
    if root.exists(RESOLVER) {
        cover_file(root, RESOLVER, &work.join("resolv.conf"), &resolver)?;
    } else if let Some(link) = root.link_target(RESOLVER) {
        // Often a link into `/run`, where a service writes it.
        let link = Path::new("/etc").join(link).display().to_string();
        let link = link.replacen("/etc/../", "/", 1);
        if link.starts_with("/run/") && !link.contains("/../") {
            root.append(&link, 0o644)?
                .write_all(resolver.as_bytes())
                .context("cannot set the name service")?;
        }
    }
    if root.exists(HOSTS) {
        let theirs = root.read_text(HOSTS)?.unwrap_or_default();
        let ours = std::fs::read_to_string(HOSTS).unwrap_or_default();
        cover_file(root, HOSTS, &work.join("hosts"), &format!("{theirs}\n{ours}"))?;
    }
    Ok(())
}

fn cover_file(root: &Root, path: &str, with: &Path, text: &str) -> Result<()> {
    std::fs::write(with, text).with_context(|| format!("cannot write `{}`", with.display()))?;
    bind_in(root, with, path, MsFlags::MS_RDONLY)
}

fn mount_in(root: &Root, path: &str, kind: &str, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), &root.pin(path)?.1, Some(kind), flags, Some(options))
        .with_context(|| format!("cannot mount {kind} on `{path}`"))
}

/// Shows a file or folder of this machine, without devices and programs of other users in it.
fn bind_in(root: &Root, from: &Path, to: &str, more: MsFlags) -> Result<()> {
    bind(from, &root.pin(to)?.1, MsFlags::empty())?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | more;
    remount(&root.pin(to)?.1, flags | kept_flags(from)).with_context(|| format!("cannot guard `{to}`"))
}

fn bind(from: &Path, to: &Path, more: MsFlags) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | more, None::<&str>)
        .with_context(|| format!("cannot show `{}` inside the root", from.display()))
}

fn remount(place: &Path, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, place, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags, None::<&str>)
}

/// Makes every mount from a place on downwards read-only, one after the other, which any kernel can.
fn make_read_only(top: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot list mounts")?;
    for (place, options) in mounts.lines().filter_map(mount_of).filter(|(place, _)| place.starts_with(top)) {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | flags_of(&options);
        let remounted = remount(&place, flags);
        let inside = Path::new("/").join(place.strip_prefix(top).unwrap_or(&place));
        let is_covered = ["/proc", "/run", "/dev", "/sys"].iter().any(|covered| inside.starts_with(covered));
        if !is_covered {
            remounted.with_context(|| format!("cannot make `{}` read-only", inside.display()))?;
        }
    }
    Ok(())
}

/// Place and options of a line of `proc_pid_mountinfo(5)`.
fn mount_of(line: &str) -> Option<(PathBuf, String)> {
    let mut words = line.split(' ').skip(4);
    let place = words.next()?;
    // What would end a word is written as three octal digits.
    let place = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(place.to_owned(), |place, (written, meant)| place.replace(written, meant));
    Some((PathBuf::from(place), words.next()?.to_owned()))
}

/// The flags a mount keeps: in a user namespace none may be taken off.
fn flags_of(options: &str) -> MsFlags {
    let flag = |word: &str| match word {
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    };
    options.split(',').map(flag).fold(MsFlags::empty(), |all, flag| all | flag)
}

/// The flags of the mount that a path of this machine lies on.
fn kept_flags(path: &Path) -> MsFlags {
    use nix::sys::statvfs::{FsFlags, statvfs};
    let Ok(found) = statvfs(path) else { return MsFlags::empty() };
    let table = [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
    ];
    let held = table.iter().filter(|(flag, _)| found.flags().contains(*flag));
    held.fold(MsFlags::empty(), |all, (_, flag)| all | *flag)
}

/// Leaves the machine's own tree behind; where that is the kernel's first one, it can only be hidden.
fn change_root(top: &Path) -> Result<()> {
    nix::unistd::chdir(top).context("cannot enter the root")?;
    match nix::unistd::pivot_root(".", ".") {
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).context("cannot leave the machine's own root")?,
        Err(nix::Error::EINVAL) => nix::unistd::chroot(".").context("cannot change the root")?,
        Err(error) => return Err(error).context("cannot change the root"),
    }
    nix::unistd::chdir("/").context("cannot enter the root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_spaces_and_its_flags() {
        let line = "36 35 98:0 /m /a\\040b ro,nosuid,noatime master:1 - ext3 /dev/root rw";
        let (place, options) = mount_of(line).unwrap();
        assert_eq!(place, Path::new("/a b"));
        assert_eq!(flags_of(&options), MsFlags::MS_NOSUID | MsFlags::MS_NOATIME);
        assert_eq!(mount_of("36 35"), None);
    }
}
