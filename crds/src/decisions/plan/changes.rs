//! Changes that are decided: made, taken back, told.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ChangeReason, Outcome, Plan, PlannedChange, PreviousVersion,
    known_facts::VersionFacts,
    order,
    requests::{Planner, Progress},
    search::Chosen,
    state::{Present, accepts},
};
use crate::{decisions::selection::PublishedVersion, values::name::Component};

/// A change that is decided.
#[derive(Debug)]
pub(super) struct Move<'k> {
    to: &'k PublishedVersion,
    offer: &'k VersionFacts,
    requested: bool,
    chain: Vec<&'k Component>,
}

impl<'k> Planner<'k> {
    pub(super) fn commit(&mut self, chosen: &[Chosen<'k>]) {
        for (level, one) in chosen.iter().enumerate() {
            let requested = level == 0 || self.moves.get(one.name).is_some_and(|earlier| earlier.requested);
            let chain = Chosen::chain(chosen, level);
            self.moves.insert(one.name, Move { to: one.published, offer: one.offer, requested, chain });
        }
        self.made += 1;
    }

    /// Takes choices back, and tells what the dependencies would have been.
    pub(super) fn undone(&mut self, chosen: Vec<Chosen<'k>>) -> Vec<PlannedChange> {
        let dependencies: BTreeMap<_, _> =
            chosen.iter().enumerate().skip(1).map(|(level, one)| (one.name, (level, one))).collect();
        let edges = dependencies.iter().map(|(name, (_, one))| (*name, &one.offer.dependencies)).collect();
        let needs = order::dependency_first(&edges)
            .into_iter()
            .filter_map(|name| dependencies.get(name))
            .map(|(level, one)| {
                let chain = Chosen::chain(&chosen, *level);
                self.change(one.name, &Move { to: one.published, offer: one.offer, requested: false, chain })
            })
            .collect();
        for one in chosen.into_iter().rev() {
            self.state.put(one.name, one.before);
        }
        needs
    }

    /// Takes back dependencies that nothing needs any more: what needed them moved on.
    pub(super) fn drop_needless(&mut self) -> BTreeSet<&'k Component> {
        let mut dropped = BTreeSet::new();
        loop {
            let needless = self.moves.iter().find(|(name, one)| !one.requested && self.is_needless(name));
            let Some((name, _)) = needless else { return dropped };
            let name = *name;
            dropped.insert(name);
            self.moves.remove(name);
            let before = self.snapshot.installed.get(name).map(Present::of);
            self.state.put(name, before);
        }
    }

    /// Whether all is well with what was there before the move.
    pub(super) fn is_needless(&self, name: &Component) -> bool {
        let before = self.snapshot.installed.get(name).map(Present::of);
        let missed = self.state.demands_on(name).any(|(_, dependencies)| match before {
            None => dependencies.iter().any(|dependency| dependency.mandatory),
            Some(before) => !accepts(dependencies, before.version),
        });
        let objects = before.is_some_and(|before| {
            let mut others = before.dependencies.by_component().filter(|(target, _)| *target != name);
            others.any(|(target, dependencies)| {
                self.moves.contains_key(target) && !self.state.meets(target, dependencies)
            })
        });
        !missed && !objects
    }

    fn change(&self, name: &Component, one: &Move<'k>) -> PlannedChange {
        let from = match self.snapshot.installed.get(name).map(|installed| &installed.version) {
            None => PreviousVersion::Nothing,
            Some(None) => PreviousVersion::Unknown,
            Some(Some(version)) => PreviousVersion::Version(version.clone()),
        };
        let why = if one.requested {
            ChangeReason::Requested
        } else {
            ChangeReason::Dependency { chain: one.chain.iter().map(|name| (*name).clone()).collect() }
        };
        let warnings = one.offer.findings.warnings.clone();
        PlannedChange { component: name.clone(), from, to: one.to.clone(), why, warnings }
    }

    pub(super) fn told(&self, requests: Vec<Progress<'k>>) -> Plan {
        let dependencies = self.moves.iter().map(|(name, one)| (*name, &one.offer.dependencies)).collect();
        let changes = order::dependency_first(&dependencies)
            .into_iter()
            .filter_map(|name| Some(self.change(name, self.moves.get(name)?)))
            .collect();
        let mut outcomes = BTreeMap::new();
        for progress in requests {
            let Some(outcome) = progress.outcome else { continue };
            // Another request may have moved it on meanwhile, or have moved it first.
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
