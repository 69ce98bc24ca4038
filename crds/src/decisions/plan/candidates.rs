//! Which versions of a dependency a search may try, and why it may try none.

use std::collections::BTreeSet;

use super::{
    draft::Draft,
    planned_state::accept,
    trail::{SearchFailure, Trail, UnmetDependency},
};
use crate::{
    decisions::{
        reason::{DependencyProblem, Reason},
        selection::{ActiveVersion, PublishedVersion, SearchScope, TagList, is_stable},
    },
    values::{channel::Channel, version::Version},
};

/// The versions of a dependency that a search may try.
pub(super) struct DependencyCandidates<'k> {
    /// In the order in which to try them: those that every installed component accepts come first.
    pub(super) candidates: Vec<DependencyCandidate<'k>>,
    /// The levels whose dependencies restrict the candidates.
    pub(super) levels: BTreeSet<usize>,
}

/// A version of a dependency that a search may try.
pub(super) struct DependencyCandidate<'k> {
    pub(super) published: &'k PublishedVersion,
    /// Whether an installed component does not accept it. It can only be installed if that component is
    /// changed too.
    pub(super) conflicts: bool,
}

/// Returns the versions that a search may try for an unmet dependency.
///
/// # Errors
/// A conflict, if there is no such version.
pub(super) fn dependency_candidates<'k>(
    draft: &Draft<'k>,
    trail: &Trail<'k>,
    unmet: UnmetDependency<'k>,
    list: &'k TagList,
    cross_majors: bool,
) -> Result<DependencyCandidates<'k>, SearchFailure> {
    let conflict = |levels, reason| SearchFailure::Conflict { levels, reasons: vec![reason] };
    let own_level = BTreeSet::from([unmet.level]);
    let problem = |problem| trail.path(unmet.level).problem(unmet.target, unmet.dependencies, problem);
    let active = match draft.state.get(unmet.target).map(|state| state.version) {
        None => ActiveVersion::Absent,
        Some(Some(version)) => ActiveVersion::Known(version),
        // A constraint applies, and nothing tells whether the installed version meets it.
        Some(None) => return Err(conflict(own_level, problem(DependencyProblem::UnknownVersion))),
    };
    if list.published.is_empty() {
        return Err(conflict(own_level, problem(DependencyProblem::NotPublished)));
    }
    let scope = SearchScope {
        active,
        channel: Channel::Stable,
        major: draft.dependency_major(unmet.target, cross_majors),
        allow_downgrade: false,
        active_major_first: true,
    };
    let mut candidates = scope.candidates(list);
    candidates.retain(|published| accept(unmet.dependencies, Some(&published.version)));
    if candidates.is_empty() {
        return Err(conflict(own_level, problem(why_no_candidate(unmet, active.version(), list))));
    }
    restrict(draft, trail, unmet, candidates)
}

/// Drops the candidates that other decisions of the search do not accept, and marks those that installed
/// components do not accept.
fn restrict<'k>(
    draft: &Draft<'k>,
    trail: &Trail<'k>,
    unmet: UnmetDependency<'k>,
    all: Vec<&'k PublishedVersion>,
) -> Result<DependencyCandidates<'k>, SearchFailure> {
    let (mut decided, mut installed) = (Vec::new(), Vec::new());
    for (dependent, dependencies) in draft.state.dependents(unmet.target) {
        match trail.level_of(dependent) {
            Some(level) => decided.push((level, dependencies)),
            None => installed.push(dependencies),
        }
    }
    let mut levels = BTreeSet::from([unmet.level]);
    let mut disagrees = None;
    let mut candidates = Vec::new();
    for published in all {
        let version = Some(&published.version);
        if let Some((level, dependencies)) = decided.iter().find(|(_, dependencies)| !accept(dependencies, version)) {
            levels.insert(*level);
            disagrees.get_or_insert((*level, *dependencies));
            continue;
        }
        let conflicts = installed.iter().any(|dependencies| !accept(dependencies, version));
        candidates.push(DependencyCandidate { published, conflicts });
    }
    if let (true, Some((level, dependencies))) = (candidates.is_empty(), disagrees) {
        let with = trail.decision(level).component;
        let path = trail.path(unmet.level);
        let reasons: Vec<Reason> = vec![path.disagreement(unmet.target, unmet.dependencies, with, dependencies)];
        return Err(SearchFailure::Conflict { levels, reasons });
    }
    // The sort is stable.
    candidates.sort_by_key(|candidate| candidate.conflicts);
    Ok(DependencyCandidates { candidates, levels })
}

/// Returns why no published version of a dependency may be tried.
fn why_no_candidate(unmet: UnmetDependency<'_>, active: Option<&Version>, list: &TagList) -> DependencyProblem {
    let in_range: Vec<&PublishedVersion> =
        list.published.iter().filter(|published| accept(unmet.dependencies, Some(&published.version))).collect();
    let stable = |published: &&&PublishedVersion| is_stable(&list.component, &published.version);
    let newest = in_range.iter().find(stable).or(in_range.first()).map(|published| published.version.clone());
    let Some(active) = active else {
        return match newest {
            Some(newest) => DependencyProblem::OnlyPreReleases { newest },
            None => DependencyProblem::NoneInRange { installed: None },
        };
    };
    let newer: Vec<_> = in_range.iter().filter(|published| published.version > *active).collect();
    let other_major = newer.iter().filter(|p| p.version.major() != active.major()).find(|published| stable(published));
    let installed = active.clone();
    match (other_major, newer.first(), newest) {
        (Some(published), ..) => DependencyProblem::OtherMajor { installed, major: published.version.major() },
        (None, Some(published), _) => DependencyProblem::OnlyPreReleases { newest: published.version.clone() },
        (None, None, Some(newest)) => DependencyProblem::TooNew { installed, newest },
        (None, None, None) => DependencyProblem::NoneInRange { installed: Some(installed) },
    }
}
