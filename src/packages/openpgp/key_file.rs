//! Keys in files: their text and their binary form, the packets that they are made of, and their fingerprints.

use crate::outcome::Reason;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// How a key in text form begins and ends; a file may hold several one after the other.
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
/// Packets by their tags (RFC 9580, 5): a primary key and a subkey.
const KEY: u8 = 6;
const SUBKEY: u8 = 14;

/// Keys in the form that both programs read: `gpgv` takes no text.
pub fn without_armour(keys: &[u8]) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(keys);
    if !text.contains(BEGIN) {
        return Ok(keys.to_vec());
    }
    let mut bytes = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let block = block.split(END).next().unwrap_or_default();
        // Headers end with an empty line, and the last line is a checksum.
        let body = block.trim_start_matches(['\r', ' ', '\t']);
        let lines = body.lines().map(str::trim).filter(|line| !line.contains(": ") && !line.starts_with('='));
        let joined: String = lines.collect();
        let decoded = STANDARD.decode(joined.as_bytes());
        bytes.extend(
            decoded.map_err(|error| Reason::Untrusted.error(format!("not an OpenPGP key: {error}")))?,
        );
    }
    Ok(bytes)
}

/// The keys in a text, each in text form, as rpm prints those that it knows.
pub(crate) fn in_text(text: &str) -> Vec<String> {
    let bodies = text.split(BEGIN).skip(1).filter_map(|rest| Some(rest.split_once(END)?.0));
    bodies.map(|body| format!("{BEGIN}{body}{END}\n")).collect()
}

/// The fingerprints of the keys in a file, and of their subkeys. Only keys of version 4 have one that others know them by
/// (RFC 9580, 5.5.4.2).
pub fn fingerprints(keys: &[u8]) -> Vec<String> {
    let Ok(bytes) = without_armour(keys) else { return Vec::new() };
    packets(&bytes).iter().filter_map(Packet::fingerprint).collect()
}

/// A key that signs, and what a program needs to know it alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The fingerprint that it is known by.
    pub(crate) fingerprint: String,
    /// The key in text form, without keys of others.
    pub(crate) armoured: String,
}

/// The primary key in a file whose fingerprint ends in `id`, without its subkeys, or the subkey, with its primary key.
/// Nothing but the fingerprint tells whose a primary key is, and some programs ask for no proof that a subkey belongs to it
/// (CVE-2021-3521 of rpm).
pub(crate) fn certificate(keys: &[u8], id: &str) -> Option<Certificate> {
    let bytes = without_armour(keys).ok()?;
    let packets = packets(&bytes);
    let owners = packets.iter().filter(|packet| packet.tag == KEY).map(|packet| packet.at);
    let ends = owners.clone().skip(1).chain([bytes.len()]);
    for (begin, end) in owners.zip(ends) {
        let own = packets.iter().filter(|packet| (begin..end).contains(&packet.at));
        let found =
            own.clone().find_map(|it| Some((it, it.fingerprint()?)).filter(|(_, it)| it.ends_with(id)));
        let Some((key, fingerprint)) = found else { continue };
        let subkey = own.clone().find(|it| it.tag == SUBKEY).map_or(end, |subkey| subkey.at);
        let end = if key.tag == KEY { subkey } else { end };
        return Some(Certificate { fingerprint, armoured: armoured(&bytes[begin..end]) });
    }
    None
}

/// Some bytes of keys in text form, with the checksum that older programs ask for (RFC 4880, 6.1).
fn armoured(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0xb7_04ce_u32, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(*byte) << 16), |sum, _| {
            let sum = sum << 1;
            if sum & 0x100_0000 == 0 { sum } else { sum ^ 0x186_4cfb }
        })
    });
    let text = STANDARD.encode(bytes);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let sum = STANDARD.encode(&sum.to_be_bytes()[1..]);
    format!("{BEGIN}\n\n{}\n={sum}\n{END}\n", lines.join("\n"))
}

/// A packet of keys.
struct Packet<'a> {
    tag: u8,
    body: &'a [u8],
    /// Where it begins.
    at: usize,
}

impl Packet<'_> {
    /// Of a key or a subkey of version 4 (RFC 9580, 5.5.4.2).
    fn fingerprint(&self) -> Option<String> {
        if !matches!(self.tag, KEY | SUBKEY) || self.body.first() != Some(&4) {
            return None;
        }
        let length = u16::try_from(self.body.len()).ok()?;
        let hashed =
            Sha1::new().chain_update([0x99]).chain_update(length.to_be_bytes()).chain_update(self.body);
        Some(hashed.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02X}")))
    }
}

/// The packets of some bytes, as far as they are whole.
fn packets(bytes: &[u8]) -> Vec<Packet<'_>> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some((tag, body, after)) = packet(rest) {
        found.push(Packet { tag, body, at: bytes.len() - rest.len() });
        rest = after;
    }
    found
}

/// The first packet of some bytes: its tag, its body and what follows (RFC 9580, 4.2).
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&head, rest) = bytes.split_first().filter(|(head, _)| *head & 0x80 != 0)?;
    let number = |bytes: &[u8]| bytes.iter().fold(0_usize, |all, byte| (all << 8) | usize::from(*byte));
    let (tag, length, size) = if head & 0x40 == 0 {
        let size = [1, 2, 4].get(usize::from(head & 3)).copied()?;
        ((head >> 2) & 0xf, number(rest.get(..size)?), size)
    } else {
        let first = *rest.first()?;
        let (length, size) = match first {
            0..=191 => (usize::from(first), 1),
            192..=223 => (((usize::from(first) - 192) << 8) + usize::from(*rest.get(1)?) + 192, 2),
            255 => (number(rest.get(1..5)?), 5),
            // In pieces, which keys never are.
            224..=254 => return None,
        };
        (head & 0x3f, length, size)
    };
    let body = rest.get(size..)?;
    Some((tag, body.get(..length)?, &body[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with GnuPG 2.2: `strong` is RSA 2048, `weak` DSA 1024, `company` certifies with one key and signs with a subkey.
    const STRONG: &[u8] = include_bytes!("../../../tests/fixtures/openpgp/strong.asc");
    const WEAK: &[u8] = include_bytes!("../../../tests/fixtures/openpgp/weak.gpg");
    const COMPANY: &[u8] = include_bytes!("../../../tests/fixtures/openpgp/company.asc");
    const ALL: &[u8] = include_bytes!("../../../tests/fixtures/openpgp/all.asc");

    const FINGERPRINTS: [&str; 3] = [
        "8B45B48669B70878B9BC0E5BFC05F99FC8E39041",
        "C8ECF5AD83B26FD2D9832148504EFFB4BFD995DD",
        "A27122D4F6ED6A97159054E48FA1A4A25D701A10",
    ];

    #[test]
    fn keys_are_known_by_the_fingerprints_that_gpg_has_for_them() {
        let [strong, weak, company] = FINGERPRINTS;
        assert_eq!(fingerprints(STRONG)[0], strong);
        assert_eq!(fingerprints(WEAK)[0], weak);
        let all = fingerprints(ALL);
        assert!([strong, weak].iter().all(|wanted| all.iter().any(|found| found == wanted)), "{all:?}");
        assert_eq!(fingerprints(COMPANY)[0], company);
        assert_eq!(fingerprints(COMPANY).len(), 2, "and its subkey");
        let cut = &without_armour(STRONG).unwrap()[..100];
        assert!(fingerprints(b"no key").is_empty() && fingerprints(cut).is_empty());
    }

    #[test]
    fn a_key_is_found_alone_by_its_number_and_a_primary_key_without_subkeys() {
        let [strong, weak, company] = FINGERPRINTS;
        for wanted in [strong, weak] {
            let found = certificate(ALL, &wanted[24..]).unwrap();
            assert_eq!(found.fingerprint, wanted);
            assert_eq!(fingerprints(found.armoured.as_bytes()), [wanted]);
        }
        let both = fingerprints(COMPANY);
        let (primary, subkey) =
            (certificate(COMPANY, company).unwrap(), certificate(COMPANY, &both[1]).unwrap());
        assert_eq!(fingerprints(primary.armoured.as_bytes()), [company], "whose a subkey is needs a proof");
        assert_eq!(
            (subkey.fingerprint.as_str(), fingerprints(subkey.armoured.as_bytes())),
            (both[1].as_str(), both.clone())
        );
        assert_eq!(certificate(ALL, "0123456789ABCDEF"), None);
    }

    #[test]
    fn keys_in_text_form_carry_the_checksum_that_gpg_gives_them() {
        let text = String::from_utf8_lossy(STRONG);
        assert_eq!(armoured(&without_armour(STRONG).unwrap()).trim(), text.trim());
    }

    proptest::proptest! {
        #[test]
        fn no_key_file_makes_the_reader_panic(text in "(-----BEGIN PGP PUBLIC KEY BLOCK-----|-----END|[A-Za-z:= ]|\n){0,40}") {
            let _ = (without_armour(text.as_bytes()), in_text(&text));
        }

        #[test]
        fn no_bytes_make_the_reader_of_packets_panic(bytes: Vec<u8>) {
            let _ = fingerprints(&bytes);
            let _ = certificate(&bytes, "0");
        }
    }
}
