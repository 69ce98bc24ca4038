//! The planner's own reasons: conflicts between plugins, as data.

use std::sync::Arc;

use super::{MAX_CHANGES, MAX_DEPTH, dependencies::Dependency};
use crate::{
    decisions::{
        reason::{
            Cause, Dependency as DependencyChain, DependencyProblem, Origin, PluginConflict, Reason, Required, Source,
            Subject,
        },
        verdict::Verdict,
    },
    values::{name::Component, text::printable_to, version::Version},
};

/// Most characters of the joined constraints on one plugin.
const MAX_CONSTRAINT: usize = 512;

/// Returns the subject of reasons against a version.
pub(super) fn subject(component: &Component, version: &Version, active: Option<&Version>) -> Arc<Subject> {
    Arc::new(Subject {
        component: component.clone(),
        version: Some(version.clone()),
        active: active.cloned(),
        evaluated_at: None,
    })
}

/// Joins the constraints that dependencies put on one plugin: `>=2, <3`.
fn constraint(dependencies: &[Dependency]) -> String {
    let mut joined = String::new();
    let constraints = dependencies.iter().map(|dependency| dependency.constraint.as_str().trim());
    for constraint in constraints.filter(|constraint| !constraint.is_empty()) {
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        if joined.len() > MAX_CONSTRAINT {
            joined.push('…');
            break;
        }
        joined.push_str(&printable_to(constraint, 64));
    }
    joined
}

/// A version that needs other plugins: the one in question, or a dependency that it leads to.
pub(super) struct Place<'k> {
    /// Subject of the reasons: the version in question.
    pub(super) subject: Arc<Subject>,
    /// From the version in question down to the one that needs something.
    pub(super) chain: Vec<(&'k Component, &'k Version)>,
}

impl Place<'_> {
    fn reason(&self, conflict: PluginConflict) -> Reason {
        Reason { subject: Arc::clone(&self.subject), cause: Cause::Plugins(Box::new(conflict)) }
    }

    fn chain_to(&self, target: &Component, dependencies: &[Dependency]) -> DependencyChain {
        DependencyChain {
            chain: self.chain.iter().map(|(name, version)| ((*name).clone(), (*version).clone())).collect(),
            plugin: target.clone(),
            constraint: constraint(dependencies),
            if_installed: !dependencies.is_empty() && !dependencies.iter().any(|dependency| dependency.mandatory),
        }
    }

    /// Returns the reason that a dependency cannot be installed or updated.
    pub(super) fn problem(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        problem: DependencyProblem,
    ) -> Reason {
        self.reason(PluginConflict::Dependency { dependency: self.chain_to(target, dependencies), problem })
    }

    /// The plan has a version that is out of range.
    pub(super) fn planned(&self, target: &Component, dependencies: &[Dependency], planned: &Version) -> Reason {
        self.problem(target, dependencies, DependencyProblem::OtherVersionPlanned { planned: planned.clone() })
    }

    /// No version of the target meets the constraints of several changed plugins.
    pub(super) fn at_odds(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        with: &Component,
        theirs: &[Dependency],
    ) -> Reason {
        let problem =
            DependencyProblem::ConstraintsDisagree { with: with.clone(), other_constraint: constraint(theirs) };
        self.problem(target, dependencies, problem)
    }

    pub(super) fn cycle(&self, target: &Component) -> Reason {
        let start = self.chain.iter().position(|(name, _)| *name == target).unwrap_or_default();
        let names = self.chain[start..].iter().map(|(name, _)| *name).chain([target]);
        self.reason(PluginConflict::Cycle { cycle: names.cloned().collect() })
    }

    pub(super) fn too_deep(&self, target: &Component) -> Reason {
        self.reason(PluginConflict::TooDeep { dependency: self.chain_to(target, &[]), limit: MAX_DEPTH })
    }

    /// A policy refuses to bring in dependencies.
    pub(super) fn refused_by_policy(&self, target: &Component, dependencies: &[Dependency], policy: &str) -> Reason {
        let by = Source::Policy { policy: policy.into(), origin: Origin::Spec("missingDependencies"), field: "" };
        self.problem(target, dependencies, DependencyProblem::MissingDependenciesRefused { by })
    }

    /// Returns the reasons against a dependency as reasons against what needs it.
    pub(super) fn judged(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        verdict: &Verdict,
        required: Option<&Required>,
    ) -> Vec<Reason> {
        let one = |reason: &Reason| {
            let problem =
                DependencyProblem::NotEligible { reason: Box::new(reason.clone()), required: required.cloned() };
            self.problem(target, dependencies, problem)
        };
        verdict.reasons().iter().map(one).collect()
    }
}

/// Returns the reason that an installed plugin needs another version.
pub(super) fn objection(
    subject: &Arc<Subject>,
    by: &Component,
    by_version: Option<&Version>,
    dependencies: &[Dependency],
) -> Reason {
    let conflict = PluginConflict::DependentPlugin {
        plugin: by.clone(),
        version: by_version.cloned(),
        constraint: constraint(dependencies),
    };
    Reason { subject: Arc::clone(subject), cause: Cause::Plugins(Box::new(conflict)) }
}

/// Returns the reason that too many other plugins would change.
pub(super) fn too_many(subject: Arc<Subject>) -> Reason {
    let conflict = PluginConflict::TooManyChanges { limit: MAX_CHANGES - 1 };
    Reason { subject, cause: Cause::Plugins(Box::new(conflict)) }
}

/// Returns the reason that trying all combinations would take too long.
pub(super) fn too_complex(subject: Arc<Subject>) -> Reason {
    Reason { subject, cause: Cause::Plugins(Box::new(PluginConflict::TooComplex)) }
}
