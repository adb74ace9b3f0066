//! A list of names in the `[main]` section of a package manager's settings: `excludepkgs` of dnf (dnf.conf(5)), `exclude`
//! of yum (yum.conf(5)).
//!
//! As libdnf reads it: names stand between spaces and commas; a line that begins with a space continues the one before;
//! of two lines with the same key the last counts; nothing after a value is a comment.

const SECTION: &[u8] = b"[main]";

/// Adds the names that the list lacks, at its end. Every other line stays as it is, to the byte.
pub(in super::super) fn add(text: &[u8], key: &str, names: &[String]) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let list = list(&lines, key);
    let there = list.map(|at| words(&lines, at)).unwrap_or_default();
    let lacking: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !there.contains(&name.as_bytes())).collect();
    if lacking.is_empty() {
        return text.to_vec();
    }
    let lacking = lacking.join(" ");
    if let Some(at) = list {
        let (value, end) = without_end(lines[at]);
        let is_empty = value.iter().position(|byte| *byte == b'=') == value.len().checked_sub(1);
        let space = if is_empty { "" } else { " " };
        return replaced(&lines, at, &[value, space.as_bytes(), lacking.as_bytes(), end].concat());
    }
    let line = format!("{key}={lacking}\n");
    if let Some(at) = lines.iter().position(|line| line.starts_with(SECTION)) {
        let end: &[u8] = if lines[at].ends_with(b"\n") { b"" } else { b"\n" };
        return replaced(&lines, at, &[lines[at], end, line.as_bytes()].concat());
    }
    let end: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    [text, end, SECTION, b"\n", line.as_bytes()].concat()
}

/// Removes the names from the list, except those that `before` has.
pub(in super::super) fn remove(text: &[u8], before: &[u8], key: &str, names: &[String]) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let before: Vec<&[u8]> = before.split_inclusive(|byte| *byte == b'\n').collect();
    let list_before = list(&before, key);
    let kept = list_before.map(|at| words(&before, at)).unwrap_or_default();
    let Some(at) = list(&lines, key) else { return text.to_vec() };
    let is_ours = |word: &[u8]| names.iter().any(|name| name.as_bytes() == word) && !kept.contains(&word);
    let (line, end) = without_end(lines[at]);
    let value_at = line.iter().position(|byte| *byte == b'=').map_or(line.len(), |at| at + 1);
    let (head, value) = line.split_at(value_at);
    let mut left = head.to_vec();
    // The separator between two words is removed together with the second.
    let mut between: &[u8] = b"";
    for piece in value.chunk_by(|a, b| is_between(*a) == is_between(*b)) {
        if piece.first().is_some_and(|byte| is_between(*byte)) {
            between = piece;
        } else if is_ours(piece) {
            between = b"";
        } else {
            left.extend_from_slice(std::mem::take(&mut between));
            left.extend_from_slice(piece);
        }
    }
    let continues = lines.get(at + 1).is_some_and(|next| is_continuation(next));
    if left.len() == head.len() && list_before.is_none() && !continues {
        return replaced(&lines, at, b"");
    }
    left.extend_from_slice(between);
    left.extend_from_slice(end);
    replaced(&lines, at, &left)
}

/// The line that counts.
fn list(lines: &[&[u8]], key: &str) -> Option<usize> {
    let mut in_main = false;
    let mut found = None;
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with(b"[") {
            in_main = line.starts_with(SECTION);
        } else if in_main
            && line.strip_prefix(key.as_bytes()).is_some_and(|it| it.trim_ascii_start().starts_with(b"="))
        {
            found = Some(at);
        }
    }
    found
}

/// The names on a line and on those that continue it.
fn words<'a>(lines: &[&'a [u8]], at: usize) -> Vec<&'a [u8]> {
    let value = lines[at].iter().position(|byte| *byte == b'=').map_or(0, |at| at + 1);
    let more = lines[at + 1..].iter().take_while(|line| is_continuation(line));
    let all = std::iter::once(&lines[at][value..]).chain(more.copied());
    all.flat_map(|line| line.split(|byte| is_between(*byte))).filter(|word| !word.is_empty()).collect()
}

fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b','
}

fn is_continuation(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

/// A line without the white space at its end, and that.
fn without_end(line: &[u8]) -> (&[u8], &[u8]) {
    line.split_at(line.trim_ascii_end().len())
}

fn replaced(lines: &[&[u8]], at: usize, line: &[u8]) -> Vec<u8> {
    [&lines[..at].concat(), line, &lines[at + 1..].concat()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn names_join_the_list_that_counts_and_leave_it_again() {
        let table: [(&[u8], &[u8]); 12] = [
            (b"[main]\ngpgcheck=1\n", b"[main]\nexcludepkgs=a b\ngpgcheck=1\n"),
            (b"[main]", b"[main]\nexcludepkgs=a b\n"),
            (b"", b"[main]\nexcludepkgs=a b\n"),
            (b"[main]\nexcludepkgs=x\nbest=1", b"[main]\nexcludepkgs=x a b\nbest=1"),
            (b"[main]\nexcludepkgs = x, b\r\n", b"[main]\nexcludepkgs = x, b a\r\n"),
            (b"[main]\nexcludepkgs=\n", b"[main]\nexcludepkgs=a b\n"),
            (b"[main]\nexcludepkgs=x\n y a\n", b"[main]\nexcludepkgs=x b\n y a\n"),
            (b"[main]\nexcludepkgs=\n y\n", b"[main]\nexcludepkgs=a b\n y\n"),
            (
                b"[main]\nexcludepkgs=x\n#excludepkgs=y\nexcludepkgs=z\n",
                b"[main]\nexcludepkgs=x\n#excludepkgs=y\nexcludepkgs=z a b\n",
            ),
            (b"[main]\nexclude=kernel*\n", b"[main]\nexcludepkgs=a b\nexclude=kernel*\n"),
            (b"[r]\nexcludepkgs=x\n[main]\n", b"[r]\nexcludepkgs=x\n[main]\nexcludepkgs=a b\n"),
            (b"[main]\nexcludepkgs=a b c\n", b"[main]\nexcludepkgs=a b c\n"),
        ];
        for (before, after) in table {
            let edited = add(before, "excludepkgs", &names("a b"));
            assert_eq!(edited, after, "{}: {}", before.escape_ascii(), edited.escape_ascii());
            let text = String::from_utf8(after.to_vec()).unwrap();
            let changed = text.replace("best=1", "best=0").into_bytes();
            let again = remove(&changed, before, "excludepkgs", &names("a b"));
            let wanted = String::from_utf8(before.to_vec()).unwrap().replace("best=1", "best=0");
            // The section that had to be made stays, and says nothing.
            let wanted =
                if wanted.trim_end().is_empty() || wanted == "[main]" { "[main]\n" } else { &wanted };
            assert_eq!(again.escape_ascii().to_string(), wanted.as_bytes().escape_ascii().to_string());
        }
    }

    proptest! {
        #[test]
        fn twice_is_once_and_afterwards_every_name_is_in_the_list_that_counts(
            text in "(\\[main\\]|\\[r\\]|excludepkgs| |=|,|a|x|\n|\n|\n|é|\r){0,40}"
        ) {
            // Where nothing can be continued, libdnf refuses the file.
            let text: Vec<&str> = text.split('\n').map(|line| line.trim_start_matches(' ')).collect();
            let text = text.join("\n");
            let ours = names("a kernel* b");
            let once = add(text.as_bytes(), "excludepkgs", &ours);
            prop_assert_eq!(&add(&once, "excludepkgs", &ours), &once);
            let lines: Vec<&[u8]> = once.split_inclusive(|byte| *byte == b'\n').collect();
            let there = words(&lines, list(&lines, "excludepkgs").unwrap());
            prop_assert!(ours.iter().all(|name| there.contains(&name.as_bytes())));
            let again = remove(&once, text.as_bytes(), "excludepkgs", &ours);
            let sorted = |text: &[u8]| {
                let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
                list(&lines, "excludepkgs").map(|at| words(&lines, at).concat()).unwrap_or_default()
            };
            prop_assert_eq!(sorted(&again), sorted(text.as_bytes()));
        }
    }
}
