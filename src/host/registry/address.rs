//! The address of a place in a registry: `oci://HOST/NAME:TAG`, `oci://HOST/NAME@sha256:…`, or with both.
//!
//! The crate `oci-spec` reads these with an expression whose compilation takes longer than a pull of small files, so the rules
//! stand here: those of `NAME` and `TAG` from the OCI distribution specification ("Pulling manifests"), that of `HOST` from
//! its Go library (`reference/regexp.go`). A test compares both.

use super::SCHEME;
use crate::outcome::Reason;
use anyhow::Result;
use oci_client::Reference;

const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;
const DIGITS_OF_SHA256: usize = 64;

/// Reads an address. Without a tag and a digest the tag is `latest`. A host has a dot or a port, or is `localhost`: without
/// one, other tools use Docker Hub, and a cache must not go there by accident.
pub(super) fn parse(address: &str) -> Result<Reference> {
    let reference = || {
        let (host, rest) = address.strip_prefix(SCHEME)?.split_once('/')?;
        let is_named = host.contains(['.', ':']) || host == "localhost";
        if is_named && is_host(host) { in_host(host, rest) } else { None }
    };
    reference().ok_or_else(|| {
        Reason::BadSettings.error(format!(
            "`{}` is not a place in a registry: write oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:…",
            crate::host::http::without_secrets(address)
        ))
    })
}

fn in_host(host: &str, rest: &str) -> Option<Reference> {
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (rest, None),
    };
    let (name, tag) = match rest.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (rest, None),
    };
    if !is_name(name) || !tag.is_none_or(is_tag) || !digest.is_none_or(is_sha256) {
        return None;
    }
    let (host, name) = (host.to_owned(), name.to_owned());
    Some(match (tag, digest) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(host, name, tag.to_owned(), digest.to_owned())
        }
        (None, Some(digest)) => Reference::with_digest(host, name, digest.to_owned()),
        (tag, None) => Reference::with_tag(host, name, tag.unwrap_or("latest").to_owned()),
    })
}

/// Labels with dots between them, and a port.
fn is_host(host: &str) -> bool {
    let (labels, port) = host.split_once(':').unwrap_or((host, "0"));
    let is_label = |label: &str| {
        let is_inside = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    labels.split('.').all(is_label) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Components with slashes between them, of small letters and digits with `.`, `_`, `__` or any number of `-` between them.
fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_component = |component: &str| {
        let ends = (component.bytes().next(), component.bytes().next_back());
        let is_between = |between: &str| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        };
        matches!(ends, (Some(first), Some(last)) if is_word(first) && is_word(last))
            && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(is_between)
    };
    name.len() <= LONGEST_NAME && name.split('/').all(is_component)
}

fn is_tag(tag: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    tag.len() <= LONGEST_TAG && !tag.is_empty() && !tag.starts_with(['.', '-']) && tag.bytes().all(is_inside)
}

fn is_sha256(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == DIGITS_OF_SHA256 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_read_as_users_write_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, tag) in [
            ("oci://registry.example/ib/bundle:v1".to_owned(), Some("v1")),
            ("oci://localhost:5000/bundle".to_owned(), Some("latest")),
            (format!("oci://registry.example/bundle@{digest}"), None),
            (format!("oci://registry.example/bundle:v1@{digest}"), Some("v1")),
        ] {
            assert_eq!(parse(&text).unwrap().tag(), tag, "{text}");
        }
        for text in ["oci://bundle:v1", "oci://ib/bundle", "oci://", "oci://h.x/A B", "oci://h.x/a@sha512:aa"]
        {
            assert_eq!(Reason::from_error(&parse(text).unwrap_err()), Reason::BadSettings, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_library_reads_an_address_in_the_same_way(
            host in "[a-z]{0,2}[.A-]?[a-z0]{1,2}[.-]?(:[0-9]{0,2})?",
            name in "[a-z0./_-]{1,8}[A-Z]?",
            tag in "(:[a-zA-Z._-]{0,3})?",
            digest in "(@sha256:[0-9a-fA-F]{63,65})?",
        ) {
            prop_assume!(host.contains(['.', ':']));
            let text = format!("{host}/{name}{tag}{digest}");
            let theirs = text.parse::<Reference>().ok();
            prop_assert_eq!(parse(&format!("{SCHEME}{text}")).ok(), theirs, "{}", text);
        }
    }
}
