//! yamux frames: twelve bytes of header, big-endian, before every piece of data.
//!
//! The form is that of hashicorp/yamux, spec.md, version 0.

use std::io;

/// The length of a header.
pub(super) const HEADER_BYTES: usize = 12;
/// The window each side of a new stream begins with, in bytes.
pub(super) const WINDOW_BYTES: u32 = 256 << 10;

/// Opens a stream.
pub(super) const SYN: u16 = 1;
/// Takes an opened stream.
pub(super) const ACK: u16 = 2;
/// Nothing more will be sent on the stream.
pub(super) const FIN: u16 = 4;
/// The stream is given up.
pub(super) const RST: u16 = 8;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    WindowUpdate,
    Ping,
    GoAway,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: u16,
    pub(super) stream: u32,
    /// Bytes of data that follow, bytes of credit, or a ping's value.
    pub(super) length: u32,
}

impl Header {
    /// A frame of a stream that only carries flags, and credit where there is some to give.
    pub(super) const fn window(stream: u32, flags: u16, credit: u32) -> Self {
        Self { kind: Kind::WindowUpdate, flags, stream, length: credit }
    }

    /// The header as it is sent.
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[1] = self.kind as u8;
        bytes[2..4].copy_from_slice(&self.flags.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.stream.to_be_bytes());
        bytes[8..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads a header; anything that is not one ends the session.
    pub(super) fn decode(bytes: [u8; HEADER_BYTES]) -> io::Result<Self> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let kind = match (version, kind) {
            (0, 0) => Kind::Data,
            (0, 1) => Kind::WindowUpdate,
            (0, 2) => Kind::Ping,
            (0, 3) => Kind::GoAway,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a yamux frame")),
        };
        Ok(Self {
            kind,
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_twelve_bytes_in_network_order() {
        let header = Header { kind: Kind::WindowUpdate, flags: SYN, stream: 0x0102_0304, length: 256 };
        let bytes = [0, 1, 0, 1, 1, 2, 3, 4, 0, 0, 1, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(Header::decode(bytes).unwrap(), header);
    }

    proptest::proptest! {
        #[test]
        fn every_header_that_is_read_is_written_the_same(bytes: [u8; HEADER_BYTES]) {
            if let Ok(header) = Header::decode(bytes) {
                proptest::prop_assert_eq!(header.encode(), bytes);
            }
        }
    }
}
