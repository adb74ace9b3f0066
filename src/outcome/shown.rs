//! Makes text from other programs safe to show: it must not forge log lines, control a terminal, or reveal secrets in
//! an address.

use std::fmt::Write;

/// A text in one line: control characters are escaped as in JSON, and addresses lose user, password and query, which
/// may hold signatures and tokens.
pub fn line(text: &str) -> String {
    escaped(&without_secrets_of_addresses(text), |_| false)
}

/// Like [`line`], for a text of several lines.
pub fn lines(text: &str) -> String {
    escaped(&without_secrets_of_addresses(text), |c| c == '\n' || c == '\t')
}

/// Like [`line`], for JSON, whose addresses stay whole because another program may use them.
pub fn json(text: &str) -> String {
    escaped(text, |c| c == '\n')
}

/// Text without the colours that some programs print to anything (ECMA-48: ESC `[`, parameters, a letter), and with a
/// line of its own for what a carriage return wrote over.
pub fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            '\r' => plain.push('\n'),
            c => plain.push(c),
        }
    }
    plain
}

/// The message of a type error without the value, which may be a secret written in the wrong place; a plain word is
/// shown.
pub fn wrong_type(error: &str) -> String {
    let cut = |begin: &str, end: &str, after: &str| {
        let (head, rest) = error.split_once(begin)?;
        let (value, tail) = rest.rsplit_once(end)?;
        let is_plain =
            value.len() <= 24 && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        Some(if is_plain { error.to_owned() } else { format!("{head}{after}{tail}") })
    };
    cut("string \"", "\", expected", "a text, expected")
        .or_else(|| cut("variant `", "`, expected", "variant, expected"))
        .unwrap_or_else(|| error.to_owned())
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if stays(c) || !is_unsafe(c) => shown.push(c),
            // Lines of one message are joined, so that a reader of one line sees all of it.
            '\n' | '\t' => shown.push(' '),
            c => {
                let _ = write!(shown, "\\u{:04x}", u32::from(c));
            }
        }
    }
    shown
}

/// Control characters (C0, DEL and C1), line ends that only some programs know, and what turns the direction of writing
/// (Unicode's technical report 36 on security, and its annex 9, "Directional formatting characters": a name that reads
/// otherwise than it is).
fn is_unsafe(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

fn without_secrets_of_addresses(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        shown.push_str(before);
        let is_end = |c: char| c.is_whitespace() || is_unsafe(c) || "`\"'<>|".contains(c);
        let (address, after) = address.split_at(address.find(is_end).unwrap_or(address.len()));
        let (place, query) = address.split_at(address.find(['?', '#']).unwrap_or(address.len()));
        let authority = place.find('/').unwrap_or(place.len());
        // A password may hold a `/` that was not escaped; then what stands for the port is no number.
        let port = place[..authority].rsplit_once(':').map_or("", |(_, port)| port);
        let is_cut = !port.bytes().all(|byte| byte.is_ascii_digit());
        let server = place[..authority].rfind('@').or_else(|| place.rfind('@').filter(|_| is_cut));
        shown.push_str(server.map_or(place, |at| &place[at + 1..]));
        if !query.is_empty() {
            shown.push_str("?***");
        }
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_starts_a_line_or_drives_a_terminal() {
        let hostile = "tag\n2026-01-01T00:00:00Z INFO  install: done\u{1b}[2J\r\u{9b}\u{202e}\u{2028}x\u{7f}";
        let shown = line(hostile);
        assert!(shown.starts_with("tag 2026") && !shown.chars().any(is_unsafe), "{shown}");
        assert_eq!(lines("a\n\u{1b}b"), "a\n\\u001bb");
        assert_eq!(line("a\u{200f}b\u{202e}c\u{61c}"), "a\\u200fb\\u202ec\\u061c");
        let document = serde_json::to_string(&serde_json::json!({"a": "\u{9b}x"})).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json(&document)).unwrap();
        assert_eq!(read["a"], "\u{9b}x");
        assert_eq!(line("`kernel` 6.1 – fine, ü"), "`kernel` 6.1 – fine, ü");
    }

    #[test]
    fn addresses_come_without_what_may_be_secret_wherever_they_stand() {
        for (text, wanted) in [
            ("from `https://me:pw@host:8/a?sig=x#y`: gone", "from `https://host:8/a?***`: gone"),
            ("oci://u:p@ss@reg.example/n:t twice http://h/a?b", "oci://reg.example/n:t twice http://h/a?***"),
            ("proxy http://u:p/w@proxy:3128", "proxy http://proxy:3128"),
            ("see https://aka.ms/x, and user@host", "see https://aka.ms/x, and user@host"),
        ] {
            assert_eq!(line(text), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_survives_unsafe(text in ".{0,60}") {
            proptest::prop_assert!(!line(&text).chars().any(is_unsafe));
        }

        #[test]
        fn no_secret_of_an_address_survives(secret in "[a-z]{8}", host in "[0-9.]{3,9}", path in "(/[0-9]{0,5}){0,2}") {
            let shown = line(&format!("cannot get `https://0:{secret}@{host}{path}?0={secret}&1={secret}`"));
            proptest::prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
