//! Unpacks a vendor's `.tgz` into a private folder. Hashing, inflating and writing happen at the same time, memory use
//! does not depend on the size, and no member can be written outside the folder. The digest is known only at the end.
//! Until the caller has compared it, no file in the folder may be run.

mod links;
mod members;
mod padding;
mod refusal;

pub(crate) use padding::is_padding;

use super::cancel::Cancel;
use super::hex;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The size of a piece that threads pass on, and the number of pieces that may wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 16;

/// The result of unpacking an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// SHA-256 of the archive as it was read, in hex.
    pub sha256: String,
    /// Files, folders and links made.
    pub members: usize,
}

/// Unpacks `archive` into `folder`, which must be private to the caller. Regular files, folders, and links that stay
/// inside are unpacked; permissions lose their set-id bits, and owners are not kept. Any other member is refused; the
/// folder then holds a part of the archive that must be deleted.
pub fn unpack(cancel: &Cancel, archive: &Path, folder: &Path) -> Result<Unpacked> {
    let doing = || format!("cannot unpack `{}`", archive.display());
    let file = File::open(archive).with_context(doing)?;
    // A pinned folder is named by a link in `/proc`, which is followed only with `/.` appended.
    let root = pathrs::Root::open(folder.join(".")).with_context(doing)?;
    let given_up = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (raw_sender, raw) = sync_channel(WAITING);
        let (tar_sender, tar) = sync_channel(WAITING);
        let hashing = scope.spawn(move || hash(file, &raw_sender, cancel, given_up));
        let inflating = scope.spawn(move || inflate(raw, &tar_sender));
        let written = members::write(cancel, Pieces::new(tar), &root);
        // The thread that fails first closes its channel, which ends the others. The digest of what is not unpacked is
        // of no use, and an archive may be longer than anybody wants to wait for.
        given_up.store(written.is_err(), Ordering::Relaxed);
        let hashed = hashing.join().map_err(|_| Reason::Internal.error("the hashing thread panicked"))?;
        let inflated =
            inflating.join().map_err(|_| Reason::Internal.error("the inflating thread panicked"))?;
        let sha256 = hashed.with_context(doing)?;
        // An error of the gzip reader means a damaged archive, unless the disk reported another cause.
        inflated.with_reason(Reason::DigestMismatch, || format!("{}: it is damaged", doing()))?;
        let members = written.with_context(doing)?;
        if members == 0 {
            return Err(Reason::WrongPackage.error(format!("{}: it holds nothing", doing())));
        }
        Ok(Unpacked { sha256, members })
    })
}

fn hash(mut file: File, to: &SyncSender<Vec<u8>>, cancel: &Cancel, given_up: &AtomicBool) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut listening = true;
    loop {
        cancel.check()?;
        if given_up.load(Ordering::Relaxed) {
            return Ok(String::new());
        }
        let mut piece = vec![0; PIECE];
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        piece.truncate(read);
        hasher.update(&piece);
        // Bytes after the compressed data are not read by the inflater, but they belong to the digest.
        listening = listening && to.send(piece).is_ok();
    }
}

fn inflate(from: Receiver<Vec<u8>>, to: &SyncSender<Vec<u8>>) -> io::Result<()> {
    let mut tar = MultiGzDecoder::new(BufReader::with_capacity(PIECE, Pieces::new(from)));
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        // Reads until the piece is full, because the decoder alone returns only the output of one input buffer.
        let read = tar.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if read == 0 || to.send(piece).is_err() {
            return Ok(());
        }
    }
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
            // A closed channel is the end; the sender's thread reports why.
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
    use std::os::unix::fs::PermissionsExt;
    use tar::EntryType;

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

    /// Writes a raw name without the library's checks, as an attacker would.
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
            assert_eq!(
                Reason::from_error(&error),
                Reason::DigestMismatch,
                "{}",
                String::from_utf8_lossy(name)
            );
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
    fn a_link_that_leaves_through_another_is_refused_whichever_came_first() {
        let chain = [("d/e", ".."), ("d/f", "e/../../etc")];
        let other_name = [("a/b/l", "../x"), ("m", "a/b/l")];
        for links in [chain, [chain[1], chain[0]], [("a", "b"), ("b", "a")], [("s", "d"), ("s/l", "../..")]] {
            let (_dir, unpacked) = try_archive(|tar| {
                for (name, to) in links {
                    tar.append(&raw_named(EntryType::Symlink, name.as_bytes(), to.as_bytes()), io::empty())
                        .unwrap();
                }
            });
            assert_eq!(Reason::from_error(&unpacked.unwrap_err()), Reason::DigestMismatch, "{links:?}");
        }
        let (_dir, unpacked) = try_archive(|tar| {
            for (kind, (name, to)) in [EntryType::Symlink, EntryType::Link].into_iter().zip(other_name) {
                tar.append(&raw_named(kind, name.as_bytes(), to.as_bytes()), io::empty()).unwrap();
            }
        });
        assert!(format!("{:#}", unpacked.unwrap_err()).contains("another name"));
    }

    #[test]
    fn names_in_extended_headers_are_taken_and_checked_like_others() {
        let long = format!("top/{}/file", "n".repeat(150));
        let (dir, unpacked) = try_archive(|tar| {
            let mut file = header(EntryType::Regular, 1, 0o644);
            tar.append_data(&mut file, &long, &b"x"[..]).unwrap();
            tar.append_pax_extensions([("path", b"top/pax".as_slice())]).unwrap();
            let mut file = header(EntryType::Regular, 1, 0o644);
            tar.append_data(&mut file, "top/other", &b"y"[..]).unwrap();
        });
        unpacked.unwrap();
        assert_eq!(std::fs::read(dir.path().join("into").join(&long)).unwrap(), b"x");
        assert_eq!(std::fs::read(dir.path().join("into/top/pax")).unwrap(), b"y");
        for record in [("path", b"../out".as_slice()), ("size", b"99"), ("GNU.sparse.major", b"1")] {
            let (_dir, unpacked) = try_archive(|tar| {
                tar.append_pax_extensions([record]).unwrap();
                tar.append_data(&mut header(EntryType::Regular, 1, 0o644), "a", &b"y"[..]).unwrap();
            });
            assert_eq!(Reason::from_error(&unpacked.unwrap_err()), Reason::DigestMismatch, "{record:?}");
        }
    }

    /// As much of a header's content as it takes to hold it: a megabyte of zeros packs into a kilobyte.
    #[test]
    fn an_extended_header_of_a_gigabyte_is_refused_before_it_is_read() {
        for kind in
            [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader]
        {
            let mut header = header(kind, 1 << 30, 0o644);
            header.set_cksum();
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            io::Write::write_all(&mut packed, header.as_bytes()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let archive = folder.path().join("a.tgz");
            std::fs::write(&archive, packed.finish().unwrap()).unwrap();
            let error = unpack(&Cancel::never(), &archive, folder.path()).unwrap_err();
            assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{error:#}");
            assert!(format!("{error:#}").contains("larger than any name"), "{error:#}");
        }
    }

    #[test]
    fn an_archive_that_is_cut_short_or_damaged_anywhere_is_refused_with_its_reason() {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for name in ["top/a", "top/b"] {
            let bytes: Vec<u8> = (0..3000_u32).map(|n| (n * n % 251) as u8).collect();
            builder.append_data(&mut header(EntryType::Regular, 3000, 0o644), name, &bytes[..]).unwrap();
        }
        let whole = builder.into_inner().unwrap().finish().unwrap();
        let digest = hex(&Sha256::digest(&whole));
        for at in (0..whole.len()).step_by(16) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for bytes in [&whole[..at], &flipped] {
                let folder = tempfile::tempdir().unwrap();
                let archive = folder.path().join("a.tgz");
                std::fs::write(&archive, bytes).unwrap();
                std::fs::create_dir(folder.path().join("into")).unwrap();
                match unpack(&Cancel::never(), &archive, &folder.path().join("into")) {
                    Ok(unpacked) => assert_ne!(unpacked.sha256, digest),
                    Err(error) => {
                        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch, "{at}: {error:#}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_login_page_instead_of_an_archive_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tgz");
        std::fs::write(&archive, "<html>please log in</html>").unwrap();
        let error = unpack(&Cancel::never(), &archive, dir.path()).unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch);
    }
}
