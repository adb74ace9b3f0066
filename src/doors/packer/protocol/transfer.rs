//! What the host's communicator does on the guest for this program: a command with its output, a file up, a file down.
//!
//! Each call names streams that the host dials before it answers or while it works; packer-plugin-sdk,
//! rpc/communicator.go, has the other end.

use super::broker::{Appointment, Broker};
use super::gob;
use super::message::map;
use super::rpc::Caller;
use super::stream::Stream;
use crate::host::cancel::Cancel;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PIECE_BYTES: usize = 32 << 10;
/// Pieces of output that may wait; the guest's program waits then.
const PIECES: usize = 16;
const POLL: Duration = Duration::from_millis(100);

/// A piece of what a command printed.
#[derive(Debug)]
pub(in super::super) enum Piece<'p> {
    /// On its standard output.
    Out(&'p [u8]),
    /// On its standard error.
    Err(&'p [u8]),
}

/// How a command on the guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Finished {
    /// With this exit code, as far as the communicator knows.
    Code(i64),
    /// The connection was lost.
    Disconnected,
}

/// What packer-plugin-sdk, packer/communicator.go, calls `CmdDisconnect`.
const DISCONNECTED: i64 = 2_300_218;

enum Came {
    Out(Vec<u8>),
    Err(Vec<u8>),
    StreamEnded,
    Status(io::Result<i64>),
}

impl Caller {
    /// Runs a command to its end. An error is one of the host's, or says that the run must stop.
    pub(in super::super) fn run(
        &self,
        broker: &Arc<Broker>,
        cancel: &Cancel,
        command: &str,
        mut on_output: impl FnMut(Piece),
    ) -> Result<Finished, String> {
        let (sender, came) = sync_channel(PIECES);
        let streams = [broker.expect(), broker.expect(), broker.expect()];
        let [out, err, status] = [0, 1, 2].map(|index: usize| streams[index].id);
        let argument = map([
            ("Command", command.into()),
            ("StdinStreamId", 0.into()),
            ("StdoutStreamId", out.into()),
            ("StderrStreamId", err.into()),
            ("ResponseStreamId", status.into()),
        ]);
        // The host dials before it answers.
        for (index, stream) in streams.into_iter().enumerate() {
            listen(index, stream, sender.clone()).map_err(|error| error.to_string())?;
        }
        drop(sender);
        let started = self.call_unless(cancel, "Communicator.Start", argument);
        let ended = started.and_then(|_| gather(&came, cancel, &mut on_output));
        for id in [out, err, status] {
            broker.forget(id);
        }
        ended
    }

    /// Puts a file of exactly `size` bytes on the guest. `on_sent` hears of each piece's length.
    pub(in super::super) fn upload(
        &self,
        broker: &Arc<Broker>,
        cancel: &Cancel,
        (path, mode): (&str, u32),
        (from, size): (&mut (dyn Read + Send), u64),
        on_sent: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), String> {
        let stream = broker.expect();
        let id = stream.id;
        let name = path.rsplit('/').next().unwrap_or(path);
        let info = map([("N", name.into()), ("S", size.into()), ("M", mode.into())]);
        let argument = map([("Path", path.into()), ("ReaderStreamId", id.into()), ("FileInfo", info)]);
        let line = Line::default();
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| send(stream, &line, from, on_sent));
            let called = self.call_unless(cancel, "Communicator.Upload", argument);
            line.hang_up(broker, id);
            let sent = sending.join().unwrap_or_else(|_| Err(io::Error::other("the sending thread died")));
            called?;
            sent.map_err(|error| format!("sending `{path}`: {error}"))
        })
    }

    /// Fetches a file from the guest, up to `limit` bytes of it.
    pub(in super::super) fn download(
        &self,
        broker: &Arc<Broker>,
        cancel: &Cancel,
        path: &str,
        into: &mut (dyn Write + Send),
        limit: u64,
    ) -> Result<u64, String> {
        let stream = broker.expect();
        let id = stream.id;
        let argument = map([("Path", path.into()), ("WriterStreamId", id.into())]);
        let line = Line::default();
        std::thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(stream, &line, into, limit));
            let called = self.call_unless(cancel, "Communicator.Download", argument);
            if called.is_err() {
                line.hang_up(broker, id);
            }
            let received =
                receiving.join().unwrap_or_else(|_| Err(io::Error::other("the receiving thread died")));
            called?;
            received.map_err(|error| format!("receiving `{path}`: {error}"))
        })
    }
}

fn listen(index: usize, appointment: Appointment, to: SyncSender<Came>) -> io::Result<()> {
    let work = move || {
        let stream = appointment.wait_for_stream();
        if index == 2 {
            let status = stream.and_then(|stream| gob::read_command_finished(&mut &stream));
            let _ = to.send(Came::Status(status));
            return;
        }
        let Ok(stream) = stream else {
            let _ = to.send(Came::StreamEnded);
            return;
        };
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = (&stream).read(&mut piece) {
            let bytes = piece[..read].to_vec();
            if to.send(if index == 0 { Came::Out(bytes) } else { Came::Err(bytes) }).is_err() {
                return;
            }
        }
        let _ = to.send(Came::StreamEnded);
    };
    std::thread::Builder::new().name("output".to_owned()).spawn(work).map(drop)
}

/// Waits for both ends of output and the exit status: any may come last.
fn gather(
    came: &Receiver<Came>,
    cancel: &Cancel,
    on_output: &mut dyn FnMut(Piece),
) -> Result<Finished, String> {
    let (mut open, mut status) = (2, None);
    loop {
        match came.recv_timeout(POLL) {
            Ok(Came::Out(bytes)) => on_output(Piece::Out(&bytes)),
            Ok(Came::Err(bytes)) => on_output(Piece::Err(&bytes)),
            Ok(Came::StreamEnded) => open -= 1,
            // The host itself has lost track of the command.
            Ok(Came::Status(Err(_) | Ok(DISCONNECTED))) => status = Some(Finished::Disconnected),
            Ok(Came::Status(Ok(code))) => status = Some(Finished::Code(code)),
            Err(RecvTimeoutError::Timeout) => cancel.check().map_err(|error| error.to_string())?,
            Err(RecvTimeoutError::Disconnected) => return Ok(status.unwrap_or(Finished::Disconnected)),
        }
        if let (0, Some(finished)) = (open, status) {
            return Ok(finished);
        }
    }
}

/// A stream whose call may end, in another thread, before it was dialed.
#[derive(Default)]
struct Line(Mutex<OnLine>);

#[derive(Default)]
struct OnLine {
    is_over: bool,
    stream: Option<Arc<Stream>>,
}

impl Line {
    fn meet(&self, appointment: &Appointment) -> io::Result<Arc<Stream>> {
        let stream = Arc::new(appointment.wait_for_stream()?);
        let mut line = self.lock();
        if line.is_over {
            return Err(io::ErrorKind::NotConnected.into());
        }
        line.stream = Some(Arc::clone(&stream));
        Ok(stream)
    }

    /// Ends whatever a thread still does with the stream.
    fn hang_up(&self, broker: &Broker, id: u32) {
        broker.forget(id);
        let mut line = self.lock();
        line.is_over = true;
        if let Some(stream) = line.stream.take() {
            stream.give_up();
        }
    }

    fn lock(&self) -> MutexGuard<'_, OnLine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a receiver stays with the thread that uses it")]
fn send(
    appointment: Appointment,
    line: &Line,
    from: &mut (dyn Read + Send),
    on_sent: &mut (dyn FnMut(u64) + Send),
) -> io::Result<()> {
    let stream = line.meet(&appointment)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            stream.finish();
            return Ok(());
        }
        (&*stream).write_all(&piece[..read])?;
        on_sent(read as u64);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a receiver stays with the thread that uses it")]
fn receive(
    appointment: Appointment,
    line: &Line,
    into: &mut (dyn Write + Send),
    limit: u64,
) -> io::Result<u64> {
    let stream = line.meet(&appointment)?;
    let received = io::copy(&mut (&*stream).take(limit), into);
    // Dropped, it lets the host send the rest to nobody; its call would not return otherwise.
    line.lock().stream = None;
    received
}

#[cfg(test)]
mod tests {
    use super::super::{message, testing};
    use super::*;
    use rmpv::Value;

    /// A test host that answers calls for one command and one file.
    fn connected() -> (Caller, Arc<Broker>) {
        testing::connected(|host, method, argument| {
            let dial = |name| testing::dial(host, argument, name);
            let text = |name: &str| message::field(argument, name).as_str().unwrap_or_default().to_owned();
            match (method, text("Command").as_str(), text("Path").as_str()) {
                ("Communicator.Start", "refused", _) => return Err("no shell".to_owned()),
                ("Communicator.Start", command, _) => {
                    let (out, err, status) =
                        (dial("StdoutStreamId")?, dial("StderrStreamId")?, dial("ResponseStreamId")?);
                    let lost = command == "lost";
                    let command = command.to_owned();
                    // As Packer does: the answer comes first, and the status before the last of the output.
                    std::thread::spawn(move || {
                        let code: &[u8] = if lost {
                            b"\x08\xff\x82\x01\xfd\x46\x32\x74\x00"
                        } else {
                            b"\x05\xff\x82\x01\x0e\x00"
                        };
                        (&status).write_all(b"\x03\xff\x81\x03").unwrap();
                        (&status).write_all(code).unwrap();
                        (&out).write_all(format!("ran {command}").as_bytes()).unwrap();
                        (&err).write_all(b"oh").unwrap();
                    });
                }
                ("Communicator.Upload", _, "/full") => {
                    let stream = dial("ReaderStreamId")?;
                    (&stream).read_exact(&mut [0; 10]).unwrap();
                    return Err("no space left on device".to_owned());
                }
                ("Communicator.Upload", ..) => {
                    let info = message::field(argument, "FileInfo");
                    let mut got = Vec::new();
                    (&dial("ReaderStreamId")?).read_to_end(&mut got).unwrap();
                    let size = message::field(info, "S").as_u64();
                    return if size == Some(got.len() as u64) {
                        Ok(Value::Nil)
                    } else {
                        Err("size".to_owned())
                    };
                }
                ("Communicator.Download", _, "/missing") => return Err("no such file".to_owned()),
                ("Communicator.Download", ..) => {
                    let stream = dial("WriterStreamId")?;
                    let _ = (&stream).write_all(&vec![5; 1 << 20]);
                }
                _ => return Err("unknown".to_owned()),
            }
            Ok(Value::Nil)
        })
    }

    #[test]
    fn a_command_ends_with_its_code_and_all_its_output() {
        let (caller, broker) = connected();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let finished = caller.run(&broker, &Cancel::never(), "true", |piece| match piece {
            Piece::Out(bytes) => out.extend_from_slice(bytes),
            Piece::Err(bytes) => err.extend_from_slice(bytes),
        });
        assert_eq!(finished, Ok(Finished::Code(7)));
        assert_eq!((out.as_slice(), err.as_slice()), (b"ran true".as_slice(), b"oh".as_slice()));
    }

    #[test]
    fn a_lost_connection_and_a_refused_command_are_told_apart() {
        let (caller, broker) = connected();
        assert_eq!(caller.run(&broker, &Cancel::never(), "lost", |_| {}), Ok(Finished::Disconnected));
        assert_eq!(caller.run(&broker, &Cancel::never(), "refused", |_| {}), Err("no shell".to_owned()));
    }

    #[test]
    fn a_file_goes_up_with_its_size_and_every_byte_is_heard_of() {
        let (caller, broker) = connected();
        let bytes = vec![1; 1_500_000];
        let mut sent = 0;
        caller
            .upload(
                &broker,
                &Cancel::never(),
                ("/x/bundle", 0o600),
                (&mut bytes.as_slice(), 1_500_000),
                &mut |n| sent += n,
            )
            .unwrap();
        assert_eq!(sent, 1_500_000);
    }

    #[test]
    fn an_upload_that_the_guest_refuses_midway_hangs_nobody() {
        let (caller, broker) = connected();
        let refused = caller.upload(
            &broker,
            &Cancel::never(),
            ("/full", 0o600),
            (&mut io::repeat(0).take(1 << 30), 1 << 30),
            &mut |_| {},
        );
        assert_eq!(refused, Err("no space left on device".to_owned()));
    }

    #[test]
    fn a_file_comes_down_up_to_its_limit() {
        let (caller, broker) = connected();
        for (limit, wanted) in [(2 << 20, 1 << 20), (100, 100)] {
            let mut got = Vec::new();
            caller.download(&broker, &Cancel::never(), "/x", &mut got, limit).unwrap();
            assert_eq!(got.len(), wanted);
        }
        let missing = caller.download(&broker, &Cancel::never(), "/missing", &mut Vec::new(), 1);
        assert_eq!(missing, Err("no such file".to_owned()));
    }
}
