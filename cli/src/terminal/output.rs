//! Writes to stdout and stderr. Results and the line that reports a change go to stdout, everything else to stderr.
//! Control characters in text from outside are escaped.
//!
//! The first failed write to stdout is kept until the command ends: [`finish`] reports it. A closed pipe (`| head`) is
//! not a failure.

use std::{
    fmt,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::ValueEnum;
use d8_crds::values::text::{printable_line, without_type_names};
use serde::Serialize;
use serde_json::json;

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
        let text = text.to_string();
        if !self.quiet && !print_as_json("info", &text) {
            let _ = writeln!(io::stderr().lock(), "{}", printable_line(&text));
        }
    }

    /// Returns whether to draw progress bars: on a terminal only.
    pub(crate) fn shows_progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// The first failed write to stdout.
static WRITE_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Keeps the failure of a write to stdout, unless the reader closed the pipe.
pub(crate) fn keep_failure(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = WRITE_ERROR.set(error);
        }
        _ => {}
    }
}

/// Writes bytes to stdout as they are.
pub(crate) fn print_raw(bytes: &[u8]) {
    keep_failure(io::stdout().lock().write_all(bytes));
}

/// Whether lines are JSON objects, for a service whose log a program reads.
static JSON: AtomicBool = AtomicBool::new(false);

/// Prints each line as a JSON object from now on, to stdout.
pub(crate) fn use_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Prints a line as a JSON object if that was asked for. Returns whether it did.
fn print_as_json(level: &str, text: &str) -> bool {
    let is_json = JSON.load(Ordering::Relaxed);
    if is_json {
        let time = format!("{:.3}", jiff::Timestamp::now());
        print_raw(format!("{}\n", json!({"time": time, "level": level, "message": text})).as_bytes());
    }
    is_json
}

/// Prints a result to stdout, on one line.
pub(crate) fn print(text: impl fmt::Display) {
    let text = text.to_string();
    if !print_as_json("info", &text) {
        print_raw(format!("{}\n", printable_line(&text)).as_bytes());
    }
}

/// Prints a table to stdout.
pub(crate) fn print_table(table: &Table) {
    print_raw(format!("{table}\n").as_bytes());
}

/// Writes what is buffered for stdout.
///
/// # Errors
/// This write or an earlier one failed: exit 1.
pub(crate) fn finish() -> Result<(), Failure> {
    keep_failure(io::stdout().lock().flush());
    match WRITE_ERROR.get() {
        None => Ok(()),
        Some(error) => Err(Failure::new(Code::Failed, "failed to write to stdout")
            .caused_by(error)
            .because("the command ran, but its output is incomplete")),
    }
}

/// Prints a warning to stderr, even with `--quiet`.
pub(crate) fn warn(text: impl fmt::Display) {
    let text = text.to_string();
    let text = without_type_names(&text);
    if !print_as_json("warning", &text) {
        let _ = writeln!(io::stderr().lock(), "warning: {}", printable_line(&text));
    }
}

/// Asks for confirmation; `None` if stdin is not a terminal. Ctrl-C ends the wait.
pub(crate) async fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr(), "{} [y/N] ", printable_line(question));
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
/// The document cannot be serialized: exit 1.
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
        OutputFormat::Json => serde_json::to_string_pretty(document).map_err(|e| serialize_failure(&e))?,
        OutputFormat::Yaml => serde_saphyr::to_string(document).map_err(|e| serialize_failure(&e))?,
        OutputFormat::Name => names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join("\n"),
    };
    if !text.is_empty() {
        print_raw(format!("{}\n", text.trim_end()).as_bytes());
    }
    Ok(())
}

fn serialize_failure(error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Failed, "failed to write the result as a document").caused_by(error)
}
