//! Which components are installed at one point of the planning, and what they require of each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dependencies::{Dependencies, Dependency, NO_DEPENDENCIES, any_mandatory},
    snapshot::{InstalledComponent, InstalledContract},
};
use crate::values::{name::Component, version::Version};

/// The state of one installed component.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedComponent<'k> {
    /// The installed version. `None`: it is not known.
    pub(super) version: Option<&'k Version>,
    pub(super) dependencies: &'k Dependencies,
    /// Why its contract cannot be read. Its dependencies are then not known.
    pub(super) unreadable: Option<&'k str>,
}

impl<'k> PlannedComponent<'k> {
    pub(super) fn of(installed: &'k InstalledComponent) -> Self {
        let (dependencies, unreadable) = match &installed.contract {
            InstalledContract::Known(dependencies) => (dependencies, None),
            InstalledContract::Unreadable(why) => (&NO_DEPENDENCIES, Some(why.as_str())),
        };
        Self { version: installed.version.as_ref(), dependencies, unreadable }
    }
}

/// The installed components, with an index of who requires what.
#[derive(Debug, Default)]
pub(super) struct PlannedState<'k> {
    components: BTreeMap<&'k Component, PlannedComponent<'k>>,
    /// The components that require something of a component.
    dependents: BTreeMap<&'k Component, BTreeSet<&'k Component>>,
}

impl<'k> PlannedState<'k> {
    /// Returns the state of a component. None: it is not installed.
    pub(super) fn get(&self, component: &Component) -> Option<PlannedComponent<'k>> {
        self.components.get(component).copied()
    }

    /// Sets the state of a component, and returns the state that it replaces.
    pub(super) fn replace(
        &mut self,
        component: &'k Component,
        state: Option<PlannedComponent<'k>>,
    ) -> Option<PlannedComponent<'k>> {
        let replaced = match state {
            Some(state) => self.components.insert(component, state),
            None => self.components.remove(component),
        };
        for (target, _) in replaced.iter().flat_map(|replaced| replaced.dependencies.by_component()) {
            if let Some(dependents) = self.dependents.get_mut(target) {
                dependents.remove(component);
            }
        }
        for (target, _) in state.iter().flat_map(|state| state.dependencies.by_component()) {
            self.dependents.entry(target).or_default().insert(component);
        }
        replaced
    }

    /// Returns the other components that require something of a component, with what they require.
    pub(super) fn dependents(&self, component: &Component) -> impl Iterator<Item = (&'k Component, &'k [Dependency])> {
        let dependents = self.dependents.get(component).into_iter().flatten();
        dependents
            .filter_map(move |by| Some((*by, self.components.get(by)?.dependencies.on(component))))
            .filter(move |(by, _)| **by != *component)
    }

    /// Whether the dependencies on one component are met.
    pub(super) fn meets(&self, component: &Component, dependencies: &[Dependency]) -> bool {
        match self.components.get(component) {
            None => !any_mandatory(dependencies),
            Some(state) => accept(dependencies, state.version),
        }
    }
}

/// Whether dependencies accept the installed version of the component they are on. None: it is not known.
pub(super) fn accept(dependencies: &[Dependency], version: Option<&Version>) -> bool {
    dependencies.iter().all(|dependency| match version {
        Some(version) => dependency.constraint.matches(version),
        None => dependency.constraint.is_any(),
    })
}
