//! What is the same for all hosts that the same policies select before and after an edit, computed once for them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    PauseChange,
    facts::HostFacts,
    group::GroupDiff,
    numbers::ActiveNumber,
    places::{HostTimes, KnownWaves, PlaceOrder},
    preview::{HostPreview, Previews, Side},
    related::RelatedComponents,
    waves::WaveChange,
};
use crate::{
    decisions::{
        plan::{Actor, KnownFacts},
        verdict::{HostChanges, PolicyChanges, PolicyConflict, PolicySet},
    },
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
    /// The waves in which versions spread, before and after the edit.
    spreading: [KnownWaves; 2],
    /// The wave changes of policies that select the hosts, by component, each with its index.
    waves: HashMap<&'a Component, Vec<(usize, &'a Version)>>,
    /// What is planned for components without a wave, before and after the edit, by what of them is active.
    plans: [HashMap<Vec<ActiveNumber>, Arc<Previews>>; 2],
    /// The difference for components that are planned together, by what of them is active and by the order of the times
    /// at which waves reach the host. With the times of the host for which it was computed.
    known: HashMap<(Vec<ActiveNumber>, PlaceOrder), (Arc<GroupDiff>, HostTimes)>,
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
            spreading: Default::default(),
            waves: of_component,
            plans: Default::default(),
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

    /// Returns what changes for components of a host that are planned together.
    pub(super) fn group(
        &mut self,
        preview: &HostPreview<'_>,
        numbers: Vec<ActiveNumber>,
        known: &mut KnownFacts,
    ) -> Arc<GroupDiff> {
        let Self { old, new, spreading, .. } = self;
        let [in_old, in_new] = spreading;
        let places = [in_old.places(old, preview, &numbers), in_new.places(new, preview, &numbers)];
        let is_placed = places.each_ref().map(|places| !places.is_empty());
        let mut times = HostTimes::default();
        if is_placed != [false, false] {
            let holds_only_end = [&*old, &*new].iter().all(|side| side.policies().holds_only_end());
            if preview.actor != Actor::Agent || !holds_only_end {
                return Arc::new(self.compute(preview, &numbers, is_placed, known));
            }
            let ends = [in_old.other_ends(old, preview, &numbers), in_new.other_ends(new, preview, &numbers)];
            times = HostTimes::new(&places.concat(), &ends.concat());
        }
        let key = (numbers, times.order().clone());
        if let Some((diff, of)) = self.known.get(&key) {
            let is_shared = is_placed == [false, false];
            return if is_shared { Arc::clone(diff) } else { Arc::new(diff.for_times(|at| times.translate(of, at))) };
        }
        let diff = Arc::new(self.compute(preview, &key.0, is_placed, known));
        self.known.insert(key, (Arc::clone(&diff), times));
        diff
    }

    /// Plans components of a host before and after the edit, and compares. `is_placed`: whether the plan depends on the
    /// places of the host in waves.
    fn compute(
        &mut self,
        preview: &HostPreview<'_>,
        numbers: &[ActiveNumber],
        is_placed: [bool; 2],
        known: &mut KnownFacts,
    ) -> GroupDiff {
        let host = preview.machine.as_host();
        let [old_plans, new_plans] = &mut self.plans;
        let after = self.new.for_twin(host);
        let mut planned = |plans: &mut HashMap<Vec<ActiveNumber>, Arc<Previews>>, side: &Side<'_>, is_placed: bool| {
            if let Some(planned) = plans.get(numbers).filter(|_| !is_placed) {
                return Arc::clone(planned);
            }
            let planned = Arc::new(preview.evaluate(side, known));
            if !is_placed {
                plans.insert(numbers.to_vec(), Arc::clone(&planned));
            }
            planned
        };
        let old = planned(old_plans, &self.old.for_twin(host), is_placed[0]);
        let new = planned(new_plans, &after, is_placed[1]);
        GroupDiff::between(preview, &after, known, [&old, &new])
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
