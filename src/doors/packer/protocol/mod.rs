//! Packer's plugin protocol, as a plugin that serves one provisioner speaks it.
//!
//! From the bottom: `handshake` starts it; `frame`, `mux`, `incoming`, `stream` and `session` carry many streams in one
//! socket, `broker` matches them with the numbers calls name, `message` and `rpc` are the calls, `spec` and `gob` the two forms of the
//! attributes. It is a protocol of Go libraries; each file names the one it is read from.

mod broker;
mod frame;
mod gob;
mod handshake;
mod incoming;
mod message;
mod mux;
mod rpc;
mod session;
mod spec;
mod stream;
#[cfg(test)]
pub(super) mod testing;
mod transfer;

pub(super) use broker::Broker;
pub(super) use handshake::{API_VERSION, COOKIE, DEFAULT_COMPONENT, Dialect};
pub(super) use message::{bytes, field, map};
pub(super) use rpc::{Caller, Handler};
pub(super) use spec::{Attribute, Type};
pub(super) use transfer::{Finished, Piece};

use handshake::Listener;
use session::{Role, Session};
use std::io::{self, Write};
use std::sync::Arc;

/// Listens, tells Packer where, and answers its calls until it has gone.
pub(super) fn serve(dialect: Dialect, handler: impl FnOnce(Arc<Broker>) -> Handler) -> io::Result<()> {
    let listener = Listener::bind()?;
    let mut stdout = io::stdout();
    stdout.write_all(listener.line(dialect).as_bytes())?;
    stdout.flush()?;
    let (broker, main) = Broker::start(Session::start(listener.accept()?, Role::Plugin)?)?;
    rpc::serve(main.wait_for_stream()?, &handler(broker))
}

/// Calls the host over the stream that it named in a call.
pub(super) fn caller(broker: &Broker, id: u32) -> io::Result<Caller> {
    Caller::new(broker.dial(id)?)
}

/// The attributes in the form the host reads.
pub(super) fn spec(dialect: Dialect, attributes: &[Attribute]) -> Vec<u8> {
    if dialect.protobuf { spec::protobuf(attributes) } else { spec::gob(attributes) }
}

/// Reads bytes as a call, an answer, a frame's header and the end of a command, for the fuzz targets.
#[cfg(any(debug_assertions, feature = "fuzzing"))]
pub(super) fn read_wire(bytes: &[u8]) {
    let _ = message::Request::read(&mut &*bytes);
    let _ = message::Response::read(&mut &*bytes);
    let _ = gob::read_command_finished(&mut &*bytes);
    if let Some(header) = bytes.first_chunk() {
        let _ = frame::Header::decode(*header);
    }
}
