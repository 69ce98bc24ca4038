//! Which plugins there are at one point of the planning, and who dependencies what of whom.

use std::collections::{BTreeMap, BTreeSet};

use super::knowledge::{Contract, Dependencies, Dependency, Installed, NO_DEMANDS};
use crate::values::{name::PluginName, version::Version};

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
    pub(super) fn of(installed: &'k Installed) -> Self {
        let (dependencies, unreadable) = match &installed.contract {
            Contract::Known(dependencies) => (dependencies, None),
            Contract::Unreadable(why) => (&NO_DEMANDS, Some(why.as_str())),
        };
        Self { version: installed.version.as_ref(), dependencies, unreadable }
    }
}

/// The plugins, and the dependencies on each by index.
#[derive(Debug, Default)]
pub(super) struct State<'k> {
    present: BTreeMap<&'k PluginName, Present<'k>>,
    demanding: BTreeMap<&'k PluginName, BTreeSet<&'k PluginName>>,
}

impl<'k> State<'k> {
    pub(super) fn get(&self, name: &PluginName) -> Option<Present<'k>> {
        self.present.get(name).copied()
    }

    /// Puts a plugin in place, or away, and returns what was there.
    pub(super) fn put(&mut self, name: &'k PluginName, new: Option<Present<'k>>) -> Option<Present<'k>> {
        let old = match new {
            Some(new) => self.present.insert(name, new),
            None => self.present.remove(name),
        };
        for (target, _) in old.iter().flat_map(|old| old.dependencies.by_plugin()) {
            if let Some(by) = self.demanding.get_mut(target) {
                by.remove(name);
            }
        }
        for (target, _) in new.iter().flat_map(|new| new.dependencies.by_plugin()) {
            self.demanding.entry(target).or_default().insert(name);
        }
        old
    }

    /// What the plugins that are there, this one excepted, dependency of it.
    pub(super) fn demands_on(&self, name: &PluginName) -> impl Iterator<Item = (&'k PluginName, &'k [Dependency])> {
        let by = self.demanding.get(name).into_iter().flatten();
        by.filter_map(move |by| Some((*by, self.present.get(by)?.dependencies.on(name))))
            .filter(move |(by, _)| **by != *name)
    }

    /// Whether these dependencies on one plugin are met as things are.
    pub(super) fn meets(&self, name: &PluginName, dependencies: &[Dependency]) -> bool {
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
