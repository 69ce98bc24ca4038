//! The part of a row that both examples of policies read: a host, its policies and the record of one component.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        intent::Intent,
        requirements::{Findings, Unchecked, Unmet},
        verdict::{Candidate, Host, Person, PolicySet, UserInfo},
    },
    records::release::{CliRelease, Fit},
    values::{name::Component, platform::Platform, version::Version},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A row without the versions in question.
#[derive(Deserialize)]
pub(crate) struct CaseInput {
    component: String,
    #[serde(default)]
    active: Option<String>,
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

/// A case whose texts are parsed.
pub(crate) struct Case {
    pub(crate) component: Component,
    pub(crate) active: Option<Version>,
    pub(crate) policies: PolicySet,
    platform: Platform,
    input: CaseInput,
}

impl CaseInput {
    /// Parses the texts.
    pub(crate) fn parse(mut self) -> Result<Case, String> {
        let component: Component = self.component.parse().map_err(|error| format!("component: {error}"))?;
        let active = match self.active.as_deref().map(Version::parse).transpose() {
            Err(_) if component == Component::D8 => None,
            active => active.map_err(|error| format!("active: {error}"))?,
        };
        let policies: Vec<Value> = std::mem::take(&mut self.policies).into_iter().map(Value::Object).collect();
        let platform = self.host.platform.as_deref().unwrap_or("linux-amd64");
        let platform = platform.parse().map_err(|error| format!("host.platform: {error}"))?;
        Ok(Case { component, active, policies: PolicySet::from_json(&policies), platform, input: self })
    }
}

impl Case {
    pub(crate) fn host(&self) -> Host<'_> {
        let person = match &self.input.person {
            PersonInput::Nobody => Person::Nobody,
            PersonInput::Unknown => Person::Unknown,
            PersonInput::Known(user) => Person::Known(user),
        };
        let HostInput { id, labels, new_root, .. } = &self.input.host;
        Host { id, labels, platform: Some(&self.platform), new_root: *new_root, person, local_rules: None }
    }

    pub(crate) fn release(&self) -> Option<&CliRelease> {
        self.input.release.as_ref()
    }

    /// Returns the findings of the record about the version's requirements. Without a record they are met.
    pub(crate) fn findings(&self, version: &Version) -> Findings {
        let recorded = self.release().and_then(|release| release.recorded(version));
        let Some(recorded) = recorded else { return Findings::default() };
        match recorded.fit {
            Fit::Fits => Findings::default(),
            Fit::Unfit => Findings { unmet: Unmet::recorded(&recorded.reasons), ..Findings::default() },
            Fit::Unknown => Findings { unchecked: Unchecked::recorded(&recorded.reasons), ..Findings::default() },
        }
    }

    pub(crate) fn candidate<'a>(
        &'a self,
        version: &'a Version,
        intent: Intent,
        findings: &'a Findings,
    ) -> Candidate<'a> {
        Candidate::new(self.host(), &self.component, version, intent, self.input.now)
            .confirmed(self.input.confirmed)
            .active(self.active.as_ref())
            .release(self.release())
            .unmet(&findings.unmet)
            .unchecked(&findings.unchecked)
    }
}
