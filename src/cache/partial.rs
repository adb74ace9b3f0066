//! A blob that is downloaded in pieces, over several runs if necessary. It is called `<digest>.partial` until it is
//! complete. After a broken connection only the rest is downloaded. Bytes from an earlier run are hashed again once,
//! because the state of a hash does not outlive its process; bytes of this run are not read again.

use super::Cache;
use super::blob::Blob;
use super::digest::{Digest, Hasher};
use crate::host::download::Origin;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The suffix of the names of incomplete blobs.
pub(super) const PARTIAL: &str = ".partial";
/// The suffix of the note that records where such a blob's bytes came from.
pub(super) const NOTE: &str = ".partial-from";
const CHUNK: usize = 256 << 10;
/// The longest note; an address and a validator are shorter.
const LONGEST_NOTE: u64 = 64 << 10;

/// An incomplete blob.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    note: PathBuf,
    target: PathBuf,
    expected: Digest,
    size: Option<u64>,
    hasher: Hasher,
    held: u64,
    origin: Option<Origin>,
    /// Whether some of its bytes are from an earlier run.
    is_resumed: bool,
}

impl Partial {
    pub(super) fn open(cache: &Cache, expected: &Digest, size: Option<u64>) -> Result<Self> {
        let named = |end: &str| cache.blobs_dir().join(format!("{}{end}", expected.hex()));
        let (path, note) = (named(PARTIAL), named(NOTE));
        let doing = || format!("cannot open `{}`", path.display());
        let file = open(&path).with_context(doing)?;
        let mut partial = Self {
            file,
            target: cache.blob_path(expected),
            origin: read_note(&note),
            path: path.clone(),
            note,
            expected: *expected,
            size,
            hasher: Hasher::default(),
            held: 0,
            is_resumed: false,
        };
        partial.hash_what_is_there().with_context(doing)?;
        Ok(partial)
    }

    fn hash_what_is_there(&mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    self.hasher.update(&buffer[..read]);
                    self.held += read as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.is_resumed = self.held > 0;
        if self.size.is_some_and(|size| self.held > size) {
            self.restart()?;
        }
        Ok(())
    }

    /// The number of bytes present.
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// Where the bytes came from, if that is known for all of them.
    pub const fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Whether some of its bytes are from another run, or may belong to another version of the file.
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Records where the bytes come from, also for the next run.
    pub fn note_origin(&mut self, origin: Option<&Origin>) -> Result<()> {
        if self.origin.as_ref() == origin {
            return Ok(());
        }
        self.origin = origin.cloned();
        match origin {
            Some(Origin { url, validator }) => std::fs::write(&self.note, format!("{url}\n{validator}\n")),
            None => remove(&self.note),
        }
        .with_context(|| format!("cannot write `{}`", self.note.display()))
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| format!("cannot write `{}`", self.path.display()))?;
        self.hasher.update(bytes);
        self.held += bytes.len() as u64;
        Ok(())
    }

    /// Discards all bytes.
    pub fn restart(&mut self) -> Result<()> {
        let doing = || format!("cannot begin `{}` again", self.path.display());
        // A new file is created, because another process may still have the old one open.
        remove(&self.path).with_context(doing)?;
        self.file = open(&self.path).with_context(doing)?;
        (self.hasher, self.held, self.is_resumed) = (Hasher::default(), 0, false);
        self.note_origin(None)
    }

    /// Verifies the blob. Wrong bytes are discarded, and the download can begin again.
    pub(super) fn verify(&mut self) -> Result<(Blob, Finished)> {
        let (found, size) = std::mem::take(&mut self.hasher).finish();
        if found != self.expected {
            self.restart()?;
            let message = format!("expected `{}`, found `{found}` in {size} bytes", self.expected);
            return Err(Reason::DigestMismatch.error(message));
        }
        let finished =
            Finished { path: self.path.clone(), note: self.note.clone(), target: self.target.clone() };
        Ok((Blob { digest: self.expected, size }, finished))
    }
}

/// A download that is whole and verified.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) path: PathBuf,
    note: PathBuf,
    pub(super) target: PathBuf,
}

impl Finished {
    /// Renames it to its digest.
    pub(super) fn name(&self) -> Result<()> {
        let doing = || format!("cannot store the blob `{}`", self.target.display());
        std::fs::rename(&self.path, &self.target).with_context(doing)?;
        remove(&self.note).with_context(doing)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.held == 0 {
            let _ = remove(&self.path);
            let _ = remove(&self.note);
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    file.set_permissions(Permissions::from_mode(0o644))?;
    Ok(file)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read_note(path: &Path) -> Option<Origin> {
    let (file, _) = super::layout::open_regular(path).ok()?;
    let mut text = String::new();
    file.take(LONGEST_NOTE).read_to_string(&mut text).ok()?;
    let (url, validator) = text.trim_end().split_once('\n')?;
    Some(Origin { url: url.to_owned(), validator: validator.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::batch::Batch;
    use super::super::testing::Lab;
    use super::*;

    fn finish(lab: &Lab, partial: &mut Partial) -> Result<Blob> {
        let batch = Batch::default();
        let blob = batch.take_download(partial)?;
        batch.settle(&lab.cache).map(|()| blob)
    }

    fn origin() -> Origin {
        Origin { url: "http://host/a".into(), validator: "\"1\"".into() }
    }

    #[test]
    fn what_a_broken_run_left_is_gone_on_with() {
        let lab = Lab::new();
        let digest = Digest::of_bytes(b"whole");
        let mut first = lab.writer().partial(&digest, Some(5)).unwrap();
        first.note_origin(Some(&origin())).unwrap();
        first.write(b"who").unwrap();
        drop(first);
        let mut second = lab.writer().partial(&digest, Some(5)).unwrap();
        assert_eq!((second.held(), second.origin()), (3, Some(&origin())));
        second.write(b"le").unwrap();
        assert_eq!(finish(&lab, &mut second).unwrap().size, 5);
        drop(second);
        assert_eq!(lab.names(), [digest.hex()]);
    }

    #[test]
    fn damage_is_dropped_and_the_blob_begins_again() {
        let lab = Lab::new();
        let digest = Digest::of_bytes(b"right");
        let mut partial = lab.writer().partial(&digest, Some(5)).unwrap();
        partial.note_origin(Some(&origin())).unwrap();
        partial.write(b"wrong").unwrap();
        assert_eq!(Reason::from_error(&finish(&lab, &mut partial).unwrap_err()), Reason::DigestMismatch);
        assert_eq!((partial.held(), partial.origin()), (0, None));
        partial.write(b"right").unwrap();
        finish(&lab, &mut partial).unwrap();
        drop(partial);
        assert_eq!(lab.names(), [digest.hex()]);
    }

    #[test]
    fn one_that_never_began_or_is_too_long_leaves_nothing() {
        let lab = Lab::new();
        let digest = Digest::of_bytes(b"right");
        drop(lab.writer().partial(&digest, None).unwrap());
        assert!(lab.names().is_empty());
        lab.writer().partial(&digest, None).unwrap().write(b"far too long").unwrap();
        assert_eq!(lab.writer().partial(&digest, Some(5)).unwrap().held(), 0);
        assert!(lab.names().is_empty());
    }

    #[test]
    fn clean_up_removes_it() {
        let lab = Lab::new();
        let mut partial = lab.writer().partial(&Digest::of_bytes(b"right"), None).unwrap();
        partial.note_origin(Some(&origin())).unwrap();
        partial.write(b"ri").unwrap();
        drop(partial);
        assert_eq!(lab.writer().gc(false).unwrap().files, 2);
        assert!(lab.names().is_empty());
    }
}
