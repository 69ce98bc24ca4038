//! Writes to stdout and stderr. Results and the line that reports a change go to stdout, everything else to stderr.
//! Control characters in text from outside are escaped.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use clap::ValueEnum;
use d8_crds::values::text::printable;
use serde::Serialize;

use super::{
    failure::{Code, Failure},
    table::Table,
};

/// Format of a command's result: text for people, a document, or names only. The variants have no doc comments, because
/// these would be printed in every help text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    #[default]
    Table,
    Json,
    Yaml,
    Name,
}

/// Prints what `--quiet` suppresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// `--quiet`: no notes and no progress.
    pub(crate) quiet: bool,
}

impl Printer {
    /// Prints a note to stderr, on one line.
    pub(crate) fn note(self, text: impl fmt::Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", printable(&text.to_string()));
        }
    }

    /// Returns whether to draw progress bars: on a terminal only.
    pub(crate) fn shows_progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// Prints a result to stdout, on one line.
pub(crate) fn print(text: impl fmt::Display) {
    // A closed pipe (`| head`) is not a failure of the command.
    let _ = writeln!(io::stdout().lock(), "{}", printable(&text.to_string()));
}

/// Prints a table to stdout.
pub(crate) fn print_table(table: &Table) {
    let _ = writeln!(io::stdout().lock(), "{table}");
}

/// Prints a warning to stderr, even with `--quiet`.
pub(crate) fn warn(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "warning: {}", printable(&text.to_string()));
}

/// Asks for confirmation; `None` if stdin is not a terminal. Ctrl-C ends the wait.
pub(crate) async fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr(), "{} [y/N] ", printable(question));
    // On a thread of its own, so that a blocked read does not delay signals.
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        answer
    });
    let answer = read.await.unwrap_or_default();
    Some(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints `document` in `format`: `names` one per line for `name`, or calls `print_text` for `table`.
///
/// # Errors
/// The document cannot be written: exit 1.
pub(crate) fn print_document<T: Serialize>(
    format: OutputFormat,
    document: &T,
    names: impl IntoIterator<Item = impl fmt::Display>,
    print_text: impl FnOnce(&T),
) -> Result<(), Failure> {
    let text = match format {
        OutputFormat::Table => {
            print_text(document);
            return Ok(());
        }
        OutputFormat::Json => serde_json::to_string_pretty(document).map_err(|e| write_failure(&e))?,
        OutputFormat::Yaml => serde_saphyr::to_string(document).map_err(|e| write_failure(&e))?,
        OutputFormat::Name => names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join("\n"),
    };
    let mut out = io::stdout().lock();
    let written = if text.is_empty() { Ok(()) } else { writeln!(out, "{}", text.trim_end()) };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(write_failure(&error)),
        _ => Ok(()),
    }
}

fn write_failure(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Failed, "failed to write the result").caused_by(error)
}
