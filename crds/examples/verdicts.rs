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

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use d8_crds::{
    decisions::{
        intent::Intent,
        requirements::{Findings, Unchecked, Unmet},
        verdict::{Candidate, Class, Host, Person, PolicySet, UserInfo},
    },
    records::release::{CliRelease, Fit},
    values::{name::Component, platform::Platform, version::Version},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
pub(crate) struct Row {
    component: String,
    version: String,
    #[serde(default)]
    active: Option<String>,
    intent: IntentLetter,
    now: Timestamp,
    #[serde(default)]
    confirmed: Option<Timestamp>,
    host: HostInput,
    #[serde(default)]
    person: PersonInput,
    policies: Vec<Map<String, Value>>,
    #[serde(default, deserialize_with = "record")]
    release: Option<CliRelease>,
}

/// Reads a record. Only its status matters here.
fn record<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<CliRelease>, D::Error> {
    let Some(mut object) = Option::<Map<String, Value>>::deserialize(deserializer)? else { return Ok(None) };
    complete(&mut object);
    serde_json::from_value(Value::Object(object)).map(Some).map_err(serde::de::Error::custom)
}

/// Adds fields that the kind requires and the verdict does not use.
fn complete(object: &mut Map<String, Value>) {
    const BEGINNING: &str = "1970-01-01T00:00:00Z";
    let or_else = |object: &mut Map<String, Value>, field: &str, value: Value| {
        let entry = object.entry(field).or_insert(Value::Null);
        if entry.is_null() {
            *entry = value;
        }
    };
    for field in ["metadata", "spec"] {
        or_else(object, field, json!({}));
    }
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else { return };
    for condition in objects(status.get_mut("conditions")) {
        or_else(condition, "lastTransitionTime", json!(BEGINNING));
    }
    for version in objects(status.get_mut("versions")) {
        // Whether the requirements are met is unknown.
        or_else(version, "fit", json!("Unknown"));
        or_else(version, "digest", json!(""));
        if let Some(moved) = version.get_mut("moved").and_then(Value::as_object_mut) {
            or_else(moved, "from", json!(""));
            or_else(moved, "at", json!(BEGINNING));
        }
        if let Some(withdrawn) = version.get_mut("withdrawn").filter(|withdrawn| withdrawn.is_boolean()) {
            *withdrawn = if *withdrawn == true { json!(BEGINNING) } else { Value::Null };
        }
        for artifact in objects(version.get_mut("artifacts")) {
            or_else(artifact, "manifest", json!(""));
            or_else(artifact, "layer", json!(""));
            or_else(artifact, "sizeBytes", json!(0));
        }
    }
}

/// Returns the objects of a list; none if it is not a list.
fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    list.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[derive(Clone, Copy, Deserialize)]
enum IntentLetter {
    A,
    U,
    X,
    R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostInput {
    id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Absent: linux-amd64.
    #[serde(default)]
    platform: Option<String>,
    #[serde(default)]
    new_root: bool,
}

/// Who acts.
#[derive(Default, Deserialize)]
#[serde(from = "Option<User>")]
enum PersonInput {
    #[default]
    Nobody,
    Unknown,
    Known(UserInfo),
}

#[derive(Deserialize)]
struct User {
    user: String,
    #[serde(default)]
    groups: BTreeSet<String>,
}

impl From<Option<User>> for PersonInput {
    fn from(user: Option<User>) -> Self {
        match user {
            None => Self::Unknown,
            Some(User { user, groups }) => Self::Known(UserInfo { username: user, groups }),
        }
    }
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
        let component: Component = self.component.parse().map_err(|error| format!("component: {error}"))?;
        let version = Version::parse(&self.version).map_err(|error| format!("version: {error}"))?;
        let active = match self.active.as_deref().map(Version::parse).transpose() {
            Err(_) if component == Component::D8 => None,
            active => active.map_err(|error| format!("active: {error}"))?,
        };
        let policies: Vec<Value> = self.policies.into_iter().map(Value::Object).collect();
        let set = PolicySet::from_json(&policies);
        let person = match &self.person {
            PersonInput::Nobody => Person::Nobody,
            PersonInput::Unknown => Person::Unknown,
            PersonInput::Known(user) => Person::Known(user),
        };
        let HostInput { id, labels, platform, new_root } = &self.host;
        let platform: Platform =
            platform.as_deref().unwrap_or("linux-amd64").parse().map_err(|error| format!("host.platform: {error}"))?;
        let host = Host { id, labels, platform: Some(&platform), new_root: *new_root, person };

        let findings = findings(self.release.as_ref(), &version);
        let case = Candidate::new(host, &component, &version, self.intent.into(), self.now)
            .confirmed(self.confirmed)
            .active(active.as_ref())
            .release(self.release.as_ref())
            .unmet(&findings.unmet)
            .unchecked(&findings.unchecked);
        let policies = set.for_host(host);
        let verdict = policies.evaluate(&case);
        let run_allowed = match &active {
            Some(active) => {
                let active = Candidate::new(host, &component, active, Intent::Repair, self.now);
                policies.run_allowed_for(&active.release(self.release.as_ref())).is_ok()
            }
            None => policies.denied(&component).is_none(),
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

/// Returns the findings of the record about the version's requirements. Without a record they are met.
fn findings(release: Option<&CliRelease>, version: &Version) -> Findings {
    let Some(recorded) = release.and_then(|release| release.recorded(version)) else { return Findings::default() };
    match recorded.fit {
        Fit::Fits => Findings::default(),
        Fit::Unfit => Findings { unmet: Unmet::recorded(&recorded.reasons), ..Findings::default() },
        Fit::Unknown => Findings { unchecked: Unchecked::recorded(&recorded.reasons), ..Findings::default() },
    }
}

fn main() -> ExitCode {
    support::run::<Row>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
