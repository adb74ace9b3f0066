//! Hashes many blobs on all processors; memory use does not depend on their sizes.

use super::Cache;
use super::digest::{Digest, Hasher};
use super::layout;
use super::progress_io::Pass;
use crate::host::Host;
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most threads; with more, the disk and not the processor is the limit.
const MAX_THREADS: usize = 8;

/// From this size on, a second thread reads ahead: a bundle may consist mostly of one vendor archive, and then hashing
/// that one blob takes nearly all the time.
const AHEAD_FROM_BYTES: u64 = 32 << 20;

/// What is wrong with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// It is missing.
    Missing,
    /// It is shorter than its descriptor says.
    Truncated,
    /// It is longer than its descriptor says.
    TooLong,
    /// Its bytes do not match its digest.
    Digest,
    /// It cannot be read from the disk.
    Unreadable,
    /// Its digest is right, but it is not a valid document.
    Malformed,
}

/// A blob to hash.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Cache {
    /// Hashes blobs and returns those that do not match their digest.
    pub(super) fn hash_all(
        &self,
        host: &Host,
        mut jobs: Vec<Job>,
        bytes: u64,
    ) -> Result<Vec<(Digest, Problem)>> {
        // The largest first, so that it is not hashed alone at the end.
        jobs.sort_unstable_by_key(|job| (std::cmp::Reverse(job.size), job.digest));
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = processors.min(MAX_THREADS).min(jobs.len());
        let pass = Pass::begin(host, "verifying the cache", bytes);
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(Digest, Problem)>> {
            let mut damaged = Vec::new();
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(problem) = self.hash_one(host, &pass, &job.digest)? {
                    damaged.push((job.digest, problem));
                }
            }
            Ok(damaged)
        };
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut damaged = Vec::new();
            for handle in handles {
                damaged.extend(handle.join().map_err(|_| anyhow!("a thread that hashes blobs has died"))??);
            }
            Ok(damaged)
        })
    }

    fn hash_one(&self, host: &Host, pass: &Pass, digest: &Digest) -> Result<Option<Problem>> {
        let Ok((mut file, size)) = layout::open_regular(&self.blob_path(digest)) else {
            return Ok(Some(Problem::Unreadable));
        };
        let mut hasher = Hasher::default();
        let passed = if size < AHEAD_FROM_BYTES {
            pass.over(&mut file, |bytes| {
                hasher.update(bytes);
                Ok(())
            })
        } else {
            pass.ahead(&mut file, |bytes| hasher.update(bytes))
        };
        if let Err(error) = passed {
            // A read error is part of the report; a cancelled run is an error.
            host.cancel.check()?;
            host.events.warn(format!("cannot read the blob `{digest}`: {error:#}"));
            return Ok(Some(Problem::Unreadable));
        }
        Ok((hasher.finish().0 != *digest).then_some(Problem::Digest))
    }
}
