//! Components whose plans may depend on each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::facts::{ActiveComponent, HostFacts};
use crate::{
    decisions::plan::Dependencies,
    records::release::CliRelease,
    values::{name::Component, version::Version},
};

/// Groups of components. A version of a component can only depend on components of its group, so that each group of a
/// host is planned without the others.
#[derive(Debug, Default)]
pub(super) struct RelatedComponents {
    groups: Vec<Vec<Component>>,
    /// Index of the group. Absent: nothing in the records depends on the component, and it depends on nothing.
    group_of: HashMap<Component, usize>,
    /// Versions whose dependencies cannot be read. Where one is active, it may depend on everything.
    unreadable: BTreeSet<(Component, Version)>,
}

impl RelatedComponents {
    /// Finds the groups.
    pub(super) fn of_records(records: &BTreeMap<String, CliRelease>) -> Self {
        let mut related = Self::default();
        let mut edges: BTreeSet<(Component, Component)> = BTreeSet::new();
        for (name, record) in records {
            let Ok(component) = name.parse::<Component>() else { continue };
            for entry in record.status.iter().flat_map(|status| &status.versions) {
                match Dependencies::read(&entry.requirements.plugins) {
                    Ok(dependencies) => {
                        let targets = dependencies.all().iter().map(|dependency| dependency.component.clone());
                        edges.extend(targets.map(|target| (component.clone(), target)));
                    }
                    Err(_) => related
                        .unreadable
                        .extend(Version::parse(&entry.version).ok().map(|version| (component.clone(), version))),
                }
            }
        }
        for (from, to) in &edges {
            related.join(from, to);
        }
        related
    }

    fn join(&mut self, from: &Component, to: &Component) {
        let [from, to] = [from, to].map(|component| self.group_or_new(component));
        if from != to {
            let moved = std::mem::take(&mut self.groups[to]);
            for component in &moved {
                self.group_of.insert(component.clone(), from);
            }
            self.groups[from].extend(moved);
        }
    }

    fn group_or_new(&mut self, component: &Component) -> usize {
        if let Some(group) = self.group_of.get(component) {
            return *group;
        }
        self.groups.push(vec![component.clone()]);
        self.group_of.insert(component.clone(), self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// Returns the index of a component's group. `None`: it is planned alone.
    pub(super) fn group(&self, component: &Component) -> Option<usize> {
        self.group_of.get(component).copied()
    }

    /// Returns the components of a group.
    pub(super) fn members(&self, group: usize) -> &[Component] {
        self.groups.get(group).map_or(&[], Vec::as_slice)
    }

    /// Returns the components on a host, and those that are required there, in sets of those that are planned together.
    /// Leaves out those that do not concern the caller, unless everything is planned together.
    pub(super) fn split<'h>(
        &self,
        machine: &'h HostFacts,
        required: impl IntoIterator<Item = &'h Component>,
        mut concerns: impl FnMut(&Component) -> bool,
    ) -> Vec<BTreeSet<&'h Component>> {
        let missing = required.into_iter().filter(|component| !machine.active.contains_key(component));
        let all = machine.active.keys().chain(missing);
        let is_unreadable = |(component, active): (&Component, &ActiveComponent)| {
            active.version.as_ref().is_some_and(|version| self.is_unreadable(component, version))
        };
        if machine.active.iter().any(is_unreadable) {
            return vec![all.collect()];
        }
        let mut groups: BTreeMap<usize, BTreeSet<&Component>> = BTreeMap::new();
        let mut alone = Vec::new();
        for component in all.filter(|component| concerns(component)) {
            match self.group(component) {
                Some(group) => _ = groups.entry(group).or_default().insert(component),
                None => alone.push(BTreeSet::from([component])),
            }
        }
        alone.into_iter().chain(groups.into_values()).collect()
    }

    /// Returns whether it is not known what the version depends on.
    fn is_unreadable(&self, component: &Component, version: &Version) -> bool {
        !self.unreadable.is_empty() && self.unreadable.contains(&(component.clone(), version.clone()))
    }
}
