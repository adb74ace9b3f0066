//! A host of the newer protocol, as bytes: what Packer from 1.7 on sends and expects, frame by frame, written down
//! from its sources and not with the code under test.

use crate::common::wait;
use rmpv::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const COOKIE: (&str, &str) =
    ("PACKER_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");
pub const COMPONENT: &str = "-packer-default-plugin-name-";

/// A plugin that Packer has just started.
pub struct Plugin {
    child: Child,
    stdout: ChildStdout,
    pub socket: UnixStream,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // As Packer ends plugins.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ofedctl"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.env("PACKER_PLUGIN_MIN_PORT", "10000").env("PACKER_PLUGIN_MAX_PORT", "25000");
    command
}

/// Starts the plugin and reads the line by which it says where it listens.
pub fn start(args: &[&str]) -> (Plugin, Vec<String>) {
    let mut command = command(args);
    command.env(COOKIE.0, COOKIE.1).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("a line");
        line.extend(byte);
    }
    let line = String::from_utf8(line).unwrap();
    let fields: Vec<String> = line.trim_end_matches('\n').splitn(4, '|').map(str::to_owned).collect();
    let address = fields.last().unwrap();
    assert!(address.len() < 108, "{address}");
    let socket = UnixStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    (Plugin { child, stdout, socket }, fields)
}

pub fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

impl Plugin {
    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends data on a stream.
    fn send_data(&mut self, stream: u32, data: &[u8]) {
        let length = u32::try_from(data.len()).unwrap();
        let header = [&[0, 0, 0, 0], &stream.to_be_bytes()[..], &length.to_be_bytes()].concat();
        self.send(&[&header, data].concat());
    }

    #[track_caller]
    fn expect(&mut self, bytes: &[u8]) {
        let mut came = vec![0; bytes.len()];
        self.socket.read_exact(&mut came).unwrap();
        assert_eq!(came, bytes);
    }

    /// The next data on a stream, past all that gives credit or acknowledges.
    fn data(&mut self, stream: u32) -> Vec<u8> {
        loop {
            let mut header = [0; 12];
            self.socket.read_exact(&mut header).unwrap();
            let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            let length = if header[1] == 0 { number(8) } else { 0 };
            let mut data = vec![0; length as usize];
            self.socket.read_exact(&mut data).unwrap();
            if header[1] == 0 {
                assert_eq!(number(4), stream, "data on another stream: {data:x?}");
                return data;
            }
        }
    }

    /// The next message on a stream: its two values.
    fn message(&mut self, stream: u32) -> (Value, Value) {
        let mut bytes = self.data(stream);
        loop {
            let mut rest = bytes.as_slice();
            let read = (rmpv::decode::read_value(&mut rest), rmpv::decode::read_value(&mut rest));
            if let (Ok(header), Ok(body)) = read {
                assert_eq!(rest, b"", "more than a message");
                return (header, body);
            }
            bytes.extend(self.data(stream));
        }
    }

    /// Opens the main stream, as the first thing Packer does.
    fn open_main(&mut self) {
        // WindowUpdate, SYN, stream 1; then Data with the broker's number 0, little-endian.
        self.send(&hex("00 01 0001 00000001 00000000"));
        self.send(&hex("00 00 0000 00000001 00000004 00000000"));
        // WindowUpdate, ACK; the credit for what was read, and the number again, in either order.
        self.expect(&hex("00 01 0002 00000001 00000000"));
        assert_eq!(self.data(1), [0, 0, 0, 0]);
    }

    fn call(&mut self, stream: u32, number: u8, method: &str, argument: &Value) {
        let header = Value::Map(vec![("ServiceMethod".into(), method.into()), ("Seq".into(), number.into())]);
        self.send_data(stream, &[packed(&header), packed(argument)].concat());
    }

    /// Answers a call of the plugin's with a value.
    fn answer(&mut self, stream: u32, call: &Value, body: &Value) {
        let of = |name: &str| field(call, name).clone();
        let header = Value::Map(vec![
            ("ServiceMethod".into(), of("ServiceMethod")),
            ("Seq".into(), of("Seq")),
            ("Error".into(), "".into()),
        ]);
        self.send_data(stream, &[packed(&header), packed(body)].concat());
    }
}

pub fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

pub fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let found = value.as_map().unwrap().iter().find(|(key, _)| key.as_str() == Some(name));
    found.map_or(&Value::Nil, |(_, value)| value)
}

pub fn prepare(block: &str) -> Value {
    let variables = Value::Map(vec![
        ("packer_build_name".into(), "x".into()),
        ("packer_builder_type".into(), "null".into()),
        ("packer_core_version".into(), "1.16.0".into()),
        ("packer_debug".into(), "false".into()),
        ("packer_sensitive_variables".into(), Value::Array(Vec::new())),
    ]);
    let configs = vec![variables, Value::Binary(block.as_bytes().to_vec()), Value::Nil];
    Value::Map(vec![("Configs".into(), Value::Array(configs))])
}

#[test]
fn the_newer_handshake_has_four_fields_and_the_socket_is_gone_after_it() {
    let (plugin, fields) = start(&["start", "provisioner", "--protobuf", COMPONENT]);
    assert_eq!(fields[..3], ["5", "0", "unix"]);
    let address = std::path::PathBuf::from(&fields[3]);
    wait::until("the socket is gone", || !address.exists());
    drop(plugin);
    // The older one, without arguments.
    let (_plugin, fields) = start(&[]);
    assert_eq!((fields.len(), &fields[..2]), (3, &["5".to_owned(), "unix".to_owned()][..]));
}

#[test]
fn a_plugin_that_packer_did_not_start_says_so_and_listens_nowhere() {
    for args in [&["start", "provisioner", COMPONENT][..], &["start"]] {
        let ran = command(args).output().unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(1), b"".as_slice()), "{args:?}");
        assert!(String::from_utf8(ran.stderr).unwrap().contains("Packer starts a plugin"));
    }
    let mut other = command(&["start", "builder", COMPONENT]);
    let ran = other.env(COOKIE.0, COOKIE.1).output().unwrap();
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(1), b"".as_slice()));
    assert!(String::from_utf8(ran.stderr).unwrap().contains("start builder"));
}

#[test]
fn the_first_call_is_answered_byte_for_byte() {
    let (mut plugin, _) = start(&["start", "provisioner", "--protobuf", COMPONENT]);
    plugin.open_main();
    // {"ServiceMethod": "Provisioner.ConfigSpec", "Seq": 0}, nil.
    let call = b"\x82\xadServiceMethod\xb6Provisioner.ConfigSpec\xa3Seq\x00\xc0";
    plugin.send_data(1, call);
    let answer = plugin.data(1);
    let head =
        b"\x83\xadServiceMethod\xb6Provisioner.ConfigSpec\xa3Seq\x00\xa5Error\xa0\x81\xaaConfigSpec\xc5";
    assert_eq!(&answer[..head.len()], head);
    let spec = &answer[head.len() + 2..];
    assert_eq!(usize::from(answer[head.len()]) << 8 | usize::from(answer[head.len() + 1]), spec.len());
    // Field 1 of the message is an object, whose entries are attributes: `driver`, a text that may be left out.
    assert_eq!(spec[0], 0x0a);
    let driver = hex("0a24 0a06647269766572 121a 1218 0a06647269766572 120e 0a0c 0a0a 6374792e537472696e67");
    assert!(contains(spec, &driver), "{spec:x?}");
    // `vm_sizes`, a list of texts.
    let sizes = hex(
        "0a2c 0a08766d5f73697a6573 1220 121e 0a08766d5f73697a6573 1212 1210 0a0e 0a0c 0a0a 6374792e537472696e67",
    );
    assert!(contains(spec, &sizes), "{spec:x?}");

    let (mut older, _) = start(&["start", "provisioner", COMPONENT]);
    older.open_main();
    older.send_data(1, call);
    let answer = older.data(1);
    assert!(contains(&answer, b"ObjectSpec") && contains(&answer, b"*hcldec.AttrSpec"));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn pings_are_answered_and_prepare_may_come_again() {
    let (mut plugin, _) = start(&["start", "provisioner", "--protobuf", COMPONENT]);
    plugin.open_main();
    plugin.send(&hex("00 02 0001 00000000 00001267"));
    let mut pong = [0; 12];
    loop {
        plugin.socket.read_exact(&mut pong).unwrap();
        if pong[1] == 2 {
            break;
        }
    }
    assert_eq!(pong.as_slice(), hex("00 02 0002 00000000 00001267"));

    let good = r#"{"value":{"driver":"inbox","vm_size":"\u003cunknown\u003e"},"type":["object",{}]}"#;
    let bad = r#"{"value":{"nic":"cx4"},"type":["object",{"nic":"string"}]}"#;
    for (number, block, says) in
        [(1, good, ""), (2, bad, "1 error(s) occurred:\n\n* key `nic`"), (3, good, "")]
    {
        plugin.call(1, number, "Provisioner.Prepare", &prepare(block));
        let (header, body) = plugin.message(1);
        let error = field(&header, "Error").as_str().unwrap().to_owned();
        assert_eq!(field(&header, "Seq").as_u64(), Some(number.into()));
        assert!(body.is_nil() && error.starts_with(says) && error.is_empty() == says.is_empty(), "{error}");
    }
    plugin.call(1, 4, "Provisioner.Frobnicate", &Value::Nil);
    let (header, _) = plugin.message(1);
    assert!(field(&header, "Error").as_str().unwrap().contains("Frobnicate"));
    // Nothing is to be cancelled yet.
    plugin.call(1, 5, "Provisioner.Cancel", &Value::Nil);
    assert_eq!(field(&plugin.message(1).0, "Error").as_str(), Some(""));
}

/// Provisions with a host that takes the first command and never ends it.
#[test]
fn a_cancel_ends_a_provisioning_that_waits_for_the_guest() {
    let (mut plugin, _) = start(&["start", "provisioner", "--protobuf", COMPONENT]);
    plugin.open_main();
    plugin.call(
        1,
        0,
        "Provisioner.Prepare",
        &prepare(r#"{"value":{"driver":"inbox"},"type":["object",{}]}"#),
    );
    plugin.message(1);
    let data = Value::Map(vec![("ID".into(), "Null".into()), ("Password".into(), "geheim".into())]);
    let argument = Value::Map(vec![("GeneratedData".into(), data), ("StreamID".into(), 7.into())]);
    plugin.call(1, 1, "Provisioner.Provision", &argument);
    // The plugin opens stream 2 and dials 7.
    loop {
        let mut header = [0; 12];
        plugin.socket.read_exact(&mut header).unwrap();
        if header.as_slice() == hex("00 01 0001 00000002 00000000") {
            break;
        }
        assert_eq!(header[1], 1, "{header:x?}");
    }
    plugin.send(&hex("00 01 0002 00000002 00000000"));
    assert_eq!(plugin.data(2), [7, 0, 0, 0]);
    plugin.send_data(2, &[7, 0, 0, 0]);

    let (call, command) = plugin.message(2);
    assert_eq!(field(&call, "ServiceMethod").as_str(), Some("Communicator.Start"));
    assert_eq!(field(&command, "StdinStreamId").as_u64(), Some(0));
    let ids: Vec<u32> = ["StdoutStreamId", "StderrStreamId", "ResponseStreamId"]
        .iter()
        .map(|name| u32::try_from(field(&command, name).as_u64().unwrap()).unwrap())
        .collect();
    // The host dials all three before it answers.
    for (stream, id) in [3_u32, 5, 7].into_iter().zip(ids) {
        let open = [&[0, 1, 0, 1], &stream.to_be_bytes()[..], &[0; 4]].concat();
        plugin.send(&open);
        plugin.send_data(stream, &id.to_le_bytes());
        assert_eq!(plugin.data(stream), id.to_le_bytes());
    }
    plugin.answer(2, &call, &Value::Nil);

    plugin.call(1, 2, "Provisioner.Cancel", &Value::Nil);
    let (mut cancelled, mut ended) = (false, String::new());
    while !cancelled || ended.is_empty() {
        // On the way out the plugin may still speak to the user, on stream 2.
        let mut header = [0; 12];
        plugin.socket.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut data = vec![0; if header[1] == 0 { number(8) as usize } else { 0 }];
        plugin.socket.read_exact(&mut data).unwrap();
        if header[1] != 0 {
            continue;
        }
        let message = rmpv::decode::read_value(&mut data.as_slice()).unwrap();
        match (number(4), field(&message, "Seq").as_u64()) {
            (1, Some(2)) => cancelled = true,
            (1, Some(1)) => field(&message, "Error").as_str().unwrap().clone_into(&mut ended),
            (2, _) => plugin.answer(2, &message, &Value::Nil),
            other => panic!("{other:?}"),
        }
    }
    assert!(ended.starts_with("ofed: interrupted (exit code 14): the build was cancelled. "), "{ended}");
    assert!(!ended.contains("geheim"));
}

#[test]
fn signals_end_nothing_and_the_end_of_the_host_ends_all() {
    let (mut plugin, _) = start(&["start", "provisioner", "--protobuf", COMPONENT]);
    plugin.open_main();
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(plugin.child.id().cast_signed()), signal).unwrap();
    }
    plugin.call(1, 9, "Provisioner.Cancel", &Value::Nil);
    assert_eq!(field(&plugin.message(1).0, "Seq").as_u64(), Some(9));
    plugin.socket.shutdown(std::net::Shutdown::Both).unwrap();
    let ended = plugin.child.wait().unwrap();
    assert!(ended.code().is_some(), "{ended}");
    let mut more = Vec::new();
    plugin.stdout.read_to_end(&mut more).unwrap();
    assert_eq!(more, b"", "more than one line on standard output");
}
