//! What may be behind the end of an archive.

use std::io::{self, Read};

/// The most zeros behind the end of an archive: tapes are written in blocks, of 10 KiB by default.
const MAX_PADDING: u64 = 1 << 20;

/// Whether what is behind the end of an archive is padding alone.
pub(crate) fn is_padding(rest: impl Read) -> io::Result<bool> {
    let mut bytes = Vec::new();
    let read = rest.take(MAX_PADDING + 1).read_to_end(&mut bytes)?;
    Ok(read as u64 <= MAX_PADDING && bytes.iter().all(|byte| *byte == 0))
}
