//! The members of an archive, written one by one. Headers are read raw: the content of an extended header is checked
//! before it is used, and a header that is larger than a name can be is never held in memory. The tar library would
//! allocate whatever size the header states.

use super::super::cancel::Cancel;
use super::links::Links;
use super::padding::is_padding;
use super::refusal::refused;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use pathrs::flags::OpenFlags;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// The largest `MLNX_OFED` archive unpacks to about 1.2 GB (396 MB packed); ten times that is an attack.
const MAX_UNPACKED_BYTES: u64 = 12 << 30;
/// The same for members: the vendor's archives hold packages, and some thousands of members at most.
const MAX_MEMBERS: usize = 50_000;
/// The longest path Linux takes.
const MAX_NAME_BYTES: u64 = 4096;
/// The largest extended header: it holds two names and some numbers.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;
/// The deepest nesting of folders; the kernel's source tree is 12 deep.
const MAX_DEPTH: usize = 64;
const PIECE: usize = 256 << 10;

/// Writes all members below `root`. Returns how many there were.
pub(super) fn write(cancel: &Cancel, tar: impl Read, root: &pathrs::Root) -> Result<usize> {
    let mut archive = tar::Archive::new(tar);
    let mut writer = Writer { cancel, root, links: Links::default(), buffer: vec![0; PIECE] };
    let mut members = 0;
    let mut bytes = 0_u64;
    let mut next = Extended::default();
    let broken = || "it is not a whole tar archive".to_owned();
    for entry in archive.entries().with_reason(Reason::DigestMismatch, broken)?.raw(true) {
        cancel.check()?;
        let mut entry = entry.with_reason(Reason::DigestMismatch, broken)?;
        let size = entry.header().entry_size().with_reason(Reason::DigestMismatch, broken)?;
        // Extended headers are counted as well, so that an endless series of them is refused.
        members += 1;
        bytes = bytes.saturating_add(size);
        if members > MAX_MEMBERS || bytes > MAX_UNPACKED_BYTES {
            return Err(refused("the archive", "is larger than any driver"));
        }
        if !next.take(&mut entry, size)? {
            writer.write(&mut entry, size, std::mem::take(&mut next))?;
        }
    }
    writer.links.stay_inside(cancel)?;
    end(cancel, archive.into_inner())?;
    Ok(members)
}

/// Reads what is behind the end. Other programs read on there, or stop elsewhere, so an archive with more than padding is
/// not the same for all.
fn end(cancel: &Cancel, rest: impl Read) -> Result<()> {
    let is_padding = is_padding(rest).with_reason(Reason::DigestMismatch, cut_short)?;
    cancel.check()?;
    if is_padding { Ok(()) } else { Err(refused("the archive", "goes on behind its end")) }
}

/// The content of extended headers about the member that follows them.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Reads a header about the next member. Returns whether it was one.
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, size: u64) -> Result<bool> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.path = Some(name(entry, size)?),
            EntryType::GNULongLink => self.link = Some(name(entry, size)?),
            EntryType::XHeader => self.take_records(&bounded(entry, size, MAX_EXTENDED_BYTES)?)?,
            // This header is about the whole archive; git writes the commit there.
            EntryType::XGlobalHeader => drop(bounded(entry, size, MAX_EXTENDED_BYTES)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_records(&mut self, bytes: &[u8]) -> Result<()> {
        let wrong = || refused("an extended header", "cannot be read");
        for record in tar::PaxExtensions::new(bytes) {
            let record = record.map_err(|_| wrong())?;
            let value = record.value_bytes();
            match record.key().map_err(|_| wrong())? {
                "path" => self.path = Some(value.to_vec()),
                "linkpath" => self.link = Some(value.to_vec()),
                "size" => {
                    let size = record.value().ok().and_then(|value| value.parse().ok());
                    self.size = Some(size.ok_or_else(wrong)?);
                }
                key if key.starts_with("GNU.sparse") => {
                    return Err(refused("an extended header", "makes a sparse file"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn name<R: Read>(entry: &mut tar::Entry<'_, R>, size: u64) -> Result<Vec<u8>> {
    let mut name = bounded(entry, size, MAX_NAME_BYTES + 1)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn bounded<R: Read>(entry: &mut tar::Entry<'_, R>, size: u64, limit: u64) -> Result<Vec<u8>> {
    if size > limit {
        return Err(refused("an extended header", &format!("of {size} bytes is larger than any name")));
    }
    let mut bytes = Vec::new();
    let read = entry.read_to_end(&mut bytes).with_reason(Reason::DigestMismatch, cut_short)?;
    if read as u64 == size { Ok(bytes) } else { Err(Reason::DigestMismatch.error(cut_short())) }
}

struct Writer<'a> {
    cancel: &'a Cancel,
    root: &'a pathrs::Root,
    links: Links,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn write<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, size: u64, extended: Extended) -> Result<()> {
        let raw = extended.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = member_path(&raw)?;
        let shown = || format!("`{}`", shown(&raw));
        if extended.size.is_some_and(|said| said != size) {
            return Err(refused(&self::shown(&raw), "has two sizes"));
        }
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().with_reason(Reason::DigestMismatch, shown)?);
        // As a link, it would take the place of the folder into which all is unpacked.
        if path.as_os_str().is_empty() && kind != EntryType::Directory {
            return Err(refused(&self::shown(&raw), "is no name of a file"));
        }
        // Some programs skip the content of a folder or a link, and some read it as the next member.
        if size > 0 && matches!(kind, EntryType::Directory | EntryType::Symlink | EntryType::Link) {
            return Err(refused(&self::shown(&raw), "is no file and has content"));
        }
        let link = extended.link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
        match kind {
            EntryType::Directory => make_dir(self.root, &path)?,
            EntryType::Regular | EntryType::Continuous => {
                let mut file = make_file(self.root, &path, mode & 0o777)?;
                let written = self.copy(entry, &mut file).with_context(shown)?;
                if written != size {
                    return Err(Reason::DigestMismatch.error(format!("{} {}", shown(), cut_short())));
                }
            }
            EntryType::Symlink => {
                let to = PathBuf::from(OsStr::from_bytes(&link.unwrap_or_default()));
                self.links.add(self.cancel, &path, &to)?;
                make_parent(self.root, &path)?;
                let link = pathrs::InodeType::Symlink(to);
                self.root.create(&path, &link).map_err(|error| not_made(&path, error.into()))?;
            }
            EntryType::Link => {
                let to = member_path(&link.unwrap_or_default())?;
                // A hard link to a symbolic link would be the same link in another folder, where its target has not
                // been checked.
                if !is_regular(self.root, &to) {
                    return Err(refused(&self::shown(&raw), "is another name of something that is no file"));
                }
                make_parent(self.root, &path)?;
                let link = pathrs::InodeType::Hardlink(to);
                self.root.create(&path, &link).map_err(|error| not_made(&path, error.into()))?;
            }
            _ => return Err(refused(&self::shown(&raw), "is neither file, folder nor link")),
        }
        Ok(())
    }

    fn copy(&mut self, from: &mut impl Read, to: &mut impl Write) -> Result<u64> {
        let mut written = 0;
        loop {
            self.cancel.check()?;
            match from.read(&mut self.buffer).with_reason(Reason::DigestMismatch, cut_short)? {
                0 => return Ok(written),
                read => {
                    to.write_all(&self.buffer[..read])?;
                    written += read as u64;
                }
            }
        }
    }
}

fn cut_short() -> String {
    "it is cut short".to_owned()
}

fn shown(raw: &[u8]) -> String {
    raw.escape_ascii().to_string()
}

/// A member's path without `./`. Refuses one that is absolute, contains `..`, or is longer than a path can be.
fn member_path(raw: &[u8]) -> Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(raw));
    let mut clean = PathBuf::new();
    let mut depth = 0;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => {
                clean.push(name);
                depth += 1;
            }
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(&shown(raw), "leads outside the archive"));
            }
        }
    }
    if depth > MAX_DEPTH || raw.len() as u64 > MAX_NAME_BYTES || raw.contains(&0) {
        return Err(refused(&shown(&raw[..raw.len().min(80)]), "is no name of a file"));
    }
    Ok(clean)
}

fn is_regular(root: &pathrs::Root, path: &Path) -> bool {
    let found = root.resolve_nofollow(path).ok().and_then(|handle| nix::sys::stat::fstat(&handle).ok());
    found.is_some_and(|found| found.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG)
}

fn make_dir(root: &pathrs::Root, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    // The folder is writable whatever mode the archive states, so that its members can be created.
    root.mkdir_all(path, &Permissions::from_mode(0o755))
        .map(drop)
        .map_err(|error| not_made(path, error.into()))
}

/// The error for a member that cannot be made. The folder was empty, so where a name is taken, leads through a file, or
/// is longer than any, it is the archive that is wrong.
fn not_made(path: &Path, error: anyhow::Error) -> anyhow::Error {
    let path = path.as_os_str().as_bytes();
    if Reason::from_error(&error) == Reason::UnexpectedFile {
        return refused(&shown(path), &format!("cannot be made where others are: {error:#}"));
    }
    error.context(format!("`{}`", shown(path)))
}

fn make_parent(root: &pathrs::Root, path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| make_dir(root, parent))
}

fn make_file(root: &pathrs::Root, path: &Path, mode: u32) -> Result<File> {
    let flags = OpenFlags::O_WRONLY | OpenFlags::O_EXCL | OpenFlags::O_NOFOLLOW;
    let permissions = Permissions::from_mode(mode);
    // Archives need not list a folder before what is in it.
    let opened = root.create_file(path, flags, &permissions).or_else(|_| {
        make_parent(root, path)?;
        root.create_file(path, flags, &permissions).map_err(anyhow::Error::from)
    });
    opened.map_err(|error| not_made(path, error))
}
