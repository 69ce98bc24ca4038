//! Writes markup. Every text that is not the page's own goes through [`escaped`].

use std::{borrow::Cow, fmt};

use d8_crds::values::text::shortened;
use jiff::Timestamp;

/// Most characters of one text from the cluster.
const MAX_TEXT: usize = 600;

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Adds markup as it is.
    pub(super) fn add(&mut self, markup: impl fmt::Display) {
        use fmt::Write as _;
        // Writing to a String does not fail.
        let _ = write!(self.0, "{markup}");
    }

    /// Adds the beginning of a section.
    pub(super) fn section(&mut self, id: &str, heading: &str, count: Option<usize>) {
        let count = count.map(|count| format!(" <span class=\"count\">{count}</span>")).unwrap_or_default();
        self.add(format_args!("<section id=\"{id}\">\n<h2>{}{count}</h2>\n", escaped(heading)));
    }

    /// Adds the head of a table.
    pub(super) fn table(&mut self, columns: &[&str]) {
        self.add("<div class=\"scroll\"><table>\n<thead><tr>");
        for column in columns {
            self.add(format_args!("<th>{}</th>", escaped(column)));
        }
        self.add("</tr></thead>\n<tbody>\n");
    }

    /// Adds a row. The cells are markup.
    pub(super) fn row<const N: usize>(&mut self, cells: [&dyn fmt::Display; N]) {
        self.add("<tr>");
        for cell in cells {
            self.add(format_args!("<td>{cell}</td>"));
        }
        self.add("</tr>\n");
    }

    /// Adds the end of a table.
    pub(super) fn end_table(&mut self) {
        self.add("</tbody></table></div>\n");
    }

    /// Adds that entries of a list are left out, if any are.
    pub(super) fn left_out(&mut self, count: usize, what: &str) {
        if count > 0 {
            let command = "d8 fleet status --wide";
            self.add(format_args!("<p class=\"more\">and {count} more {what}: <code>{command}</code></p>\n"));
        }
    }

    /// Adds the end of a section.
    pub(super) fn end_section(&mut self) {
        self.add("</section>\n");
    }

    /// Returns the number of bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the page.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A text as HTML.
pub(super) struct Escaped<'a>(Cow<'a, str>);

/// Returns a text as HTML: printable, without characters that have a meaning in markup, and bounded. A command in it is
/// kept as a whole or left out.
pub(super) fn escaped(text: &str) -> Escaped<'_> {
    Escaped(shortened(text, MAX_TEXT))
}

/// As [`escaped`]; nothing for a text that is absent.
pub(super) fn escaped_or_nothing(text: Option<&str>) -> Escaped<'_> {
    escaped(text.unwrap_or_default())
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &*self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// Returns a time for people: `2026-11-22 12:00 UTC`.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// As [`time`]; nothing for a time that is absent.
pub(super) fn time_or_nothing(at: Option<Timestamp>) -> String {
    at.map(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_markup() {
        for (text, expected) in [
            ("tool v1.0.0", "tool v1.0.0"),
            ("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"),
            ("\" onload=\"x", "&quot; onload=&quot;x"),
            ("&lt;", "&amp;lt;"),
            ("a\u{0}b\u{1b}[31m\u{202e}", "a\\0b\\u{1b}[31m\\u{202e}"),
        ] {
            assert_eq!(escaped(text).to_string(), expected);
        }
        let command = format!("{} `kubectl delete pod --all`", "x".repeat(MAX_TEXT - 20));
        assert!(!escaped(&command).to_string().contains("kubectl"), "no part of a command is shown");
        assert!(escaped(&"x".repeat(9_000)).to_string().chars().count() <= MAX_TEXT);
    }
}
