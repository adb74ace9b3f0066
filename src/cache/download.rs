//! A blob from the network into the cache, verified while it is written.

use super::blob::Blob;
use super::digest::Digest;
use super::write::Writer;
use crate::host::download::{Piece, Stream};
use crate::outcome::Reason;
use anyhow::Result;

impl Writer<'_> {
    /// Brings a blob in from a stream that gives its bytes. `held` is told how many of its bytes are there now, which
    /// become fewer when a download has to begin again.
    ///
    /// A stream whose address has something else under it goes on with the next address.
    pub fn download(&self, mut stream: Stream, digest: &Digest, mut held: impl FnMut(u64)) -> Result<Blob> {
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
                    match partial.finish() {
                        Ok(blob) => return Ok(blob),
                        Err(error) if Reason::of(&error) != Reason::DigestMismatch => return Err(error),
                        // Perhaps only what an earlier run or another address gave was wrong.
                        Err(_) if was_resumed => stream.rewind(),
                        Err(error) => stream.reject(error)?,
                    }
                }
            }
            held(partial.held());
        }
    }
}
