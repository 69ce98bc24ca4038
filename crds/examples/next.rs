//! Finds what hosts take next by policies: reads JSON rows from stdin, one a line, and prints the next version and when,
//! to compare it with other implementations of rule 23 of `docs/policies.md`. Skips blank lines. The result of an invalid
//! line has the field `error`.
//!
//! In: the fields of a row of example `verdicts` except `version` and `intent`, and `candidates`, a list of versions.
//!
//! Out: `version` (as written in `candidates`) and `at`; or null.

pub(crate) mod support;

use std::process::ExitCode;

use d8_crds::{
    decisions::{intent::Intent, requirements::Findings},
    values::version::Version,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::support::case::CaseInput;

#[derive(Deserialize)]
pub(crate) struct Row {
    candidates: Vec<String>,
    #[serde(flatten)]
    case: CaseInput,
}

#[derive(Serialize)]
pub(crate) struct Next {
    version: String,
    at: Timestamp,
}

impl support::Row for Row {
    type Output = Option<Next>;
    const EXPECTED: &'static str = "a row is a JSON object";

    fn evaluate(self) -> Result<Option<Next>, String> {
        let case = self.case.parse()?;
        let parse = |text: &String| Version::parse(text).map_err(|error| format!("candidates: {error}"));
        let versions: Vec<Version> = self.candidates.iter().map(parse).collect::<Result<_, _>>()?;
        let findings: Vec<Findings> = versions.iter().map(|version| case.findings(version)).collect();
        let both = versions.iter().zip(&findings);
        let candidates: Vec<_> =
            both.map(|(version, findings)| case.candidate(version, Intent::Agent, findings)).collect();
        let next = case.policies.for_host(case.host()).next(&candidates);
        let as_written = |version: &Version| {
            let found = versions.iter().zip(&self.candidates).find(|(parsed, _)| *parsed == version);
            found.map_or_else(|| version.to_string(), |(_, text)| text.clone())
        };
        Ok(next.map(|next| Next { version: as_written(&next.version), at: next.at }))
    }
}

fn main() -> ExitCode {
    support::run::<Row>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_evaluated() {
        let row = |rule: &serde_json::Value, candidates: &[&str]| {
            let spec = json!({"hostSelector": {}, "defaults": {"updates": "Auto"}, "rules": [rule]});
            let versions = ["v1.3.3", "v1.4.0"].map(|version| {
                json!({"version": version, "digest": "sha256:0", "firstSeen": "2026-11-22T00:00:00Z", "fit": "Fits"})
            });
            json!({
                "component": "stronghold", "active": "v1.3.2", "candidates": candidates, "now": "2026-11-22T12:00:00Z",
                "confirmed": "2026-11-22T12:00:00Z", "host": {"id": "bastion-1"},
                "policies": [{"metadata": {"name": "p"}, "spec": spec}],
                "release": {"status": {"lastSyncTime": "2026-11-22T11:00:00Z", "versions": versions}},
            })
            .to_string()
        };
        let soak = json!({"plugins": ["stronghold"], "minAge": "24h", "expedite": ["v1.3.3"]});
        let denied = json!({"plugins": ["stronghold"], "access": "Deny"});
        for (input, expected) in [
            (row(&soak, &["v1.3.3", "v1.4.0"]), "{\"version\":\"v1.3.3\",\"at\":\"2026-11-22T12:00:00Z\"}"),
            (row(&soak, &["1.4.0"]), "{\"version\":\"1.4.0\",\"at\":\"2026-11-23T00:00:00Z\"}"),
            (row(&soak, &["v1.3.1", "v1.3.2"]), "null"),
            (row(&soak, &[]), "null"),
            (row(&denied, &["v1.4.0"]), "null"),
            (row(&soak, &["one"]), "{\"error\":\"line 1: candidates: `one` is not a version"),
        ] {
            let mut output = Vec::new();
            let _ = support::evaluate_lines::<Row>(input.as_bytes(), &mut output);
            let output = String::from_utf8(output).unwrap();
            assert!(output.trim_end().starts_with(expected), "{input}: {output}");
        }
    }
}
