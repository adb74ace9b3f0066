//! The pieces of Go's encoding/gob that the protocol needs: numbers, messages, and the one struct that is read.

use std::io::{self, Read};

/// The longest message there is any use for: two type definitions and a number.
const MAX_MESSAGE: u64 = 4 << 10;

/// An unsigned number: one byte below 128, else the count of bytes, negated, and the bytes, most significant first.
pub(super) fn uint(value: u64, into: &mut Vec<u8>) {
    if value < 0x80 {
        into.extend(value.to_be_bytes().last());
        return;
    }
    let bytes = value.to_be_bytes();
    let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
    // From -1 for one byte to -8 for eight.
    into.push(0xf8 | u8::try_from(skipped).unwrap_or(0));
    into.extend_from_slice(&bytes[skipped..]);
}

/// A signed number: its sign in the lowest bit, complemented when negative.
pub(super) fn int(value: i64, into: &mut Vec<u8>) {
    let bits = value.cast_unsigned() << 1;
    uint(if value < 0 { !bits } else { bits }, into);
}

/// A message: its length and its bytes. Strings have the same form.
pub(super) fn message(bytes: &[u8], into: &mut Vec<u8>) {
    uint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

/// Reads messages until one is a value of `CommandFinished { ExitStatus int }` (packer-plugin-sdk,
/// rpc/communicator.go), and returns its exit status.
pub(super) fn read_command_finished(from: &mut impl Read) -> io::Result<i64> {
    loop {
        let length = read_uint(from)?;
        if length > MAX_MESSAGE {
            return Err(invalid("a gob message is too long"));
        }
        let mut message = from.take(length);
        if read_int(&mut message)? >= 0 {
            return read_exit_status(&mut message);
        }
        // A type definition: the type is known.
        io::copy(&mut message, &mut io::sink())?;
    }
}

/// Fields that are zero are left out; each is preceded by how many field numbers it is ahead.
fn read_exit_status(message: &mut impl Read) -> io::Result<i64> {
    match read_uint(message)? {
        0 => Ok(0),
        1 => read_int(message),
        _ => Err(invalid("a struct has fields it should not have")),
    }
}

fn read_uint(from: &mut impl Read) -> io::Result<u64> {
    let first = read_byte(from)?;
    if first < 0x80 {
        return Ok(first.into());
    }
    let count = first.wrapping_neg();
    if count > 8 {
        return Err(invalid("a number is too long"));
    }
    let mut value = 0;
    for _ in 0..count {
        value = value << 8 | u64::from(read_byte(from)?);
    }
    Ok(value)
}

fn read_int(from: &mut impl Read) -> io::Result<i64> {
    let bits = read_uint(from)?;
    let magnitude = (bits >> 1).cast_signed();
    Ok(if bits & 1 == 0 { magnitude } else { !magnitude })
}

fn read_byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_forms_of_the_gob_documentation() {
        for (value, bytes) in
            [(0, &[0][..]), (7, &[7]), (127, &[127]), (256, &[0xfe, 1, 0]), (u64::MAX, &[0xf8; 1])]
        {
            let mut written = Vec::new();
            uint(value, &mut written);
            assert_eq!(&written[..bytes.len()], bytes);
            assert_eq!(read_uint(&mut written.as_slice()).unwrap(), value);
        }
        let mut written = Vec::new();
        int(-129, &mut written);
        assert_eq!(written, [0xfe, 0x01, 0x01]);
    }

    #[test]
    fn exit_states_are_read_as_packer_sends_them() {
        let definition = b"\x03\xff\x81\x03";
        for (status, bytes) in [
            (0, b"\x03\xff\x82\x00".as_slice()),
            (7, b"\x05\xff\x82\x01\x0e\x00"),
            (2_300_218, b"\x08\xff\x82\x01\xfd\x46\x32\x74\x00"),
        ] {
            let stream = [definition, bytes].concat();
            assert_eq!(read_command_finished(&mut stream.as_slice()).unwrap(), status);
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_an_error() {
        for bytes in [
            b"".as_slice(),
            b"\x05\xff\x82\x01",
            b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x00",
            b"\x80",
            b"\x05\xff\x82\x09\x0e\x00",
        ] {
            assert!(read_command_finished(&mut &*bytes).is_err(), "{bytes:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read_command_finished(&mut bytes.as_slice());
        }

        #[test]
        fn every_number_is_read_as_it_was_written(value: i64) {
            let mut written = Vec::new();
            int(value, &mut written);
            proptest::prop_assert_eq!(read_int(&mut written.as_slice()).unwrap(), value);
        }
    }
}
