//! What changes between two sets of policies, host by host.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    facts::HostFacts,
    preview::{HostImpact, HostPreview, serialize_version},
    published,
    waves::WaveChange,
};
use crate::{
    decisions::{
        plan::KnownFacts,
        verdict::{Class, NextVersion, PolicySet, ReasonCode},
    },
    records::{policy::MajorUpdates, release::CliRelease},
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

/// What another set of policies would change on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDiff {
    /// The components that change, by name.
    pub changes: Vec<ComponentDiff>,
    /// Whether a pause of the host begins or ends. `None`: neither.
    pub pause: Option<PauseChange>,
    /// The plugins that nobody could run any more, nor replace.
    pub lockouts: Vec<Lockout>,
    /// The plugins that would be required although policies permit none of their published versions.
    pub not_permitted: Vec<Component>,
}

/// What an edit does to the pause of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PauseChange {
    /// Nothing changes on the host until the pause ends.
    Begins,
    /// The host changes again.
    Ends,
}

/// A plugin whose runs would be refused on a host, while a person could not install another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockout {
    /// The plugin.
    pub component: Component,
    /// The version that may not run.
    pub active: Option<Version>,
    /// What ends the lockout, if nothing changes but the time: the version that the agent installs.
    pub next: Option<NextVersion>,
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

    /// Returns what would change on one host.
    pub fn of(&mut self, machine: &HostFacts) -> HostDiff {
        let records = self.records;
        let (old, new) = (self.evaluate(machine, self.old), self.evaluate(machine, self.new));
        let components: BTreeSet<&Component> = old.keys().chain(new.keys()).collect();
        let is_unrecorded = |component: &&&Component| !records.contains_key(component.name());
        self.unrecorded.extend(components.iter().filter(is_unrecorded).map(|component| (*component).clone()));
        let changes = components.into_iter().filter_map(|component| {
            let (old, new) = (old.get(component), new.get(component));
            let moves = old.map(effect) != new.map(effect);
            (moves || old.map(cause) != new.map(cause)).then(|| ComponentDiff {
                component: component.to_string(),
                active: machine.active.get(component).and_then(|active| active.version.clone()),
                moves,
                old: old.cloned(),
                new: new.cloned(),
            })
        });
        let changes = changes.collect();
        let lockouts = self.lockouts(machine, &old, &new);
        HostDiff { changes, pause: self.pause(machine), lockouts, not_permitted: self.not_permitted(machine) }
    }

    /// Returns whether the wave of a version concerns a host that this policy selects: whether it may come to that
    /// version.
    pub fn concerns(&self, machine: &HostFacts, change: &WaveChange) -> bool {
        let policies = self.new.for_host(machine.as_host());
        if !policies.policy_names().contains(&change.policy.as_str()) {
            return false;
        }
        let component = &change.component;
        match machine.active.get(component).map(|active| active.version.as_ref()) {
            Some(Some(active)) => {
                let crosses = || policies.guidance(component, None).major_updates == MajorUpdates::Cross;
                change.version > *active && (change.version.major() == active.major() || crosses())
            }
            Some(None) => false,
            None => policies.required().iter().any(|required| required.plugin.as_str() == component.name()),
        }
    }

    fn evaluate(&mut self, machine: &HostFacts, set: &PolicySet) -> BTreeMap<Component, HostImpact> {
        let (records, now) = (self.records, self.now);
        let platform = machine.platform.as_ref();
        let known = self.known.entry(platform.cloned()).or_insert_with(|| published::known_facts(records, platform));
        HostPreview { machine, records, known, now }.evaluate(set)
    }

    fn pause(&self, machine: &HostFacts) -> Option<PauseChange> {
        let is_paused = |set: &PolicySet| set.for_host(machine.as_host()).is_paused();
        match (is_paused(self.old), is_paused(self.new)) {
            (false, true) => Some(PauseChange::Begins),
            (true, false) => Some(PauseChange::Ends),
            _ => None,
        }
    }

    /// Returns the plugins that the new policies lock people out of, but the old ones do not.
    fn lockouts(
        &mut self,
        machine: &HostFacts,
        old: &BTreeMap<Component, HostImpact>,
        new: &BTreeMap<Component, HostImpact>,
    ) -> Vec<Lockout> {
        if new.values().all(|impact| impact.runs) {
            return Vec::new();
        }
        // Under a pause a person may leave a blocked version, an agent may not.
        let people = HostFacts { managed: false, ..machine.clone() };
        let by_people = self.evaluate(&people, self.new);
        let is_locked = |impact: Option<&HostImpact>| impact.is_some_and(|i| !i.runs && i.target.is_none());
        let mut locked: Vec<&Component> = new.keys().filter(|component| is_locked(by_people.get(*component))).collect();
        if locked.iter().any(|component| is_locked(old.get(*component))) {
            let before = self.evaluate(&people, self.old);
            locked.retain(|component| !is_locked(before.get(*component)));
        }
        let lockout = |component: &Component| Lockout {
            component: component.clone(),
            active: machine.active.get(component).and_then(|active| active.version.clone()),
            next: new.get(component).and_then(|impact| impact.next.clone()),
        };
        locked.into_iter().map(lockout).collect()
    }

    /// Returns the plugins that the new policies require although they permit none of their published versions; the old
    /// ones did not require them, or permitted one.
    fn not_permitted(&self, machine: &HostFacts) -> Vec<Component> {
        let of = |set: &PolicySet| -> BTreeSet<Component> {
            let conflicts = set.for_host(machine.as_host()).conflicts(|component| self.records.get(component.name()));
            let required = conflicts.into_iter().filter(|conflict| !conflict.required_by.is_empty());
            required.map(|conflict| conflict.component).collect()
        };
        let new = of(self.new);
        if new.is_empty() {
            return Vec::new();
        }
        new.difference(&of(self.old)).cloned().collect()
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
