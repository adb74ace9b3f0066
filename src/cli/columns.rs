//! Lines that fit a terminal: broken between words, and what follows stands below the column in which it began.

use console::Term;

/// How many columns standard output has; none where it is no terminal.
pub(super) fn of_results() -> Option<usize> {
    columns_of(&Term::stdout())
}

/// How many columns standard error has; none where it is no terminal.
pub(super) fn of_errors() -> Option<usize> {
    columns_of(&Term::stderr())
}

fn columns_of(term: &Term) -> Option<usize> {
    term.is_term().then(|| term.size_checked()).flatten().map(|(_, columns)| usize::from(columns))
}

/// A text whose lines have at most so many columns. A word that is longer stays whole.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let mut fitting = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        fitting.push_str(&fit_line(line, columns));
        fitting.push_str(end);
    }
    fitting
}

/// As many whole words of a line as fit.
pub(super) fn first_line(line: &str, columns: usize) -> String {
    fit_line(line, columns).lines().next().unwrap_or_default().to_owned()
}

fn fit_line(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let hang = hang(line, columns);
    let head: String = line.chars().take(hang).collect();
    let mut fitting = head.clone();
    let mut width = hang;
    for word in line[head.len()..].split_whitespace() {
        let length = word.chars().count();
        if width > hang && width + 1 + length > columns {
            fitting.truncate(fitting.trim_end().len());
            fitting.push('\n');
            fitting.push_str(&" ".repeat(hang));
            width = hang;
        } else if width > hang {
            fitting.push(' ');
            width += 1;
        }
        fitting.push_str(word);
        width += length;
    }
    fitting
}

/// The column in which the text of a line begins: after the last gap of two blanks in its first two thirds, or after its
/// first word where it has no gap. What stands before it is kept as it is.
fn hang(line: &str, columns: usize) -> usize {
    let letters: Vec<char> = line.chars().take(columns * 2 / 3).collect();
    let is_begin = |at: usize| letters[at] != ' ' && letters[at - 2..at] == [' ', ' '];
    let begin = (2..letters.len()).rfind(|at| is_begin(*at));
    begin.unwrap_or_else(|| letters.iter().take_while(|letter| **letter == ' ').count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_and_hangs_below_its_column() {
        let line = "driver     inbox, because the catalogue has none";
        assert_eq!(fit(line, 30), "driver     inbox, because the\n           catalogue has none");
        assert_eq!(fit("short\n\n  a  b\n", 10), "short\n\n  a  b\n");
        assert_eq!(fit("one two three", 9), "one two\nthree");
        assert_eq!(fit("  indented words go on", 12), "  indented\n  words go\n  on");
        assert_eq!(first_line("one two three", 9), "one two");
    }

    #[test]
    fn a_word_longer_than_a_line_stays_whole() {
        let digest = "0123456789abcdef";
        assert_eq!(fit(&format!("sha256  {digest} is it"), 14), format!("sha256  {digest}\n        is it"));
    }

    proptest::proptest! {
        #[test]
        fn no_word_of_any_text_is_lost_or_cut(text in "[ a-zé\n]{0,200}", columns in 1_usize..90) {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            proptest::prop_assert_eq!(words(&fit(&text, columns)), words(&text));
        }
    }
}
