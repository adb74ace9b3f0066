//! Blobs that are whole and verified, and that reach the disk together before they get their names.
//!
//! A sync for each small file would take longer than its download. A power cut before the sync leaves unfinished files,
//! which the next run continues or removes.

use super::Cache;
use super::blob::{Blob, BlobWriter};
use super::partial::{Finished, Partial};
use super::unnamed;
use crate::host::fault::{self, Point};
use anyhow::{Context, Result, anyhow};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use tempfile::TempPath;

/// The bytes after which blobs that were written whole are settled at once: a run that is killed loses no more.
const ENOUGH: u64 = 128 << 20;
/// The same for their number: each takes a name and memory until then.
const MANY: usize = 5000;

/// Blobs that wait for their names. Dropped without [`Batch::settle`], it names none.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waiting: Mutex<Vec<Waiting>>,
    bytes: AtomicU64,
}

#[derive(Debug)]
enum Waiting {
    /// Written in one go; removed when it is dropped without its name.
    Whole(TempPath, PathBuf),
    /// Downloaded; it stays for the next run.
    Download(Finished),
}

impl BlobWriter<'_> {
    /// Verifies the blob, syncs it to the disk and renames it to its digest.
    pub fn finish(self) -> Result<Blob> {
        let cache = self.cache();
        let batch = Batch::default();
        let blob = batch.take(self)?;
        batch.settle(cache)?;
        Ok(blob)
    }
}

impl Batch {
    /// Takes a blob that was written whole, once it is verified.
    pub(super) fn take(&self, writer: BlobWriter) -> Result<Blob> {
        let cache = writer.cache();
        let (blob, file, path) = writer.verify()?;
        let waiting = {
            let mut waiting = self.waiting()?;
            waiting.push(Waiting::Whole(file, path));
            waiting.len()
        };
        if waiting >= MANY
            || self.bytes.fetch_add(blob.size, Ordering::Relaxed).saturating_add(blob.size) >= ENOUGH
        {
            self.settle(cache)?;
        }
        Ok(blob)
    }

    /// Takes a downloaded blob, once it is verified.
    pub(super) fn take_download(&self, partial: &mut Partial) -> Result<Blob> {
        let (blob, finished) = partial.verify()?;
        self.waiting()?.push(Waiting::Download(finished));
        Ok(blob)
    }

    /// Syncs all blobs to the disk, and then gives them their names.
    pub(super) fn settle(&self, cache: &Cache) -> Result<()> {
        let waiting = std::mem::take(&mut *self.waiting()?);
        self.bytes.store(0, Ordering::Relaxed);
        let folder = cache.blobs_dir();
        let doing = || format!("cannot sync the blobs in `{}`", folder.display());
        match waiting.as_slice() {
            [] => return Ok(()),
            // Other programs' files on the same file system need not be waited for.
            [one] => File::open(one.path()).and_then(|file| file.sync_all()).with_context(doing)?,
            _ => {
                let folder = File::open(&folder).with_context(doing)?;
                nix::unistd::syncfs(folder).with_context(doing)?;
            }
        }
        unnamed::note(cache, waiting.iter().map(Waiting::target))?;
        for blob in waiting {
            blob.name()?;
            fault::reached(Point::BlobStored);
        }
        Ok(())
    }

    fn waiting(&self) -> Result<MutexGuard<'_, Vec<Waiting>>> {
        self.waiting.lock().map_err(|_| anyhow!("a thread that stored blobs panicked"))
    }
}

impl Waiting {
    fn path(&self) -> &Path {
        match self {
            Self::Whole(file, _) => file,
            Self::Download(finished) => &finished.path,
        }
    }

    fn target(&self) -> &Path {
        match self {
            Self::Whole(_, path) => path,
            Self::Download(finished) => &finished.target,
        }
    }

    /// An existing blob is replaced as well: this one is verified, and that one may be damaged.
    fn name(self) -> Result<()> {
        match self {
            Self::Whole(file, path) => {
                let doing = || format!("cannot store the blob `{}`", path.display());
                file.persist(&path).map_err(|error| error.error).with_context(doing)
            }
            Self::Download(finished) => finished.name(),
        }
    }
}
