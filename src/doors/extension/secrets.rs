//! The protected part of the settings: how it is decrypted with the VM's key, and which of its words must never be
//! printed.

use crate::host::Host;
use crate::host::run::Cmd;
use crate::outcome::Reason;
use anyhow::Result;
use serde_json::Value;

/// The shortest secret that is masked; masking shorter words would make all other text unreadable.
const SHORTEST: usize = 3;
/// Characters on a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// Decrypts protected settings with the key that the agent keeps beside the handlers' folders.
pub(super) fn decrypt(host: &Host, keys_dir: &str, thumbprint: &str, base64: &str) -> Result<Value> {
    if thumbprint.is_empty() || !thumbprint.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(
            Reason::BadSettings.error("protectedSettings come without the thumbprint of a certificate")
        );
    }
    let [key, certificate] = ["prv", "crt"].map(|kind| format!("{keys_dir}/{thumbprint}.{kind}"));
    if !host.root.exists(&key) {
        let what = format!("protectedSettings cannot be read: the VM agent has not fetched `{key}`");
        return Err(Reason::BadSettings.error(what));
    }
    let mut said = String::new();
    // The older command knows older messages.
    for (command, label) in [("cms", "CMS"), ("smime", "PKCS7")] {
        let openssl = Cmd::new("openssl")
            .args([command, "-decrypt", "-inform", "PEM", "-inkey", &key, "-recip", &certificate])
            .input(pem(label, base64))
            .captured();
        let ended = host.run(&openssl)?;
        // What is no JSON may still be secret, so it is not quoted.
        match serde_json::from_str(&ended.stdout) {
            Ok(Value::Object(plain)) if ended.code == 0 => return Ok(Value::Object(plain)),
            Ok(_) | Err(_) if ended.code == 0 => {
                return Err(Reason::BadSettings.error("protectedSettings are no JSON object"));
            }
            _ => said = ended.tail,
        }
    }
    Err(Reason::BadSettings.error(format!("protectedSettings cannot be decrypted; openssl said: {said}")))
}

/// Base64 as openssl wants it.
fn pem(label: &str, base64: &str) -> String {
    let plain: Vec<char> = base64.chars().filter(|c| !c.is_whitespace()).collect();
    let lines: Vec<String> = plain.chunks(PEM_LINE).map(|line| line.iter().collect()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The parts of an address that must not be printed: user, password and query (a SAS token is one), both as they are
/// written and with `%41` and the like decoded.
pub(super) fn of_address(address: &str) -> Vec<String> {
    let address = address.split('#').next().unwrap_or_default();
    let (place, query) = address.split_once('?').unwrap_or((address, ""));
    let authority =
        place.split_once("://").map_or(place, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let password = login.split_once(':').map_or("", |(_, password)| password);
    let values = query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1));
    // A query's shorter values (`sp=r`, `sv=2022-11-02`) are words that stand elsewhere, too.
    let values = values.filter(|value| value.len() > 16);
    let mut all: Vec<String> = Vec::new();
    for word in [login, password, query].into_iter().chain(values) {
        all.extend([word.to_owned(), decoded(word)]);
    }
    all.retain(|word| word.chars().count() >= SHORTEST);
    all.sort_unstable();
    all.dedup();
    all
}

/// A text with its `%41` undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = escaped.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_of_an_address_is_its_login_and_its_query() {
        let found = of_address("http://me:p%40ss@proxy:3128/");
        for word in ["me:p%40ss", "p%40ss", "me:p@ss", "p@ss"] {
            assert!(found.contains(&word.to_owned()), "{word}: {found:?}");
        }
        let found =
            of_address("https://a.blob.core.windows.net/c/b.tar?sv=2022-11-02&sig=aaaaaaaaaaaaaaaaaa%3D#x");
        assert!(found.contains(&"sv=2022-11-02&sig=aaaaaaaaaaaaaaaaaa%3D".to_owned()), "{found:?}");
        assert!(found.contains(&"aaaaaaaaaaaaaaaaaa=".to_owned()), "{found:?}");
        assert!(!found.contains(&"2022-11-02".to_owned()), "{found:?}");
        assert_eq!(of_address("https://host/path"), Vec::<String>::new());
        assert_eq!(of_address("/var/cache/ofedctl"), Vec::<String>::new());
        assert_eq!(of_address("me:secret@proxy"), ["me:secret", "secret"]);
    }

    #[test]
    fn base64_is_folded_as_openssl_wants_it() {
        assert_eq!(pem("CMS", "AA AA\n"), "-----BEGIN CMS-----\nAAAA\n-----END CMS-----\n");
        assert_eq!(pem("CMS", &"A".repeat(65)).lines().nth(2), Some("A"));
    }

    proptest::proptest! {
        #[test]
        fn no_address_makes_the_reader_panic(address in "\\PC{0,60}") {
            let _ = (of_address(&address), decoded(&address));
        }
    }
}
