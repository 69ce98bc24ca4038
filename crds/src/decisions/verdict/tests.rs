//! Tables over `docs/policies.md`: how policies merge, what binds whom, the numbered rules.

mod binding;
mod bytes;
mod effective;
mod emergency;
mod fixture;
mod merging;
mod messages;
mod policy_conflicts;
mod properties;
mod rules;
mod runs;
mod schedule;
mod subjects;
mod time;

use crate::decisions::intent::Intent;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    decisions::{
        explain,
        requirements::{Unchecked, Unmet},
    },
    records::release::CliRelease,
    values::{name::Component, version::Version},
};

/// A change to a version of a component, in short form.
#[derive(Clone, Copy)]
struct VersionChange<'a> {
    component: &'a str,
    version: &'a str,
    active: Option<&'a str>,
    intent: Intent,
}

const A: Intent = Intent::Agent;
const U: Intent = Intent::Update;
const X: Intent = Intent::Explicit;
const R: Intent = Intent::Repair;

fn change<'a>(intent: Intent, version: &'a str, active: impl Into<Option<&'a str>>) -> VersionChange<'a> {
    VersionChange { component: "stronghold", version, active: active.into(), intent }
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// A policy for every host.
fn policy(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    let fields = spec.as_object_mut().unwrap();
    fields.entry("hostSelector").or_insert_with(|| json!({}));
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": name}, "spec": spec,
    })
}

/// Policies `p0`, `p1`, … for every host.
fn set(specs: &[Value]) -> PolicySet {
    let policies: Vec<_> = specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), spec)).collect();
    PolicySet::from_json(&policies)
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("role".to_owned(), "bastion".to_owned())])
}

/// Returns a managed host without facts of its own.
fn bastion(labels: &BTreeMap<String, String>) -> Host<'_> {
    Host::unattended("bastion-1", labels, None)
}

fn evaluate_with(set: &PolicySet, change: VersionChange<'_>, unmet: &[Unmet], release: Option<&CliRelease>) -> Verdict {
    evaluate_findings(set, change, (unmet, &[]), release)
}

/// Evaluates with requirements that are not met, and with requirements that could not be checked.
fn evaluate_findings(
    set: &PolicySet,
    change: VersionChange<'_>,
    (unmet, unchecked): (&[Unmet], &[Unchecked]),
    release: Option<&CliRelease>,
) -> Verdict {
    let labels = labels();
    let host = bastion(&labels);
    let component: Component = change.component.parse().unwrap();
    let (candidate, active) = (version(change.version), change.active.map(version));
    let now = Timestamp::UNIX_EPOCH;
    let case = Candidate::new(host, &component, &candidate, change.intent, now).confirmed(Some(now));
    set.for_host(host).evaluate(&case.active(active.as_ref()).unmet(unmet).unchecked(unchecked).release(release))
}

fn evaluate(set: &PolicySet, change: VersionChange<'_>) -> Verdict {
    evaluate_with(set, change, &[], None)
}

/// The names of all reasons, in the order they are shown.
fn codes(verdict: &Verdict) -> Vec<&'static str> {
    verdict.reasons().iter().map(|reason| reason.code().as_str()).collect()
}
