//! Which plugins there are at one point of the planning, and who demands what of whom.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Contract, Demand, Demands, Installed, NO_DEMANDS};
use crate::values::{name::PluginName, version::Version};

/// A plugin that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present<'k> {
    /// None: not known.
    pub(super) version: Option<&'k Version>,
    pub(super) demands: &'k Demands,
    /// Why its demands are not known.
    pub(super) unreadable: Option<&'k str>,
}

impl<'k> Present<'k> {
    pub(super) fn of(installed: &'k Installed) -> Self {
        let (demands, unreadable) = match &installed.contract {
            Contract::Known(demands) => (demands, None),
            Contract::Unreadable(why) => (&NO_DEMANDS, Some(why.as_str())),
        };
        Self { version: installed.version.as_ref(), demands, unreadable }
    }
}

/// The plugins, and the demands on each by index.
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
        for (target, _) in old.iter().flat_map(|old| old.demands.by_plugin()) {
            if let Some(by) = self.demanding.get_mut(target) {
                by.remove(name);
            }
        }
        for (target, _) in new.iter().flat_map(|new| new.demands.by_plugin()) {
            self.demanding.entry(target).or_default().insert(name);
        }
        old
    }

    /// What the plugins that are there, this one excepted, demand of it.
    pub(super) fn demands_on(&self, name: &PluginName) -> impl Iterator<Item = (&'k PluginName, &'k [Demand])> {
        let by = self.demanding.get(name).into_iter().flatten();
        by.filter_map(move |by| Some((*by, self.present.get(by)?.demands.on(name))))
            .filter(move |(by, _)| **by != *name)
    }

    /// Whether these demands on one plugin are met as things are.
    pub(super) fn meets(&self, name: &PluginName, demands: &[Demand]) -> bool {
        match self.present.get(name) {
            None => !demands.iter().any(|demand| demand.mandatory),
            Some(present) => accepts(demands, present.version),
        }
    }
}

/// Whether a version, if it is known, is what these demands want of a plugin that is there.
pub(super) fn accepts(demands: &[Demand], version: Option<&Version>) -> bool {
    demands.iter().all(|demand| match version {
        Some(version) => demand.constraint.matches(version),
        None => demand.constraint.is_any(),
    })
}
