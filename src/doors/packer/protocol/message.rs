//! What both directions of a call are made of: `MessagePack` values, two for each message.
//!
//! The form is that of Go's net/rpc with hashicorp/go-msgpack's `GoRpc` codec, `WriteExt` on: a map that names the
//! method and the call's number, then the argument or the result. Structs are maps by their Go field names.

use rmpv::Value;
use std::io::{self, BufRead, Read, Write};

/// The largest message that is read. A template's attributes are a few kilobytes, but what a builder generates and
/// passes along may hold whole files.
const MAX_BYTES: u64 = 64 << 20;
/// Values nest a few levels: a map of attributes, with lists in it.
const MAX_DEPTH: usize = 32;

/// A call as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) number: u64,
    pub(super) argument: Value,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Response {
    pub(super) method: String,
    pub(super) number: u64,
    pub(super) result: Result<Value, String>,
}

impl Request {
    /// Reads a call; none when the other side has ended in order.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some((header, argument)) = read_pair(from)? else { return Ok(None) };
        Ok(Some(Self { method: text(&header, "ServiceMethod"), number: number(&header, "Seq"), argument }))
    }

    /// Writes a call.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let header = map([("ServiceMethod", self.method.as_str().into()), ("Seq", self.number.into())]);
        write_pair(to, &header, &self.argument)
    }
}

impl Response {
    /// Reads an answer; none when the other side has ended in order.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some((header, body)) = read_pair(from)? else { return Ok(None) };
        let error = text(&header, "Error");
        let result = if error.is_empty() { Ok(body) } else { Err(error) };
        Ok(Some(Self { method: text(&header, "ServiceMethod"), number: number(&header, "Seq"), result }))
    }

    /// Writes an answer. A failed call has a result too, which the host throws away.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let (error, body) = match &self.result {
            Ok(body) => ("", body),
            // An empty text would mean success.
            Err(error) if error.is_empty() => ("failed", &Value::Nil),
            Err(error) => (error.as_str(), &Value::Nil),
        };
        let header = map([
            ("ServiceMethod", self.method.as_str().into()),
            ("Seq", self.number.into()),
            ("Error", error.into()),
        ]);
        write_pair(to, &header, body)
    }
}

/// A Go struct.
pub(in super::super) fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// A field of a Go struct; what is missing is nil, as Go has it.
pub(in super::super) fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let fields = value.as_map().map(Vec::as_slice).unwrap_or_default();
    let found = fields.iter().find(|(key, _)| bytes(key) == Some(name.as_bytes()));
    found.map_or(&Value::Nil, |(_, value)| value)
}

/// The text of a value: Go writes it as a string or, from `[]byte`, as binary.
pub(in super::super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => Some(text.as_bytes()),
        Value::Binary(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: &Value, name: &str) -> String {
    bytes(field(value, name)).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    field(value, name).as_u64().unwrap_or(0)
}

fn read_pair(from: &mut impl BufRead) -> io::Result<Option<(Value, Value)>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    // A message that says it is longer than any is, is cut off here.
    let mut limited = from.take(MAX_BYTES);
    Ok(Some((read_value(&mut limited)?, read_value(&mut limited)?)))
}

fn read_value(from: &mut impl Read) -> io::Result<Value> {
    rmpv::decode::read_value_with_max_depth(from, MAX_DEPTH)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write_pair(to: &mut impl Write, header: &Value, body: &Value) -> io::Result<()> {
    let mut message = Vec::new();
    for value in [header, body] {
        rmpv::encode::write_value(&mut message, value).map_err(io::Error::from)?;
    }
    to.write_all(&message)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_bytes_packer_sends() {
        // The first call Packer 1.6.6 makes.
        let mut wire = b"\x82\xadServiceMethod\xb6Provisioner.ConfigSpec\xa3Seq\x00\xc0".as_slice();
        let request = Request::read(&mut wire).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.number), ("Provisioner.ConfigSpec", 0));
        assert_eq!((request.argument.is_nil(), wire), (true, b"".as_slice()));
        let mut written = Vec::new();
        request.write(&mut written).unwrap();
        assert_eq!(written, b"\x82\xadServiceMethod\xb6Provisioner.ConfigSpec\xa3Seq\x00\xc0");
    }

    #[test]
    fn a_failure_is_a_text_and_a_body_that_is_thrown_away() {
        let response = Response { method: "A.B".into(), number: 300, result: Err("no".into()) };
        let mut written = Vec::new();
        response.write(&mut written).unwrap();
        assert_eq!(written, b"\x83\xadServiceMethod\xa3A.B\xa3Seq\xcd\x01\x2c\xa5Error\xa2no\xc0");
        assert_eq!(Response::read(&mut written.as_slice()).unwrap().unwrap(), response);
        // Go answers with an empty struct.
        written.pop();
        written.push(0x80);
        assert_eq!(Response::read(&mut written.as_slice()).unwrap().unwrap(), response);
        let mut silent = Vec::new();
        Response { result: Err(String::new()), ..response }.write(&mut silent).unwrap();
        assert!(Response::read(&mut silent.as_slice()).unwrap().unwrap().result.is_err());
    }

    #[test]
    fn strings_and_binaries_are_told_apart_in_writing_and_taken_alike_in_reading() {
        let value = map([("a", "text".into()), ("b", Value::Binary(vec![1, 2]))]);
        let mut written = Vec::new();
        rmpv::encode::write_value(&mut written, &value).unwrap();
        assert_eq!(written, b"\x82\xa1a\xa4text\xa1b\xc4\x02\x01\x02");
        let keyed = Value::Map(vec![(Value::Binary(b"Seq".to_vec()), 7.into())]);
        assert_eq!(number(&keyed, "Seq"), 7);
        assert!(field(&keyed, "Other").is_nil() && field(&Value::Nil, "Seq").is_nil());
    }

    #[test]
    fn lengths_that_lie_cost_no_memory() {
        for lie in [b"\xdd\xff\xff\xff\xff".as_slice(), b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"] {
            assert!(Request::read(&mut [lie, b"\xc0"].concat().as_slice()).is_err());
        }
        let nested = vec![0x91; 4000];
        assert!(Request::read(&mut nested.as_slice()).is_err());
        let endless = vec![0xc6, 0x7f, 0xff, 0xff, 0xff].into_iter().chain(std::iter::repeat_n(0, 3 << 20));
        assert!(Request::read(&mut endless.collect::<Vec<u8>>().as_slice()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Request::read(&mut bytes.as_slice());
            let _ = Response::read(&mut bytes.as_slice());
        }
    }
}
