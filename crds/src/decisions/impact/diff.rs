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
        verdict::{Class, NextVersion, PolicySet, ReasonCode},
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
    unrecorded: BTreeSet<Component>,
}

/// What an edit does to the pause of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseChange {
    /// Nothing changes on the host until the pause ends.
    Begins,
    /// The host changes again.
    Ends,
}

impl<'a> PolicyDiff<'a> {
    /// `records` are by component name.
    pub fn new(
        old: &'a PolicySet,
        new: &'a PolicySet,
        records: &'a BTreeMap<String, CliRelease>,
        now: Timestamp,
    ) -> Self {
        Self { old, new, records, now, known: BTreeMap::new(), unrecorded: BTreeSet::new() }
    }

    /// Returns what would change on one host, by component. Components that do not change are left out.
    pub fn of(&mut self, machine: &HostFacts) -> Vec<ComponentDiff> {
        let (records, now) = (self.records, self.now);
        let platform = machine.platform.as_ref();
        let known = self.known.entry(platform.cloned()).or_insert_with(|| published::known_facts(records, platform));
        let mut preview = HostPreview { machine, records, known, now };
        let (old, new) = (preview.evaluate(self.old), preview.evaluate(self.new));
        let components: BTreeSet<&Component> = old.keys().chain(new.keys()).collect();
        let is_unrecorded = |component: &&&Component| !records.contains_key(component.name());
        self.unrecorded.extend(components.iter().filter(is_unrecorded).map(|component| (*component).clone()));
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

    /// Returns whether a pause of the host begins or ends. `None`: neither.
    pub fn pause(&self, machine: &HostFacts) -> Option<PauseChange> {
        let is_paused = |set: &PolicySet| set.for_host(machine.as_host()).is_paused();
        match (is_paused(self.old), is_paused(self.new)) {
            (false, true) => Some(PauseChange::Begins),
            (true, false) => Some(PauseChange::Ends),
            _ => None,
        }
    }

    /// Returns the components without a record on the hosts that were compared: of these, only the active version was
    /// evaluated.
    pub fn unrecorded(&self) -> impl Iterator<Item = &Component> {
        self.unrecorded.iter()
    }
}

/// What differs where a host would change its version, or could no longer run it.
fn effect(impact: &HostImpact) -> (Class, Option<&Version>, bool) {
    (impact.verdict, impact.target.as_ref(), impact.runs)
}

/// Why a version is held, the policy that is the cause, and the end of its hold.
type CauseOfHold<'a> = (ReasonCode, Option<&'a str>, Option<Timestamp>);

/// Returns the cause, and what the agent takes first. The place of the rule is not compared: it changes where another
/// rule is inserted above.
fn cause(impact: &HostImpact) -> (Option<CauseOfHold<'_>>, Option<&NextVersion>) {
    let cause = impact.reason.as_ref().map(|reason| (reason.code(), reason.policy(), reason.until()));
    (cause, impact.next.as_ref())
}
