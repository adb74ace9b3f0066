//! Downloads blobs into the cache: several at a time, each verified while it is written.

use super::batch::Batch;
use super::blob::Blob;
use super::digest::Digest;
use super::write::Writer;
use crate::host::Host;
use crate::host::download::{Piece, Stream};
use crate::host::fs::Root;
use crate::host::http::{Client, NetworkOptions, without_secrets};
use crate::host::registry::Registry;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result, anyhow};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The number of downloads at a time: enough that one slow answer does not stop all, and few enough not to overload a
/// server.
const AT_ONCE: usize = 4;

/// Where a blob is available.
#[derive(Debug, Clone)]
pub enum Source<'s> {
    /// At an address, or a mirror of it, or at other addresses should that fail; `file:` is this machine.
    Address(String, Vec<String>),
    /// A file of a root that is not this machine's: its links lead nowhere else, and only a regular file counts.
    InRoot(Arc<Root>, String),
    /// Inside a file at an address, from this byte on.
    Inside(String, u64),
    /// In a registry.
    Registry(&'s Registry<'s>),
}

/// A blob that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted<'s> {
    /// Its digest.
    pub digest: Digest,
    /// Its size, 0 when not known.
    pub size: u64,
    /// Its file name, for messages.
    pub title: String,
    /// Where it is available.
    pub source: Source<'s>,
}

impl Writer<'_> {
    /// Downloads blobs, several at a time. The first failure ends the download; complete and partial blobs stay in the
    /// cache.
    pub fn download_all(&self, way: NetworkOptions, mut wanted: Vec<Wanted>) -> Result<()> {
        // The largest first, so that no large one is downloaded alone at the end.
        wanted.sort_by_key(|blob| (blob.size, blob.digest));
        let total = super::total(wanted.iter().map(|blob| blob.size));
        let threads = AT_ONCE.min(wanted.len());
        let queue = Mutex::new(wanted);
        let done = AtomicU64::new(0);
        let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
        let batch = Batch::default();
        let next = || {
            let stop = failed.lock().map_or(true, |failed| failed.is_some());
            if stop { None } else { queue.lock().ok()?.pop() }
        };
        let work = || -> Result<()> {
            let client = Client::new(way)?;
            while let Some(wanted) = next() {
                let mut seen = 0;
                self.download_blob(&client, way, &wanted, &batch, |now| {
                    // When a download begins again, its count goes backwards.
                    let change = now.wrapping_sub(seen);
                    let sum = done.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
                    seen = now;
                    self.host.events.progress("downloading", sum, total);
                })?;
            }
            Ok(())
        };
        let work = || {
            if let Err(error) = work()
                && let Ok(mut failed) = failed.lock()
            {
                failed.get_or_insert(error);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        // Also after a failure, so that the next run need not download them.
        let settled = batch.settle(&self.cache);
        match failed.into_inner() {
            Ok(None) => settled,
            Ok(Some(error)) => Err(error),
            Err(_) => Err(anyhow!("a download thread panicked")),
        }
    }

    /// Downloads one blob. Calls `held` with the number of bytes that are present.
    fn download_blob(
        &self,
        client: &Client,
        way: NetworkOptions,
        wanted: &Wanted,
        batch: &Batch,
        mut held: impl FnMut(u64),
    ) -> Result<Blob> {
        let host: &Host = self.host;
        let size = Some(wanted.size).filter(|size| *size > 0);
        let (stream, from) = match &wanted.source {
            Source::Address(url, others) => {
                if let Some(path) = url.strip_prefix("file:") {
                    let blob = self.copy(path.strip_prefix("//").unwrap_or(path), &wanted.digest, batch)?;
                    held(blob.size);
                    return Ok(blob);
                }
                (Stream::new(host, client, way, url, size)?.or_from(way, others)?, without_secrets(url))
            }
            Source::InRoot(root, path) => {
                let blob = self.copy_from(root, path, &wanted.digest, batch)?;
                held(blob.size);
                return Ok(blob);
            }
            Source::Inside(url, from) => {
                (Stream::new(host, client, way, url, Some(wanted.size))?.window(*from), without_secrets(url))
            }
            Source::Registry(registry) => {
                (registry.blob(host, client, &wanted.digest.to_string(), size)?, registry.address())
            }
        };
        self.download_into(batch, stream, &wanted.digest, held)
            .with_reason(Reason::DownloadFailed, || format!("`{}` from `{from}`", wanted.title))
    }

    /// Downloads a file whose digest is not known, only from its own address. If the file changes on the server
    /// meanwhile, the download begins again; if that cannot be ruled out, the file is refused.
    pub fn download_unknown(&self, way: NetworkOptions, url: &str, title: &str) -> Result<Blob> {
        let doing = || format!("`{title}` from `{}`", without_secrets(url));
        let client = Client::new(way)?;
        let mut stream = Stream::new(self.host, &client, way, url, None)?;
        let mut blob = self.blob(None)?;
        let mut held = 0;
        loop {
            match stream.next_piece().with_context(doing)? {
                Piece::Bytes(bytes) => {
                    blob.write_all(&bytes).with_context(doing)?;
                    held += bytes.len() as u64;
                }
                Piece::Changed => (blob, held) = (self.blob(None)?, 0),
                Piece::End if stream.is_mixed() => {
                    let what = "the connection broke, and the server does not say whether the rest is of the same file";
                    return Err(Reason::DownloadFailed.error(what).context(doing()));
                }
                Piece::End => return blob.finish().with_context(doing),
            }
            self.host.events.progress("downloading", held, stream.total().unwrap_or(0));
        }
    }

    /// Copies a file of this machine, verified like a download.
    fn copy(&self, path: &str, digest: &Digest, batch: &Batch) -> Result<Blob> {
        let file = File::open(path).with_reason(Reason::DownloadFailed, || format!("copying `{path}`"))?;
        self.store(file, path, digest, batch)
    }

    /// Copies a file of a root.
    fn copy_from(&self, root: &Root, path: &str, digest: &Digest, batch: &Batch) -> Result<Blob> {
        let file = root.open_file(path)?.map(|(file, _)| file);
        let missing =
            || Reason::DownloadFailed.error(format!("`{path}` is not a file in `{}`", root.path().display()));
        self.store(file.ok_or_else(missing)?, path, digest, batch)
    }

    fn store(&self, mut file: File, path: &str, digest: &Digest, batch: &Batch) -> Result<Blob> {
        let doing = || format!("copying `{path}`");
        let mut blob = self.blob(Some(digest))?;
        std::io::copy(&mut file, &mut blob).with_reason(Reason::DownloadFailed, doing)?;
        batch.take(blob).with_reason(Reason::DownloadFailed, doing)
    }

    /// Downloads a blob from a stream. Calls `held` with the number of bytes that are present, which falls when a
    /// download has to begin again. If an address has another file, the stream continues with the next address.
    pub fn download(&self, stream: Stream, digest: &Digest, held: impl FnMut(u64)) -> Result<Blob> {
        let batch = Batch::default();
        let blob = self.download_into(&batch, stream, digest, held)?;
        batch.settle(&self.cache)?;
        Ok(blob)
    }

    fn download_into(
        &self,
        batch: &Batch,
        mut stream: Stream,
        digest: &Digest,
        mut held: impl FnMut(u64),
    ) -> Result<Blob> {
        let mut partial = self.partial(digest, stream.total())?;
        stream = stream.resumed(partial.held(), partial.origin().cloned());
        held(partial.held());
        loop {
            match stream.next_piece()? {
                Piece::Bytes(bytes) => {
                    partial.note_origin(stream.origin())?;
                    partial.write(&bytes)?;
                }
                Piece::Changed => partial.restart()?,
                Piece::End => {
                    let was_resumed = partial.is_resumed() || stream.is_mixed();
                    match batch.take_download(&mut partial) {
                        Ok(blob) => return Ok(blob),
                        Err(error) if Reason::from_error(&error) != Reason::DigestMismatch => {
                            return Err(error);
                        }
                        // Perhaps only the bytes from an earlier run or another address were wrong.
                        Err(_) if was_resumed => stream.rewind(),
                        Err(error) => stream.reject(error)?,
                    }
                }
            }
            held(partial.held());
        }
    }
}
