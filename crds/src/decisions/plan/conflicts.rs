//! The reasons that the planner itself finds: conflicts between plugins, as data.

use std::sync::Arc;

use super::dependencies::{Dependency, MAX_CHANGES, MAX_DEPTH, any_mandatory};
use crate::{
    decisions::{
        reason::{Cause, DependencyChain, DependencyProblem, PluginConflict, Reason, Required, Source, Subject},
        verdict::Verdict,
    },
    values::{name::Component, text::printable_to, version::Version},
};

/// Most bytes of the joined constraints on one plugin.
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

/// The path from the version that a search is for to a version that requires something.
pub(super) struct DependencyPath<'k> {
    /// What the reasons are about: the version that the search is for.
    pub(super) subject: Arc<Subject>,
    /// The versions of the path, from that one on.
    pub(super) chain: Vec<(&'k Component, &'k Version)>,
}

impl DependencyPath<'_> {
    fn reason(&self, conflict: PluginConflict) -> Reason {
        Reason { subject: Arc::clone(&self.subject), cause: Cause::Plugins(Box::new(conflict)) }
    }

    fn chain_to(&self, target: &Component, dependencies: &[Dependency]) -> DependencyChain {
        DependencyChain {
            chain: self.chain.iter().map(|(name, version)| ((*name).clone(), (*version).clone())).collect(),
            plugin: target.clone(),
            constraint: constraint(dependencies),
            if_installed: !dependencies.is_empty() && !any_mandatory(dependencies),
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

    /// Returns the reason that the plan has a version of the dependency that is out of range.
    pub(super) fn planned(&self, target: &Component, dependencies: &[Dependency], planned: &Version) -> Reason {
        self.problem(target, dependencies, DependencyProblem::OtherVersionPlanned { planned: planned.clone() })
    }

    /// Returns the reason that no version of the dependency is accepted by both the last version of the path
    /// and `with`, which is changed too.
    pub(super) fn disagreement(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        with: &Component,
        others: &[Dependency],
    ) -> Reason {
        let problem =
            DependencyProblem::ConstraintsDisagree { with: with.clone(), other_constraint: constraint(others) };
        self.problem(target, dependencies, problem)
    }

    /// Returns the reason that the dependencies form a cycle. `target` is where it closes.
    pub(super) fn cycle(&self, target: &Component) -> Reason {
        let start = self.chain.iter().position(|(name, _)| *name == target).unwrap_or_default();
        let names = self.chain[start..].iter().map(|(name, _)| *name).chain([target]);
        self.reason(PluginConflict::Cycle { cycle: names.cloned().collect() })
    }

    /// Returns the reason that the dependency is too many steps away.
    pub(super) fn too_deep(&self, target: &Component) -> Reason {
        self.reason(PluginConflict::TooDeep { dependency: self.chain_to(target, &[]), limit: MAX_DEPTH })
    }

    /// Returns the reason that a policy refuses to install or update dependencies.
    pub(super) fn refused_by_policy(&self, target: &Component, dependencies: &[Dependency], by: &Source) -> Reason {
        self.problem(target, dependencies, DependencyProblem::MissingDependenciesRefused { by: by.clone() })
    }

    /// Returns the reasons against a version of the dependency, as reasons against what requires it.
    pub(super) fn not_eligible(
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

/// Returns the reason that an installed plugin does not accept the version.
pub(super) fn dependent(
    subject: &Arc<Subject>,
    by: &Component,
    by_version: Option<&Version>,
    dependencies: &[Dependency],
) -> Reason {
    let conflict = PluginConflict::DependentPlugin {
        plugin: by.clone(),
        installed_version: by_version.cloned(),
        constraint: constraint(dependencies),
    };
    Reason { subject: Arc::clone(subject), cause: Cause::Plugins(Box::new(conflict)) }
}

/// Returns the reason that too many other plugins would change.
pub(super) fn too_many_changes(subject: Arc<Subject>) -> Reason {
    let conflict = PluginConflict::TooManyChanges { limit: MAX_CHANGES - 1 };
    Reason { subject, cause: Cause::Plugins(Box::new(conflict)) }
}

/// Returns the reason that trying all combinations would take too long.
pub(super) fn too_complex(subject: Arc<Subject>) -> Reason {
    Reason { subject, cause: Cause::Plugins(Box::new(PluginConflict::TooComplex)) }
}
