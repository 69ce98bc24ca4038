//! The examples of `docs/policies.md`.
//!
//! The second word of a fenced block is its kind:
//! - `yaml record`: the record for all examples.
//! - `yaml policy`: a policy. It applies up to the next heading, or up to the first policy after a list of
//!   candidates.
//! - `yaml expected`: a list of candidates with the expected result of each: `verdict`, `reasons` (their codes,
//!   sorted), `why` (their messages), `notes`, `until`, `runs` (whether the active version may run). `person` is
//!   who acts: a user, or `unknown`.
//! - `yaml conflicts`: the conflicts between the policies, in words.
//!
//! A block `json` is the example of "Reasons as JSON". Blocks `yaml base`, `yaml recipe` and `console` belong to the
//! cookbook, which a test in `tests/tests/e2e` runs on a cluster.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        intent::Intent,
        verdict::{Candidate, Host, Person, PolicySet, Reason, ReasonCode, UserInfo},
    },
    records::release::CliRelease,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::PAGE;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    #[serde(default = "default_component")]
    component: String,
    version: String,
    active: Option<String>,
    intent: char,
    /// Who acts; absent: nobody.
    person: Option<PersonInput>,
    #[serde(default = "default_now")]
    now: String,
    confirmed: Option<String>,
    verdict: String,
    #[serde(default)]
    reasons: Vec<String>,
    why: Option<Vec<String>>,
    #[serde(default)]
    notes: Vec<String>,
    until: Option<String>,
    #[serde(default = "default_runs")]
    runs: bool,
}

/// Who acts: a user, or somebody who is not known.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PersonInput {
    Known(UserInfo),
    Unknown(Unknown),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Unknown {
    Unknown,
}

fn default_component() -> String {
    "stronghold".to_owned()
}

fn default_now() -> String {
    "2026-11-22T12:00:00Z".to_owned()
}

fn default_runs() -> bool {
    true
}

#[derive(Default)]
struct ExampleRunner {
    record: Option<CliRelease>,
    policies: Vec<Value>,
    /// Whether the next policy starts a new list of policies.
    list_is_complete: bool,
    count: usize,
    differences: Vec<String>,
}

impl ExampleRunner {
    fn block(&mut self, kind: &str, text: &str) {
        match kind {
            "json" | "console" | "base" | "recipe" => {}
            "record" => self.record = Some(serde_saphyr::from_str(text).expect("a record")),
            "policy" => {
                if std::mem::take(&mut self.list_is_complete) {
                    self.policies.clear();
                }
                self.policies.push(serde_saphyr::from_str(text).expect("a policy"));
            }
            "expected" => {
                let examples: Vec<Example> =
                    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                for example in examples {
                    self.check(&example);
                }
                self.list_is_complete = true;
            }
            "conflicts" => {
                let expected: Vec<String> = serde_saphyr::from_str(text).expect("a list of sentences");
                self.check_conflicts(&expected);
                self.list_is_complete = true;
            }
            other => panic!("a block has the unknown kind {other}"),
        }
    }

    fn check_conflicts(&mut self, expected: &[String]) {
        self.count += 1;
        let labels = labels();
        let set = PolicySet::from_json(&self.policies);
        let conflicts = set.for_host(host(&labels, Person::Nobody)).conflicts(|component| self.record_of(component));
        let found: Vec<_> = conflicts.iter().map(explain::policy_conflict).collect();
        if found != expected {
            self.differences.push(format!("conflicts:\n  {found:#?}\nare not\n  {expected:#?}"));
        }
    }

    fn record_of(&self, component: &Component) -> Option<&CliRelease> {
        self.record.as_ref().filter(|record| record.metadata.name.as_deref() == Some(component.name()))
    }

    fn check(&mut self, example: &Example) {
        self.count += 1;
        let component: Component = example.component.parse().expect("a component");
        let version = Version::parse(&example.version).expect("a version");
        let active = example.active.as_deref().map(|text| Version::parse(text).expect("a version"));
        let now: Timestamp = example.now.parse().expect("a time");
        let confirmed = example.confirmed.as_ref().map_or(now, |text| text.parse().expect("a time"));
        let intent = match example.intent {
            'A' => Intent::Agent,
            'U' => Intent::Update,
            'X' => Intent::Explicit,
            'R' => Intent::Repair,
            other => panic!("{other} is not an intent"),
        };
        let labels = labels();
        let person = match &example.person {
            None => Person::Nobody,
            Some(PersonInput::Unknown(Unknown::Unknown)) => Person::Unknown,
            Some(PersonInput::Known(user)) => Person::Known(user),
        };
        let host = host(&labels, person);
        let record = self.record_of(&component);
        let set = PolicySet::from_json(&self.policies);
        let case = Candidate::new(host, &component, &version, intent, now)
            .confirmed(Some(confirmed))
            .active(active.as_ref())
            .release(record);
        let policies = set.for_host(host);
        let verdict = policies.evaluate(&case);
        let messages = |reasons: &[Reason]| reasons.iter().map(explain::to_person).collect::<Vec<_>>();
        let mut codes: Vec<_> = verdict.reasons().iter().map(|reason| reason.code().as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        let found = json!({
            "verdict": format!("{:?}", verdict.class()), "reasons": codes, "why": messages(verdict.reasons()),
            "notes": messages(verdict.notes()), "until": verdict.until(),
            "runs": active.is_none_or(|active| policies.run_allowed(&component, &active).is_ok()),
        });
        // Fields that an example leaves out are not compared, except for reasons.
        let expected = json!({
            "verdict": example.verdict, "reasons": example.reasons,
            "why": example.why.as_ref().map_or(found["why"].clone(), |why| json!(why)),
            "notes": example.notes, "runs": example.runs,
            "until": example.until.as_ref().map_or(found["until"].clone(), |until| json!(until)),
        });
        if found != expected {
            self.differences
                .push(format!("{} {}:\n  {found}\nis not\n  {expected}", example.component, example.version));
        }
    }
}

/// Labels of the host of all examples.
fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("role".to_owned(), "bastion".to_owned())])
}

fn host<'a>(labels: &'a BTreeMap<String, String>, person: Person<'a>) -> Host<'a> {
    Host { person, ..Host::unattended("bastion-1", labels, None) }
}

#[test]
fn every_example_has_the_expected_result() {
    let mut runner = ExampleRunner::default();
    let mut block: Option<(String, String)> = None;
    for line in PAGE.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (Some(_), Some(_)) => {
                let (kind, text) = block.take().expect("it is there");
                runner.block(&kind, &text);
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, Some(info)) => {
                let kind = info.strip_prefix("yaml ").or(["json", "console"].contains(&info).then_some(info));
                let kind = kind.unwrap_or_else(|| panic!("a block has the unknown kind {info:?}"));
                block = Some((kind.to_owned(), String::new()));
            }
            (None, None) if line.starts_with('#') => runner.policies.clear(),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a block is not closed");
    assert!(runner.differences.is_empty(), "{}", runner.differences.join("\n\n"));
    assert!(runner.count > 30, "{} examples", runner.count);
}

#[test]
fn every_reason_is_listed_with_its_verdict() {
    for code in ReasonCode::ALL {
        let row = format!("| {code} | {:?} |", code.class());
        assert!(PAGE.contains(&row), "{row}");
    }
}

#[test]
fn every_field_is_described() {
    let crd = d8_crds::records::schema::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "PluginPolicy")
        .expect("the definition of PluginPolicy");
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("a schema");
    let mut fields = Vec::new();
    for (at, list) in [
        ("", false),
        ("subjects", false),
        ("rules", true),
        ("windows", true),
        ("blackouts", true),
        ("emergency", false),
        ("rollout", false),
        ("integrity", false),
    ] {
        let base = match (at, list) {
            ("", _) => "/openAPIV3Schema/properties/spec/properties".to_owned(),
            (at, true) => format!("/openAPIV3Schema/properties/spec/properties/{at}/items/properties"),
            (at, false) => format!("/openAPIV3Schema/properties/spec/properties/{at}/properties"),
        };
        let found = schema.pointer(&base).and_then(Value::as_object).expect("its properties");
        fields.extend(found.keys().cloned());
    }
    let missing: Vec<_> = fields.iter().filter(|field| !PAGE.contains(field.as_str())).collect();
    assert!(fields.len() > 25 && missing.is_empty(), "{missing:?} of {fields:?}");
}

/// Adds the rows of the page for the fields of a schema.
fn rows(schema: &Value, path: &str, rows: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let (item, path) = match field["type"].as_str() {
            Some("array") => (&field["items"], format!("{path}.{name}[]")),
            _ => (field, format!("{path}.{name}")),
        };
        let text = |schema: &Value| {
            schema["description"].as_str().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let meaning = text(field).or_else(|| text(item)).unwrap_or_default();
        rows.push(format!("| `{path}` | | {meaning} |"));
        if name != "conditions" {
            self::rows(item, &path, rows);
        }
    }
}

#[test]
fn every_field_of_records_is_described() {
    const RECORDS: &str = include_str!("../../../docs/records.md");
    // The page has a column with the type.
    let cells = |line: &str| -> Option<String> {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [field, _, meaning] = cells.try_into().ok()?;
        Some(format!("| {field} | | {meaning} |"))
    };
    let lines: Vec<String> = RECORDS.lines().filter_map(cells).collect();
    let mut expected = Vec::new();
    for crd in d8_crds::records::schema::crds() {
        if !["CliRelease", "CliHost"].contains(&crd.spec.names.kind.as_str()) {
            continue;
        }
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("a schema");
        for part in ["spec", "status"] {
            rows(&schema["openAPIV3Schema"]["properties"][part], part, &mut expected);
        }
    }
    let missing: Vec<_> = expected.iter().filter(|row| !lines.contains(row)).collect();
    assert!(expected.len() > 80 && missing.is_empty(), "{missing:#?}");
}
