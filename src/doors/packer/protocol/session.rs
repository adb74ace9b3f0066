//! A yamux session over a socket: many streams in one, each with flow control and half-close.
//!
//! One thread reads frames; whoever reads or writes a stream waits on the state it keeps. Both ends of the protocol
//! are the same but for the numbers they give to streams, so the tests use this as their host as well.

use super::frame::{ACK, FIN, HEADER_BYTES, Header, Kind, RST, SYN, WINDOW_BYTES};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Packer has a handful open at a time: the main one, the one that calls, and four for each command.
const MAX_STREAMS: usize = 256;
/// The most that is sent in one frame, so that streams share the socket.
const FRAME_BYTES: usize = 64 << 10;

/// Who opened the session, which decides on the numbers of its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Packer itself.
    Host,
    /// This program.
    Plugin,
}

/// A session; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Session {
    shared: Arc<Shared>,
}

/// One stream of a session. Dropped, it is closed, and what still comes is thrown away.
#[derive(Debug)]
pub(super) struct Stream {
    shared: Arc<Shared>,
    id: u32,
}

#[derive(Debug)]
struct Shared {
    writer: Mutex<UnixStream>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ended: bool,
    next: u32,
    flows: HashMap<u32, Flow>,
    opened_by_peer: VecDeque<u32>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each side closes on its own, and either may give up")]
struct Flow {
    inbound: VecDeque<u8>,
    /// How much more the peer may send.
    receive: u32,
    /// How much more may be sent to the peer.
    send: u32,
    peer_is_done: bool,
    we_are_done: bool,
    is_reset: bool,
    is_dropped: bool,
}

impl Flow {
    fn new() -> Self {
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

impl Session {
    /// Begins a session on a connected socket.
    pub(super) fn start(socket: UnixStream, role: Role) -> io::Result<Self> {
        let reader = socket.try_clone()?;
        let state = State {
            ended: false,
            next: if role == Role::Host { 1 } else { 2 },
            flows: HashMap::new(),
            opened_by_peer: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            writer: Mutex::new(socket),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let read = move || {
            // Whatever ended it, nobody must wait any longer.
            let _ = theirs.read_frames(reader);
            theirs.end();
        };
        std::thread::Builder::new().name("yamux".to_owned()).spawn(read)?;
        Ok(Self { shared })
    }

    /// Opens a stream.
    pub(super) fn open(&self) -> io::Result<Stream> {
        let id = {
            let mut state = self.shared.state();
            if state.ended || state.flows.len() >= MAX_STREAMS {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let id = state.next;
            state.next = id.checked_add(2).ok_or(io::ErrorKind::NotConnected)?;
            state.flows.insert(id, Flow::new());
            id
        };
        let stream = Stream { shared: Arc::clone(&self.shared), id };
        self.shared.send(Header::window(id, SYN, 0), &[])?;
        Ok(stream)
    }

    /// Waits for a stream that the peer opens; none when the session has ended.
    pub(super) fn accept(&self) -> Option<Stream> {
        let mut state = self.shared.state();
        loop {
            if let Some(id) = state.opened_by_peer.pop_front() {
                return Some(Stream { shared: Arc::clone(&self.shared), id });
            }
            if state.ended {
                return None;
            }
            state = self.shared.wait(state);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one frame whole, whichever thread asks.
    fn send(&self, header: Header, data: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(HEADER_BYTES + data.len());
        frame.extend_from_slice(&header.encode());
        frame.extend_from_slice(data);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)
    }

    fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
        let _ = self.writer.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
    }

    fn read_frames(&self, socket: UnixStream) -> io::Result<()> {
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

    /// Gives the peer room to send as much again, if the stream is still there.
    fn credit(&self, id: u32, bytes: u32) -> io::Result<()> {
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

impl Stream {
    /// Ends reading and writing, for whichever thread is at it.
    pub(super) fn give_up(&self) {
        self.finish();
        if let Some(flow) = self.shared.state().flows.get_mut(&self.id) {
            flow.is_reset = true;
        }
        self.shared.changed.notify_all();
    }

    /// Says that nothing more will be written. Reading goes on.
    pub(super) fn finish(&self) {
        {
            let mut state = self.shared.state();
            let Some(flow) = state.flows.get_mut(&self.id) else { return };
            if flow.we_are_done {
                return;
            }
            flow.we_are_done = true;
        }
        self.shared.changed.notify_all();
        // A session that has ended needs no closing.
        let _ = self.shared.send(Header::window(self.id, FIN, 0), &[]);
    }
}

impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
        loop {
            let ended = state.ended;
            let flow = state.flows.get_mut(&self.id).ok_or(io::ErrorKind::NotConnected)?;
            if !flow.inbound.is_empty() {
                let read = flow.inbound.read(into)?;
                drop(state);
                // Reading goes on from what is here when the peer has just gone.
                let _ = self.shared.credit(self.id, u32::try_from(read).unwrap_or(0));
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
            state = self.shared.wait(state);
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.state();
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
            state = self.shared.wait(state);
        };
        drop(state);
        let length = u32::try_from(room).unwrap_or(0);
        if room > 0 {
            let header = Header { kind: Kind::Data, flags: 0, stream: self.id, length };
            self.shared.send(header, &data[..room])?;
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
            let mut state = self.shared.state();
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
        let _ = self.shared.credit(self.id, unread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Session, Session) {
        let (host, plugin) = UnixStream::pair().unwrap();
        (Session::start(host, Role::Host).unwrap(), Session::start(plugin, Role::Plugin).unwrap())
    }

    /// A session of ours, and the other end as bare bytes.
    fn bare() -> (Session, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Session::start(ours, Role::Plugin).unwrap(), theirs)
    }

    fn frame(socket: &mut UnixStream) -> Header {
        let mut header = [0; HEADER_BYTES];
        socket.read_exact(&mut header).unwrap();
        Header::decode(header).unwrap()
    }

    fn text(mut stream: &Stream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn both_sides_open_streams_and_half_close_them() {
        let (host, plugin) = pair();
        let asked = host.open().unwrap();
        assert_eq!(asked.id, 1);
        (&asked).write_all(b"question").unwrap();
        asked.finish();
        let answering = plugin.accept().unwrap();
        assert_eq!(text(&answering), "question");
        (&answering).write_all(b"answer").unwrap();
        drop(answering);
        assert_eq!(text(&asked), "answer");
        assert_eq!(plugin.open().unwrap().id, 2);
        assert_eq!(host.accept().unwrap().id, 2);
    }

    #[test]
    fn far_more_than_a_window_passes_both_ways_at_once() {
        let (host, plugin) = pair();
        let (there, here) = (host.open().unwrap(), plugin.accept().unwrap());
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let transfer = |from: &Stream, to: &Stream| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    (&mut &*from).write_all(&bytes).unwrap();
                    from.finish();
                });
                let mut got = Vec::new();
                (&mut &*to).read_to_end(&mut got).unwrap();
                assert!(got == bytes);
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(|| transfer(&there, &here));
            transfer(&here, &there);
        });
    }

    #[test]
    fn a_ping_is_answered_with_its_own_value() {
        let (_session, mut theirs) = bare();
        let ping = Header { kind: Kind::Ping, flags: SYN, stream: 0, length: 4711 };
        theirs.write_all(&ping.encode()).unwrap();
        assert_eq!(frame(&mut theirs), Header { flags: ACK, ..ping });
    }

    #[test]
    fn an_opened_stream_is_taken_at_once_and_every_read_gives_credit() {
        let (session, mut theirs) = bare();
        theirs.write_all(&Header::window(1, SYN, 0).encode()).unwrap();
        assert_eq!(frame(&mut theirs), Header::window(1, ACK, 0));
        let data = Header { kind: Kind::Data, flags: FIN, stream: 1, length: 3 };
        theirs.write_all(&data.encode()).unwrap();
        theirs.write_all(b"abc").unwrap();
        let stream = session.accept().unwrap();
        assert_eq!(text(&stream), "abc");
        drop(stream);
        assert_eq!(frame(&mut theirs), Header::window(1, FIN, 0));
    }

    #[test]
    fn who_sends_more_than_the_window_or_no_frames_at_all_is_not_listened_to() {
        let too_much = Header { kind: Kind::Data, flags: SYN, stream: 1, length: WINDOW_BYTES + 1 };
        for bytes in [too_much.encode().to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
            let (session, mut theirs) = bare();
            theirs.write_all(&bytes).unwrap();
            let mut rest = Vec::new();
            theirs.read_to_end(&mut rest).unwrap();
            while let Some(stream) = session.accept() {
                assert!((&stream).read(&mut [0; 1]).is_err());
            }
        }
    }

    #[test]
    fn what_comes_for_a_stream_that_is_gone_is_thrown_away_and_credited() {
        let (host, plugin) = pair();
        let talker = host.open().unwrap();
        drop(plugin.accept().unwrap());
        (&talker).write_all(&vec![7; 5 * WINDOW_BYTES as usize]).unwrap();
        talker.finish();
        assert_eq!(text(&talker), "");
    }

    #[test]
    fn streams_are_limited_in_number() {
        let (host, plugin) = pair();
        let streams: Vec<Stream> = (0..MAX_STREAMS).map(|_| host.open().unwrap()).collect();
        assert!(host.open().is_err());
        drop(streams);
        drop(plugin);
    }

    #[test]
    fn nobody_waits_for_a_peer_that_has_gone() {
        let (session, theirs) = bare();
        let stream = session.open().unwrap();
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| (&stream).read(&mut [0; 1]));
            let accepting = scope.spawn(|| session.accept().is_none());
            drop(theirs);
            assert!(reading.join().unwrap().is_err() && accepting.join().unwrap());
        });
        assert!(session.open().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_session_panic_or_hang(
            bytes in proptest::collection::vec(proptest::sample::select(vec![0_u8, 1, 2, 3, 4, 8, 12, 255]), 0..400)
        ) {
            let (session, mut theirs) = bare();
            // The session may end, and the socket with it, before all is written.
            let _ = theirs.write_all(&bytes);
            let _ = theirs.shutdown(Shutdown::Write);
            while let Some(stream) = session.accept() {
                let mut all = Vec::new();
                let _ = (&stream).read_to_end(&mut all);
                assert!(all.len() <= bytes.len());
            }
        }
    }
}
