//! Changes that are decided: made, taken back, told.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Change, From, Outcome, Plan, Why,
    facts::Offer,
    order,
    search::Chosen,
    state::{Present, accepts},
    wishes::{Planner, Progress},
};
use crate::{decisions::selection::Published, values::name::PluginName};

/// A change that is decided.
#[derive(Debug)]
pub(super) struct Move<'k> {
    to: &'k Published,
    offer: &'k Offer,
    wished: bool,
    chain: Vec<&'k PluginName>,
}

impl<'k> Planner<'k> {
    pub(super) fn commit(&mut self, chosen: &[Chosen<'k>]) {
        for (level, one) in chosen.iter().enumerate() {
            let wished = level == 0 || self.moves.get(one.name).is_some_and(|earlier| earlier.wished);
            let chain = Chosen::chain(chosen, level);
            self.moves.insert(one.name, Move { to: one.published, offer: one.offer, wished, chain });
        }
        self.made += 1;
    }

    /// Takes choices back, and tells what the dependencies would have been.
    pub(super) fn undone(&mut self, chosen: Vec<Chosen<'k>>) -> Vec<Change> {
        let dependencies: BTreeMap<_, _> =
            chosen.iter().enumerate().skip(1).map(|(level, one)| (one.name, (level, one))).collect();
        let demands = dependencies.iter().map(|(name, (_, one))| (*name, &one.offer.demands)).collect();
        let needs = order::dependency_first(&demands)
            .into_iter()
            .filter_map(|name| dependencies.get(name))
            .map(|(level, one)| {
                let chain = Chosen::chain(&chosen, *level);
                self.change(one.name, &Move { to: one.published, offer: one.offer, wished: false, chain })
            })
            .collect();
        for one in chosen.into_iter().rev() {
            self.state.put(one.name, one.before);
        }
        needs
    }

    /// Takes back dependencies that nothing needs any more: what needed them moved on.
    pub(super) fn drop_needless(&mut self) -> BTreeSet<&'k PluginName> {
        let mut dropped = BTreeSet::new();
        loop {
            let needless = self.moves.iter().find(|(name, one)| !one.wished && self.is_needless(name));
            let Some((name, _)) = needless else { return dropped };
            let name = *name;
            dropped.insert(name);
            self.moves.remove(name);
            let before = self.snapshot.installed.get(name).map(Present::of);
            self.state.put(name, before);
        }
    }

    /// Whether all is well with what was there before the move.
    pub(super) fn is_needless(&self, name: &PluginName) -> bool {
        let before = self.snapshot.installed.get(name).map(Present::of);
        let missed = self.state.demands_on(name).any(|(_, demands)| match before {
            None => demands.iter().any(|demand| demand.mandatory),
            Some(before) => !accepts(demands, before.version),
        });
        let objects = before.is_some_and(|before| {
            let mut others = before.demands.by_plugin().filter(|(target, _)| *target != name);
            others.any(|(target, demands)| self.moves.contains_key(target) && !self.state.meets(target, demands))
        });
        !missed && !objects
    }

    fn change(&self, name: &PluginName, one: &Move<'k>) -> Change {
        let from = match self.snapshot.installed.get(name).map(|installed| &installed.version) {
            None => From::Nothing,
            Some(None) => From::Unknown,
            Some(Some(version)) => From::Version(version.clone()),
        };
        let why = if one.wished {
            Why::Wished
        } else {
            Why::Dependency { chain: one.chain.iter().map(|name| (*name).clone()).collect() }
        };
        let warnings = one.offer.findings.warnings.clone();
        Change { name: name.clone(), from, to: one.to.clone(), why, warnings }
    }

    pub(super) fn told(&self, wishes: Vec<Progress<'k>>) -> Plan {
        let demands = self.moves.iter().map(|(name, one)| (*name, &one.offer.demands)).collect();
        let changes = order::dependency_first(&demands)
            .into_iter()
            .filter_map(|name| Some(self.change(name, self.moves.get(name)?)))
            .collect();
        let mut outcomes = BTreeMap::new();
        for progress in wishes {
            let Some(outcome) = progress.outcome else { continue };
            // Another wish may have moved it on meanwhile, or have moved it first.
            let outcome = match (self.moves.get(progress.name), outcome) {
                (
                    Some(one),
                    Outcome::Take { mut passed_over, .. }
                    | Outcome::AlreadyActive { mut passed_over, .. }
                    | Outcome::Keep { mut passed_over, .. }
                    | Outcome::Nothing { mut passed_over, .. },
                ) => {
                    passed_over.retain(|(p, _)| p.version > one.to.version);
                    Outcome::Take { passed_over, version: one.to.clone() }
                }
                (_, outcome) => outcome,
            };
            outcomes.insert(progress.name.clone(), outcome);
        }
        Plan { changes, outcomes }
    }
}
