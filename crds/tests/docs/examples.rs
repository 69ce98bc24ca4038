//! The examples of the page.
//!
//! The second word of a fenced block says what it is:
//! - `yaml record`: the record that every example is evaluated with.
//! - `yaml policy`: a policy. It applies up to the next heading, or up to the first policy after a list of
//!   expectations.
//! - `yaml asked`: a list of candidates with what is expected of each: `verdict`, `reasons` (their codes,
//!   sorted), `why` (their messages), `notes`, `until`, and `runs` (whether the active version may run).

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        intent::Intent,
        verdict::{Candidate, Host, PolicySet, Reason, ReasonCode},
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
struct Asked {
    #[serde(default = "stronghold")]
    component: String,
    version: String,
    active: Option<String>,
    by: char,
    #[serde(default = "now")]
    now: String,
    confirmed: Option<String>,
    verdict: String,
    #[serde(default)]
    reasons: Vec<String>,
    why: Option<Vec<String>>,
    #[serde(default)]
    notes: Vec<String>,
    until: Option<String>,
    #[serde(default = "yes")]
    runs: bool,
}

fn stronghold() -> String {
    "stronghold".to_owned()
}

fn now() -> String {
    "2026-11-22T12:00:00Z".to_owned()
}

fn yes() -> bool {
    true
}

#[derive(Default)]
struct Page {
    record: Option<CliRelease>,
    policies: Vec<Value>,
    /// The next policy begins a new example.
    answered: bool,
    asked: usize,
    wrong: Vec<String>,
}

impl Page {
    fn block(&mut self, kind: &str, text: &str) {
        match kind {
            "record" => self.record = Some(serde_saphyr::from_str(text).expect("a record")),
            "policy" => {
                if std::mem::take(&mut self.answered) {
                    self.policies.clear();
                }
                self.policies.push(serde_saphyr::from_str(text).expect("a policy"));
            }
            "asked" => {
                let asked: Vec<Asked> = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
                for asked in asked {
                    self.ask(&asked);
                }
                self.answered = true;
            }
            other => panic!("a block is marked {other}"),
        }
    }

    fn ask(&mut self, asked: &Asked) {
        self.asked += 1;
        let component: Component = asked.component.parse().expect("a component");
        let version = Version::parse(&asked.version).expect("a version");
        let active = asked.active.as_deref().map(|text| Version::parse(text).expect("a version"));
        let now: Timestamp = asked.now.parse().expect("a time");
        let confirmed = asked.confirmed.as_ref().map_or(now, |text| text.parse().expect("a time"));
        let intent = match asked.by {
            'A' => Intent::Agent,
            'U' => Intent::Update,
            'X' => Intent::Explicit,
            'R' => Intent::Repair,
            other => panic!("nobody is {other}"),
        };
        let labels = BTreeMap::from([("role".to_owned(), "bastion".to_owned())]);
        let host = Host { id: "bastion-1", labels: &labels, new_root: false };
        let record = self.record.as_ref().filter(|record| record.metadata.name.as_deref() == Some(component.name()));
        let set = PolicySet::from_json(&self.policies);
        let case = Candidate::new(host, &component, &version, intent, now)
            .confirmed(Some(confirmed))
            .active(active.as_ref())
            .release(record);
        let policies = set.for_host(host);
        let judgement = policies.evaluate(&case);
        let said = |reasons: &[Reason]| reasons.iter().map(explain::to_person).collect::<Vec<_>>();
        let mut codes: Vec<_> = judgement.reasons().iter().map(|reason| reason.code().as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        let found = json!({
            "verdict": format!("{:?}", judgement.class()), "reasons": codes, "why": said(judgement.reasons()),
            "notes": said(judgement.notes()), "until": judgement.until(),
            "runs": active.is_none_or(|active| policies.run_allowed(&component, &active).is_ok()),
        });
        // What an example leaves out is not compared, but for reasons.
        let expected = json!({
            "verdict": asked.verdict, "reasons": asked.reasons,
            "why": asked.why.as_ref().map_or(found["why"].clone(), |why| json!(why)),
            "notes": asked.notes, "runs": asked.runs,
            "until": asked.until.as_ref().map_or(found["until"].clone(), |until| json!(until)),
        });
        if found != expected {
            self.wrong.push(format!("{} {}:\n  {found}\nis not\n  {expected}", asked.component, asked.version));
        }
    }
}

#[test]
fn every_example_is_answered_as_written() {
    let mut page = Page::default();
    let mut block: Option<(String, String)> = None;
    for line in PAGE.lines() {
        match (&mut block, line.strip_prefix("```")) {
            (Some(_), Some(_)) => {
                let (kind, text) = block.take().expect("it is there");
                page.block(&kind, &text);
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, Some(info)) => {
                let kind = info.strip_prefix("yaml ").unwrap_or_else(|| panic!("a block is marked {info:?}"));
                block = Some((kind.to_owned(), String::new()));
            }
            (None, None) if line.starts_with('#') => page.policies.clear(),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a block has no end");
    assert!(page.wrong.is_empty(), "{}", page.wrong.join("\n\n"));
    assert!(page.asked > 30, "{} questions", page.asked);
}

#[test]
fn every_reason_is_listed_with_its_verdict() {
    for code in ReasonCode::ALL {
        let row = format!("| {code} | {:?} |", code.class());
        assert!(PAGE.contains(&row), "{row}");
    }
}

#[test]
fn every_field_has_its_words() {
    let crd = d8_crds::records::schema::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == "PluginPolicy")
        .expect("it is made");
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("a schema");
    let mut fields = Vec::new();
    for (at, list) in [("", false), ("rules", true), ("windows", true), ("rollout", false), ("integrity", false)] {
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
