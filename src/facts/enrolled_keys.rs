//! The certificates that the firmware holds (`db`) and those that the machine's owner has added to shim (`MokListRT`). The
//! kernels of the distributions take modules that any of them signed.

use crate::host::{Host, hex};
use sha2::{Digest, Sha256};

/// The lists, as the kernel shows them. UEFI specification, 32.4 and 3.3; shim's `mok.c`. The last one is a file without
/// attributes before it, for lists that are too large for a variable (Linux, `drivers/firmware/efi/mokvar-table.c`).
const LISTS: [(&str, usize); 3] = [
    ("/sys/firmware/efi/efivars/db-d719b2cb-3d3a-4596-a3bc-dad00e67656f", ATTRIBUTES),
    ("/sys/firmware/efi/efivars/MokListRT-605dab50-e046-4300-abb6-3dd810dd8b23", ATTRIBUTES),
    ("/sys/firmware/efi/mok-variables/MokListRT", 0),
];
/// What efivarfs puts before the value of a variable.
const ATTRIBUTES: usize = 4;
/// `EFI_CERT_X509_GUID`, as it lies in memory.
const X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// The head of a list: its kind, and the sizes of it, of a further head and of each entry.
const HEAD: usize = 28;
/// Who added an entry: a GUID before its certificate.
const OWNER: usize = 16;

/// The SHA-256 of each certificate, in hexadecimal.
pub fn read(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    for (path, skipped) in LISTS {
        let Ok(Some(bytes)) = host.root.read(path) else { continue };
        for certificate in certificates(bytes.get(skipped..).unwrap_or_default()) {
            let digest = fingerprint(certificate);
            if !found.contains(&digest) {
                found.push(digest);
            }
        }
    }
    found
}

/// By what a certificate is known here: the SHA-256 of its bytes in DER, in hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

/// The certificates in a row of `EFI_SIGNATURE_LIST`s.
fn certificates(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((list, after)) = first(rest) {
        if list.kind == X509 && list.entry > OWNER {
            found.extend(list.entries.chunks_exact(list.entry).map(|entry| &entry[OWNER..]));
        }
        rest = after;
    }
    found
}

/// One list.
struct List<'a> {
    kind: &'a [u8],
    /// The size of each entry.
    entry: usize,
    entries: &'a [u8],
}

/// The first list, and what follows it.
fn first(bytes: &[u8]) -> Option<(List<'_>, &[u8])> {
    let size = |at: usize| {
        let four = bytes.get(at..at.checked_add(4)?)?;
        usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
    };
    let (all, head, entry) = (size(16)?, size(20)?, size(24)?);
    let entries = bytes.get(..all)?.get(HEAD.checked_add(head)?..)?;
    Some((List { kind: &bytes[..16], entry, entries }, &bytes[all..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::host_with;

    fn one(kind: &[u8; 16], certificate: &[u8]) -> Vec<u8> {
        let size = |size: usize| u32::try_from(size).unwrap().to_le_bytes();
        let entry = OWNER + certificate.len();
        [&kind[..], &size(HEAD + entry), &size(0), &size(entry), &[7; OWNER], certificate].concat()
    }

    #[test]
    fn certificates_are_found_in_the_firmwares_list_and_in_the_owners() {
        let (dir, host) = host_with(&[]);
        let put = |at: usize, bytes: &[u8]| {
            host.root.write_text(LISTS[at].0, "").unwrap();
            std::fs::write(dir.path().join(&LISTS[at].0[1..]), bytes).unwrap();
        };
        // Digests of boot loaders are in these lists, too.
        let db = [&[6, 0, 0, 0][..], &one(&[9; 16], b"digest"), &one(&X509, b"first")].concat();
        put(0, &db);
        put(1, &[&[6, 0, 0, 0][..], &one(&X509, b"second")].concat());
        put(2, &[one(&X509, b"second"), one(&X509, b"third")].concat());
        let wanted: Vec<String> = [&b"first"[..], b"second", b"third"].map(fingerprint).to_vec();
        assert_eq!(read(&host), wanted);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>, entry in 0_u32..40) {
            let mut list = one(&X509, &bytes);
            list[24..28].copy_from_slice(&entry.to_le_bytes());
            certificates(&list);
            certificates(&bytes);
        }
    }
}
