//! Scripts in a form that reaches the guest's shell as it was written, and answers that are told apart from all else.
//!
//! Between this program and that shell lie others: packer-plugin-sdk's chroot communicator (chroot/communicator.go)
//! puts a command between double quotes for a shell of the build host, which expands `$?` and `$(…)` and takes `\n` for
//! two letters. So a command has nothing in it that any shell expands: the script goes as base64. And with a terminal
//! (`ssh_pty`) everything that is printed comes as one stream, with carriage returns: so a script says where its
//! output begins and ends, and what it complained of.

use base64::prelude::{BASE64_STANDARD, Engine};
use std::fmt::Write;

/// What is kept of a command's standard output: the largest is a plan or a receipt in JSON.
const MAX_OUTPUT: usize = 4 << 20;
/// What is kept of its standard error, for a message.
const MAX_COMPLAINT: usize = 2 << 10;

/// How a command on the guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) complaint: String,
}

/// The command, for whatever shells are in between, that runs a script.
pub(super) fn command(script: &str) -> String {
    format!("{}|/bin/sh", decoded(script))
}

/// The words of shell that print a script. Programs are named by their paths: a chroot gets the build host's `PATH`.
pub(super) fn decoded(script: &str) -> String {
    format!("echo {}|/usr/bin/base64 -d", BASE64_STANDARD.encode(script))
}

/// A script that says where its output is. The caller of a script may have set options of its shell, such as `-e`.
pub(super) fn framed(word: &str, script: &str) -> String {
    format!(
        "set +eux
PATH=\"${{PATH:+$PATH:}}/usr/sbin:/usr/bin:/sbin:/bin\"
export PATH
unset TMPDIR
printf '\\n%s begins\\n' {word}
exec 3>&1
complaint=$( (
{script}
) 2>&1 >&3 3>&- </dev/null)
printf '\\n%s ended with %s\\n' {word} $?
printf '%s' \"$complaint\" | tail -c {MAX_COMPLAINT}
printf '\\n%s is done\\n' {word}
"
    )
}

/// One word of shell, whatever is in it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Several words, each quoted.
pub(super) fn quoted_words<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// What comes of a framed script, line by line.
#[derive(Debug)]
pub(super) struct Answer {
    word: String,
    at: At,
    out: Lines,
    complaint: Lines,
    /// Empty lines that may be the one before the end.
    empty: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Before,
    Output,
    Complaint(i32),
    Done(i32),
}

/// The last bytes of some lines.
#[derive(Debug)]
struct Lines {
    text: String,
    is_first: bool,
    most: usize,
}

impl Lines {
    const fn up_to(most: usize) -> Self {
        Self { text: String::new(), is_first: true, most }
    }

    fn push(&mut self, line: &str) {
        let between = if self.is_first { "" } else { "\n" };
        self.is_first = false;
        let _ = write!(self.text, "{between}{line}");
        let mut excess = self.text.len().saturating_sub(self.most);
        while !self.text.is_char_boundary(excess) {
            excess += 1;
        }
        self.text.drain(..excess);
    }
}

impl Answer {
    /// Waits for the answer that says this word.
    pub(super) const fn awaiting(word: String) -> Self {
        Self {
            word,
            at: At::Before,
            out: Lines::up_to(MAX_OUTPUT),
            complaint: Lines::up_to(MAX_COMPLAINT),
            empty: 0,
        }
    }

    /// Takes a line without its end. `on_line` hears each line of the output.
    pub(super) fn take(&mut self, line: &str, on_line: &mut dyn FnMut(&str)) {
        let said = line.strip_prefix(self.word.as_str()).and_then(|rest| rest.strip_prefix(' '));
        match (self.at, said) {
            (At::Before | At::Output, Some("begins")) => self.at = At::Output,
            (At::Output, Some(said)) if said.starts_with("ended with ") => {
                let code = said.trim_start_matches("ended with ").parse().unwrap_or(-1);
                // The line before is there so that this one begins at its begin.
                self.empty = self.empty.saturating_sub(1);
                self.flush(on_line);
                self.at = At::Complaint(code);
            }
            (At::Output, _) if line.is_empty() => {
                self.empty += 1;
                self.out.push("");
            }
            (At::Output, _) => {
                self.flush(on_line);
                on_line(line);
                self.out.push(line);
            }
            (At::Complaint(code), Some("is done")) => self.at = At::Done(code),
            (At::Complaint(_), _) => self.complaint.push(line),
            (At::Before | At::Done(_), _) => {}
        }
    }

    fn flush(&mut self, on_line: &mut dyn FnMut(&str)) {
        (0..self.empty).for_each(|_| on_line(""));
        self.empty = 0;
    }

    /// The answer, if it came whole.
    pub(super) fn end(self) -> Option<Ran> {
        let At::Done(code) = self.at else { return None };
        Some(Ran { code, out: self.out.text, complaint: self.complaint.text.trim().to_owned() })
    }
}

/// Bytes as lines, whether a terminal was in between or not.
#[derive(Debug, Default)]
pub(super) struct Splitter(Vec<u8>);

impl Splitter {
    /// Takes a piece; `on_line` hears each line that is whole.
    pub(super) fn take(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(&str)) {
        self.0.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(end) = self.0[begin..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.0[begin..begin + end]);
            on_line(line.trim_end_matches('\r'));
            begin += end + 1;
        }
        self.0.drain(..begin);
        let excess = self.0.len().saturating_sub(MAX_OUTPUT);
        self.0.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn read_answer(word: &str, printed: &[u8]) -> (Option<Ran>, Vec<String>) {
        let (mut answer, mut lines) = (Answer::awaiting(word.to_owned()), Vec::new());
        let mut splitter = Splitter::default();
        // However the bytes come.
        for piece in printed.chunks(7) {
            splitter.take(piece, &mut |line| answer.take(line, &mut |line| lines.push(line.to_owned())));
        }
        (answer.end(), lines)
    }

    fn ran(code: i32, out: &str, complaint: &str) -> Ran {
        Ran { code, out: out.to_owned(), complaint: complaint.to_owned() }
    }

    #[test]
    fn what_is_quoted_comes_out_of_a_shell_as_it_was() {
        for text in ["", "a b", "it's", "$HOME `id` \"x\" \\ \n;&|", "''"] {
            let script = format!("printf %s {}", quoted(text));
            let ran = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(ran.stdout).unwrap(), text);
        }
    }

    #[test]
    fn a_command_means_the_same_after_any_shell() {
        let script = "echo \"two $((1 + 1))\"\nprintf '%s' 'it\\n' >&2\ncat\nexit 7";
        let plain = command(&framed("ofedctl-1", script));
        let once_more = format!("sh -c \"{plain}\"");
        let (inside, bash) = (format!("sh -c \"sh -c '{plain}'\""), format!("bash -c \"{plain}\""));
        for command in [plain, once_more, inside, bash] {
            assert!(!command.contains(['$', '\\', '`', '\n']), "{command}");
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            let (answer, lines) = read_answer("ofedctl-1", &output.stdout);
            assert_eq!(answer.unwrap(), ran(7, "two 2\n", "it\\n"), "{command}");
            assert_eq!(lines, ["two 2"]);
        }
    }

    #[test]
    fn only_what_is_in_the_frame_is_the_answer() {
        let printed = "sudo: unable to resolve host x\r\n\r\nw begins\r\none\r\n\r\ntwo\r\n\r\n\r\nw ended with 3\r\nno \
                       room\r\n\r\nw is done\r\nlogout\r\n";
        let (answer_of, lines) = read_answer("w", printed.as_bytes());
        assert_eq!(answer_of.unwrap(), ran(3, "one\n\ntwo\n\n", "no room"));
        assert_eq!(lines, ["one", "", "two", ""]);
        // A program that ends no line.
        assert_eq!(
            read_answer("w", b"\nw begins\n{}\nw ended with 0\n\nw is done\n").0.unwrap(),
            ran(0, "{}", "")
        );
        assert_eq!(
            read_answer("w", b"\nw begins\n\nw ended with 0\n\nw is done\n").0.unwrap(),
            ran(0, "", "")
        );
    }

    #[test]
    fn an_answer_that_is_cut_off_or_another_ones_is_none() {
        let whole = "\nw begins\none\n\nw ended with 0\n\nw is done\n";
        for cut in 0..whole.len() {
            assert_eq!(read_answer("w", &whole.as_bytes()[..cut]).0, None, "{cut}");
        }
        assert_eq!(read_answer("v", whole.as_bytes()).0, None);
    }

    #[test]
    fn endless_output_costs_no_memory() {
        let (mut answer, mut splitter) = (Answer::awaiting("w".to_owned()), Splitter::default());
        let mut take = |bytes: &[u8]| splitter.take(bytes, &mut |line| answer.take(line, &mut |_| {}));
        take(b"\nw begins\n");
        for _ in 0..3 {
            take(&vec![b'x'; MAX_OUTPUT]);
        }
        take(b"\n");
        for _ in 0..3 {
            take(&[&vec![b'y'; MAX_OUTPUT / 2][..], b"\n"].concat());
        }
        take(b"\nw ended with 0\n\nw is done\n");
        let ran = answer.end().unwrap();
        assert!(ran.out.len() <= MAX_OUTPUT && ran.code == 0);
    }
}
