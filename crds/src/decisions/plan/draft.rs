//! A plan in progress: its input, the changes decided so far, and what follows from both.

use std::{cell::LazyCell, collections::BTreeMap};

use super::{
    conflicts,
    evaluator::{EvaluationRequest, Evaluator},
    known_facts::{FactRequest, KnownFacts, VersionFacts},
    outcome::PlanError,
    planned_state::{PlannedComponent, PlannedState, accept},
    snapshot::{Actor, PlanOptions, Request, Snapshot},
    trail::Trail,
};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Reason, ReasonCode, Required},
        selection::{PublishedVersion, TagList},
        verdict::Verdict,
    },
    values::{channel::Channel, name::Component, text::printable, version::Version},
};

/// A plan in progress.
pub(super) struct Draft<'k> {
    snapshot: &'k Snapshot,
    known: &'k KnownFacts,
    evaluator: &'k dyn Evaluator,
    /// The host after the changes decided so far.
    pub(super) state: PlannedState<'k>,
    pub(super) changes: BTreeMap<&'k Component, DecidedChange<'k>>,
    /// How often a change was decided or dropped.
    pub(super) revision: usize,
    /// The components whose version was requested exactly.
    pub(super) pinned: BTreeMap<&'k Component, &'k Version>,
    /// The installed components whose contract cannot be read.
    unreadable: Vec<&'k Component>,
}

/// A change that was decided.
#[derive(Debug)]
pub(super) struct DecidedChange<'k> {
    pub(super) to: &'k PublishedVersion,
    pub(super) facts: &'k VersionFacts,
    pub(super) requested: bool,
    /// The components from the requested one down to this one.
    pub(super) path: Vec<&'k Component>,
}

/// The evaluation of one version.
pub(super) enum Evaluation<'k> {
    /// The version is eligible.
    Eligible(&'k VersionFacts),
    /// The version is not eligible.
    Rejected(Verdict),
    /// The version is eligible but for requirements that could not be checked, and a person requests it.
    Unchecked(Verdict),
}

/// Why a version could not be evaluated.
pub(super) enum EvaluationFailure {
    /// A fact is missing.
    MissingFact(Box<FactRequest>),
    /// A fact could not be fetched.
    Error(Box<PlanError>),
}

impl<'k> Draft<'k> {
    pub(super) fn new(snapshot: &'k Snapshot, known: &'k KnownFacts, evaluator: &'k dyn Evaluator) -> Self {
        let mut state = PlannedState::default();
        let mut unreadable = Vec::new();
        for (component, installed) in &snapshot.installed {
            let installed = PlannedComponent::of(installed);
            if installed.unreadable.is_some() {
                unreadable.push(component);
            }
            state.replace(component, Some(installed));
        }
        let (changes, pinned) = (BTreeMap::new(), BTreeMap::new());
        Self { snapshot, known, evaluator, state, changes, revision: 0, pinned, unreadable }
    }

    pub(super) fn options(&self) -> &'k PlanOptions {
        &self.snapshot.options
    }

    pub(super) fn requests(&self) -> &'k BTreeMap<Component, Request> {
        &self.snapshot.requests
    }

    /// The component as it was before the plan.
    pub(super) fn installed(&self, component: &Component) -> Option<PlannedComponent<'k>> {
        self.snapshot.installed.get(component).map(PlannedComponent::of)
    }

    /// The version that was active before the plan.
    pub(super) fn active(&self, component: &Component) -> Option<&'k Version> {
        self.snapshot.installed.get(component)?.version.as_ref()
    }

    pub(super) fn channel(&self, component: &Component) -> Channel {
        self.evaluator.channel(component)
    }

    pub(super) fn required(&self, component: &Component) -> Option<Required> {
        self.evaluator.required(component)
    }

    /// Whether a requested fact is known.
    pub(super) fn knows(&self, request: &FactRequest) -> bool {
        self.known.contains(request)
    }

    /// Returns the published versions of a component. None: they must be fetched.
    pub(super) fn tags(&self, component: &Component) -> Result<Option<&'k TagList>, Box<PlanError>> {
        match self.known.tags.get(component) {
            None => Ok(None),
            Some(Ok(list)) => Ok(Some(list)),
            Some(Err(message)) => Err(fact_error(FactRequest::Tags(component.clone()), message)),
        }
    }

    /// Returns the reasons why installed components that the plan does not decide on do not accept a version.
    /// `decided` are the decisions of the current search.
    pub(super) fn dependent_conflicts(
        &self,
        component: &Component,
        version: &Version,
        decided: Option<&Trail<'k>>,
    ) -> Vec<Reason> {
        let subject = LazyCell::new(|| conflicts::subject(component, version, self.active(component)));
        self.state
            .dependents(component)
            .filter(|(by, _)| decided.is_none_or(|trail| trail.level_of(by).is_none()))
            .filter(|(_, dependencies)| !accept(dependencies, Some(version)))
            .map(|(by, dependencies)| {
                let installed = self.state.get(by).and_then(|state| state.version);
                conflicts::dependent(&subject, by, installed, dependencies)
            })
            .collect()
    }

    /// Returns the error for an installed component that the plan leaves as it is and whose dependencies are
    /// not known.
    pub(super) fn unreadable(&self) -> Option<Box<PlanError>> {
        self.unreadable.iter().find_map(|component| {
            let why = printable(self.state.get(component)?.unreadable?).into_owned();
            Some(Box::new(PlanError::Unreadable { component: (*component).clone(), why }))
        })
    }

    /// Evaluates a version by policies and by what is known of the cluster. The contract is only requested
    /// for a version that is eligible without it.
    pub(super) fn evaluate(
        &self,
        component: &'k Component,
        published: &PublishedVersion,
        intent: Intent,
        dependency_of: Option<(&Component, &Version)>,
    ) -> Result<Evaluation<'k>, EvaluationFailure> {
        let facts = self.known.version(component, &published.version);
        let findings = facts.and_then(|facts| facts.as_ref().ok()).map(|facts| &facts.findings);
        let verdict = self.evaluator.evaluate(&EvaluationRequest {
            component,
            version: &published.version,
            intent,
            active: self.active(component),
            unmet: findings.map(|findings| findings.unmet.as_slice()).unwrap_or_default(),
            unchecked: findings.map(|findings| findings.unchecked.as_slice()).unwrap_or_default(),
            dependency_of,
        });
        if !verdict.is_eligible() {
            let unchecked = |reason: &Reason| reason.code() == ReasonCode::RequirementsUnknown;
            let stops = self.options().actor == Actor::Person && verdict.reasons().iter().all(unchecked);
            return Ok(if stops { Evaluation::Unchecked(verdict) } else { Evaluation::Rejected(verdict) });
        }
        let request = || FactRequest::Contract { component: component.clone(), published: published.clone() };
        match facts {
            None => Err(EvaluationFailure::MissingFact(Box::new(request()))),
            Some(Err(message)) => Err(EvaluationFailure::Error(fact_error(request(), message))),
            Some(Ok(facts)) => Ok(Evaluation::Eligible(facts)),
        }
    }

    /// Whether a policy forbids the active version, and no change leaves it yet.
    pub(super) fn is_active_forbidden(&self, component: &'k Component) -> bool {
        let Some(active) = self.active(component).filter(|_| !self.changes.contains_key(component)) else {
            return false;
        };
        let request = EvaluationRequest {
            component,
            version: active,
            intent: self.intent(&Request::Newest),
            active: Some(active),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        };
        self.evaluator.active_forbidden(&request).is_some()
    }

    /// The intent of a request.
    pub(super) fn intent(&self, request: &Request) -> Intent {
        match (request, self.options().actor) {
            (Request::Major(_) | Request::Exact(_), Actor::Person) => Intent::Explicit,
            (Request::Newest | Request::NewestOfAll, Actor::Person) => Intent::Update,
            (_, Actor::Agent) => Intent::Agent,
        }
    }

    /// The major version that a dependency is restricted to: the one requested for it, else the installed
    /// one, unless majors may be crossed.
    pub(super) fn dependency_major(&self, component: &Component, cross_majors: bool) -> Option<u64> {
        match self.snapshot.requests.get(component) {
            Some(Request::Major(requested)) => Some(*requested),
            _ if cross_majors => None,
            _ => self.state.get(component)?.version.map(Version::major),
        }
    }
}

fn fact_error(need: FactRequest, message: &str) -> Box<PlanError> {
    Box::new(PlanError::Fact { need, message: printable(message).into_owned() })
}
