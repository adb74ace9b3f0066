//! Matches streams with calls: one side names a stream number in a call, and the other side opens that stream.
//!
//! The numbers are those of hashicorp/packer-plugin-sdk, `rpc/mux_broker.go`: the dialer writes the number, 32 bits
//! little-endian, and gets it back. A stream that nobody expects is closed.

use super::session::Session;
use super::stream::Stream;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number of the stream on which the host calls the plugin.
pub(super) const MAIN: u32 = 0;

/// Assigns the streams of a session to those who wait for them.
#[derive(Debug)]
pub(in super::super) struct Broker {
    session: Session,
    awaited: Mutex<HashMap<u32, SyncSender<Stream>>>,
    next: AtomicU32,
}

/// A stream that the other side is expected to open. Dropping this value refuses the stream.
#[derive(Debug)]
pub(super) struct Appointment {
    broker: Arc<Broker>,
    /// The number to tell the other side.
    pub(super) id: u32,
    arrived: Receiver<Stream>,
}

impl Broker {
    /// Begins to take streams. Also returns the appointment for [`MAIN`].
    pub(super) fn start(session: Session) -> io::Result<(Arc<Self>, Appointment)> {
        let broker =
            Arc::new(Self { session: session.clone(), awaited: Mutex::default(), next: AtomicU32::new(1) });
        let main = broker.appointment(MAIN);
        let ours = Arc::clone(&broker);
        let take = move || {
            while let Some(stream) = session.accept() {
                // A stream that is slow to send its number must not delay others.
                let ours = Arc::clone(&ours);
                let introduce = move || ours.introduce(stream);
                let _ = std::thread::Builder::new().name("introduction".to_owned()).spawn(introduce);
            }
            // Waiting threads get an error, because no more streams will come.
            ours.awaited().clear();
        };
        std::thread::Builder::new().name("broker".to_owned()).spawn(take)?;
        Ok((broker, main))
    }

    /// A new number for the other side to dial.
    pub(super) fn expect(self: &Arc<Self>) -> Appointment {
        self.appointment(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn appointment(self: &Arc<Self>, id: u32) -> Appointment {
        let (sender, arrived) = sync_channel(1);
        self.awaited().insert(id, sender);
        Appointment { broker: Arc::clone(self), id, arrived }
    }

    /// Dials a number that the other side named.
    pub(super) fn dial(&self, id: u32) -> io::Result<Stream> {
        let stream = self.session.open()?;
        (&stream).write_all(&id.to_le_bytes())?;
        let mut answer = [0; 4];
        (&stream).read_exact(&mut answer)?;
        if u32::from_le_bytes(answer) == id {
            return Ok(stream);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the host took another stream than the one dialed"))
    }

    /// Cancels an expected stream: a waiting thread gets an error.
    pub(super) fn forget(&self, id: u32) {
        self.awaited().remove(&id);
    }

    fn introduce(&self, stream: Stream) {
        let mut id = [0; 4];
        if (&stream).read_exact(&mut id).is_err() {
            return;
        }
        let Some(sender) = self.awaited().remove(&u32::from_le_bytes(id)) else { return };
        if (&stream).write_all(&id).is_ok() {
            let _ = sender.send(stream);
        }
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<u32, SyncSender<Stream>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Appointment {
    /// Waits until the other side has dialed.
    pub(super) fn wait_for_stream(&self) -> io::Result<Stream> {
        self.arrived.recv().map_err(|_| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Appointment {
    fn drop(&mut self) {
        self.broker.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Role;
    use super::*;
    use std::os::unix::net::UnixStream;

    fn pair() -> ((Arc<Broker>, Appointment), (Arc<Broker>, Appointment)) {
        let (host, plugin) = UnixStream::pair().unwrap();
        let start = |socket, role| Broker::start(Session::start(socket, role).unwrap()).unwrap();
        (start(host, Role::Host), start(plugin, Role::Plugin))
    }

    #[test]
    fn a_dialed_number_leads_to_whoever_expects_it() {
        let ((host, _), (plugin, main)) = pair();
        let (one, two) = (plugin.expect(), plugin.expect());
        assert_eq!((one.id, two.id), (1, 2));
        for (number, text) in [(2, "second"), (0, "main"), (1, "first")] {
            let stream = host.dial(number).unwrap();
            (&stream).write_all(text.as_bytes()).unwrap();
        }
        for (appointment, text) in [(&one, "first"), (&two, "second"), (&main, "main")] {
            let mut said = String::new();
            (&appointment.wait_for_stream().unwrap()).read_to_string(&mut said).unwrap();
            assert_eq!(said, text);
        }
    }

    #[test]
    fn a_number_nobody_expects_is_refused_and_one_given_up_too() {
        let ((host, _), (plugin, _main)) = pair();
        assert!(host.dial(77).is_err());
        let id = plugin.expect().id;
        assert!(host.dial(id).is_err());
        let kept = plugin.expect();
        host.dial(kept.id).unwrap();
        kept.wait_for_stream().unwrap();
    }

    #[test]
    fn nobody_waits_for_a_host_that_has_gone() {
        let (socket, plugin) = UnixStream::pair().unwrap();
        let (broker, main) = Broker::start(Session::start(plugin, Role::Plugin).unwrap()).unwrap();
        let other = broker.expect();
        drop(socket);
        assert!(main.wait_for_stream().is_err() && other.wait_for_stream().is_err());
    }
}
