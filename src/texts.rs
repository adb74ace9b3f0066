//! Texts that the program carries packed, which keeps it small. `build.rs` packs them.

use flate2::read::DeflateDecoder;
use std::io::Read;

/// The bytes of a text that `build.rs` has packed, by its file's name.
macro_rules! packed {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name)).as_slice()
    };
}
pub(crate) use packed;

/// A packed text as it was.
pub(crate) fn unpack(packed: &[u8]) -> String {
    let mut text = String::new();
    #[expect(clippy::expect_used, reason = "the bytes are those that `build.rs` packed from a text")]
    DeflateDecoder::new(packed).read_to_string(&mut text).expect("a text that was packed");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_went_in() {
        assert_eq!(unpack(packed!("catalog.yaml")), include_str!("catalog/catalog.yaml"));
    }
}
