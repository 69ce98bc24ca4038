//! Evaluates versions by policies: reads JSON rows from stdin, one a line, and prints the verdict on each, to compare
//! it with other implementations of `docs/policies.md`. Skips blank lines. The result of an invalid line has the field
//! `error`.
//!
//! In: `component`, `version`, `active` (or null), `intent` (`A`, `U`, `X`, `R`), `now`, `confirmed` (when the API
//! server last confirmed the policies), `host` with `id`, `labels`, `platform` and `newRoot`, `person` with `user` and
//! `groups` (null: not known; absent: no person acts), `policies` (PluginPolicy objects), `release` (a CliRelease, or only the fields that matter; or null). The requirements of the version are met if the
//! record has `fit: Fits` or does not list the version; with `Unknown` the version is held. A d8 whose `active` is not
//! a version is a development build, which is older than every version.
//!
//! Out: `verdict`, `reasons` (sorted codes, each once), `until` (or null), `runAllowed` (whether the active version may
//! run).

pub(crate) mod support;

use std::{collections::BTreeSet, process::ExitCode};

use d8_crds::{
    decisions::{intent::Intent, requirements::Findings, verdict::Class},
    values::version::Version,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::support::case::CaseInput;

#[derive(Deserialize)]
pub(crate) struct Row {
    version: String,
    intent: IntentLetter,
    #[serde(flatten)]
    case: CaseInput,
}

#[derive(Clone, Copy, Deserialize)]
enum IntentLetter {
    A,
    U,
    X,
    R,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Output {
    verdict: Class,
    reasons: BTreeSet<&'static str>,
    until: Option<Timestamp>,
    run_allowed: bool,
}

impl support::Row for Row {
    type Output = Output;
    const EXPECTED: &'static str = "a row is a JSON object";

    fn evaluate(self) -> Result<Output, String> {
        let version = Version::parse(&self.version).map_err(|error| format!("version: {error}"))?;
        let case = self.case.parse()?;
        let policies = case.policies.for_host(case.host());
        let findings = case.findings(&version);
        let verdict = policies.evaluate(&case.candidate(&version, self.intent.into(), &findings));
        let run_allowed = match &case.active {
            Some(active) => {
                policies.run_allowed_for(&case.candidate(active, Intent::Repair, &Findings::default())).is_ok()
            }
            None => policies.denied(&case.component).is_none(),
        };
        Ok(Output {
            verdict: verdict.class(),
            reasons: verdict.reasons().iter().map(|reason| reason.code().as_str()).collect(),
            until: verdict.until(),
            run_allowed,
        })
    }
}

impl From<IntentLetter> for Intent {
    fn from(letter: IntentLetter) -> Self {
        match letter {
            IntentLetter::A => Self::Agent,
            IntentLetter::U => Self::Update,
            IntentLetter::X => Self::Explicit,
            IntentLetter::R => Self::Repair,
        }
    }
}

fn main() -> ExitCode {
    support::run::<Row>()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(input: &str) -> (String, Option<String>) {
        let mut output = Vec::new();
        let error = support::evaluate_lines::<Row>(input.as_bytes(), &mut output).err().map(|error| error.to_string());
        (String::from_utf8(output).unwrap(), error)
    }

    fn row(fields: &Value) -> String {
        let mut row = json!({
            "component": "stronghold", "version": "v1.3.3", "active": "v1.3.2", "intent": "A",
            "now": "2026-11-22T12:00:00Z", "confirmed": "2026-11-22T12:00:00Z",
            "host": {"id": "bastion-1", "labels": {"role": "bastion"}, "newRoot": false},
            "policies": [], "release": null,
        });
        row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        row.to_string()
    }

    fn policy(spec: &Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec})
    }

    fn release(fit: &str) -> Value {
        json!({"metadata": {"name": "stronghold"}, "spec": {}, "status": {
            "lastSyncTime": "2026-11-22T11:00:00Z",
            "versions": [{"version": "v1.3.3", "digest": "sha256:0", "firstSeen": "2026-11-22T00:00:00Z", "fit": fit}],
        }})
    }

    #[test]
    fn rows_are_evaluated_in_order() {
        let auto = |fields: Value| {
            let mut rule = json!({"plugins": ["stronghold"], "updates": "Auto"});
            rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            policy(&json!({"hostSelector": {}, "rules": [rule]}))
        };
        let contractors = policy(&json!({
            "hostSelector": {}, "subjects": {"groups": ["contractors"]}, "defaults": {"access": "Deny"},
        }));
        let denied = policy(&json!({"hostSelector": {}, "defaults": {"access": "Deny"}}));
        for (fields, expected) in [
            (json!({}), r#"{"verdict":"Held","reasons":["NotGoverned"],"until":null,"runAllowed":true}"#),
            (
                json!({"policies": [auto(json!({}))]}),
                r#"{"verdict":"Eligible","reasons":[],"until":null,"runAllowed":true}"#,
            ),
            (
                json!({"policies": [auto(json!({"minAge": "24h"}))], "release": release("Fits")}),
                r#"{"verdict":"Held","reasons":["Soaking"],"until":"2026-11-23T00:00:00Z","runAllowed":true}"#,
            ),
            (
                json!({"policies": [auto(json!({"minAge": "24h"}))], "release": release("Unfit")}),
                r#"{"verdict":"Unfit","reasons":["Soaking","Unfit"],"until":null,"runAllowed":true}"#,
            ),
            (
                json!({"intent": "U", "release": release("Unknown"), "confirmed": null}),
                r#"{"verdict":"Held","reasons":["RequirementsUnknown"],"until":null,"runAllowed":true}"#,
            ),
            (
                json!({"intent": "R", "policies": [denied, denied]}),
                r#"{"verdict":"Forbidden","reasons":["Denied"],"until":null,"runAllowed":false}"#,
            ),
            (
                json!({"intent": "X", "active": null, "policies": [denied]}),
                r#"{"verdict":"Forbidden","reasons":["Denied"],"until":null,"runAllowed":false}"#,
            ),
            (
                json!({"intent": "X", "policies": [auto(json!({"block": ["1.3.2"]}))]}),
                r#"{"verdict":"Eligible","reasons":[],"until":null,"runAllowed":false}"#,
            ),
            (
                json!({"component": "my_plugin", "policies": [
                    {"metadata": {"name": "p"}, "spec": {"hostSelector": {},
                     "rules": [{"plugins": ["my_plugin"], "access": "Deny"}]}}]}),
                r#"{"verdict":"Forbidden","reasons":["Denied"],"until":null,"runAllowed":false}"#,
            ),
            (
                json!({"intent": "U", "policies": [contractors.clone()]}),
                r#"{"verdict":"Eligible","reasons":[],"until":null,"runAllowed":true}"#,
            ),
            (
                json!({"intent": "U", "policies": [contractors.clone()], "person": null}),
                r#"{"verdict":"Forbidden","reasons":["Denied"],"until":null,"runAllowed":false}"#,
            ),
            (
                json!({"intent": "U", "policies": [contractors.clone()], "person": {"user": "cleo", "groups": ["contractors"]}}),
                r#"{"verdict":"Forbidden","reasons":["Denied"],"until":null,"runAllowed":false}"#,
            ),
            (
                json!({"intent": "U", "policies": [contractors.clone()], "person": {"user": "cleo"}}),
                r#"{"verdict":"Eligible","reasons":[],"until":null,"runAllowed":true}"#,
            ),
            (
                json!({"component": "d8", "intent": "U", "policies": [{"spec": {"cli": {"updates": "Never"}}}, denied]}),
                r#"{"verdict":"Eligible","reasons":[],"until":null,"runAllowed":true}"#,
            ),
        ] {
            assert_eq!(run(&row(&fields)), (format!("{expected}\n"), None), "{fields}");
        }
    }

    #[test]
    fn records_with_missing_fields() {
        let open = json!([{"metadata": {"name": "p"}, "spec": {"hostSelector": {}, "rules": null, "paused": null},
            "status": {"conditions": [{"type": "Accepted", "status": "True"}]}}]);
        for (fields, expected) in [
            (json!({"release": null}), ("Eligible", json!([]))),
            (json!({"release": {}}), ("Eligible", json!([]))),
            (
                json!({"release": {"status": {"versions": [{"version": "v1.3.3"}]}}}),
                ("Held", json!(["RequirementsUnknown"])),
            ),
            (
                json!({"release": {"status": {"versions": [{"version": "v1.3.3", "fit": "Fits", "moved": {}}],
                    "conditions": [{"type": "Ready", "status": "True"}]}}}),
                ("Held", json!(["TagMoved"])),
            ),
            (json!({"id": 7, "release": null}), ("Eligible", json!([]))),
        ] {
            let mut fields = fields;
            fields["policies"] = open.clone();
            fields["intent"] = json!("U");
            let (output, error) = run(&row(&fields));
            let result: Value = serde_json::from_str(&output).unwrap();
            assert_eq!(
                (&result["verdict"], &result["reasons"]),
                (&json!(expected.0), &expected.1),
                "{fields} {error:?}"
            );
        }
        let dev = json!({"component": "d8", "active": "dev", "intent": "U", "policies": open});
        assert_eq!(run(&row(&dev)).1, None);
    }

    #[test]
    fn an_invalid_row_has_an_error() {
        let valid = row(&json!({}));
        for (invalid, start) in [
            (row(&json!({"intent": "B"})), "line 3, column"),
            (row(&json!({"now": "yesterday"})), "line 3, column"),
            (row(&json!({"policies": ["p"]})), "line 3, column"),
            (row(&json!({"release": {"spec": 1}})), "line 3, column"),
            (row(&json!({"version": "one"})), "line 3: version: `one` is not a version"),
            (row(&json!({"active": ""})), "line 3: active: `` is not a version"),
            (row(&json!({"component": "../x"})), "line 3: component: plugin name \"../x\" is not valid"),
            ("{\"component\":".to_owned(), "line 3, column 13: EOF while parsing a value"),
            ("[]".to_owned(), "line 3: a row is a JSON object"),
        ] {
            let (output, error) = run(&format!("{valid}\n\n{invalid}\n{valid}\n"));
            let error = error.unwrap_or_default();
            assert!(error.starts_with(start), "{invalid}: {error}");
            let lines: Vec<&str> = output.lines().collect();
            assert_eq!((lines.len(), lines[0]), (3, lines[2]), "the other rows are evaluated: {output}");
            let result: Value = serde_json::from_str(lines[1]).unwrap();
            assert_eq!(result, json!({"error": error}), "{invalid}");
        }
    }
}
