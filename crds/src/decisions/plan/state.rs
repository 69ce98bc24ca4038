//! Which plugins there are at one point of the planning, and who dependencies what of whom.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dependencies::{Dependencies, Dependency, NO_DEPENDENCIES},
    snapshot::{InstalledComponent, InstalledContract},
};
use crate::values::{name::Component, version::Version};

/// A plugin that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'k> {
    /// None: not known.
    pub(super) version: Option<&'k Version>,
    pub(super) dependencies: &'k Dependencies,
    /// Why its dependencies are not known.
    pub(super) unreadable: Option<&'k str>,
}

impl<'k> Present<'k> {
    pub(super) fn of(installed: &'k InstalledComponent) -> Self {
        let (dependencies, unreadable) = match &installed.contract {
            InstalledContract::Known(dependencies) => (dependencies, None),
            InstalledContract::Unreadable(why) => (&NO_DEPENDENCIES, Some(why.as_str())),
        };
        Self { version: installed.version.as_ref(), dependencies, unreadable }
    }
}

/// The plugins, and the dependencies on each by index.
#[derive(Debug, Default)]
pub(super) struct State<'k> {
    present: BTreeMap<&'k Component, Present<'k>>,
    demanding: BTreeMap<&'k Component, BTreeSet<&'k Component>>,
}

impl<'k> State<'k> {
    pub(super) fn get(&self, name: &Component) -> Option<Present<'k>> {
        self.present.get(name).copied()
    }

    /// Puts a plugin in place, or away, and returns what was there.
    pub(super) fn put(&mut self, name: &'k Component, new: Option<Present<'k>>) -> Option<Present<'k>> {
        let old = match new {
            Some(new) => self.present.insert(name, new),
            None => self.present.remove(name),
        };
        for (target, _) in old.iter().flat_map(|old| old.dependencies.by_component()) {
            if let Some(by) = self.demanding.get_mut(target) {
                by.remove(name);
            }
        }
        for (target, _) in new.iter().flat_map(|new| new.dependencies.by_component()) {
            self.demanding.entry(target).or_default().insert(name);
        }
        old
    }

    /// What the plugins that are there, this one excepted, dependency of it.
    pub(super) fn demands_on(&self, name: &Component) -> impl Iterator<Item = (&'k Component, &'k [Dependency])> {
        let by = self.demanding.get(name).into_iter().flatten();
        by.filter_map(move |by| Some((*by, self.present.get(by)?.dependencies.on(name))))
            .filter(move |(by, _)| **by != *name)
    }

    /// Whether these dependencies on one plugin are met as things are.
    pub(super) fn meets(&self, name: &Component, dependencies: &[Dependency]) -> bool {
        match self.present.get(name) {
            None => !dependencies.iter().any(|dependency| dependency.mandatory),
            Some(present) => accepts(dependencies, present.version),
        }
    }
}

/// Whether a version, if it is known, is what these dependencies want of a plugin that is there.
pub(super) fn accepts(dependencies: &[Dependency], version: Option<&Version>) -> bool {
    dependencies.iter().all(|dependency| match version {
        Some(version) => dependency.constraint.matches(version),
        None => dependency.constraint.is_any(),
    })
}
