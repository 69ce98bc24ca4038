//! The loop that both examples share: reads JSON rows from stdin, one a line, and prints a result for each.

#[allow(dead_code, reason = "the example of constraints has no policies")]
pub(crate) mod case;

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use d8_crds::values::text::printable;
use serde::{Serialize, de::DeserializeOwned};

/// A row of the input.
pub(crate) trait Row: DeserializeOwned {
    /// The result of a row.
    type Output: Serialize;
    /// Description of a row for error messages.
    const EXPECTED: &'static str;

    /// Evaluates the row. An error says why the row has no result.
    fn evaluate(self) -> Result<Self::Output, String>;
}

/// Evaluates the rows of stdin.
pub(crate) fn run<R: Row>() -> ExitCode {
    match evaluate_lines::<R>(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed it, for example `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Evaluates rows line by line and skips blank lines. The result of an invalid line has the field `error`.
///
/// # Errors
/// The first invalid line, after all lines are evaluated.
pub(crate) fn evaluate_lines<R: Row>(mut input: impl BufRead, output: impl Write) -> io::Result<()> {
    let mut output = io::BufWriter::new(output);
    let mut line = Vec::new();
    let mut first_error = None;
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse::<R>(line.trim_ascii_end()).and_then(|row| row.evaluate().map_err(|why| format!(": {why}"))) {
            Ok(result) => serde_json::to_writer(&mut output, &result)?,
            Err(why) => {
                let error = format!("line {number}{why}");
                serde_json::to_writer(&mut output, &InvalidRow { error: &error })?;
                first_error.get_or_insert(error);
            }
        }
        output.write_all(b"\n")?;
    }
    output.flush()?;
    first_error.map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The result of an invalid row.
#[derive(Serialize)]
struct InvalidRow<'a> {
    error: &'a str,
}

fn parse<R: Row>(line: &[u8]) -> Result<R, String> {
    // Serde also accepts a list of the fields.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(format!(": {}", R::EXPECTED));
    }
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // The line number in the error counts from the start of this line.
        let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
        format!(", column {}: {cause}", error.column())
    })
}
