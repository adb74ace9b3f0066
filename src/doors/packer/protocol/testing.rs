//! Shared by tests: a host at the other end of the protocol, and a guest behind it.

use super::broker::Broker;
use super::message::{field, map};
use super::rpc::{self, Caller};
use super::session::{Role, Session};
use super::stream::Stream;
use crate::events::Events;
use crate::host::Host;
use crate::host::cancel::Cancel;
use crate::host::run::Cmd;
use rmpv::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plugin's ends of a session with a host that answers its calls.
pub(in super::super) fn connected(
    answer: impl Fn(&Broker, &str, &Value) -> Result<Value, String> + Send + Sync + 'static,
) -> (Caller, Arc<Broker>) {
    let (host, plugin) = UnixStream::pair().unwrap();
    let (host, _) = Broker::start(Session::start(host, Role::Host).unwrap()).unwrap();
    let (plugin, main) = Broker::start(Session::start(plugin, Role::Plugin).unwrap()).unwrap();
    std::thread::spawn(move || {
        rpc::serve(
            main.wait_for_stream().unwrap(),
            &(Arc::new(|_: &str, _: &Value| Ok(Value::Nil)) as rpc::Handler),
        )
    });
    // The stream the plugin dials, as at the begin of `Provision`.
    let meeting = host.expect();
    let id = meeting.id;
    let answer = Arc::new(move |method: &str, argument: &Value| answer(&host, method, argument));
    std::thread::spawn(move || rpc::serve(meeting.wait_for_stream().unwrap(), &(answer as rpc::Handler)));
    (Caller::new(plugin.dial(id).unwrap()).unwrap(), plugin)
}

/// The host's end of a stream that a call names.
pub(super) fn dial(host: &Broker, argument: &Value, name: &str) -> Result<Stream, String> {
    let id = field(argument, name).as_u64().unwrap();
    host.dial(u32::try_from(id).unwrap()).map_err(|error| error.to_string())
}

/// What a guest does in the middle of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mood {
    /// It does what it is told.
    Well,
    /// It does not take the file, for this reason.
    Refuses(&'static str),
    /// It is away: neither a command nor a file gets there.
    Away,
}

/// A guest that is this machine: its shell finds the programs of a folder before others. It is asked for its mood at each
/// call, by the call's name.
pub(in super::super) fn guest(
    programs: PathBuf,
    mood: impl Fn(&str) -> Mood + Send + Sync + 'static,
) -> (Caller, Arc<Broker>) {
    connected(move |host, method, argument| {
        let mood = mood(method);
        match method {
            "Communicator.Start" | "Communicator.Upload" if mood == Mood::Away => {
                Err("no route to host".to_owned())
            }
            "Communicator.Start" => start(host, argument, &programs),
            "Communicator.Upload" => {
                let mut bytes = Vec::new();
                let _ = (&dial(host, argument, "ReaderStreamId")?).read_to_end(&mut bytes);
                if let Mood::Refuses(why) = mood {
                    return Err(why.to_owned());
                }
                let path = field(argument, "Path").as_str().unwrap();
                std::fs::write(path, bytes).map_err(|error| error.to_string())?;
                Ok(Value::Nil)
            }
            _ => Ok(map([])),
        }
    })
}

fn start(host: &Broker, argument: &Value, programs: &Path) -> Result<Value, String> {
    let [out, err, status] =
        ["StdoutStreamId", "StderrStreamId", "ResponseStreamId"].map(|name| dial(host, argument, name));
    let (out, err, status) = (out?, err?, status?);
    let shell = Cmd::new("/bin/sh").args(["-c", field(argument, "Command").as_str().unwrap()]);
    let shell = shell.env("PATH", programs.display().to_string()).captured();
    std::thread::spawn(move || {
        let ended =
            Host::open(Path::new("/"), Events::silent(), Cancel::never()).unwrap().run(&shell).unwrap();
        (&out).write_all(ended.stdout.as_bytes()).unwrap();
        (&err).write_all(ended.output.as_bytes()).unwrap();
        // The gob of an `ExitStatus` that is not 0; what came before it says how the command ended.
        (&status).write_all(b"\x03\xff\x81\x03\x05\xff\x82\x01\x0e\x00").unwrap();
    });
    Ok(Value::Nil)
}
