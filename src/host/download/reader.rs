//! Readers on top of a download: all of a small file at once, or a large file from its beginning to its end.

use super::{Piece, Stream, without_secrets};
use crate::outcome::{Carried, Reason};
use anyhow::Result;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

/// Reads all of a small file.
pub(crate) fn whole(mut stream: Stream, limit: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match stream.next_piece()? {
            Piece::Bytes(bytes) => all.extend_from_slice(&bytes),
            Piece::Changed => all.clear(),
            Piece::End => return Ok(all),
        }
        if all.len() > limit {
            let message =
                format!("`{}` is larger than {limit} bytes", without_secrets(&stream.sources[0].url));
            return Err(Reason::DownloadFailed.error(message));
        }
    }
}

impl Stream<'_> {
    /// Whether the server supports range requests. Requests the beginning of the file, which is kept for the first
    /// read.
    pub fn is_seekable(&mut self) -> Result<bool> {
        if let Piece::Bytes(bytes) = self.next_piece()? {
            self.rest = bytes;
        }
        Ok(self.gives_parts)
    }

    /// Skips bytes, with a new request where that is cheaper than reading them.
    fn skip(&mut self, bytes: u64) -> Result<()> {
        /// So many bytes take about as long as a new request, at 10 Gb/s and a round trip of 1 ms.
        const WORTH_A_REQUEST: u64 = 1 << 20;
        let mut left = bytes;
        let held = left.min(self.rest.len() as u64);
        let _ = self.rest.split_to(usize::try_from(held)?);
        left -= held;
        if left > WORTH_A_REQUEST {
            self.at += left;
            self.body = None;
            return Ok(());
        }
        std::io::copy(&mut self.by_ref().take(left), &mut std::io::sink())?;
        Ok(())
    }
}

impl Seek for Stream<'_> {
    /// Moves forward in the file.
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let here = self.at - self.rest.len() as u64;
        let forward = match to {
            SeekFrom::Current(bytes) => u64::try_from(bytes).ok(),
            SeekFrom::Start(place) => place.checked_sub(here),
            SeekFrom::End(_) => None,
        };
        let backward = || std::io::Error::new(ErrorKind::Unsupported, "a download is read forward");
        self.skip(forward.ok_or_else(backward)?).map_err(Carried::from)?;
        Ok(self.at - self.rest.len() as u64)
    }
}

impl Read for Stream<'_> {
    /// Reads the next bytes. A file that changes meanwhile is an error, because the caller has used the earlier bytes
    /// already.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.rest.is_empty() {
            match self.next_piece().map_err(Carried::from)? {
                Piece::Bytes(bytes) => self.rest = bytes,
                Piece::End => return Ok(0),
                Piece::Changed => return Err(std::io::Error::other("the file changed while it was read")),
            }
        }
        let taken = self.rest.split_to(self.rest.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
