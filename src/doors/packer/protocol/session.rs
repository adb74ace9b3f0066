//! A yamux session over a socket: many streams in one, each with flow control and half-close.
//!
//! One thread reads frames; whoever reads or writes a stream waits on the state it keeps. Both ends of the protocol
//! are the same but for the numbers they give to streams, so the tests use this as their host as well.

use super::frame::{Header, SYN};
use super::mux::{Flow, MAX_STREAMS, Mux, State};
use super::stream::Stream;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};

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
    mux: Arc<Mux>,
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
        let mux =
            Arc::new(Mux { writer: Mutex::new(socket), state: Mutex::new(state), changed: Condvar::new() });
        let theirs = Arc::clone(&mux);
        let read = move || {
            // Whatever ended the session, every thread that waits on it must be woken.
            let _ = theirs.read_frames(reader);
            theirs.end();
        };
        std::thread::Builder::new().name("yamux".to_owned()).spawn(read)?;
        Ok(Self { mux })
    }

    /// Opens a stream.
    pub(super) fn open(&self) -> io::Result<Stream> {
        let id = {
            let mut state = self.mux.state();
            if state.ended || state.flows.len() >= MAX_STREAMS {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let id = state.next;
            state.next = id.checked_add(2).ok_or(io::ErrorKind::NotConnected)?;
            state.flows.insert(id, Flow::new());
            id
        };
        let stream = Stream { mux: Arc::clone(&self.mux), id };
        self.mux.send(Header::window(id, SYN, 0), &[])?;
        Ok(stream)
    }

    /// Waits for a stream that the peer opens; none when the session has ended.
    pub(super) fn accept(&self) -> Option<Stream> {
        let mut state = self.mux.state();
        loop {
            if let Some(id) = state.opened_by_peer.pop_front() {
                return Some(Stream { mux: Arc::clone(&self.mux), id });
            }
            if state.ended {
                return None;
            }
            state = self.mux.wait(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::packer::protocol::frame::{ACK, FIN, HEADER_BYTES, Kind, WINDOW_BYTES};
    use std::io::{Read, Write};
    use std::net::Shutdown;

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
