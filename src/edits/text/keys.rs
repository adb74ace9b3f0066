//! Sets one key in a `key=value` file and leaves the rest of the file unchanged.

/// Sets `key=value` whatever form its line has now: active, commented out (`# OS.EnableRDMA=y` is how waagent
/// ships it), with other spacing, twice, or missing (as on Azure Linux). Every other line stays as it is, to the byte.
pub(in super::super) fn set(text: &[u8], key: &str, value: &str) -> Vec<u8> {
    let wanted = format!("{key}={value}\n").into_bytes();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let active = |line: &&[u8]| names(line, key);
    let commented =
        |line: &&[u8]| line.trim_ascii_start().strip_prefix(b"#").is_some_and(|rest| names(rest, key));
    let replace_at = lines.iter().position(active).or_else(|| lines.iter().position(commented));
    let mut edited = Vec::with_capacity(text.len() + wanted.len() + 1);
    for (at, line) in lines.iter().enumerate() {
        if Some(at) == replace_at {
            edited.extend_from_slice(&wanted);
        } else if !active(line) {
            // A second active line would win in some readers and lose in others.
            edited.extend_from_slice(line);
        }
    }
    if replace_at.is_none() {
        if edited.last().is_some_and(|last| *last != b'\n') {
            edited.push(b'\n');
        }
        edited.extend_from_slice(&wanted);
    }
    edited
}

/// Gives the key the lines it had in `before`, in the place of the one that [`set`] made. None where that line is not
/// there any more: somebody has changed it on purpose.
pub(in super::super) fn revert(text: &[u8], before: &[u8], key: &str, value: &str) -> Option<Vec<u8>> {
    let wanted = format!("{key}={value}");
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let at = lines.iter().position(|line| line.trim_ascii_end() == wanted.as_bytes())?;
    let before: Vec<&[u8]> = before.split_inclusive(|byte| *byte == b'\n').collect();
    let active: Vec<&[u8]> = before.iter().copied().filter(|line| names(line, key)).collect();
    let is_commented =
        |line: &&[u8]| line.trim_ascii_start().strip_prefix(b"#").is_some_and(|rest| names(rest, key));
    let of_before = if active.is_empty() {
        before.iter().copied().find(is_commented).into_iter().collect()
    } else {
        active
    };
    let mut reverted = lines[..at].concat();
    for line in of_before {
        reverted.extend_from_slice(line);
        if !line.ends_with(b"\n") && at + 1 < lines.len() {
            reverted.push(b'\n');
        }
    }
    reverted.extend(lines[at + 1..].concat());
    Some(reverted)
}

fn names(line: &[u8], key: &str) -> bool {
    let rest = line.trim_ascii_start().strip_prefix(key.as_bytes());
    rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "OS.EnableRDMA";

    #[test]
    fn a_key_is_set_whatever_form_its_line_has() {
        let table: [(&[u8], &[u8]); 11] = [
            (b"A=1\n# OS.EnableRDMA=y\nB=2\n", b"A=1\nOS.EnableRDMA=y\nB=2\n"),
            (b"# OS.EnableRDMA=n\n", b"OS.EnableRDMA=y\n"),
            (b"#\tOS.EnableRDMA = n # off\n", b"OS.EnableRDMA=y\n"),
            (b"OS.EnableRDMA = n\n", b"OS.EnableRDMA=y\n"),
            (b"  OS.EnableRDMA=\"y\"", b"OS.EnableRDMA=y\n"),
            (b"#OS.EnableRDMA=y\nOS.EnableRDMA=n\nOS.EnableRDMA=n\n", b"#OS.EnableRDMA=y\nOS.EnableRDMA=y\n"),
            (b"OS.EnableRDMAX=n", b"OS.EnableRDMAX=n\nOS.EnableRDMA=y\n"),
            (
                b"# Enable RDMA management\nA=\xe9\r\n",
                b"# Enable RDMA management\nA=\xe9\r\nOS.EnableRDMA=y\n",
            ),
            (
                b"OS.UpdateRdmaDriver=y\nOS.CheckRdmaDriver=n\n",
                b"OS.UpdateRdmaDriver=y\nOS.CheckRdmaDriver=n\nOS.EnableRDMA=y\n",
            ),
            (b"\n\n", b"\n\nOS.EnableRDMA=y\n"),
            (b"", b"OS.EnableRDMA=y\n"),
        ];
        for (before, after) in table {
            let edited = set(before, KEY, "y");
            assert_eq!(edited, after, "{:?}: {:?}", before.escape_ascii(), edited.escape_ascii());
        }
    }

    #[test]
    fn a_key_gets_its_old_line_back_among_lines_that_came_since() {
        type Bytes = &'static [u8];
        let table: [(Bytes, Bytes, Option<Bytes>); 7] = [
            (b"# OS.EnableRDMA=y\n", b"OS.EnableRDMA=y\nB=2\n", Some(b"# OS.EnableRDMA=y\nB=2\n")),
            (b"A=1\n", b"A=1\nOS.EnableRDMA=y\nB=2\n", Some(b"A=1\nB=2\n")),
            (b"OS.EnableRDMA = n", b"OS.EnableRDMA=y\nB=2", Some(b"OS.EnableRDMA = n\nB=2")),
            (
                b"OS.EnableRDMA=n\nA=1\nOS.EnableRDMA=x\n",
                b"OS.EnableRDMA=y\nA=1\n",
                Some(b"OS.EnableRDMA=n\nOS.EnableRDMA=x\nA=1\n"),
            ),
            (b"", b"B=2\n", None),
            (b"# OS.EnableRDMA=y\n", b"OS.EnableRDMA=n\n", None),
            (b"", b"\xff\nOS.EnableRDMA=y", Some(b"\xff\n")),
        ];
        for (before, now, after) in table {
            assert_eq!(
                revert(now, before, KEY, "y").as_deref(),
                after,
                "{:?}",
                now.escape_ascii().to_string()
            );
        }
    }

    /// Lines of any bytes, and of every form that names the key.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            "(#| |\t|A=1|OS.EnableRDMA( )?=( )?[yn]?|OS.EnableRDMAX=y){0,3}".prop_map(String::into_bytes),
        ];
        prop::collection::vec(line, 0..8).prop_map(|lines| lines.join(&b'\n'))
    }

    proptest! {
        #[test]
        fn afterwards_the_key_is_there_once_and_every_other_line_is_as_it_was(text in text()) {
            let edited = set(&text, KEY, "y");
            let ours: Vec<_> = edited.split(|b| *b == b'\n').filter(|line| names(line, KEY)).collect();
            prop_assert_eq!(ours, [b"OS.EnableRDMA=y"]);
            let others = |text: &[u8]| {
                let bare = |line: &&[u8]| !names(line.trim_ascii_start().trim_prefix_hash(), KEY);
                text.split(|b| *b == b'\n').filter(bare).map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            let (before, after) = (others(&text), others(&edited));
            // The file ends with a line's end afterwards, which is one more empty piece.
            let full = |mut lines: Vec<Vec<u8>>| {
                while lines.last().is_some_and(Vec::is_empty) { lines.pop(); }
                lines
            };
            prop_assert_eq!(full(before), full(after));
            prop_assert_eq!(set(&edited, KEY, "y"), edited.as_slice());
            // Lines that others added stay; of the lines that this program wrote only those stay that were there
            // before.
            let grown = [&edited[..], b"Others=1\n"].concat();
            let reverted = revert(&grown, &text, KEY, "y").unwrap();
            prop_assert!(reverted.ends_with(b"Others=1\n"));
            let count = |text: &[u8]| text.split(|b| *b == b'\n').filter(|line| names(line, KEY)).count();
            prop_assert_eq!(count(&reverted), count(&text));
        }
    }

    trait TrimPrefixHash {
        fn trim_prefix_hash(&self) -> &Self;
    }

    impl TrimPrefixHash for [u8] {
        fn trim_prefix_hash(&self) -> &Self {
            self.strip_prefix(b"#").unwrap_or(self)
        }
    }
}
