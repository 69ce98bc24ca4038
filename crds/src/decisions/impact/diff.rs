//! What changes between two sets of policies, host by host.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    facts::HostFacts,
    preview::{HostImpact, HostPreview, serialize_version},
    published,
};
use crate::{
    decisions::{
        plan::KnownFacts,
        verdict::{Class, PolicySet, ReasonCode},
    },
    records::release::CliRelease,
    values::{name::Component, platform::Platform, version::Version},
};

/// What another set of policies would change for one component of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentDiff {
    /// Name of a plugin, or `d8`.
    pub component: String,
    /// The version that is active on the host. Absent: the component is not installed, or its version is not known.
    #[serde(serialize_with = "serialize_version")]
    pub active: Option<Version>,
    /// The impact of the old policies. Absent: the component is neither active nor required.
    pub old: Option<HostImpact>,
    /// The impact of the new policies.
    pub new: Option<HostImpact>,
    /// Whether verdict, target or the right to run differ, and not the reason alone.
    pub moves: bool,
}

/// Compares two sets of policies over many hosts of one cluster, at one time.
#[derive(Debug)]
pub struct PolicyDiff<'a> {
    old: &'a PolicySet,
    new: &'a PolicySet,
    records: &'a BTreeMap<String, CliRelease>,
    now: Timestamp,
    /// What records contain, by platform.
    known: BTreeMap<Option<Platform>, KnownFacts>,
}

impl<'a> PolicyDiff<'a> {
    /// `records` are by component name.
    pub fn new(
        old: &'a PolicySet,
        new: &'a PolicySet,
        records: &'a BTreeMap<String, CliRelease>,
        now: Timestamp,
    ) -> Self {
        Self { old, new, records, now, known: BTreeMap::new() }
    }

    /// Returns what would change on one host, by component. Components that do not change are left out.
    pub fn of(&mut self, machine: &HostFacts) -> Vec<ComponentDiff> {
        let (records, now) = (self.records, self.now);
        let platform = machine.platform.as_ref();
        let known = self.known.entry(platform.cloned()).or_insert_with(|| published::known_facts(records, platform));
        let mut preview = HostPreview { machine, records, known, now };
        let (old, new) = (preview.evaluate(self.old), preview.evaluate(self.new));
        let components: BTreeSet<&Component> = old.keys().chain(new.keys()).collect();
        let diff = |component: &Component| {
            let (old, new) = (old.get(component), new.get(component));
            let moves = old.map(effect) != new.map(effect);
            (moves || old.map(cause) != new.map(cause)).then(|| ComponentDiff {
                component: component.to_string(),
                active: machine.active.get(component).and_then(|active| active.version.clone()),
                moves,
                old: old.cloned(),
                new: new.cloned(),
            })
        };
        components.into_iter().filter_map(diff).collect()
    }
}

/// What differs where a host would change its version, or could no longer run it.
fn effect(impact: &HostImpact) -> (Class, Option<&Version>, bool) {
    (impact.verdict, impact.target.as_ref(), impact.runs)
}

/// Why, which policy is the cause, and when its hold ends. The place of the rule is not compared: it changes
/// where another rule is inserted above.
fn cause(impact: &HostImpact) -> Option<(ReasonCode, Option<&str>, Option<Timestamp>)> {
    impact.reason.as_ref().map(|reason| (reason.code(), reason.policy(), reason.until()))
}
