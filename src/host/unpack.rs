//! Unpacking a vendor's `.tgz` into a private folder: hashed, inflated and written at the same time, in the
//! same memory whatever its size, and with no member able to reach outside the folder.
//!
//! The digest is known only at the end. Until the caller has compared it, nothing in the folder may be run.

use super::cancel::Cancel;
use super::hex;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use pathrs::flags::OpenFlags;
use sha2::{Digest, Sha256};
use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tar::EntryType;

/// Bytes that travel between the threads at once, and how many such pieces may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 16;
/// The largest `MLNX_OFED` archive unpacks to about 1.2 GB (396 MB packed); ten times that is an attack.
const MAX_UNPACKED_BYTES: u64 = 12 << 30;
const MAX_MEMBERS: usize = 200_000;

/// What was unpacked.
#[derive(Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// SHA-256 of the archive as it was read, in hex.
    pub sha256: String,
    /// Files, folders and links made.
    pub members: usize,
}

/// Unpacks `archive` into `folder`, which must be private to the caller.
///
/// Kept are regular files, folders, and links that stay inside; permissions without set-id bits; no owners.
/// Any other member is refused, and then the folder holds a part that must be thrown away.
pub fn unpack(cancel: &Cancel, archive: &Path, folder: &Path) -> Result<Unpacked> {
    let doing = || format!("cannot unpack `{}`", archive.display());
    let file = File::open(archive).with_context(doing)?;
    // A folder that was pinned is named by a link of `/proc`, which is followed only on the way.
    let root = pathrs::Root::open(folder.join(".")).with_context(doing)?;
    std::thread::scope(|scope| {
        let (raw_sender, raw) = sync_channel(WAITING);
        let (tar_sender, tar) = sync_channel(WAITING);
        let hashing = scope.spawn(move || hash(file, &raw_sender));
        let inflating = scope.spawn(move || inflate(raw, &tar_sender));
        let written = write_members(cancel, Pieces::new(tar), &root);
        // Whoever failed first closed its channel, which ends the others.
        let hashed = hashing.join().map_err(|_| Reason::Internal.error("the hashing thread panicked"))?;
        let inflated =
            inflating.join().map_err(|_| Reason::Internal.error("the inflating thread panicked"))?;
        let sha256 = hashed.with_context(doing)?;
        inflated.with_context(doing)?;
        Ok(Unpacked { sha256, members: written.with_context(doing)? })
    })
}

fn hash(mut file: File, to: &SyncSender<Vec<u8>>) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut listening = true;
    loop {
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        piece.truncate(read);
        hasher.update(&piece);
        // What follows the compressed data is no longer read there, but it counts for the digest.
        listening = listening && to.send(piece).is_ok();
    }
}

fn inflate(from: Receiver<Vec<u8>>, to: &SyncSender<Vec<u8>>) -> io::Result<()> {
    let mut tar = GzDecoder::new(BufReader::with_capacity(PIECE, Pieces::new(from)));
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        // Fills the piece: the decoder alone returns what little one input buffer gave.
        let read = tar.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if read == 0 || to.send(piece).is_err() {
            return Ok(());
        }
    }
}

fn write_members(cancel: &Cancel, tar: Pieces, root: &pathrs::Root) -> Result<usize> {
    let mut archive = tar::Archive::new(tar);
    let mut members = 0;
    let mut bytes = 0;
    let mut buffer = vec![0; PIECE];
    for entry in archive.entries()? {
        cancel.check()?;
        let mut entry = entry?;
        members += 1;
        bytes += entry.size();
        if members > MAX_MEMBERS || bytes > MAX_UNPACKED_BYTES {
            return Err(refused("the archive", "is larger than any driver"));
        }
        let path = member_path(&entry.path()?)?;
        let mode = entry.header().mode()? & 0o777;
        match entry.header().entry_type() {
            EntryType::Directory => make_dir(root, &path)?,
            EntryType::Regular | EntryType::Continuous => {
                let mut file = make_file(root, &path, mode)?;
                copy(&mut entry, &mut file, &mut buffer).with_context(|| format!("`{}`", path.display()))?;
            }
            EntryType::Symlink => {
                let to = entry.link_name()?.unwrap_or_default().into_owned();
                stays_inside(&path, &to)?;
                let link = pathrs::InodeType::Symlink(to);
                make_parent(root, &path)?;
                root.create(&path, &link).with_context(|| format!("`{}`", path.display()))?;
            }
            EntryType::Link => {
                let to = member_path(&entry.link_name()?.unwrap_or_default())?;
                make_parent(root, &path)?;
                let link = pathrs::InodeType::Hardlink(to);
                root.create(&path, &link).with_context(|| format!("`{}`", path.display()))?;
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(refused(&path.display().to_string(), "is neither file, folder nor link")),
        }
    }
    Ok(members)
}

/// A member's path, cleaned of `./`; none that is absolute or climbs.
fn member_path(path: &Path) -> Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(&path.display().to_string(), "leads outside the archive"));
            }
        }
    }
    Ok(clean)
}

/// The layouts of `MLNX_OFED` 4.9 and 5.0 have relative links among their folders; a link may climb, but not out.
fn stays_inside(link: &Path, to: &Path) -> Result<()> {
    let mut depth = link.components().count().saturating_sub(1);
    for part in to.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return Err(refused(&link.display().to_string(), "links outside the archive")),
        }
    }
    Ok(())
}

fn make_dir(root: &pathrs::Root, path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    // Writable by us whatever the archive says, or its members could not be made.
    root.mkdir_all(path, &Permissions::from_mode(0o755))
        .map(drop)
        .with_context(|| format!("`{}`", path.display()))
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
    opened.with_context(|| format!("`{}`", path.display()))
}

fn copy(from: &mut impl Read, to: &mut impl Write, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        match from.read(buffer)? {
            0 => return Ok(()),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

fn refused(what: &str, why: &str) -> anyhow::Error {
    Reason::DigestMismatch.error(format!("refused: `{what}` {why}"))
}

/// The receiving end of a channel of pieces, as a reader.
struct Pieces {
    from: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Pieces {
    const fn new(from: Receiver<Vec<u8>>) -> Self {
        Self { from, piece: Vec::new(), at: 0 }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // A sender that went away is the end; why it went, its thread says.
            let Ok(piece) = self.from.recv() else { return Ok(0) };
            self.piece = piece;
            self.at = 0;
        }
        let read = buffer.len().min(self.piece.len() - self.at);
        buffer[..read].copy_from_slice(&self.piece[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    type Builder = tar::Builder<GzEncoder<Vec<u8>>>;

    fn try_archive(fill: impl FnOnce(&mut Builder)) -> (tempfile::TempDir, Result<Unpacked>) {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        fill(&mut builder);
        let bytes = builder.into_inner().unwrap().finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tgz");
        std::fs::write(&archive, &bytes).unwrap();
        std::fs::create_dir(dir.path().join("into")).unwrap();
        let unpacked = unpack(&Cancel::never(), &archive, &dir.path().join("into"));
        if let Ok(unpacked) = &unpacked {
            assert_eq!(unpacked.sha256, hex(&Sha256::digest(&bytes)));
        }
        (dir, unpacked)
    }

    fn header(kind: EntryType, size: u64, mode: u32) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header
    }

    /// Past the builder's own checks, as an attacker would.
    fn raw_named(kind: EntryType, name: &[u8], link: &[u8]) -> tar::Header {
        let mut header = header(kind, 0, 0o644);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..name.len()].copy_from_slice(name);
        gnu.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        header
    }

    #[test]
    fn files_folders_and_inner_links_come_out_without_set_id_bits() {
        let (dir, unpacked) = try_archive(|tar| {
            let mut file = header(EntryType::Regular, 5, 0o4755);
            tar.append_data(&mut file, "top/DEBS/a.deb", &b"bytes"[..]).unwrap();
            let mut link = header(EntryType::Symlink, 0, 0o777);
            tar.append_link(&mut link, "top/DEBS_UPSTREAM/a.deb", "../DEBS/a.deb").unwrap();
        });
        assert_eq!(unpacked.unwrap().members, 2);
        let linked = dir.path().join("into/top/DEBS_UPSTREAM/a.deb");
        assert_eq!(std::fs::read(&linked).unwrap(), b"bytes");
        assert_eq!(linked.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    }

    #[test]
    fn a_hostile_member_is_refused() {
        let table: [(EntryType, &[u8], &[u8]); 7] = [
            (EntryType::Regular, b"../out", b""),
            (EntryType::Regular, b"/etc/passwd", b""),
            (EntryType::Symlink, b"a", b"/etc/passwd"),
            (EntryType::Symlink, b"a/b", b"../../out"),
            (EntryType::Link, b"a", b"../../etc/passwd"),
            (EntryType::Char, b"null", b""),
            (EntryType::Fifo, b"pipe", b""),
        ];
        for (kind, name, link) in table {
            let (_dir, unpacked) =
                try_archive(|tar| tar.append(&raw_named(kind, name, link), io::empty()).unwrap());
            let error = unpacked.unwrap_err();
            assert_eq!(Reason::of(&error), Reason::DigestMismatch, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn a_member_below_a_link_cannot_leave_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let (dir, unpacked) = try_archive(|tar| {
            tar.append(&raw_named(EntryType::Symlink, b"a", b"b"), io::empty()).unwrap();
            let mut file = header(EntryType::Regular, 1, 0o644);
            tar.append_data(&mut file, "a/file", &b"x"[..]).unwrap();
        });
        assert!(unpacked.is_err() || dir.path().join("into/b/file").exists());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_login_page_instead_of_an_archive_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tgz");
        std::fs::write(&archive, "<html>please log in</html>").unwrap();
        assert!(unpack(&Cancel::never(), &archive, dir.path()).is_err());
    }
}
