//! Where words go: results and the line that ends a change to stdout, everything else to stderr.
//! Nothing from outside reaches a terminal with its control characters.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use d8_crds::values::text::printable;
use serde::Serialize;

use crate::{
    args::Format,
    failure::{Code, Failure},
};

/// Says things, as loudly as asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// `--quiet`: no notes, no progress.
    pub(crate) quiet: bool,
}

impl Out {
    /// A note, one line on stderr.
    pub(crate) fn note(self, text: impl fmt::Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", printable(&text.to_string()));
        }
    }

    /// Whether progress bars are wanted: only on a terminal.
    pub(crate) fn progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// A result, one line on stdout.
pub(crate) fn result(text: impl fmt::Display) {
    // A reader that went away (`| head`) is no failure of the command.
    let _ = writeln!(io::stdout().lock(), "{}", printable(&text.to_string()));
}

/// Something a person should know even with `--quiet`.
pub(crate) fn warn(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "warning: {}", printable(&text.to_string()));
}

/// Asks for a yes; `None`: there is no terminal to ask on. Ctrl-C ends the wait as it ends any other.
pub(crate) async fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr(), "{} [y/N] ", printable(question));
    // On a thread of its own: a read that nobody answers must not keep the signals from being seen.
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        answer
    });
    let answer = read.await.unwrap_or_default();
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints a document for a program to read.
///
/// # Errors
/// It cannot be written: exit 1.
pub(crate) fn document<T: Serialize>(format: Format, value: &T, names: &[String]) -> Result<(), Failure> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value).map_err(|e| unprintable(&e))?,
        Format::Yaml => serde_saphyr::to_string(value).map_err(|e| unprintable(&e))?,
        Format::Name => names.join("\n"),
    };
    let mut out = io::stdout().lock();
    let written = if text.is_empty() { Ok(()) } else { writeln!(out, "{}", text.trim_end()) };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unprintable(&error)),
        _ => Ok(()),
    }
}

fn unprintable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Failed, "the result cannot be printed").caused_by(error)
}

/// A table: columns as wide as their widest cell, two blanks between, none at the end of a line.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell).into_owned()).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|i| self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let cells: Vec<String> =
                    row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Prints a table to stdout.
pub(crate) fn table(table: &Table) {
    let _ = writeln!(io::stdout().lock(), "{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_trailing_blanks() {
        let mut table = Table::new(&["NAME", "VERSION", "DESCRIPTION"]);
        table.row(["stronghold", "v1.2.3", ""]);
        table.row(["a", "unknown", "x\u{1b}[31m"]);
        let text = table.to_string();
        assert!(!text.contains('\u{1b}'));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "NAME        VERSION  DESCRIPTION");
        assert_eq!(lines[1], "stronghold  v1.2.3");
    }
}
