//! Judges versions by policies: reads JSON questions from stdin, one a line, and prints an answer each,
//! for comparing with other readings of `docs/policies.md`. Blank lines are skipped. A line that is no
//! such question is an error that names it.
//!
//! In: `component`, `version`, `active` (or null), `intent` (`A`, `U`, `X`, `R`), `now`, `confirmed` (when
//! the policies were last confirmed), `host` with `id`, `labels` and `newRoot`, `policies` (PluginPolicy
//! objects), `release` (a CliRelease, its `spec` left out or not; or null). The version's requirements count as met where the record
//! says `fit: Fits`, and where there is no record of it.
//!
//! Out: `verdict`, `reasons` (the names, sorted, each once), `until` (or null), `runAllowed` (may the
//! active version run).

pub(crate) mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use d8_crds::{
    name::Component,
    release::{CliRelease, Fit},
    verdict::{Case, Class, Host, Intent, PolicySet},
    version::Version,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    component: String,
    version: String,
    #[serde(default)]
    active: Option<String>,
    intent: Letter,
    now: Timestamp,
    #[serde(default)]
    confirmed: Option<Timestamp>,
    host: Asked,
    policies: Vec<Map<String, Value>>,
    #[serde(default, deserialize_with = "record")]
    release: Option<CliRelease>,
}

/// A record, of which only the status matters here.
fn record<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<CliRelease>, D::Error> {
    let Some(mut object) = Option::<Map<String, Value>>::deserialize(deserializer)? else { return Ok(None) };
    object.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    serde_json::from_value(Value::Object(object)).map(Some).map_err(serde::de::Error::custom)
}

#[derive(Clone, Copy, Deserialize)]
enum Letter {
    A,
    U,
    X,
    R,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    new_root: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    verdict: Class,
    reasons: BTreeSet<&'static str>,
    until: Option<Timestamp>,
    run_allowed: bool,
}

impl support::Question for Question {
    type Answer = Answer;
    const IS: &'static str = "a question is a JSON object";

    fn answer(self) -> Result<Answer, String> {
        let component: Component = self.component.parse().map_err(|error| format!("component: {error}"))?;
        let version = Version::parse(&self.version).map_err(|error| format!("version: {error}"))?;
        let active = self.active.as_deref().map(Version::parse).transpose();
        let active = active.map_err(|error| format!("active: {error}"))?;
        let policies: Vec<Value> = self.policies.into_iter().map(Value::Object).collect();
        let set = PolicySet::from_json(&policies);
        let host = Host { id: &self.host.id, labels: &self.host.labels, new_root: self.host.new_root };

        let unmet = unmet(self.release.as_ref(), &version);
        let case = Case::new(host, &component, &version, self.intent.into(), self.now)
            .confirmed(self.confirmed)
            .active(active.as_ref())
            .release(self.release.as_ref())
            .unmet(&unmet);
        let judgement = set.judge(&case);
        let run_allowed = match &active {
            Some(active) => set.run_allowed(&host, &component, active).is_ok(),
            None => set.denied(&host, &component).is_none(),
        };
        Ok(Answer {
            verdict: judgement.class(),
            reasons: judgement.reasons().iter().map(|reason| reason.code.as_str()).collect(),
            until: judgement.until(),
            run_allowed,
        })
    }
}

impl From<Letter> for Intent {
    fn from(letter: Letter) -> Self {
        match letter {
            Letter::A => Self::Agent,
            Letter::U => Self::Update,
            Letter::X => Self::Explicit,
            Letter::R => Self::Repair,
        }
    }
}

/// What the record says against the version; a sentence at least, unless it fits.
fn unmet(release: Option<&CliRelease>, version: &Version) -> Vec<String> {
    match release.and_then(|release| release.recorded(version)) {
        None => Vec::new(),
        Some(recorded) if recorded.fit == Fit::Fits => Vec::new(),
        Some(recorded) if recorded.reasons.is_empty() => {
            vec!["has requirements that are not known to be met".to_owned()]
        }
        Some(recorded) => recorded.reasons.clone(),
    }
}

fn main() -> ExitCode {
    support::run::<Question>()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(input: &str) -> (String, Option<String>) {
        let mut output = Vec::new();
        let error = support::judge::<Question>(input.as_bytes(), &mut output).err().map(|error| error.to_string());
        (String::from_utf8(output).unwrap(), error)
    }

    fn question(fields: &Value) -> String {
        let mut question = json!({
            "component": "stronghold", "version": "v1.3.3", "active": "v1.3.2", "intent": "A",
            "now": "2026-11-22T12:00:00Z", "confirmed": "2026-11-22T12:00:00Z",
            "host": {"id": "bastion-1", "labels": {"role": "bastion"}, "newRoot": false},
            "policies": [], "release": null,
        });
        question.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        question.to_string()
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
    fn questions_are_answered_in_order() {
        let auto = |fields: Value| {
            let mut rule = json!({"plugins": ["stronghold"], "updates": "Auto"});
            rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            policy(&json!({"hostSelector": {}, "rules": [rule]}))
        };
        let denied = policy(&json!({"hostSelector": {}, "defaults": {"access": "Deny"}}));
        for (fields, answer) in [
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
                r#"{"verdict":"Unfit","reasons":["Unfit"],"until":null,"runAllowed":true}"#,
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
                json!({"component": "d8", "intent": "U", "policies": [{"spec": {"cli": {"updates": "Never"}}}, denied]}),
                r#"{"verdict":"Eligible","reasons":[],"until":null,"runAllowed":true}"#,
            ),
        ] {
            assert_eq!(run(&question(&fields)), (format!("{answer}\n"), None), "{fields}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = question(&json!({}));
        for (bad, error) in [
            (question(&json!({"intent": "B"})), "line 3, column"),
            (question(&json!({"intents": "A"})), "line 3, column"),
            (question(&json!({"now": "yesterday"})), "line 3, column"),
            (question(&json!({"host": {"id": "x", "name": "y"}})), "line 3, column"),
            (question(&json!({"policies": ["p"]})), "line 3, column"),
            (question(&json!({"release": {"spec": 1}})), "line 3, column"),
            (question(&json!({"version": "one"})), "line 3: version: `one` is not a version"),
            (question(&json!({"active": ""})), "line 3: active: `` is not a version"),
            (question(&json!({"component": "../x"})), "line 3: component: plugin name \"../x\" is not valid"),
            ("{\"component\":".to_owned(), "line 3, column 13: EOF while parsing a value"),
            ("[]".to_owned(), "line 3: a question is a JSON object"),
        ] {
            let (output, said) = run(&format!("{good}\n\n{bad}\n{good}\n"));
            let said = said.unwrap_or_default();
            assert!(said.starts_with(error), "{bad}: {said}");
            assert_eq!(output.lines().count(), 1, "what came before is answered");
        }
    }
}
