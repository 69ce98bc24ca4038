//! The changes of a plan in progress: decided, taken back, and turned into the plan.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dependencies::any_mandatory,
    draft::{DecidedChange, Draft},
    order,
    outcome::{ChangeReason, Outcome, Plan, PlannedChange, PreviousVersion},
    planned_state::accept,
    trail::{Target, Trail},
};
use crate::values::name::Component;

impl<'k> Draft<'k> {
    /// Adds the decisions of a search to the plan.
    pub(super) fn commit(&mut self, trail: &Trail<'k>) {
        for (level, decision) in trail.decisions().iter().enumerate() {
            let Some(Target { published, facts }) = decision.change else { continue };
            let earlier = self.changes.get(decision.component);
            let requested = level == 0 || earlier.is_some_and(|earlier| earlier.requested);
            let path = trail.component_path(level);
            let change = DecidedChange { to: published, facts, requested, path };
            self.changes.insert(decision.component, change);
        }
        self.revision += 1;
    }

    /// Takes the decisions of a search back, and returns the changes of dependencies that it would have made.
    pub(super) fn roll_back(&mut self, mut trail: Trail<'k>) -> Vec<PlannedChange> {
        let levels: BTreeMap<_, _> =
            trail.decisions().iter().enumerate().skip(1).map(|(level, decision)| (decision.component, level)).collect();
        let dependencies = levels.iter().map(|(component, level)| (*component, trail.decision(*level).dependencies));
        let changes = order::dependencies_first(&dependencies.collect())
            .into_iter()
            .filter_map(|component| Some((component, *levels.get(component)?)))
            .filter_map(|(component, level)| {
                let Target { published, facts } = trail.decision(level).change?;
                let path = trail.component_path(level);
                Some(self.change(component, &DecidedChange { to: published, facts, requested: false, path }))
            })
            .collect();
        for decision in trail.truncate(0) {
            self.state.replace(decision.component, decision.replaced);
        }
        changes
    }

    /// Drops changes of dependencies that nothing needs any more, as what needed them was changed again.
    /// Returns their components.
    pub(super) fn drop_unneeded(&mut self) -> BTreeSet<&'k Component> {
        let mut dropped = BTreeSet::new();
        loop {
            let unneeded =
                self.changes.iter().find(|(component, change)| !change.requested && self.is_unneeded(component));
            let Some((component, _)) = unneeded else { return dropped };
            let component = *component;
            dropped.insert(component);
            self.changes.remove(component);
            let installed = self.installed(component);
            self.state.replace(component, installed);
        }
    }

    /// Whether all dependencies are met without the change of this component.
    fn is_unneeded(&self, component: &Component) -> bool {
        let installed = self.installed(component);
        let is_met = self.state.dependents(component).all(|(_, dependencies)| match installed {
            None => !any_mandatory(dependencies),
            Some(installed) => accept(dependencies, installed.version),
        });
        let accepts_others = installed.is_none_or(|installed| {
            let mut others = installed.dependencies.by_component().filter(|(target, _)| *target != component);
            others.all(|(target, dependencies)| {
                !self.changes.contains_key(target) || self.state.meets(target, dependencies)
            })
        });
        is_met && accepts_others
    }

    fn change(&self, component: &Component, change: &DecidedChange<'k>) -> PlannedChange {
        let from = match self.installed(component).map(|installed| installed.version) {
            None => PreviousVersion::Nothing,
            Some(None) => PreviousVersion::Unknown,
            Some(Some(version)) => PreviousVersion::Version(version.clone()),
        };
        let why = if change.requested {
            ChangeReason::Requested
        } else {
            ChangeReason::Dependency { chain: change.path.iter().map(|component| (*component).clone()).collect() }
        };
        let warnings = change.facts.findings.warnings.clone();
        PlannedChange { component: component.clone(), from, to: change.to.clone(), why, warnings }
    }

    /// Turns the changes and the outcomes of the requests into the plan.
    pub(super) fn into_plan(self, outcomes: impl IntoIterator<Item = (&'k Component, Outcome)>) -> Plan {
        let dependencies = self.changes.iter().map(|(component, change)| (*component, &change.facts.dependencies));
        let changes = order::dependencies_first(&dependencies.collect())
            .into_iter()
            .filter_map(|component| Some(self.change(component, self.changes.get(component)?)))
            .collect();
        let outcomes = outcomes.into_iter();
        let outcomes = outcomes.map(|(component, outcome)| (component.clone(), self.final_outcome(component, outcome)));
        Plan { changes, outcomes: outcomes.collect() }
    }

    /// Corrects an outcome for a component that another request changed before or after.
    fn final_outcome(&self, component: &Component, outcome: Outcome) -> Outcome {
        match (self.changes.get(component), outcome) {
            (
                Some(change),
                Outcome::Take { mut passed_over, .. }
                | Outcome::AlreadyActive { mut passed_over, .. }
                | Outcome::Keep { mut passed_over, .. }
                | Outcome::Incomplete { mut passed_over, .. }
                | Outcome::Nothing { mut passed_over, .. },
            ) => {
                passed_over.retain(|(published, _)| published.version > change.to.version);
                Outcome::Take { passed_over, version: change.to.clone() }
            }
            (_, outcome) => outcome,
        }
    }
}
