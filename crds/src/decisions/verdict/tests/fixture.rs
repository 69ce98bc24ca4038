//! A host, its policies and a record, for evaluations that need more than versions.

use super::*;
use crate::{
    decisions::{requirements::Findings, validation::CheckedPolicy},
    values::digest::Digest,
};

/// Where all clocks of these tests stand: a Sunday.
pub(super) const NOW: &str = "2026-11-22T12:00:00Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A digest that reads as its letter.
pub(super) fn digest(letter: char) -> String {
    format!("sha256:{}", String::from(letter).repeat(64))
}

/// What a change is evaluated with. Tests replace single fields.
#[derive(Clone)]
pub(super) struct VerdictFixture {
    pub(super) policies: Vec<Value>,
    pub(super) now: Timestamp,
    pub(super) confirmed: Option<Timestamp>,
    pub(super) server_time: Option<Timestamp>,
    pub(super) host: &'static str,
    pub(super) new_root: bool,
    pub(super) release: Option<CliRelease>,
    pub(super) active_digests: Vec<Digest>,
    pub(super) stored: Option<Vec<Digest>>,
    pub(super) findings: Findings,
    pub(super) brought_in: bool,
    pub(super) unaware: Option<bool>,
    pub(super) local_rules: Option<LocalRules>,
}

impl VerdictFixture {
    /// Specs `p0`, `p1`, … for every host; the record has v1.0.0, v1.1.0 and v2.0.0, seen a day, two
    /// days and three days ago, and was synced just now.
    pub(super) fn of(specs: &[Value]) -> Self {
        Self {
            policies: specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), spec)).collect(),
            now: at(NOW),
            confirmed: Some(at(NOW)),
            server_time: None,
            host: "bastion-1",
            new_root: false,
            release: Some(release(
                NOW,
                &[
                    &version_seen("v2.0.0", "2026-11-19T12:00:00Z"),
                    &version_seen("v1.1.0", "2026-11-20T12:00:00Z"),
                    &version_seen("v1.0.0", "2026-11-21T12:00:00Z"),
                ],
            )),
            active_digests: Vec::new(),
            stored: None,
            findings: Findings::default(),
            brought_in: false,
            unaware: None,
            local_rules: None,
        }
    }

    /// One rule for the plugin, which updates by itself, and more fields of the policy.
    pub(super) fn auto(rule: &Value, rest: &Value) -> Self {
        Self::of(&[auto(rule, rest)])
    }

    /// The status of policy `p0` as the operator writes it.
    pub(super) fn status(mut self, status: &Value) -> Self {
        self.policies[0]["status"] = status.clone();
        self
    }

    pub(super) fn evaluate(&self, change: VersionChange<'_>) -> Verdict {
        self.evaluate_by(&PolicySet::from_json(&self.policies), change)
    }

    pub(super) fn evaluate_by(&self, set: &PolicySet, change: VersionChange<'_>) -> Verdict {
        let labels = labels();
        let host = self.host_with(&labels);
        let component: Component = change.component.parse().unwrap();
        let (candidate, active) = (version(change.version), change.active.map(version));
        let mut case = Candidate::new(host, &component, &candidate, change.intent, self.now)
            .confirmed(self.confirmed)
            .server_time(self.server_time)
            .active(active.as_ref())
            .active_digests(&self.active_digests)
            .release(self.release.as_ref())
            .unmet(&self.findings.unmet)
            .unchecked(&self.findings.unchecked)
            .brought_in(self.brought_in)
            .unaware(self.unaware.is_some(), self.unaware.unwrap_or_default());
        if let Some(stored) = &self.stored {
            case = case.stored(stored);
        }
        set.for_host(host).evaluate(&case)
    }

    fn host_with<'h>(&'h self, labels: &'h BTreeMap<String, String>) -> Host<'h> {
        Host {
            new_root: self.new_root,
            local_rules: self.local_rules.as_ref(),
            ..Host::unattended(self.host, labels, None)
        }
    }

    /// Returns the version that the host takes next, and when.
    pub(super) fn next(&self, active: Option<&str>, candidates: &[&str]) -> Option<(String, Timestamp)> {
        let labels = labels();
        let host = self.host_with(&labels);
        let (component, active) = ("stronghold".parse().unwrap(), active.map(version));
        let versions: Vec<_> = candidates.iter().map(|text| version(text)).collect();
        let candidate = |version| {
            Candidate::new(host, &component, version, Intent::Explicit, self.now)
                .confirmed(self.confirmed)
                .server_time(self.server_time)
                .active(active.as_ref())
                .release(self.release.as_ref())
        };
        let candidates: Vec<_> = versions.iter().map(candidate).collect();
        let next = PolicySet::from_json(&self.policies).for_host(host).next(&candidates)?;
        Some((next.version.to_string(), next.at))
    }

    pub(super) fn codes(&self, change: VersionChange<'_>) -> Vec<&'static str> {
        codes(&self.evaluate(change))
    }

    /// Every reason as `Code: sentence`, for snapshots.
    pub(super) fn sentences(&self, change: VersionChange<'_>) -> String {
        let verdict = self.evaluate(change);
        let lines = |reasons: &[Reason], mark: &str| {
            let sentence = |reason: &Reason| explain::to_person(reason);
            let line = |reason: &Reason| [mark, reason.code().as_str(), ": ", &sentence(reason), "\n"].concat();
            reasons.iter().map(line).collect::<String>()
        };
        lines(verdict.reasons(), "") + &lines(verdict.notes(), "note ")
    }
}

pub(super) fn auto(rule: &Value, rest: &Value) -> Value {
    let mut own = json!({"plugins": ["stronghold"], "updates": "Auto", "majorUpdates": "Cross"});
    own.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    let mut spec = json!({"rules": [own]});
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    CheckedPolicy::new(&serde_json::from_value(policy("p", &spec)).unwrap()).unwrap();
    spec
}

pub(super) fn version_seen(version: &str, first_seen: &str) -> Value {
    let layer = match version {
        "v1.0.0" => digest('8'),
        "v2.0.0" => digest('9'),
        _ => digest('c'),
    };
    json!({"version": version, "digest": digest('a'), "firstSeen": first_seen, "fit": "Fits", "artifacts": [
        {"platform": "linux-amd64", "manifest": digest('b'), "layer": layer, "sizeBytes": 1}]})
}

pub(super) fn release(synced: &str, versions: &[&Value]) -> CliRelease {
    serde_json::from_value(json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": "stronghold"},
        "spec": {}, "status": {"lastSyncTime": synced, "versions": versions},
    }))
    .unwrap()
}

/// A policy's status with one wave of the plugin.
pub(super) fn wave(version: &str, fields: &Value) -> Value {
    let mut wave = json!({"version": version});
    wave.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"components": [{"name": "stronghold", "waves": [wave]}]})
}
