//! What changes between two sets of policies, host by host.
//!
//! Hosts that the same policies select differ only by what is active on them and by their places in waves. So verdicts
//! are computed once for each combination of active versions that depend on each other, and only where the edit may
//! change them. While a wave spreads, hosts share what its times do not change (`places`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    class::{ClassInputs, HostClass},
    facts::HostFacts,
    group::{ComponentDiff, GroupDiff},
    lockouts::Lockout,
    numbers::ActiveNumbers,
    preview::HostPreview,
    published,
    related::RelatedComponents,
    waves::WaveChange,
};
use crate::{
    decisions::{
        plan::{Actor, KnownFacts},
        verdict::{PolicyChanges, PolicyConflict, PolicySet, SelectedPolicies},
    },
    records::release::CliRelease,
    values::{name::Component, platform::Platform},
};

/// Compares two sets of policies over many hosts of one cluster, at one time.
#[derive(Debug)]
pub struct PolicyDiff<'a> {
    old: &'a PolicySet,
    new: &'a PolicySet,
    changes: PolicyChanges<'a>,
    waves: &'a [WaveChange],
    records: &'a BTreeMap<String, CliRelease>,
    now: Timestamp,
    related: RelatedComponents,
    /// What records contain, by platform.
    known: BTreeMap<Option<Platform>, KnownFacts>,
    classes: Vec<HostClass<'a>>,
    /// Index of the class of managed hosts.
    class_of: HashMap<(SelectedPolicies, Option<&'a Platform>, bool), usize>,
    numbers: ActiveNumbers<'a>,
    unrecorded: BTreeSet<Component>,
}

/// What another set of policies would change on one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostDiff {
    /// The components that change, by name. Hosts share them.
    pub changes: Vec<Arc<ComponentDiff>>,
    /// Whether a pause of the host begins or ends. `None`: neither.
    pub pause: Option<PauseChange>,
    /// The plugins that nobody could run any more, nor replace.
    pub lockouts: Vec<Lockout>,
    /// The components of which the new policies together permit no version, although they require or name them.
    pub not_permitted: Arc<[PolicyConflict]>,
    /// The wave changes that concern the host, as indexes: it is selected, and may come to their versions.
    pub waves: Vec<usize>,
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
        Self {
            old,
            new,
            changes: PolicyChanges::between(old, new),
            waves: &[],
            records,
            now,
            related: RelatedComponents::of_records(records),
            known: BTreeMap::new(),
            classes: Vec::new(),
            class_of: HashMap::new(),
            numbers: ActiveNumbers::default(),
            unrecorded: BTreeSet::new(),
        }
    }

    /// Sets what the edit does to waves.
    #[must_use]
    pub fn with_waves(self, waves: &'a [WaveChange]) -> Self {
        Self { waves, ..self }
    }

    /// Returns what would change on one host.
    pub fn of(&mut self, machine: &'a HostFacts) -> HostDiff {
        let index = self.class(machine);
        self.note_unrecorded(machine, index);
        let class = &self.classes[index];
        if class.is_unchanged() {
            return HostDiff::default();
        }
        let mut diff = HostDiff {
            pause: class.pause,
            not_permitted: Arc::clone(&class.not_permitted),
            waves: class.waves_of(machine),
            ..HostDiff::default()
        };
        let required = Arc::clone(&class.required);
        for components in self.concerned(machine, index, &required) {
            let group = self.group(machine, index, &components);
            diff.changes.extend(group.changes.iter().cloned());
            diff.lockouts.extend(group.lockouts.iter().cloned());
        }
        diff.changes.sort_by(|a, b| a.component.cmp(&b.component));
        diff.lockouts.sort_by(|a, b| a.component.cmp(&b.component));
        diff
    }

    /// Returns the components without a record on the hosts that were compared: of these, only the active version was
    /// evaluated.
    pub fn unrecorded(&self) -> impl Iterator<Item = &Component> {
        self.unrecorded.iter()
    }

    /// Returns the index of the host's class, which is made if it is new.
    fn class(&mut self, machine: &'a HostFacts) -> usize {
        let selected = self.changes.selected(&machine.as_host());
        let key = (selected, machine.platform.as_ref(), machine.new_root);
        // On other machines, what applies depends on the person, too.
        if let Some(index) = self.class_of.get(&key).filter(|_| machine.managed) {
            return *index;
        }
        let Self { old, new, ref changes, waves, records, now, .. } = *self;
        self.classes.push(HostClass::of(machine, ClassInputs { old, new, changes, waves, records, now }));
        let index = self.classes.len() - 1;
        if machine.managed {
            self.class_of.insert(key, index);
        }
        index
    }

    fn note_unrecorded(&mut self, machine: &HostFacts, class: usize) {
        let active = machine.active.iter();
        let active = active.filter(|(component, active)| **component != Component::D8 || active.version.is_some());
        let components = active.map(|(component, _)| component).chain(self.classes[class].required.iter());
        for component in components.filter(|component| !self.records.contains_key(component.name())) {
            if !self.unrecorded.contains(component) {
                self.unrecorded.insert(component.clone());
            }
        }
    }

    /// Returns the components of a host for which the edit may change something, those together that are planned together.
    fn concerned<'h>(
        &mut self,
        machine: &'h HostFacts,
        class: usize,
        required: &'h BTreeSet<Component>,
    ) -> Vec<BTreeSet<&'h Component>> {
        let Self { classes, related, .. } = self;
        related.split(machine, required, |component| classes[class].is_concerned(component, related))
    }

    /// Returns what changes for components that are planned together.
    fn group(&mut self, machine: &'a HostFacts, class: usize, components: &BTreeSet<&Component>) -> Arc<GroupDiff> {
        let platform = machine.platform.as_ref();
        let Self { classes, known, records, numbers, now, .. } = self;
        let known = known.entry(platform.cloned()).or_insert_with(|| published::known_facts(records, platform));
        let preview = HostPreview {
            machine,
            actor: if machine.managed { Actor::Agent } else { Actor::Person },
            components,
            records,
            now: *now,
        };
        classes[class].group(&preview, numbers.of(machine, components), known)
    }
}
