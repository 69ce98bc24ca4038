//! The search for the dependencies of one version: depth-first, for versions that fit together.
//!
//! The newest candidate of each dependency is tried first. Where a search fails, it returns to a decision
//! that takes part in the conflict and leaves the others alone (conflict-directed backjumping), so that a
//! dependency that cannot be met does not cost a tour through the versions of the others. A conflict names
//! the levels of the decisions that take part in it.

use std::{collections::BTreeSet, rc::Rc};

use super::{
    candidates::dependency_candidates,
    conflicts,
    dependencies::{Dependencies, MAX_CHANGES, MAX_DEPTH, any_mandatory},
    draft::{Draft, Evaluation, EvaluationFailure},
    known_facts::{FactRequest, VersionFacts},
    planned_state::PlannedComponent,
    snapshot::{DependencyPolicy, Request},
    trail::{Decision, SearchFailure, Target, Trail, UnmetDependency},
};
use crate::{
    decisions::{intent::Intent, reason::Reason, selection::PublishedVersion},
    values::{name::Component, version::Version},
};

/// How many tag lists are requested at once for one version.
const MAX_FACT_REQUESTS: usize = 32;

/// From so many dependencies on, a version costs more than one step.
const DEPENDENCIES_PER_STEP: usize = 256;

/// The dependencies still to be met: a list that the branches of a search share.
#[derive(Debug)]
struct Pending<'k> {
    next: UnmetDependency<'k>,
    rest: Option<Rc<Pending<'k>>>,
}

fn prepend<'k>(unmet: Vec<UnmetDependency<'k>>, mut rest: Option<Rc<Pending<'k>>>) -> Option<Rc<Pending<'k>>> {
    for next in unmet.into_iter().rev() {
        rest = Some(Rc::new(Pending { next, rest }));
    }
    rest
}

/// What a search puts in place, with everything it needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal<'k> {
    /// A change of the component.
    Change(Target<'k>),
    /// The component as it is installed.
    Stay { version: &'k Version, dependencies: &'k Dependencies },
}

impl<'k> Goal<'k> {
    pub(super) fn version(self) -> &'k Version {
        match self {
            Self::Change(target) => &target.published.version,
            Self::Stay { version, .. } => version,
        }
    }
}

/// The search for the dependencies of one version.
pub(super) struct Search<'d, 'k> {
    draft: &'d mut Draft<'k>,
    trail: Trail<'k>,
    /// The intent of changes to another major version. None: dependencies stay in their majors.
    crossing: Option<Intent>,
    /// The steps left before the search is cut off.
    steps: &'d mut usize,
}

impl<'d, 'k> Search<'d, 'k> {
    /// A search for what a version needs. `steps` bounds it, and is reduced by what it takes.
    pub(super) fn new(
        draft: &'d mut Draft<'k>,
        request: &Request,
        component: &Component,
        version: &Version,
        steps: &'d mut usize,
    ) -> Self {
        let crossing = match request {
            Request::Major(_) => Some(Intent::Explicit),
            Request::NewestOfAll => Some(draft.intent(&Request::Newest)),
            Request::Newest | Request::Exact(_) => None,
        };
        let subject = conflicts::subject(component, version, draft.active(component));
        Self { draft, trail: Trail::new(subject), crossing, steps }
    }

    /// Puts a version in place with everything it needs, and returns the decisions. On failure the draft is as
    /// it was before.
    pub(super) fn run(mut self, component: &'k Component, goal: Goal<'k>) -> Result<Trail<'k>, SearchFailure> {
        match goal {
            Goal::Change(target) => self.decide(component, target, 0, true),
            Goal::Stay { version, dependencies } => self.put(component, version, dependencies, None, 0, true),
        };
        match self.unmet_dependencies(0).and_then(|unmet| self.resolve(prepend(unmet, None))) {
            Ok(()) => Ok(self.trail),
            Err(failure) => {
                let failure = self.collect_reasons(failure);
                self.take_back(0);
                Err(failure)
            }
        }
    }

    /// Replaces the reasons of a conflict by all dependencies of the version that cannot be met by
    /// themselves, if there are any.
    fn collect_reasons(&mut self, failure: SearchFailure) -> SearchFailure {
        let SearchFailure::Conflict { levels, reasons } = failure else { return failure };
        self.take_back(1);
        let mut all = Vec::new();
        for unmet in self.unmet_dependencies(0).unwrap_or_default().into_iter().take(MAX_FACT_REQUESTS) {
            if let Err(SearchFailure::Conflict { reasons, .. }) = self.resolve(prepend(vec![unmet], None)) {
                all.extend(reasons);
            }
            self.take_back(1);
        }
        SearchFailure::Conflict { levels, reasons: if all.is_empty() { reasons } else { all } }
    }

    /// Decides on a version of a component, and returns the level.
    fn decide(&mut self, component: &'k Component, target: Target<'k>, parent: usize, mandatory: bool) -> usize {
        let (version, dependencies) = (&target.published.version, &target.facts.dependencies);
        self.put(component, version, dependencies, Some(target), parent, mandatory)
    }

    fn put(
        &mut self,
        component: &'k Component,
        version: &'k Version,
        dependencies: &'k Dependencies,
        change: Option<Target<'k>>,
        parent: usize,
        mandatory: bool,
    ) -> usize {
        let state = PlannedComponent { version: Some(version), dependencies, unreadable: None };
        let replaced = self.draft.state.replace(component, Some(state));
        let depth = self.trail.depth_below(parent);
        self.trail.push(Decision { component, version, dependencies, change, replaced, parent, mandatory, depth })
    }

    /// Takes the decisions from this level on back.
    fn take_back(&mut self, level: usize) {
        for decision in self.trail.truncate(level) {
            self.draft.state.replace(decision.component, decision.replaced);
        }
    }

    /// Returns the dependencies of the decision at a level that are not met.
    fn unmet_dependencies(&self, level: usize) -> Result<Vec<UnmetDependency<'k>>, SearchFailure> {
        let all: &'k Dependencies = self.trail.decision(level).dependencies;
        let mut unmet = Vec::new();
        let mut reasons = Vec::new();
        let mut levels = BTreeSet::from([level]);
        for (target, dependencies) in all.by_component() {
            let decided = self.trail.level_of(target);
            let closes_cycle = decided.is_some_and(|top| self.trail.is_mandatory_path(top, level));
            if any_mandatory(dependencies) && closes_cycle {
                reasons.push(self.trail.path(level).cycle(target));
                levels.extend(self.trail.path_levels(level));
                continue;
            }
            if self.draft.state.meets(target, dependencies) {
                continue;
            }
            let planned = decided.map(|at| self.trail.decision(at).version);
            levels.extend(decided);
            match planned.or_else(|| self.draft.pinned.get(target).copied()) {
                Some(planned) => reasons.push(self.trail.path(level).planned(target, dependencies, planned)),
                None => unmet.push(UnmetDependency { target, dependencies, level }),
            }
        }
        if let DependencyPolicy::Refuse { by } = &self.draft.options().missing {
            let refused = |unmet: &UnmetDependency<'_>| {
                self.trail.path(level).refused_by_policy(unmet.target, unmet.dependencies, by)
            };
            reasons.extend(unmet.iter().take(MAX_FACT_REQUESTS).map(refused));
        }
        if !reasons.is_empty() {
            return Err(SearchFailure::Conflict { levels, reasons });
        }
        if unmet.len() >= MAX_CHANGES {
            return Err(self.conflict(level, conflicts::too_many_changes(self.trail.subject())));
        }
        // Installed ones first: they have to be changed, and what they require today does not apply then.
        unmet.sort_by_key(|unmet| self.draft.state.get(unmet.target).is_none());
        self.require_tags(&unmet)?;
        Ok(unmet)
    }

    /// Requests the tags of all these dependencies, as far as they are missing.
    fn require_tags(&self, unmet: &[UnmetDependency<'k>]) -> Result<(), SearchFailure> {
        let missing = unmet.iter().map(|unmet| FactRequest::Tags(unmet.target.clone()));
        let missing: Vec<_> = missing.filter(|request| !self.draft.knows(request)).take(MAX_FACT_REQUESTS).collect();
        if missing.is_empty() { Ok(()) } else { Err(SearchFailure::MissingFacts(missing)) }
    }

    /// A conflict in which all levels down to this one take part.
    fn conflict(&self, level: usize, reason: Reason) -> SearchFailure {
        let levels = self.trail.path_levels(level).into_iter().collect();
        SearchFailure::Conflict { levels, reasons: vec![reason] }
    }

    /// Meets the pending dependencies one after the other. On success all decisions are in place; on failure
    /// those that were there before.
    fn resolve(&mut self, mut pending: Option<Rc<Pending<'k>>>) -> Result<(), SearchFailure> {
        let (unmet, rest) = loop {
            let Some(first) = &pending else { return self.check_dependents() };
            let (next, rest) = (first.next, first.rest.clone());
            if !self.draft.state.meets(next.target, next.dependencies) {
                break (next, rest);
            }
            pending = rest;
        };
        self.check_bounds(unmet)?;
        let list = self.draft.tags(unmet.target).map_err(SearchFailure::Error)?;
        let Some(list) = list else {
            return Err(SearchFailure::MissingFacts(vec![FactRequest::Tags(unmet.target.clone())]));
        };
        let found = dependency_candidates(self.draft, &self.trail, unmet, list, self.crossing.is_some())?;
        let mut levels = found.levels;
        let mut first_reasons: Option<Vec<Reason>> = None;
        let mut conflict_stays = false;
        for candidate in found.candidates {
            // A candidate that an installed component does not accept helps only if it leads to a change of
            // that component. If the newest one does not, older ones are not tried.
            if candidate.conflicts && conflict_stays {
                break;
            }
            let Err(rejection) = self.try_candidate(unmet, candidate.published, rest.as_ref())? else { return Ok(()) };
            first_reasons.get_or_insert(rejection.reasons);
            if let Some(others) = rejection.conflict {
                levels.extend(others);
                conflict_stays |= candidate.conflicts;
            }
        }
        Err(SearchFailure::Conflict { levels, reasons: first_reasons.unwrap_or_default() })
    }

    /// Tries one version of a dependency, and then what is pending. The inner error is the reason to try
    /// another version. The outer error is one that another version of this dependency cannot avoid.
    fn try_candidate(
        &mut self,
        unmet: UnmetDependency<'k>,
        published: &'k PublishedVersion,
        rest: Option<&Rc<Pending<'k>>>,
    ) -> Result<Result<(), CandidateRejection>, SearchFailure> {
        self.charge(unmet.level)?;
        let facts = match self.evaluate(unmet, published)? {
            Ok(facts) => facts,
            Err(reasons) => return Ok(Err(CandidateRejection { conflict: None, reasons })),
        };
        let mandatory = any_mandatory(unmet.dependencies);
        let level = self.decide(unmet.target, Target { published, facts }, unmet.level, mandatory);
        let resolved = self
            .charge_contract(level)
            .and_then(|()| self.unmet_dependencies(level))
            .and_then(|unmet| self.resolve(prepend(unmet, rest.cloned())));
        let Err(failure) = resolved else { return Ok(Ok(())) };
        self.take_back(level);
        let SearchFailure::Conflict { mut levels, reasons } = failure else { return Err(failure) };
        if levels.remove(&level) {
            Ok(Err(CandidateRejection { conflict: Some(levels), reasons }))
        } else {
            Err(SearchFailure::Conflict { levels, reasons })
        }
    }

    fn check_bounds(&self, unmet: UnmetDependency<'k>) -> Result<(), SearchFailure> {
        if self.trail.decision(unmet.level).depth >= MAX_DEPTH {
            let reason = self.trail.path(unmet.level).too_deep(unmet.target);
            return Err(self.conflict(unmet.level, reason));
        }
        if self.trail.decisions().len() >= MAX_CHANGES {
            let reason = conflicts::too_many_changes(self.trail.subject());
            return Err(SearchFailure::LimitReached(Box::new(reason)));
        }
        Ok(())
    }

    /// Counts a try on behalf of the decision at a level. A long list of dependencies costs more.
    fn charge(&mut self, level: usize) -> Result<(), SearchFailure> {
        let cost = 1 + self.trail.decision(level).dependencies.all().len() / DEPENDENCIES_PER_STEP;
        let Some(left) = self.steps.checked_sub(cost) else {
            let reason = conflicts::too_complex(self.trail.subject());
            return Err(SearchFailure::LimitReached(Box::new(reason)));
        };
        *self.steps = left;
        Ok(())
    }

    /// Counts a decision whose long list of dependencies took time to put in place.
    fn charge_contract(&mut self, level: usize) -> Result<(), SearchFailure> {
        let is_long = self.trail.decision(level).dependencies.all().len() >= DEPENDENCIES_PER_STEP;
        if is_long { self.charge(level) } else { Ok(()) }
    }

    /// Evaluates a version of a dependency. The inner error has the reasons against it.
    fn evaluate(
        &self,
        unmet: UnmetDependency<'k>,
        published: &'k PublishedVersion,
    ) -> Result<Result<&'k VersionFacts, Vec<Reason>>, SearchFailure> {
        let by = self.trail.decision(unmet.level);
        let installed = self.draft.state.get(unmet.target).and_then(|state| state.version);
        let crosses = installed.is_some_and(|installed| installed.major() != published.version.major());
        let intent = self.crossing.filter(|_| crosses).unwrap_or_else(|| self.draft.intent(&Request::Newest));
        let dependency_of = Some((by.component, by.version));
        let not_eligible = |verdict| {
            let required = self.draft.required(self.trail.decision(0).component);
            self.trail.path(unmet.level).not_eligible(unmet.target, unmet.dependencies, verdict, required.as_ref())
        };
        match self.draft.evaluate(unmet.target, published, intent, dependency_of) {
            Ok(Evaluation::Eligible(facts)) => Ok(Ok(facts)),
            Ok(Evaluation::Rejected(verdict)) => Ok(Err(not_eligible(&verdict))),
            Ok(Evaluation::Unchecked(verdict)) => Err(SearchFailure::Unchecked(not_eligible(&verdict))),
            Err(EvaluationFailure::MissingFact(request)) => Err(SearchFailure::MissingFacts(vec![*request])),
            Err(EvaluationFailure::Error(error)) => Err(SearchFailure::Error(error)),
        }
    }

    /// Checks, once all dependencies are met, that the components that the plan leaves as they are accept
    /// every decision.
    fn check_dependents(&self) -> Result<(), SearchFailure> {
        let changes = self.trail.decisions().iter().enumerate().filter(|(_, decision)| decision.change.is_some());
        for (level, decision) in changes {
            let reasons = self.draft.dependent_conflicts(decision.component, decision.version, Some(&self.trail));
            if !reasons.is_empty() {
                return Err(SearchFailure::Conflict { levels: BTreeSet::from([level]), reasons });
            }
        }
        // No plugin can require anything of d8.
        let affects_plugins = *self.trail.decision(0).component != Component::D8;
        match self.draft.unreadable().filter(|_| affects_plugins) {
            Some(error) => Err(SearchFailure::Error(error)),
            None => Ok(()),
        }
    }
}

/// Why a version of a dependency was rejected.
struct CandidateRejection {
    /// The levels of the other decisions that take part in the conflict. None: the version is not eligible.
    conflict: Option<BTreeSet<usize>>,
    reasons: Vec<Reason>,
}
