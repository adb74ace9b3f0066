//! Writes and reads one blob, and hashes it meanwhile.

use super::Cache;
use super::digest::{Digest, Hasher};
use super::layout;
use crate::outcome::{Reason, WithReason};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// A blob's name and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// A blob being written. Dropped without [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter<'w> {
    cache: &'w Cache,
    file: NamedTempFile,
    hasher: Hasher,
    expected: Option<Digest>,
}

impl<'w> BlobWriter<'w> {
    pub(super) fn begin(cache: &'w Cache, expected: Option<&Digest>) -> Result<Self> {
        let blobs = cache.blobs_dir();
        let file = layout::unfinished(&blobs)
            .with_context(|| format!("cannot make a file in `{}`", blobs.display()))?;
        Ok(Self { cache, file, hasher: Hasher::default(), expected: expected.copied() })
    }

    pub(super) const fn cache(&self) -> &'w Cache {
        self.cache
    }

    /// Verifies the blob. Returns it with its file, and the path that this is to get once it is on the disk.
    pub(super) fn verify(self) -> Result<(Blob, TempPath, PathBuf)> {
        let (digest, size) = self.hasher.finish();
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            let message = format!("expected the blob `{expected}`, found `{digest}` in {size} bytes");
            return Err(Reason::DigestMismatch.error(message));
        }
        Ok((Blob { digest, size }, self.file.into_temp_path(), self.cache.blob_path(&digest)))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A blob being read and hashed.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    size: u64,
    expected: Digest,
    hasher: Hasher,
}

impl BlobReader {
    pub(super) fn open(path: &Path, digest: &Digest) -> Result<Self> {
        let (file, size) = layout::open_regular(path).map_err(|error| {
            let message = format!("cannot open the blob `{}`: {error}", path.display());
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            (if missing { Reason::CacheMissing } else { Reason::CacheUnreadable }).error(message)
        })?;
        Ok(BlobReader { file, size, expected: *digest, hasher: Hasher::default() })
    }

    /// The size of the file.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Reads the rest and checks the digest of the whole blob.
    pub fn finish(mut self) -> Result<()> {
        let doing = format!("cannot read the blob `{}`", self.expected);
        std::io::copy(&mut self, &mut std::io::sink()).with_reason(Reason::CacheUnreadable, || doing)?;
        let (found, size) = self.hasher.finish();
        if found == self.expected {
            return Ok(());
        }
        Err(Reason::DigestMismatch
            .error(format!("the blob `{}` is damaged: its {size} bytes are `{found}`", self.expected)))
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Lab;
    use super::*;

    #[test]
    fn bytes_that_are_not_what_was_expected_leave_nothing() {
        let lab = Lab::new();
        let writer = lab.writer();
        let (expected, found) = (Digest::of_bytes(b"right"), Digest::of_bytes(b"wrong"));
        let mut blob = writer.blob(Some(&expected)).unwrap();
        blob.write_all(b"wrong").unwrap();
        let error = blob.finish().unwrap_err();
        assert_eq!(Reason::from_error(&error), Reason::DigestMismatch);
        let message = error.to_string();
        assert!(message.contains(&expected.hex()) && message.contains(&found.hex()), "{message}");
        assert!(lab.names().is_empty());
    }

    #[test]
    fn a_blob_that_is_given_up_leaves_nothing() {
        let lab = Lab::new();
        let writer = lab.writer();
        writer.blob(None).unwrap().write_all(b"half").unwrap();
        assert!(lab.names().is_empty());
    }

    #[test]
    fn threads_may_write_the_same_blob_at_once() {
        let lab = Lab::new();
        let writer = lab.writer();
        let bytes = vec![7; 3 << 20];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut blob = writer.blob(None).unwrap();
                    bytes.chunks(1000).for_each(|chunk| blob.write_all(chunk).unwrap());
                    assert_eq!(blob.finish().unwrap().size, 3 << 20);
                });
            }
        });
        assert_eq!(lab.names(), [Digest::of_bytes(&bytes).hex()]);
    }
}
