//! A disk with a volatile cache: a file behind FUSE, whose server notes every write and every flush. What a power cut
//! leaves is what was flushed, and of what was written since, whatever pieces the cache happened to have put down.

use crate::common;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A piece that a disk writes whole or not at all.
const PIECE: usize = 4096;
const MAX_WRITE: usize = 1 << 20;
/// The two objects there are: the folder, and the file in it.
const FOLDER: u64 = 1;
const FILE: u64 = 2;
const NAME: &[u8] = b"disk\0";

/// What came to the disk, in order.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Write(u64, Vec<u8>),
    Flush,
}

/// The disk at work. It is gone when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
    server: Option<JoinHandle<()>>,
}

impl Disk {
    /// Serves an image, which the disk changes.
    pub(crate) fn serve(image: &Path) -> Self {
        let folder = common::scratch();
        let fuse = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", fuse.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("disk"), folder.path(), Some("fuse"), flags, Some(options.as_str())).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let image = File::options().read(true).write(true).open(image).unwrap();
        let size = image.metadata().unwrap().len();
        let server = Server { fuse, image, size, requests: Arc::clone(&requests) };
        Self { folder, requests, server: Some(std::thread::spawn(|| server.answer_all())) }
    }

    /// The file that is the disk.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// All that came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The server is told so at once, whoever still has the folder in a mount namespace.
        for how in [MntFlags::MNT_FORCE, MntFlags::MNT_DETACH] {
            let _ = umount2(self.folder.path(), how);
        }
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

/// Does to an image what a power cut leaves of requests: all up to the last flush, and of those behind it the pieces
/// that `stays` says.
pub(crate) fn cut_power(image: &File, requests: &[Request], mut stays: impl FnMut() -> bool) {
    let flushed = requests.iter().rposition(|request| matches!(request, Request::Flush)).unwrap_or(0);
    for (at, request) in requests.iter().enumerate() {
        let Request::Write(offset, bytes) = request else { continue };
        let mut offset = *offset;
        for piece in bytes.chunks(PIECE) {
            if at < flushed || stays() {
                image.write_all_at(piece, offset).unwrap();
            }
            offset += piece.len() as u64;
        }
    }
}

struct Server {
    fuse: File,
    image: File,
    size: u64,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers the kernel until the file system is unmounted.
    fn answer_all(mut self) {
        let mut buffer = vec![0; MAX_WRITE + 2 * PIECE];
        while let Ok(length) = self.fuse.read(&mut buffer) {
            if length < 40 {
                return;
            }
            let (head, body) = buffer[..length].split_at(40);
            let (opcode, unique, node) = (u32_at(head, 4), &head[8..16], u64_at(head, 16));
            // Notices that want no answer: objects forgotten, and requests interrupted.
            if [2, 36, 42].contains(&opcode) {
                continue;
            }
            let answer = self.answer(opcode, node, body);
            let (error, bytes) = match answer {
                Ok(bytes) => (0, bytes),
                Err(error) => (-error, Vec::new()),
            };
            let mut reply = u32::try_from(16 + bytes.len()).unwrap().to_ne_bytes().to_vec();
            reply.extend(error.to_ne_bytes());
            reply.extend(unique);
            reply.extend(bytes);
            // Nobody waits for the answer any more where this fails.
            let _ = self.fuse.write_all(&reply);
        }
    }

    /// One request, by the numbers of the kernel's `fuse.h`.
    fn answer(&self, opcode: u32, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        match opcode {
            26 => Ok(hello()),
            1 if body == NAME => {
                let words = [FILE, 0, 3600, 3600, 0].into_iter().flat_map(|word: u64| word.to_ne_bytes());
                Ok(words.chain(self.attributes(FILE)).collect())
            }
            1 => Err(nix::libc::ENOENT),
            3 | 4 => {
                let words = [3600, 0].into_iter().flat_map(|word: u64| word.to_ne_bytes());
                Ok(words.chain(self.attributes(node)).collect())
            }
            14 | 27 => Ok(vec![0; 16]),
            15 => self.read(u64_at(body, 8), u32_at(body, 16)),
            16 => self.write(u64_at(body, 8), &body[40..]),
            20 => {
                self.requests.lock().unwrap().push(Request::Flush);
                Ok(Vec::new())
            }
            17 => Ok(vec![0; 80]),
            18 | 25 | 29 | 38 => Ok(Vec::new()),
            _ => Err(nix::libc::ENOSYS),
        }
    }

    fn read(&self, offset: u64, size: u32) -> Result<Vec<u8>, i32> {
        let mut bytes =
            vec![0; usize::try_from(u64::from(size).min(self.size.saturating_sub(offset))).unwrap()];
        self.image.read_exact_at(&mut bytes, offset).map_err(|_| nix::libc::EIO)?;
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<Vec<u8>, i32> {
        self.image.write_all_at(bytes, offset).map_err(|_| nix::libc::EIO)?;
        self.requests.lock().unwrap().push(Request::Write(offset, bytes.to_vec()));
        Ok((bytes.len() as u64).to_ne_bytes().to_vec())
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let (size, mode) = if node == FOLDER { (0, 0o40755) } else { (self.size, 0o100_600) };
        let words = [node, size, size / 512, 0, 0, 0].into_iter().flat_map(|word: u64| word.to_ne_bytes());
        let rest = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].into_iter().flat_map(|word: u32| word.to_ne_bytes());
        words.chain(rest).collect()
    }
}

/// The version spoken here, 7.31, large writes and no cache of writes in the kernel.
fn hello() -> Vec<u8> {
    const BIG_WRITES: u32 = 1 << 5;
    const MAX_PAGES: u32 = 1 << 22;
    let mut words: Vec<u8> =
        [7, 31, 0, BIG_WRITES | MAX_PAGES].into_iter().flat_map(|word: u32| word.to_ne_bytes()).collect();
    words.extend(16u16.to_ne_bytes());
    words.extend(12u16.to_ne_bytes());
    words.extend(u32::try_from(MAX_WRITE).unwrap().to_ne_bytes());
    words.extend(1u32.to_ne_bytes());
    words.extend(256u16.to_ne_bytes());
    words.resize(64, 0);
    words
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}
