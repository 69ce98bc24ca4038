//! Judges constraints: reads JSON rows `{"constraint": …, "version": …}` from stdin, one a line, and
//! prints each with `valid` (the constraint parses), `versionValid` (the version parses) and, where
//! both do, `match`. Blank lines are skipped. A line that is no such row is answered by `error`.

mod support;

use std::process::ExitCode;

use d8_crds::values::{constraint::Constraint, version::Version};
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

impl support::Question for Question {
    type Answer = Answer;
    const IS: &'static str = "a row is a JSON object with `constraint` and `version`";

    fn answer(self) -> Result<Answer, String> {
        let Self { constraint, version } = self;
        let parsed = (Constraint::parse(&constraint).ok(), Version::parse(&version).ok());
        let matches = match &parsed {
            (Some(constraint), Some(version)) => Some(constraint.matches(version)),
            _ => None,
        };
        Ok(Answer { constraint, version, valid: parsed.0.is_some(), matches, version_valid: parsed.1.is_some() })
    }
}

fn main() -> ExitCode {
    support::run::<Question>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &[u8]) -> (String, Option<String>) {
        let mut output = Vec::new();
        let error = support::judge::<Question>(input, &mut output).err().map(|error| error.to_string());
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
            assert_eq!(output.lines().count(), 3, "the others are answered: {output}");
        }
    }
}
