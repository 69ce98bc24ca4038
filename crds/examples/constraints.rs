//! Evaluates constraints: reads JSON rows `{"constraint": …, "version": …}` from stdin, one a line, and prints
//! each of them with `valid` (the constraint is valid), `versionValid` (the version is valid) and, if both are
//! valid, `match`. Skips blank lines. The result of an invalid line has the field `error`.

mod support;

use std::process::ExitCode;

use d8_crds::values::{constraint::Constraint, version::Version};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Row {
    constraint: String,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    constraint: String,
    version: String,
    valid: bool,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matches: Option<bool>,
    version_valid: bool,
}

impl support::Row for Row {
    type Output = Output;
    const EXPECTED: &'static str = "a row is a JSON object with `constraint` and `version`";

    fn evaluate(self) -> Result<Output, String> {
        let Self { constraint, version } = self;
        let parsed = (Constraint::parse(&constraint).ok(), Version::parse(&version).ok());
        let matches = match &parsed {
            (Some(constraint), Some(version)) => Some(constraint.matches(version)),
            _ => None,
        };
        Ok(Output { constraint, version, valid: parsed.0.is_some(), matches, version_valid: parsed.1.is_some() })
    }
}

fn main() -> ExitCode {
    support::run::<Row>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &[u8]) -> (String, Option<String>) {
        let mut output = Vec::new();
        let error = support::evaluate_lines::<Row>(input, &mut output).err().map(|error| error.to_string());
        (String::from_utf8(output).unwrap(), error)
    }

    #[test]
    fn rows_are_evaluated_in_order() {
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
    fn an_invalid_row_has_an_error() {
        let valid = "{\"constraint\":\"1\",\"version\":\"1\"}\n";
        for (invalid, error) in [
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
            let (output, message) = run(&[valid.as_bytes(), b"\n", invalid, b"\n", valid.as_bytes()].concat());
            let message = message.unwrap_or_default();
            assert!(message.starts_with(error), "{message}");
            assert_eq!(output.lines().count(), 3, "the other rows are evaluated: {output}");
        }
    }
}
