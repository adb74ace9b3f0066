//! One stream of a session, to read from and to write to.

use super::frame::{FIN, Header, Kind};
use super::mux::{FRAME_BYTES, Mux};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// One stream of a session. Dropped, it is closed, and what still comes is thrown away.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) mux: Arc<Mux>,
    pub(super) id: u32,
}

impl Stream {
    /// Ends reading and writing, for whichever thread is at it.
    pub(super) fn give_up(&self) {
        self.finish();
        if let Some(flow) = self.mux.state().flows.get_mut(&self.id) {
            flow.is_reset = true;
        }
        self.mux.changed.notify_all();
    }

    /// Says that nothing more will be written. Reading goes on.
    pub(super) fn finish(&self) {
        {
            let mut state = self.mux.state();
            let Some(flow) = state.flows.get_mut(&self.id) else { return };
            if flow.we_are_done {
                return;
            }
            flow.we_are_done = true;
        }
        self.mux.changed.notify_all();
        // A session that has ended needs no closing.
        let _ = self.mux.send(Header::window(self.id, FIN, 0), &[]);
    }
}

impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.mux.state();
        loop {
            let ended = state.ended;
            let flow = state.flows.get_mut(&self.id).ok_or(io::ErrorKind::NotConnected)?;
            if !flow.inbound.is_empty() {
                let read = flow.inbound.read(into)?;
                drop(state);
                // Reading goes on from what is here when the peer has just gone.
                let _ = self.mux.credit(self.id, u32::try_from(read).unwrap_or(0));
                return Ok(read);
            }
            if flow.is_reset {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            if flow.peer_is_done {
                return Ok(0);
            }
            if ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            state = self.mux.wait(state);
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.mux.state();
        let room = loop {
            let ended = state.ended;
            let flow = state.flows.get_mut(&self.id).ok_or(io::ErrorKind::NotConnected)?;
            if ended || flow.is_reset || flow.we_are_done {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if flow.send > 0 || data.is_empty() {
                let room = data.len().min(flow.send as usize).min(FRAME_BYTES);
                flow.send -= u32::try_from(room).unwrap_or(0);
                break room;
            }
            state = self.mux.wait(state);
        };
        drop(state);
        let length = u32::try_from(room).unwrap_or(0);
        if room > 0 {
            let header = Header { kind: Kind::Data, flags: 0, stream: self.id, length };
            self.mux.send(header, &data[..room])?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.finish();
        let unread = {
            let mut state = self.mux.state();
            let Some(flow) = state.flows.get_mut(&self.id) else { return };
            flow.is_dropped = true;
            let unread = u32::try_from(flow.inbound.len()).unwrap_or(0);
            flow.inbound = VecDeque::new();
            let is_over = flow.peer_is_done;
            if is_over {
                state.flows.remove(&self.id);
            }
            unread
        };
        // The peer may be waiting for room to send what nobody will read.
        let _ = self.mux.credit(self.id, unread);
    }
}
