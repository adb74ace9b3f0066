//! The page as Markdown, for change requests and wikis.

use super::sections::{Block, Section, Table};
use std::fmt::Write;

/// The whole page.
pub(super) fn page(title: &str, sections: &[Section]) -> String {
    let mut text = format!("# {}\n", escaped(title));
    for section in sections {
        let _ = writeln!(text, "\n## {}", section.title);
        for block in &section.blocks {
            text.push('\n');
            match block {
                Block::Text(words) => {
                    let _ = writeln!(text, "{}", escaped(words));
                }
                Block::List(items) => {
                    for item in items {
                        let _ = writeln!(text, "- {}", escaped(item));
                    }
                }
                Block::Table(table) => write_table(&mut text, table),
                Block::Code(lines) => write_fenced(&mut text, "sh", lines),
                Block::Diff(name, lines) => {
                    let _ = writeln!(text, "### {}\n", escaped(name));
                    write_fenced(&mut text, "diff", lines);
                }
            }
        }
    }
    text
}

/// A block whose fence is longer than any within it.
fn write_fenced(text: &mut String, language: &str, lines: &str) {
    let mut fence = "```".to_owned();
    while lines.contains(&fence) {
        fence.push('`');
    }
    let _ = writeln!(text, "{fence}{language}\n{}\n{fence}", lines.trim_end());
}

fn write_table(text: &mut String, table: &Table) {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push_str(&row(table.head.iter().map(|name| escaped(name)).collect()));
    let _ = writeln!(text, "|{}", "---|".repeat(table.head.len()));
    for cells in &table.rows {
        text.push_str(&row(cells.iter().map(|cell| escaped(&cell.text)).collect()));
    }
}

/// Text that is neither markup nor the end of a cell.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#') {
            safe.push('\\');
        }
        safe.push(if c == '\n' { ' ' } else { c });
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_root_says_ends_a_cell_or_a_fence() {
        let rows = vec![vec![super::super::sections::Cell {
            text: "a|b".to_owned(),
            mark: super::super::sections::Mark::Plain,
        }]];
        let table = Table { caption: String::new(), head: vec!["x".to_owned()], rows };
        let blocks = vec![Block::Table(table), Block::Diff("f".to_owned(), "+```\n".to_owned())];
        let page = page("t", &[Section { id: "x", title: "X", blocks }]);
        assert!(page.contains("| a\\|b |") && page.contains("````diff\n+```\n````\n"), "{page}");
    }
}
