//! What comes from the peer: each frame is read whole and put where its stream finds it.

use super::frame::{ACK, FIN, HEADER_BYTES, Header, Kind, RST, SYN};
use super::mux::{FRAME_BYTES, Flow, MAX_STREAMS, Mux};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;

impl Mux {
    /// Reads frames until the session ends, for its own reason or because the peer breaks the rules.
    pub(super) fn read_frames(&self, socket: UnixStream) -> io::Result<()> {
        let mut socket = io::BufReader::with_capacity(FRAME_BYTES, socket);
        loop {
            let mut header = [0; HEADER_BYTES];
            socket.read_exact(&mut header)?;
            let header = Header::decode(header)?;
            match header.kind {
                Kind::Data | Kind::WindowUpdate => self.take(header, &mut socket)?,
                Kind::Ping if header.flags & SYN != 0 => self.send(Header { flags: ACK, ..header }, &[])?,
                Kind::Ping => {}
                Kind::GoAway => return Ok(()),
            }
        }
    }

    /// Takes in a frame of a stream.
    fn take(&self, header: Header, socket: &mut impl Read) -> io::Result<()> {
        let Header { kind, flags, stream: id, length } = header;
        if flags & SYN != 0 {
            self.begin(id)?;
        }
        if kind == Kind::Data {
            self.take_data(id, length, socket)?;
        }
        let mut state = self.state();
        if let Some(flow) = state.flows.get_mut(&id) {
            if kind == Kind::WindowUpdate {
                flow.send = flow.send.saturating_add(length);
            }
            flow.peer_is_done |= flags & (FIN | RST) != 0;
            flow.is_reset |= flags & RST != 0;
            let is_over = flow.is_dropped && flow.peer_is_done;
            if is_over {
                state.flows.remove(&id);
            }
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn begin(&self, id: u32) -> io::Result<()> {
        {
            let mut state = self.state();
            // Zero is the session itself, and the parity of ours never comes from the peer.
            if id == 0 || id % 2 == state.next % 2 || state.flows.contains_key(&id) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a stream was opened out of order"));
            }
            if state.flows.len() >= MAX_STREAMS {
                drop(state);
                return self.send(Header::window(id, RST, 0), &[]);
            }
            state.flows.insert(id, Flow::new());
            state.opened_by_peer.push_back(id);
        }
        self.send(Header::window(id, ACK, 0), &[])
    }

    fn take_data(&self, id: u32, length: u32, socket: &mut impl Read) -> io::Result<()> {
        let wanted = {
            let mut state = self.state();
            let flow = state.flows.get_mut(&id);
            match flow {
                Some(flow) => match flow.receive.checked_sub(length) {
                    Some(left) => {
                        flow.receive = left;
                        !flow.is_dropped
                    }
                    None => {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "more was sent than allowed"));
                    }
                },
                None => false,
            }
        };
        if !wanted {
            // It was on its way when the stream was closed here. The peer must be able to go on.
            let discarded = io::copy(&mut socket.take(length.into()), &mut io::sink())?;
            if discarded < u64::from(length) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return self.credit(id, length);
        }
        // At most a window, as was just checked.
        let mut data = vec![0; length as usize];
        socket.read_exact(&mut data)?;
        if let Some(flow) = self.state().flows.get_mut(&id) {
            flow.inbound.extend(data);
        }
        Ok(())
    }
}
