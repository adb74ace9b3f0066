//! Checks `OpenPGP` signatures with `gpgv`, or with `sqv` where newer distributions have that instead. apt itself uses
//! the same programs. They are this machine's, never the image's. A library would add about a hundred crates for this
//! one task.
//!
//! A signature counts as weak where its digest is SHA-1 or older, or its key DSA: whoever can make two files with one such
//! digest can move the signature from one to the other.

mod key_file;

pub(super) use key_file::{Certificate, certificate, in_text};
pub use key_file::{fingerprints, without_armour};

use crate::host::Host;
use crate::host::run::{Cmd, Finished};
use crate::host::temp::Folder;
use crate::outcome::Reason;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Digests by their numbers in `OpenPGP`: MD5, SHA-1 and RIPEMD-160 (RFC 9580, 9.5).
const WEAK_DIGESTS: [&str; 3] = ["1", "2", "3"];
/// The number of the DSA algorithm (RFC 9580, 9.1); DSA keys in use have 1024 bits.
const DSA: &str = "17";

/// The key whose owner signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The fingerprint of the primary key, in capital hexadecimal digits.
    pub fingerprint: String,
    /// Whether the signature proves little.
    pub is_weak: bool,
}

/// Finds the key in `keys` that made the detached `signature` over `signed`; a strong signature is preferred to a weak
/// one. None if no key did. Revoked and expired keys do not count.
pub fn signer(host: &Host, keys: &[u8], signature: &[u8], signed: &[u8]) -> Result<Option<Signer>> {
    let scratch = Folder::small("signature")?;
    let put = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok::<_, anyhow::Error>(path.display().to_string())
    };
    let keyring = put("keys", &without_armour(keys)?)?;
    let (signature, signed) = (put("signature", signature)?, put("signed", signed)?);
    if is_here("gpgv") {
        let home = scratch.path().display().to_string();
        let gpgv = Cmd::new("gpgv").args(["--homedir", &home, "--status-fd", "1", "--keyring", &keyring]);
        let asked = host.run(&gpgv.args([signature, signed]).captured())?;
        return Ok(by_gpgv(&asked));
    }
    if is_here("sqv") {
        let asked =
            host.run(&Cmd::new("sqv").args(["--keyring", &keyring, &signature, &signed]).captured())?;
        return Ok(by_sqv(&asked));
    }
    Err(Reason::Untrusted.error("a signature cannot be checked: this machine has neither `gpgv` nor `sqv`"))
}

/// Who of those in `keys` signed a text that holds its own signature (RFC 9580, 7), and what was signed of it. None too
/// where only `sqv` is there, which older releases of it cannot tell.
pub fn signed_text(host: &Host, keys: &[u8], message: &[u8]) -> Result<Option<(Signer, String)>> {
    if !is_here("gpgv") {
        return Ok(None);
    }
    let scratch = Folder::small("signature")?;
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for (name, bytes) in [("keys", without_armour(keys)?.as_slice()), ("message", message)] {
        fs::write(path(name), bytes).with_context(|| format!("cannot write `{}`", path(name)))?;
    }
    let options = ["--homedir", &path(""), "--status-fd", "1", "--keyring", &path("keys")];
    let gpgv = Cmd::new("gpgv").args(options).args(["--output", &path("text"), &path("message")]);
    let signer = by_gpgv(&host.run(&gpgv.captured())?);
    Ok(signer.zip(fs::read_to_string(path("text")).ok()))
}

/// Whether this machine has a program.
pub(super) fn is_here(program: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|folder| Path::new(folder).join(program).is_file())
}

/// Its lines for programs (`doc/DETAILS` of `GnuPG`): `GOODSIG` of each signature that counts, then `VALIDSIG` with who made
/// it and how. Where a key is revoked or out of date, another word stands for `GOODSIG`.
fn by_gpgv(asked: &Finished) -> Option<Signer> {
    let mut found: Option<Signer> = None;
    let mut is_good = false;
    for line in asked.stdout.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["NEWSIG", ..] => is_good = false,
            ["GOODSIG", ..] => is_good = true,
            ["VALIDSIG", made_by, _, _, _, _, _, kind, digest, _, rest @ ..] if is_good => {
                let is_weak = *kind == DSA || WEAK_DIGESTS.contains(digest);
                if found.as_ref().is_none_or(|found| found.is_weak) {
                    let fingerprint = rest.first().unwrap_or(made_by).to_ascii_uppercase();
                    found = Some(Signer { fingerprint, is_weak });
                }
            }
            _ => {}
        }
    }
    found
}

/// sqv prints the fingerprint of each key with a valid signature; weak signatures are never valid for it.
fn by_sqv(asked: &Finished) -> Option<Signer> {
    let line = asked.stdout.lines().next().filter(|_| asked.code == 0)?;
    Some(Signer { fingerprint: line.trim().to_ascii_uppercase(), is_weak: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Cancel;
    use crate::host::testing::on_an_empty_root;

    // Made with GnuPG 2.2: `strong` is RSA 2048, `weak` DSA 1024, `company` certifies with one key and signs with a subkey.
    const STRONG: &[u8] = include_bytes!("../../tests/fixtures/openpgp/strong.asc");
    const WEAK: &[u8] = include_bytes!("../../tests/fixtures/openpgp/weak.gpg");
    const COMPANY: &[u8] = include_bytes!("../../tests/fixtures/openpgp/company.asc");
    const ALL: &[u8] = include_bytes!("../../tests/fixtures/openpgp/all.asc");
    const REVOKED: &[u8] = include_bytes!("../../tests/fixtures/openpgp/revoked.asc");
    const TEXT: &[u8] = include_bytes!("../../tests/fixtures/openpgp/text");
    const BY_STRONG: &[u8] = include_bytes!("../../tests/fixtures/openpgp/strong.sig");
    const BY_STRONG_IN_SHA1: &[u8] = include_bytes!("../../tests/fixtures/openpgp/strong-sha1.sig");
    const BY_WEAK: &[u8] = include_bytes!("../../tests/fixtures/openpgp/weak.sig");
    const BY_BOTH: &[u8] = include_bytes!("../../tests/fixtures/openpgp/both.sig");
    const BY_COMPANY: &[u8] = include_bytes!("../../tests/fixtures/openpgp/company.sig");

    const FINGERPRINTS: [&str; 3] = [
        "8B45B48669B70878B9BC0E5BFC05F99FC8E39041",
        "C8ECF5AD83B26FD2D9832148504EFFB4BFD995DD",
        "A27122D4F6ED6A97159054E48FA1A4A25D701A10",
    ];

    #[test]
    fn a_signature_names_its_key_and_says_when_it_proves_little() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        let [strong, weak, company] = FINGERPRINTS;
        let table = [
            (STRONG, BY_STRONG, Some((strong, false))),
            (ALL, BY_STRONG, Some((strong, false))),
            (ALL, BY_WEAK, Some((weak, true))),
            (WEAK, BY_WEAK, Some((weak, true))),
            (ALL, BY_STRONG_IN_SHA1, Some((strong, true))),
            (ALL, BY_BOTH, Some((strong, false))),
            (WEAK, BY_BOTH, Some((weak, true))),
            (COMPANY, BY_COMPANY, Some((company, false))),
            (STRONG, BY_WEAK, None),
            (REVOKED, BY_STRONG, None),
        ];
        for (number, (keys, signature, wanted)) in table.into_iter().enumerate() {
            let found = signer(&host, keys, signature, TEXT).unwrap();
            let found = found.as_ref().map(|signer| (signer.fingerprint.as_str(), signer.is_weak));
            assert_eq!(found, wanted, "case {number}");
            assert_eq!(
                signer(&host, keys, signature, b"signed by a tesT\n").unwrap(),
                None,
                "case {number}, changed"
            );
        }
    }

    #[test]
    fn what_is_no_key_and_no_signature_is_nobodys() {
        let (_dir, host) = on_an_empty_root(Cancel::never());
        for (keys, signature) in [(&b"no key"[..], BY_STRONG), (STRONG, &b"no signature"[..]), (b"", b"")] {
            assert_eq!(signer(&host, keys, signature, TEXT).unwrap(), None);
        }
        let torn = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n%%%\n";
        assert_eq!(Reason::from_error(&signer(&host, torn, BY_STRONG, TEXT).unwrap_err()), Reason::Untrusted);
    }

    #[test]
    fn sqv_is_believed_only_where_it_ended_well_and_named_a_key() {
        let ended = |code: i32, said: &str| {
            let [command, name, output, tail] = ["", "sqv", "", ""].map(str::to_owned);
            Finished { command, name, code, stdout: said.to_owned(), output, tail, log: None }
        };
        let [strong, ..] = FINGERPRINTS;
        let found = by_sqv(&ended(0, &format!("{}\n", strong.to_ascii_lowercase())));
        assert_eq!(found, Some(Signer { fingerprint: strong.to_owned(), is_weak: false }));
        assert_eq!(by_sqv(&ended(1, &format!("{strong}\n"))), None);
        assert_eq!(by_sqv(&ended(0, "")), None);
    }
}
