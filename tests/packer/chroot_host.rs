//! A host whose communicator is a double of packer-plugin-sdk's chroot communicator (chroot/communicator.go), which
//! azure-chroot and amazon-chroot build with: a command goes, between double quotes as Go's `strconv.Quote` writes them,
//! to a shell of the build host; a file is copied without its mode; a download opens a path of the build host.
//!
//! The chroot lies in namespaces of its own. The frames are those of `host`, with as many streams as calls need.

use crate::common::root::Root;
use crate::common::wait;
use crate::host::{COMPONENT, Plugin, field, hex, packed, prepare, start};
use rmpv::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// How a build ended: the error of `Provision`, empty when all was well, and what the user was told.
#[derive(Debug)]
pub struct Built {
    pub error: String,
    pub said: String,
}

/// A root as a chroot builder mounts it.
#[derive(Debug)]
pub struct Chroot {
    path: String,
    /// The shell that wraps each command, with `{}` for it, as the builders' `command_wrapper` does.
    wrapper: String,
    holder: Child,
}

impl Chroot {
    /// Mounts a root, with these folders of the kernel in it.
    pub fn mount(root: &Root, kernel: &[&str], wrapper: &str) -> Self {
        let path = root.path().display().to_string();
        let mounts: Vec<String> = kernel
            .iter()
            .map(|name| match *name {
                "proc" => format!("mount -t proc proc {path}/proc"),
                other => format!("mount --bind /{other} {path}/{other}"),
            })
            .collect();
        let script = format!(
            "mount --bind {path} {path}; {}; echo ready; tail -f /dev/null & wait",
            [mounts, vec![":".to_owned()]].concat().join("; ")
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "sh", "-ec", &script]);
        let mut holder = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        holder.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).expect("the mounts");
        Self { path, wrapper: wrapper.to_owned(), holder }
    }

    /// A command of the build host's shell, next to the chroot.
    fn shell(&self, command: &str) -> Command {
        let init = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.holder.id())).unwrap();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", init.trim(), "--mount", "--uts", "--ipc", "--pid", "/bin/sh", "-c"]);
        nsenter.arg(self.wrapper.replace("{}", command)).stdin(Stdio::null());
        nsenter
    }

    /// What a builder does first when its provisioners are through.
    pub fn unmount(&self, kernel: &[&str]) -> Output {
        let mut folders: Vec<String> = kernel.iter().map(|name| format!("{}/{name}", self.path)).collect();
        folders.push(self.path.clone());
        self.shell(&format!("umount {}", folders.join(" "))).output().unwrap()
    }

    fn start(&self, command: &str) -> Command {
        self.shell(&format!("chroot {} /bin/sh -c {}", self.path, go_quoted(command)))
    }

    fn upload(&self, to: &str, bytes: &[u8]) -> Result<(), String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let ran = self.shell(&format!("cp {} {}{to}", file.path().display(), self.path)).output().unwrap();
        if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).into_owned()) }
    }

    /// Builds with a block of attributes, in cty JSON.
    pub fn build(&self, block: &str) -> Built {
        let (plugin, _) = start(&["start", "provisioner", "--protobuf", COMPONENT]);
        Host::meet(&plugin).provision(self, block)
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// As Go's `strconv.Quote` writes a text.
fn go_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if c.is_control() => write!(quoted, "\\x{:02x}", u32::from(c)).unwrap(),
            _ => quoted.push(c),
        }
    }
    quoted + "\""
}

/// What may be sent on a stream before the other end gives credit (yamux).
const WINDOW: usize = 256 << 10;

/// The streams of a session, by their numbers, and the other end's way in.
#[derive(Clone)]
struct Host {
    socket: Arc<Mutex<UnixStream>>,
    streams: Arc<Mutex<HashMap<u32, Sender<Vec<u8>>>>>,
    /// What may still be sent on each, where it is not a whole window.
    credit: Arc<Mutex<HashMap<u32, usize>>>,
    next: Arc<Mutex<u32>>,
    opened: Arc<Mutex<Receiver<(u32, Stream)>>>,
}

/// What comes on a stream.
struct Stream {
    came: Receiver<Vec<u8>>,
    piece: Vec<u8>,
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.came.recv().unwrap_or_default();
        }
        let size = into.len().min(self.piece.len());
        into[..size].copy_from_slice(&self.piece[..size]);
        self.piece.drain(..size);
        Ok(size)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap();
    [&[0, kind, 0, flags], &stream.to_be_bytes()[..], &length.to_be_bytes()].concat()
}

impl Host {
    fn meet(plugin: &Plugin) -> Self {
        let socket = plugin.socket.try_clone().unwrap();
        socket.set_read_timeout(None).unwrap();
        let (to_opened, opened) = channel();
        let host = Self {
            socket: Arc::new(Mutex::new(socket.try_clone().unwrap())),
            streams: Arc::default(),
            credit: Arc::default(),
            next: Arc::new(Mutex::new(1)),
            opened: Arc::new(Mutex::new(opened)),
        };
        let reading = host.clone();
        std::thread::spawn(move || reading.read_frames(socket, &to_opened));
        host
    }

    fn send(&self, bytes: &[u8]) {
        let _ = self.socket.lock().unwrap().write_all(bytes);
    }

    fn read_frames(&self, mut socket: UnixStream, to_opened: &Sender<(u32, Stream)>) {
        let mut header = [0; 12];
        while socket.read_exact(&mut header).is_ok() {
            let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            let (kind, flags, stream) = (header[1], header[3], number(4));
            if kind == 1 {
                *self.credit.lock().unwrap().entry(stream).or_insert(WINDOW) += number(8) as usize;
            }
            if kind == 0 && number(8) > 0 {
                let mut data = vec![0; number(8) as usize];
                socket.read_exact(&mut data).unwrap();
                self.send(&frame(1, 0, stream, data.len()));
                if let Some(stream) = self.streams.lock().unwrap().get(&stream) {
                    let _ = stream.send(data);
                }
            }
            if flags & 1 != 0 {
                self.send(&frame(1, 2, stream, 0));
                let _ = to_opened.send((stream, self.expect(stream)));
            }
            // Half closed, or reset.
            if flags & 0b1100 != 0 {
                self.streams.lock().unwrap().remove(&stream);
            }
        }
    }

    fn expect(&self, stream: u32) -> Stream {
        let (sender, came) = channel();
        self.streams.lock().unwrap().insert(stream, sender);
        Stream { came, piece: Vec::new() }
    }

    /// Opens a stream to what the other end waits for by this number.
    fn dial(&self, id: u32) -> (u32, Stream) {
        let number = {
            let mut next = self.next.lock().unwrap();
            *next += 2;
            *next - 2
        };
        let mut stream = self.expect(number);
        self.send(&frame(1, 1, number, 0));
        self.write(number, &id.to_le_bytes());
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, id.to_le_bytes());
        (number, stream)
    }

    fn write(&self, stream: u32, data: &[u8]) {
        for piece in data.chunks(WINDOW / 8) {
            wait::until("the other side has read what was sent", || self.spend(stream, piece.len()));
            self.send(&[frame(0, 0, stream, piece.len()), piece.to_vec()].concat());
        }
    }

    fn spend(&self, stream: u32, bytes: usize) -> bool {
        let mut credit = self.credit.lock().unwrap();
        let left = credit.entry(stream).or_insert(WINDOW);
        let enough = *left >= bytes;
        *left -= if enough { bytes } else { 0 };
        enough
    }

    fn finish(&self, stream: u32) {
        self.send(&frame(1, 4, stream, 0));
    }

    fn provision(&self, chroot: &Chroot, block: &str) -> Built {
        let (number, mut main) = self.dial(0);
        let call = |method: &str, argument: &Value| {
            let header = Value::Map(vec![("ServiceMethod".into(), method.into()), ("Seq".into(), 1.into())]);
            self.write(number, &[packed(&header), packed(argument)].concat());
        };
        let error = |main: &mut Stream| {
            let header = rmpv::decode::read_value(main).expect("an answer");
            rmpv::decode::read_value(main).expect("a body");
            field(&header, "Error").as_str().unwrap().to_owned()
        };
        call("Provisioner.Prepare", &prepare(block));
        let refused = error(&mut main);
        if !refused.is_empty() {
            return Built { error: refused, said: String::new() };
        }
        // What builders generate has no limit: a whole file of user data, say.
        let data = Value::Map(vec![("CustomData".into(), "x".repeat(2 << 20).into())]);
        call(
            "Provisioner.Provision",
            &Value::Map(vec![("GeneratedData".into(), data), ("StreamID".into(), 7.into())]),
        );
        let (number, mut calls) = self.opened.lock().unwrap().recv().expect("the plugin calls");
        let mut id = [0; 4];
        calls.read_exact(&mut id).unwrap();
        self.write(number, &id);
        let said = Arc::new(Mutex::new(String::new()));
        std::thread::scope(|scope| {
            let told = Arc::clone(&said);
            scope.spawn(move || self.answer_calls(chroot, number, &mut calls, &told));
            let error = error(&mut main);
            // Ends the thread that waits for calls.
            self.streams.lock().unwrap().remove(&number);
            let said = said.lock().unwrap().clone();
            Built { error, said }
        })
    }

    fn answer_calls(&self, chroot: &Chroot, number: u32, calls: &mut Stream, said: &Mutex<String>) {
        std::thread::scope(|scope| {
            while let Ok(header) = rmpv::decode::read_value(calls) {
                let argument = rmpv::decode::read_value(calls).expect("an argument");
                scope.spawn(move || {
                    let error = self.answer(chroot, &header, &argument, said).err().unwrap_or_default();
                    let answer = Value::Map(vec![
                        ("ServiceMethod".into(), field(&header, "ServiceMethod").clone()),
                        ("Seq".into(), field(&header, "Seq").clone()),
                        ("Error".into(), error.into()),
                    ]);
                    self.write(number, &[packed(&answer), packed(&Value::Nil)].concat());
                });
            }
        });
    }

    fn answer(
        &self,
        chroot: &Chroot,
        header: &Value,
        argument: &Value,
        said: &Mutex<String>,
    ) -> Result<(), String> {
        let id = |name: &str| u32::try_from(field(argument, name).as_u64().unwrap()).unwrap();
        let path = || field(argument, "Path").as_str().unwrap().to_owned();
        match field(header, "ServiceMethod").as_str().unwrap() {
            "Communicator.Start" => {
                let streams = ["StdoutStreamId", "StderrStreamId", "ResponseStreamId"]
                    .map(|name| self.dial(id(name)).0);
                let command = chroot.start(field(argument, "Command").as_str().unwrap());
                let host = self.clone();
                std::thread::spawn(move || host.run(command, streams));
            }
            "Communicator.Upload" => {
                let (_, mut stream) = self.dial(id("ReaderStreamId"));
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                chroot.upload(&path(), &bytes)?;
            }
            "Communicator.Download" => {
                let bytes =
                    std::fs::read(format!("{}{}", chroot.path, path())).map_err(|error| error.to_string())?;
                let (number, _stream) = self.dial(id("WriterStreamId"));
                self.write(number, &bytes);
                self.finish(number);
            }
            "Ui.Say" | "Ui.Error" => {
                let mut said = said.lock().unwrap();
                said.push_str(argument.as_str().unwrap());
                said.push('\n');
            }
            "Ui.NewTrackProgress" => return Err("there is no bar here".to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn run(&self, mut command: Command, [out, err, response]: [u32; 3]) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let copy = |from: &mut dyn Read, to: u32| {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut piece) {
                self.write(to, &piece[..read]);
            }
            self.finish(to);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| copy(&mut stdout, out));
            scope.spawn(|| copy(&mut stderr, err));
        });
        let code = child.wait().unwrap().code().unwrap_or(1);
        self.write(response, &command_finished(u8::try_from(code).unwrap()));
        self.finish(response);
    }
}

/// The gob of Go's `struct CommandFinished { ExitStatus int }`.
fn command_finished(code: u8) -> Vec<u8> {
    let definition = hex(
        "ff81 03 01 01 0f 436f6d6d616e6446696e6973686564 01 ff82 00 01 01 01 0a 45786974537461747573 01 04 00 00 00",
    );
    // A signed number is doubled; from 128 on, the count of its bytes comes first, as its complement.
    let number = match code {
        0 => Vec::new(),
        1..64 => vec![1, code << 1],
        64..128 => vec![1, 0xff, code << 1],
        128.. => vec![1, 0xfe, 1, code << 1],
    };
    let value = [&[0xff, 0x82], &number[..], &[0]].concat();
    let message = |bytes: Vec<u8>| [vec![u8::try_from(bytes.len()).unwrap()], bytes].concat();
    [message(definition), message(value)].concat()
}

#[test]
fn a_text_is_quoted_as_go_does() {
    assert_eq!(go_quoted("a \"b\" $? \\ 'c'\n\té\u{7}"), "\"a \\\"b\\\" $? \\\\ 'c'\\n\\té\\x07\"");
    assert_eq!(command_finished(7)[command_finished(7).len() - 6..], hex("05 ff82 01 0e 00"));
}
