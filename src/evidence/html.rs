//! The page as HTML: one file, without script, network or fonts of its own.

use super::sections::{Block, Mark, Section, Table};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(title: &str, sections: &[Section]) -> String {
    let title = escaped(title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1></header>\n<nav aria-label=\"Sections\"><ul>\n"
    );
    for Section { id, title, .. } in sections {
        let _ = writeln!(html, "<li><a href=\"#{id}\">{title}</a></li>");
    }
    html.push_str("</ul></nav>\n<main>\n");
    for section in sections {
        write_section(&mut html, section);
    }
    html.push_str("</main>\n<footer><p>Made by ofedctl ");
    html.push_str(env!("CARGO_PKG_VERSION"));
    html.push_str(
        " from the receipt, the status and the files of the root.</p></footer>\n</body>\n</html>\n",
    );
    html
}

fn write_section(html: &mut String, section: &Section) {
    let Section { id, title, blocks } = section;
    let _ = writeln!(html, "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">");
    let _ = writeln!(html, "<h2 id=\"{id}-heading\">{title}</h2>");
    for block in blocks {
        match block {
            Block::Text(text) => {
                let _ = writeln!(html, "<p>{}</p>", escaped(text));
            }
            Block::List(items) => {
                html.push_str("<ul>\n");
                for item in items {
                    let _ = writeln!(html, "<li>{}</li>", escaped(item));
                }
                html.push_str("</ul>\n");
            }
            Block::Table(table) => write_table(html, table),
            Block::Code(text) => {
                let _ = writeln!(html, "<pre tabindex=\"0\"><code>{}</code></pre>", escaped(text));
            }
            Block::Diff(name, diff) => {
                let lines: String = diff.lines().map(diff_line).collect();
                let _ = writeln!(
                    html,
                    "<h3>{}</h3>\n<pre class=\"diff\" tabindex=\"0\">{lines}</pre>",
                    escaped(name)
                );
            }
        }
    }
    html.push_str("</section>\n");
}

/// A line of a difference; `+` and `-` say the same as the colours.
fn diff_line(line: &str) -> String {
    let text = escaped(line);
    match line.as_bytes().first() {
        Some(b'+') => format!("<ins>{text}</ins>\n"),
        Some(b'-') => format!("<del>{text}</del>\n"),
        _ => format!("{text}\n"),
    }
}

fn write_table(html: &mut String, table: &Table) {
    // A wide table scrolls by itself, also by the keyboard.
    let caption = escaped(&table.caption);
    let _ = writeln!(html, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">");
    let _ = write!(html, "<table>\n<caption>{caption}</caption>\n<thead><tr>");
    for name in &table.head {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escaped(name));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let text = escaped(&cell.text);
            let class = match cell.mark {
                Mark::Plain => "",
                Mark::Good => " class=\"good\"",
                Mark::Bad => " class=\"bad\"",
            };
            let _ = match index {
                0 => write!(html, "<th scope=\"row\">{text}</th>"),
                _ => write!(html, "<td{class}>{text}</td>"),
            };
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
}

/// Text that cannot end an element or an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_root_says_becomes_part_of_the_page() {
        let evil = "</pre><script>x()</script>\" onload='y'";
        let section =
            Section { id: "x", title: "X", blocks: vec![Block::Diff(evil.to_owned(), evil.to_owned())] };
        let page = page(evil, &[section]);
        assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
    }
}
