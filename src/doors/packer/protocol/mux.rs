//! State that the streams of a session share: the socket to write to, and the state of each stream.

use super::frame::{HEADER_BYTES, Header, WINDOW_BYTES};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Packer has a handful open at a time: the main one, the one that calls, and four for each command.
pub(super) const MAX_STREAMS: usize = 256;
/// The most that is sent in one frame, so that streams share the socket.
pub(super) const FRAME_BYTES: usize = 64 << 10;

/// Whoever reads or writes a stream waits here for what the thread that reads frames makes of the state.
#[derive(Debug)]
pub(super) struct Mux {
    pub(super) writer: Mutex<UnixStream>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

/// Everything that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ended: bool,
    pub(super) next: u32,
    pub(super) flows: HashMap<u32, Flow>,
    pub(super) opened_by_peer: VecDeque<u32>,
}

/// One stream: what came for it and was not read yet, and who may still send.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each side closes on its own, and either may give up")]
pub(super) struct Flow {
    pub(super) inbound: VecDeque<u8>,
    /// How much more the peer may send.
    pub(super) receive: u32,
    /// How much more may be sent to the peer.
    pub(super) send: u32,
    pub(super) peer_is_done: bool,
    pub(super) we_are_done: bool,
    pub(super) is_reset: bool,
    pub(super) is_dropped: bool,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            inbound: VecDeque::new(),
            receive: WINDOW_BYTES,
            send: WINDOW_BYTES,
            peer_is_done: false,
            we_are_done: false,
            is_reset: false,
            is_dropped: false,
        }
    }
}

impl Mux {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one frame whole, whichever thread asks.
    pub(super) fn send(&self, header: Header, data: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(HEADER_BYTES + data.len());
        frame.extend_from_slice(&header.encode());
        frame.extend_from_slice(data);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)
    }

    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
        let _ = self.writer.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
    }

    /// Gives the peer room to send as much again, if the stream is still there.
    pub(super) fn credit(&self, id: u32, bytes: u32) -> io::Result<()> {
        let is_open = match self.state().flows.get_mut(&id) {
            Some(flow) => {
                flow.receive += bytes;
                !flow.peer_is_done
            }
            None => false,
        };
        if is_open && bytes > 0 { self.send(Header::window(id, 0, bytes), &[]) } else { Ok(()) }
    }
}
