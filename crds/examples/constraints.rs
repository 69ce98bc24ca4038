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
        let question = match read(line.trim_ascii_end()) {
            Ok(question) => question,
            Err(why) => {
                output.flush()?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {number}{why}")));
            }
        };
        serde_json::to_writer(&mut output, &Answer::from(question))?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

fn read(line: &[u8]) -> Result<Question, String> {
    // Serde would take a list of both texts, too.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(": a row is a JSON object with `constraint` and `version`".to_owned());
    }
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // Its own position counts from the start of this line.
        let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
        format!(", column {}: {cause}", error.column())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &[u8]) -> (String, Option<String>) {
        let mut output = Vec::new();
        let error = judge(input, &mut output).err().map(|error| error.to_string());
        (String::from_utf8(output).unwrap(), error)
    }

    #[test]
    fn rows_are_answered_in_order() {
        let input = r#"
{"constraint":">=1 <2","version":"v1.2.3"}
  	
{"version":"2.0.0","constraint":">=1 <2","valid":false,"match":true,"more":[1]}
{"constraint":"","version":"1.0.0-rc.1"}
{"constraint":" ","version":"1"}
{"constraint":"*","version":"one"}"#;
        let output = r#"{"constraint":">=1 <2","version":"v1.2.3","valid":true,"match":true,"versionValid":true}
{"constraint":">=1 <2","version":"2.0.0","valid":true,"match":false,"versionValid":true}
{"constraint":"","version":"1.0.0-rc.1","valid":true,"match":true,"versionValid":true}
{"constraint":" ","version":"1","valid":false,"versionValid":true}
{"constraint":"*","version":"one","valid":true,"versionValid":false}
"#;
        assert_eq!(run(input.as_bytes()), (output.to_owned(), None));
        assert_eq!(run(b""), (String::new(), None));
    }

    #[test]
    fn a_bad_row_is_named() {
        let good = "{\"constraint\":\"1\",\"version\":\"1\"}\n";
        for (bad, error) in [
            (
                &b"{\"constraint\":1,\"version\":\"1\"}"[..],
                "line 3, column 15: invalid type: integer `1`, expected a string",
            ),
            (b"{\"constraint\":\"1\"}", "line 3, column 18: missing field `version`"),
            (b"{\"constraint\":", "line 3, column 14: EOF while parsing a value"),
            (b"[\"1\",\"1\"]", "line 3: a row is a JSON object"),
            (b"{\"constraint\":\"\xff\",\"version\":\"1\"}", "line 3, column 16: invalid unicode code point"),
            (b"words", "line 3: a row is a JSON object"),
        ] {
            let (output, said) = run(&[good.as_bytes(), b"\n", bad, b"\n", good.as_bytes()].concat());
            let said = said.unwrap_or_default();
            assert!(said.starts_with(error), "{said}");
            assert_eq!(output.lines().count(), 1, "what came before is answered");
        }
    }
}
