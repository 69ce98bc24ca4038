//! Judges constraints: reads JSON rows `{"constraint": …, "version": …}` from stdin, one a line, and
//! prints each with `valid` (the constraint parses), `versionValid` (the version parses) and, where
//! both do, `match`. Blank lines are skipped. A line that is no such row is an error that names it.

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use d8_crds::{constraint::Constraint, text::printable, version::Version};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Question {
    constraint: String,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    constraint: String,
    version: String,
    valid: bool,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matches: Option<bool>,
    version_valid: bool,
}

impl From<Question> for Answer {
    fn from(Question { constraint, version }: Question) -> Self {
        let parsed = (Constraint::parse(&constraint).ok(), Version::parse(&version).ok());
        let matches = match &parsed {
            (Some(constraint), Some(version)) => Some(constraint.matches(version)),
            _ => None,
        };
        Self { constraint, version, valid: parsed.0.is_some(), matches, version_valid: parsed.1.is_some() }
    }
}

fn main() -> ExitCode {
    match judge(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn judge(mut input: impl BufRead, output: impl Write) -> io::Result<()> {
    let mut output = io::BufWriter::new(output);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let question: Question = match serde_json::from_slice(&line) {
            Ok(question) => question,
            Err(error) => {
                output.flush()?;
                let text = error.to_string();
                // Its own position counts from the start of this line.
                let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
                let place = format!("line {number}, column {}: {cause}", error.column());
                return Err(io::Error::new(io::ErrorKind::InvalidData, place));
            }
        };
        serde_json::to_writer(&mut output, &Answer::from(question))?;
        output.write_all(b"\n")?;
    }
    output.flush()
}
