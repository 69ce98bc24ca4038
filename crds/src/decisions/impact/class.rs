//! What is the same for all hosts that the same policies select before and after an edit, computed once for them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    PauseChange, diff::ActiveNumber, facts::HostFacts, group::GroupDiff, preview::Side, related::RelatedComponents,
    waves::WaveChange,
};
use crate::{
    decisions::verdict::{HostChanges, PolicyChanges, PolicyConflict, PolicySet},
    records::{policy::MajorUpdates, release::CliRelease},
    values::{name::Component, version::Version},
};

/// Hosts that the same policies select, that are canaries of the same policies, and that have the same platform.
#[derive(Debug)]
pub(super) struct HostClass<'a> {
    pub(super) old: Side<'a>,
    pub(super) new: Side<'a>,
    changes: HostChanges<'a>,
    pub(super) pause: Option<PauseChange>,
    pub(super) not_permitted: Arc<[PolicyConflict]>,
    /// The components that policies require, before or after the edit.
    pub(super) required: Arc<BTreeSet<Component>>,
    /// Whether the edit may change something for a component.
    concerned: HashMap<Component, bool>,
    /// The versions of a component that do not come to all hosts at once, before or after the edit.
    spreading: HashMap<Component, Vec<Version>>,
    /// The wave changes of policies that select the hosts, by component, each with its index.
    waves: HashMap<&'a Component, Vec<(usize, &'a Version)>>,
    /// The difference for components that are planned together, by what of them is active.
    pub(super) known: HashMap<Vec<ActiveNumber>, Arc<GroupDiff>>,
}

/// What a class is made from.
#[derive(Clone, Copy)]
pub(super) struct ClassInputs<'a, 'c> {
    pub(super) old: &'a PolicySet,
    pub(super) new: &'a PolicySet,
    pub(super) changes: &'c PolicyChanges<'a>,
    pub(super) waves: &'a [WaveChange],
    pub(super) records: &'a BTreeMap<String, CliRelease>,
    pub(super) now: Timestamp,
}

impl<'a> HostClass<'a> {
    /// Makes the class of a host.
    pub(super) fn of(host: &'a HostFacts, inputs: ClassInputs<'a, '_>) -> Self {
        let ClassInputs { old, new, changes, waves, records, now } = inputs;
        let host = host.as_host();
        let changes = changes.on(&host);
        let [old, new] = [old, new].map(|set| Side::new(set.for_host(host), now, records));
        let not_permitted = if changes.is_empty() { Arc::from([]) } else { not_permitted(&old, &new, records) };
        let required = [&old, &new].into_iter().flat_map(|side| side.evaluator.required_components());
        let required = Arc::new(required.cloned().collect());
        let pause = match [&old, &new].map(|side| side.policies().is_paused()) {
            [false, true] => Some(PauseChange::Begins),
            [true, false] => Some(PauseChange::Ends),
            _ => None,
        };
        let selecting: BTreeSet<&str> = new.policies().policy_names().into_iter().collect();
        let mut of_component: HashMap<_, Vec<_>> = HashMap::new();
        for (index, wave) in waves.iter().enumerate().filter(|(_, wave)| selecting.contains(wave.policy.as_str())) {
            of_component.entry(&wave.component).or_default().push((index, &wave.version));
        }
        Self {
            old,
            new,
            changes,
            pause,
            not_permitted,
            required,
            concerned: HashMap::new(),
            spreading: HashMap::new(),
            waves: of_component,
            known: HashMap::new(),
        }
    }

    /// Returns whether the edit changes nothing for these hosts.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns whether the edit may change something for a component, or for one that is planned with it.
    pub(super) fn is_concerned(&mut self, component: &Component, related: &RelatedComponents) -> bool {
        if let Some(known) = self.concerned.get(component) {
            return *known;
        }
        let group = related.group(component).map(|group| related.members(group)).unwrap_or_default();
        let mut members = group.iter().chain([component]);
        let concerned = members.any(|member| self.changes.concern(member));
        self.concerned.insert(component.clone(), concerned);
        concerned
    }

    /// Returns whether the impact on a component depends on the places of a host in waves. `active` is its active
    /// version, if that is known.
    pub(super) fn depends_on_place(
        &mut self,
        component: &Component,
        active: Option<&Version>,
        records: &BTreeMap<String, CliRelease>,
        now: Timestamp,
    ) -> bool {
        if !self.spreading.contains_key(component) {
            let spreading = |side: &Side<'_>| {
                let release = records.get(component.name());
                release.map(|release| side.policies().spreading(component, release, now)).unwrap_or_default()
            };
            let mut versions = spreading(&self.old);
            versions.extend(spreading(&self.new));
            self.spreading.insert(component.clone(), versions);
        }
        let mut versions = self.spreading.get(component).into_iter().flatten();
        // A version that is not newer than the active one takes no wave.
        versions.any(|version| active.is_none_or(|active| version > active))
    }

    /// Returns the indexes of the wave changes that concern a host: whether it may come to their versions.
    pub(super) fn waves_of(&self, host: &HostFacts) -> Vec<usize> {
        if self.waves.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (component, active) in &host.active {
            let Some((waves, active)) = self.waves.get(component).zip(active.version.as_ref()) else { continue };
            let crosses = self.new.policies().guidance(component, None).major_updates == MajorUpdates::Cross;
            let comes_to = |version: &Version| version > active && (version.major() == active.major() || crosses);
            found.extend(waves.iter().filter(|(_, version)| comes_to(version)).map(|(index, _)| *index));
        }
        let missing = self.new.evaluator.required_components().filter(|component| !host.active.contains_key(component));
        found.extend(missing.filter_map(|component| self.waves.get(component)).flatten().map(|(index, _)| *index));
        found
    }
}

/// Returns the components of which the new policies together permit no version, although they require or name them; under
/// the old ones this was not so.
fn not_permitted(old: &Side<'_>, new: &Side<'_>, records: &BTreeMap<String, CliRelease>) -> Arc<[PolicyConflict]> {
    let of = |side: &Side<'_>| side.policies().conflicts(|component| records.get(component.name()));
    let mut found = of(new);
    if !found.is_empty() {
        let before = of(old);
        found.retain(|conflict| before.iter().all(|before| before.component != conflict.component));
    }
    found.into()
}
