//! A pass over many bytes with progress messages and cancellation, in constant memory.

use crate::host::Host;
use anyhow::{Result, anyhow};
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

/// The size of a chunk: large enough that reading costs little beside hashing, small enough for many threads.
const CHUNK_BYTES: usize = 1 << 20;
/// The number of chunks that a reading thread is ahead.
const CHUNKS_AHEAD: usize = 2;

/// A pass in progress, shared by its threads.
#[derive(Debug)]
pub(super) struct Pass<'h> {
    host: &'h Host,
    label: String,
    done: AtomicU64,
    total: u64,
}

impl<'h> Pass<'h> {
    /// Begins a pass over `total` bytes.
    pub(super) fn begin(host: &'h Host, label: impl Into<String>, total: u64) -> Self {
        Self { host, label: label.into(), done: AtomicU64::new(0), total }
    }

    /// Reads `from` to its end and calls `take` with each chunk. Returns the number of bytes.
    pub(super) fn over(
        &self,
        from: &mut impl Read,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut bytes = 0;
        loop {
            self.host.cancel.check()?;
            let read = read_some(from, &mut buffer)?;
            if read == 0 {
                return Ok(bytes);
            }
            take(&buffer[..read])?;
            bytes += read as u64;
            self.advance(read as u64);
        }
    }

    /// The same, with the next chunks being read while `take` works on one.
    pub(super) fn ahead(&self, from: &mut (impl Read + Send), mut take: impl FnMut(&[u8])) -> Result<u64> {
        let (full, filled) = sync_channel::<Vec<u8>>(CHUNKS_AHEAD);
        let (empty, emptied) = sync_channel(CHUNKS_AHEAD + 1);
        for _ in 0..=CHUNKS_AHEAD {
            empty.send(vec![0; CHUNK_BYTES])?;
        }
        // The channel ends are moved into the scope, so that they are dropped and the reader ends if this one ends
        // early.
        std::thread::scope(move |scope| {
            let reader = scope.spawn(move || {
                // Either side ends when the other has ended.
                while let Ok(mut chunk) = emptied.recv() {
                    chunk.resize(CHUNK_BYTES, 0);
                    let read = read_some(from, &mut chunk)?;
                    chunk.truncate(read);
                    if read == 0 || full.send(chunk).is_err() {
                        break;
                    }
                }
                Ok::<_, std::io::Error>(())
            });
            let mut bytes = 0;
            while let Ok(chunk) = filled.recv() {
                self.host.cancel.check()?;
                take(&chunk);
                bytes += chunk.len() as u64;
                self.advance(chunk.len() as u64);
                // The reader may be done already.
                let _ = empty.send(chunk);
            }
            reader.join().map_err(|_| anyhow!("a thread that reads ahead has died"))??;
            Ok(bytes)
        })
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.host.events.progress(&self.label, done, self.total);
    }
}

fn read_some(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Events;
    use crate::host::cancel::Cancel;
    use crate::outcome::Reason;
    use std::time::Duration;

    fn host(cancel: Cancel) -> Host {
        Host::open(std::path::Path::new("/"), Events::silent(), cancel).unwrap()
    }

    #[test]
    fn reading_ahead_gives_every_byte_in_order() {
        let host = host(Cancel::never());
        for size in [0, 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut seen = Vec::new();
            let pass = Pass::begin(&host, "reading", size as u64);
            let count = pass.ahead(&mut bytes.as_slice(), |chunk| seen.extend_from_slice(chunk)).unwrap();
            assert_eq!((count, seen.len()), (size as u64, size));
            assert!(seen == bytes);
        }
    }

    #[test]
    fn a_run_that_must_stop_does_not_wait_for_an_endless_source() {
        let host = host(Cancel::never().within(Duration::from_millis(50)));
        let pass = Pass::begin(&host, "reading", 0);
        for error in [
            pass.ahead(&mut std::io::repeat(7), |_| {}).unwrap_err(),
            pass.over(&mut std::io::repeat(7), |_| Ok(())).unwrap_err(),
        ] {
            assert_eq!(Reason::from_error(&error), Reason::DeadlineExceeded);
        }
    }

    #[test]
    fn a_source_that_fails_ends_the_pass_with_its_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(ErrorKind::StorageFull.into())
            }
        }
        let host = host(Cancel::never());
        let pass = Pass::begin(&host, "reading", 0);
        assert_eq!(Reason::from_error(&pass.ahead(&mut Broken, |_| {}).unwrap_err()), Reason::NoSpace);
    }
}
