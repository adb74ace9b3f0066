//! Files of a root. Paths are absolute, as the system inside that root names them. Every path is resolved inside the
//! root, links included, as after a chroot: a hostile link can lead to another file of the same root, but never out of
//! it. A written file appears complete under its final name or not at all.

use super::fault::{self, Point};
use super::resolve::{self, is_missing};
use crate::outcome::{Cause, Reason, WithReason};
use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use pathrs::flags::OpenFlags;
use std::fs::{File, Metadata, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The largest file that is read into memory. Configuration and metadata are smaller.
const MAX_READ_BYTES: u64 = 256 << 20;
/// Memory is reserved in advance up to this size; a file's reported size is only a hint.
const LIKELY_BYTES: usize = 8 << 20;

/// An open root.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: pathrs::Root,
    hidden: OnceLock<String>,
}

/// A file's content with the attributes that must be kept when it is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Permission bits, e.g. `0o644`.
    pub mode: u32,
    /// The owner's user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// An entry of a folder. One that is equal later is the same file with the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a symbolic link; all else here is about the link itself.
    pub is_link: bool,
    size: i64,
    number: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Root {
    /// Opens a folder as a root.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = || format!("cannot use `{}` as a root", path.display());
        let path = path.canonicalize().with_reason(Reason::BadRoot, wrong)?;
        // The path resolver (the crate pathrs) needs /proc and panics without it.
        if !Path::new("/proc/self/fd").exists() {
            return Err(Cause::NoProc.error("/proc is not mounted here"));
        }
        let dir = pathrs::Root::open(&path).with_reason(Reason::BadRoot, wrong)?;
        Ok(Self { path, dir, hidden: OnceLock::new() })
    }

    /// The root's own path on this machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hides a file of this machine from all programs that are run inside the root from now on. A root that does not hold
    /// the file hides it anyhow.
    pub fn hide(&self, path: &Path) {
        if self.is_slash() {
            let _ = self.hidden.set(path.display().to_string());
        }
    }

    /// The file that is hidden from programs.
    pub fn hidden(&self) -> Option<&str> {
        self.hidden.get().map(String::as_str)
    }

    /// Whether this is the root of the running system.
    pub fn is_slash(&self) -> bool {
        self.path == Path::new("/")
    }

    /// The bytes of a regular file; none when it does not exist or is not a regular file.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some((mut file, metadata)) = self.open_file(path)? else { return Ok(None) };
        let size = usize::try_from(metadata.len()).unwrap_or(0).min(LIKELY_BYTES);
        let mut bytes = vec![0; size];
        let read = (|| {
            // In one call, where the size is right. sysfs says 4096 for every size, so what is read counts.
            let first = read_up_to(&mut file, &mut bytes)?;
            bytes.truncate(first);
            let rest = MAX_READ_BYTES - first as u64;
            if first == size { file.take(rest).read_to_end(&mut bytes).map(drop) } else { Ok(()) }
        })();
        read.with_context(|| self.cannot("read", path))?;
        Ok(Some(bytes))
    }

    /// A file as text. Invalid UTF-8 is replaced, so that no file of a system can make the program fail.
    pub fn read_text(&self, path: &str) -> Result<Option<String>> {
        let bytes = self.read(path)?;
        Ok(bytes.map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }))
    }

    /// A small file's first line without white space around it, as sysfs attributes are read; none when the
    /// file is missing, unreadable or empty.
    pub fn attribute(&self, path: &str) -> Option<String> {
        let text = self.read_text(path).ok().flatten()?;
        let line = text.lines().next()?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// A file with its permissions and owner; none when it does not exist.
    pub fn content(&self, path: &str) -> Result<Option<Content>> {
        let Some((mut file, metadata)) = self.open_file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| self.cannot("read", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        Ok(Some(Content { bytes, mode, uid: metadata.uid(), gid: metadata.gid() }))
    }

    /// Opens a regular file for reading; none when it does not exist or is something else.
    pub fn open_file(&self, path: &str) -> Result<Option<(File, Metadata)>> {
        // Without O_NONBLOCK, opening a FIFO in a hostile root would block the run.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = resolve::open(&self.dir, path, flags).with_context(|| self.cannot("open", path))?;
        let Some(file) = file else { return Ok(None) };
        let metadata = file.metadata().with_context(|| self.cannot("open", path))?;
        Ok(metadata.is_file().then_some((file, metadata)))
    }

    /// The metadata of a path, links followed inside the root; none when it does not exist.
    pub fn metadata(&self, path: &str) -> Option<Metadata> {
        self.look_at(path, OFlag::empty())?.metadata().ok()
    }

    /// The owner's user id of a path itself, not of a link's target; none when it does not exist.
    pub fn owner(&self, path: &str) -> Option<u32> {
        self.look_at(path, OFlag::O_NOFOLLOW)?.metadata().ok().map(|found| found.uid())
    }

    /// Whether a path exists, links followed inside the root.
    pub fn exists(&self, path: &str) -> bool {
        self.look_at(path, OFlag::empty()).is_some()
    }

    /// A handle on a path that exists, by which it can neither be read nor written.
    fn look_at(&self, path: &str, flags: OFlag) -> Option<File> {
        resolve::open(&self.dir, path, OFlag::O_PATH | flags).ok().flatten()
    }

    /// Whether a path is a folder.
    pub fn is_dir(&self, path: &str) -> bool {
        self.metadata(path).is_some_and(|metadata| metadata.is_dir())
    }

    /// Where a link points, as written in it; none when it is not a link.
    pub fn link_target(&self, path: &str) -> Option<PathBuf> {
        let link = self.look_at(path, OFlag::O_NOFOLLOW)?;
        nix::fcntl::readlinkat(link, "").ok().map(PathBuf::from)
    }

    /// Where a path leads, links followed inside the root, as a path of the root.
    pub fn behind_link(&self, path: &str) -> Result<String> {
        let handle = self.dir.resolve(path).with_context(|| self.cannot("follow", path))?;
        let there = std::fs::read_link(fd_path(&handle)).with_context(|| self.cannot("follow", path))?;
        let inside = there.strip_prefix(&self.path).ok().and_then(Path::to_str);
        inside.map(|inside| format!("/{inside}")).with_context(|| self.cannot("follow", path))
    }

    /// The names in a folder, sorted; none at all when it does not exist. Names that are not UTF-8 are left out.
    pub fn list(&self, path: &str) -> Vec<String> {
        self.names(path).map_or_else(Vec::new, |(_, names)| names)
    }

    /// The entries of a folder, sorted by name, as far as they tell that a file has changed, without opening any.
    pub fn entries(&self, path: &str) -> Vec<Entry> {
        let Some((folder, names)) = self.names(path) else { return Vec::new() };
        let look = |name: String| {
            let found = fstatat(&folder, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            Some(Entry {
                name,
                is_link: found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFLNK,
                size: found.st_size,
                number: found.st_ino,
                written: (found.st_mtime, found.st_mtime_nsec),
                changed: (found.st_ctime, found.st_ctime_nsec),
            })
        };
        names.into_iter().filter_map(look).collect()
    }

    fn names(&self, path: &str) -> Option<(Dir, Vec<String>)> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = resolve::open(&self.dir, path, flags).ok()??;
        let mut folder = Dir::from_fd(folder.into()).ok()?;
        let entries =
            folder.iter().filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned));
        let mut names: Vec<String> = entries.filter(|name| name != "." && name != "..").collect();
        names.sort_unstable();
        Some((folder, names))
    }

    /// The path of an existing folder on this machine that cannot be redirected by links: through its open
    /// descriptor. Valid as long as the returned handle lives.
    pub fn pin(&self, path: &str) -> Result<(pathrs::Handle, PathBuf)> {
        let handle = self.dir.resolve(path).with_context(|| self.cannot("open", path))?;
        let pinned = fd_path(&handle);
        Ok((handle, pinned))
    }

    /// Whether a folder is on a file system that is mounted read-only; not where it cannot be asked.
    pub fn is_read_only(&self, path: &str) -> bool {
        let flags =
            self.pin(path).and_then(|(_handle, pinned)| Ok(nix::sys::statvfs::statvfs(&pinned)?.flags()));
        flags.is_ok_and(|flags| flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
    }

    /// Creates a folder and its parents. Existing folders stay as they are.
    pub fn make_dirs(&self, path: &str, mode: u32) -> Result<()> {
        if self.is_dir(path) || self.make_dir(path, mode).is_some() {
            return Ok(());
        }
        self.dir
            .mkdir_all(path, &Permissions::from_mode(mode))
            .map(drop)
            .with_context(|| self.cannot("make the folder", path))
    }

    /// Creates a folder in one that exists, without links on its way being followed twice.
    fn make_dir(&self, path: &str, mode: u32) -> Option<()> {
        let (parent, name) = path.rsplit_once('/')?;
        let is_plain = !parent.is_empty() && !matches!(name, "" | "." | "..");
        let parent = self.look_at(parent, OFlag::O_DIRECTORY).filter(|_| is_plain)?;
        mkdirat(&parent, name, Mode::from_bits_truncate(mode)).ok()
    }

    /// Writes a file atomically: into a temporary file beside it, which is synced and renamed; then the folder is
    /// synced.
    pub fn write(&self, path: &str, content: &Content) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.make_dirs(if folder.is_empty() { "/" } else { folder }, 0o755)?;
        let doing = || self.cannot("write", path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder = resolve::open(&self.dir, if folder.is_empty() { "/" } else { folder }, flags);
        let folder = folder.with_context(doing)?.with_context(doing)?;
        // Only one writer holds the run lock, so the name can be fixed, and the next run overwrites or removes what a
        // killed one left. Below an open folder a name alone cannot lead elsewhere.
        let temporary = half_written(name);
        let _ = unlinkat(&folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(content.mode);
        let mut file = openat(&folder, temporary.as_str(), new, mode).map(File::from).with_context(doing)?;
        let result = (|| {
            file.write_all(&content.bytes)?;
            if nix::unistd::geteuid().is_root() {
                std::os::unix::fs::fchown(&file, Some(content.uid), Some(content.gid))?;
            }
            // Set again, because a new file's mode is subject to the umask.
            file.set_permissions(Permissions::from_mode(content.mode))?;
            file.sync_all()
        })();
        if let Err(error) = result {
            let _ = unlinkat(&folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(error).with_context(doing);
        }
        fault::reached(Point::FileHalfWritten);
        renameat(&folder, temporary.as_str(), &folder, name).with_context(doing)?;
        folder.sync_all().with_context(|| self.cannot("sync", path))
    }

    /// Writes a text file that root owns and everybody may read.
    pub fn write_text(&self, path: &str, text: &str) -> Result<()> {
        self.write(path, &Content { bytes: text.as_bytes().to_vec(), mode: 0o644, uid: 0, gid: 0 })
    }

    /// Replaces the content of an existing file; its permissions and owner are kept.
    pub fn rewrite(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let old = self.content(path)?.with_context(|| self.cannot("find", path))?;
        self.write(path, &Content { bytes, ..old })
    }

    /// Creates a symbolic link. Its folder must exist, and its own path must not.
    pub fn make_link(&self, path: &str, to: &Path) -> Result<()> {
        let link = pathrs::InodeType::Symlink(to.to_owned());
        self.dir.create(path, &link).with_context(|| self.cannot("make the link", path))
    }

    /// Opens a file for appending; the file and its folders are created where missing.
    pub fn append(&self, path: &str, mode: u32) -> Result<File> {
        let (folder, _) = path.rsplit_once('/').unwrap_or(("", path));
        self.make_dirs(if folder.is_empty() { "/" } else { folder }, 0o755)?;
        let flags = OpenFlags::O_WRONLY | OpenFlags::O_APPEND | OpenFlags::O_NONBLOCK;
        self.dir
            .create_file(path, flags | OpenFlags::O_NOFOLLOW, &Permissions::from_mode(mode))
            .with_context(|| self.cannot("open", path))
    }

    /// Removes a file; one that does not exist is fine.
    pub fn remove_file(&self, path: &str) -> Result<()> {
        match self.dir.remove_file(path) {
            Err(error) if !is_missing(&error) => Err(error).with_context(|| self.cannot("remove", path)),
            _ => Ok(()),
        }
    }

    /// Removes what a run that was killed while it wrote this file has left beside it.
    pub fn remove_half_written(&self, path: &str) -> Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.remove_file(&format!("{folder}/{}", half_written(name)))
    }

    /// Removes a file and syncs its folder, so that the file stays removed after a power cut.
    pub fn remove_file_synced(&self, path: &str) -> Result<()> {
        self.remove_file(path)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if self.exists(folder) { self.sync_dir(folder) } else { Ok(()) }
    }

    /// Removes an empty folder; one that is missing or not empty stays as it is.
    pub fn remove_empty_dir(&self, path: &str) {
        let _ = self.dir.remove_dir(path);
    }

    /// Removes a folder with all it holds; one that does not exist is fine.
    pub fn remove_all(&self, path: &str) -> Result<()> {
        match self.dir.remove_all(path) {
            Err(error) if !is_missing(&error) => Err(error).with_context(|| self.cannot("remove", path)),
            _ => Ok(()),
        }
    }

    /// The free space of the root's file system, in bytes.
    pub fn free_bytes(&self) -> Result<u64> {
        let found =
            nix::sys::statvfs::statvfs(&self.path).with_context(|| self.cannot("ask the size of", "/"))?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    /// Flushes the root's file system to the disk.
    pub fn sync(&self) -> Result<()> {
        let dir = File::open(&self.path).with_context(|| self.cannot("open", "/"))?;
        nix::unistd::syncfs(dir).with_context(|| self.cannot("sync", "/"))
    }

    fn sync_dir(&self, path: &str) -> Result<()> {
        let path = if path.is_empty() { "/" } else { path };
        let dir = self.dir.open_subpath(path, OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY);
        dir.with_context(|| self.cannot("open", path))?.sync_all().with_context(|| self.cannot("sync", path))
    }

    fn cannot(&self, verb: &str, path: &str) -> String {
        if self.is_slash() {
            format!("cannot {verb} `{path}`")
        } else {
            format!("cannot {verb} `{path}` in `{}`", self.path.display())
        }
    }
}

/// Reads until the buffer is full or the file ends. Returns the number of bytes.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut held = 0;
    while held < buffer.len() {
        match file.read(&mut buffer[held..]) {
            Ok(0) => break,
            Ok(read) => held += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// The name of a file's new content until it is complete.
fn half_written(name: &str) -> String {
    format!(".{name}.ofedctl-new")
}

/// The path of an open file through `/proc/self/fd`, which no link can redirect.
pub(super) fn fd_path(open: &impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn text(text: &str) -> Content {
        Content { bytes: text.as_bytes().to_vec(), mode: 0o600, uid: 0, gid: 0 }
    }

    #[test]
    fn links_stay_inside_the_root() {
        let (dir, root) = root();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        symlink("/etc/real", dir.path().join("etc/absolute")).unwrap();
        symlink("../../../../etc/real", dir.path().join("etc/climbing")).unwrap();
        std::fs::write(dir.path().join("etc/real"), "inside").unwrap();
        for name in ["/etc/absolute", "/etc/climbing"] {
            assert_eq!(root.read_text(name).unwrap().unwrap(), "inside", "{name}");
        }
        symlink("/etc/passwd", dir.path().join("etc/outside")).unwrap();
        assert_eq!(root.read("/etc/outside").unwrap(), None);
    }

    #[test]
    fn a_write_through_a_linked_folder_stays_inside_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let (dir, root) = root();
        symlink(outside.path(), dir.path().join("etc")).unwrap();
        let _ = root.write("/etc/file", &text("x"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_write_replaces_whole_and_leaves_nothing_beside() {
        let (dir, root) = root();
        root.write("/a/b/file", &text("one")).unwrap();
        std::fs::write(dir.path().join("a/b/.file.ofedctl-new"), "left by a killed run").unwrap();
        root.write("/a/b/file", &text("two")).unwrap();
        assert_eq!(root.list("/a/b"), ["file"]);
        assert_eq!(root.content("/a/b/file").unwrap().unwrap().bytes, b"two");
        assert_eq!(root.metadata("/a/b/file").unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_pipe_in_a_root_does_not_hang_the_reader() {
        let (dir, root) = root();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o644))
            .unwrap();
        assert_eq!(root.read("/pipe").unwrap(), None);
        assert_eq!(root.attribute("/pipe"), None);
    }

    #[test]
    fn what_is_missing_is_none_and_not_an_error() {
        let (_dir, root) = root();
        assert_eq!(root.read("/no/such").unwrap(), None);
        assert!(root.list("/no").is_empty() && !root.exists("/no"));
        root.remove_file("/no/such").unwrap();
        root.remove_all("/no").unwrap();
    }
}
