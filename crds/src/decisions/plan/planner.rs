//! The requests of a plan, one after the other, each on top of the changes decided before it.

use std::collections::BTreeMap;

use super::{
    dependencies::NO_DEPENDENCIES,
    draft::{Draft, Evaluation, EvaluationFailure},
    evaluator::Evaluator,
    known_facts::{FactRequest, KnownFacts},
    order,
    outcome::{Obstacle, Outcome, PassedOver, PlanError, PlanStep, PlannedChange},
    search::{Goal, Search},
    snapshot::{Request, Snapshot},
    trail::{SearchFailure, Target},
};
use crate::{
    decisions::{
        reason::Reason,
        selection::{ActiveVersion, PublishedVersion, SearchScope, Selection, TagList, choose},
        verdict::Verdict,
    },
    values::{name::Component, version::Version},
};

/// The steps that the searches for one request may take together.
const STEPS_PER_REQUEST: usize = 4_000;

/// The steps that the search for one version may take.
const STEPS_PER_VERSION: usize = 1_000;

/// How often requests that another component blocks are tried again. In each round at least one component
/// is changed. A longer chain of such requests ends at a plan that is valid, if not the highest.
const MAX_ROUNDS: usize = 16;

/// Plans the requests of a snapshot.
pub(super) struct Planner<'k> {
    draft: Draft<'k>,
    missing: Vec<FactRequest>,
}

/// A request, and what is known of it so far.
#[derive(Debug)]
struct PendingRequest<'k> {
    component: &'k Component,
    request: &'k Request,
    /// The steps left for its searches.
    steps: usize,
    /// Whether another component stands in its way.
    blocked: bool,
    /// Whether the change that met it was dropped.
    dropped: bool,
    /// The revision of the draft when it was last tried.
    tried_at: usize,
    outcome: Option<Outcome>,
}

/// A version at which the search for a request ends.
enum Accepted {
    /// It is in the draft, with everything it needs.
    InPlace,
    /// It needs these changes of other plugins, and they are refused.
    NeedsOthers(Vec<PlannedChange>),
    /// It, or something it needs, has requirements that could not be checked.
    Unchecked(Verdict),
}

/// The result of trying one version: why it cannot be installed, if it cannot.
type Attempt = Result<Accepted, Verdict>;

/// Why a request cannot be planned now.
enum Interruption {
    MissingFacts(Vec<FactRequest>),
    Error(Box<PlanError>),
}

impl<'k> PendingRequest<'k> {
    fn new(component: &'k Component, request: &'k Request) -> Self {
        let (steps, tried_at) = (STEPS_PER_REQUEST, 0);
        Self { component, request, steps, blocked: false, dropped: false, tried_at, outcome: None }
    }

    /// Whether to try it: for the first time, or again because something changed.
    fn is_due(&self, revision: usize) -> bool {
        self.outcome.is_none() || self.dropped || (self.blocked && self.tried_at < revision)
    }
}

impl Accepted {
    fn outcome(self, version: PublishedVersion, passed_over: Vec<PassedOver>) -> Outcome {
        match self {
            Self::InPlace => Outcome::Take { version, passed_over },
            Self::NeedsOthers(needs) => Outcome::NeedsOthers { version, needs, passed_over },
            Self::Unchecked(verdict) => Outcome::Unchecked { version, verdict, passed_over },
        }
    }
}

impl<'k> Planner<'k> {
    pub(super) fn new(snapshot: &'k Snapshot, known: &'k KnownFacts, evaluator: &'k dyn Evaluator) -> Self {
        Self { draft: Draft::new(snapshot, known, evaluator), missing: Vec::new() }
    }

    /// Returns the plan, or the facts that are missing for it.
    pub(super) fn plan(mut self) -> PlanStep {
        let mut requests = self.requests();
        for _ in 0..MAX_ROUNDS {
            let before = self.draft.revision;
            for pending in &mut requests {
                if pending.is_due(self.draft.revision) {
                    self.try_request(pending);
                }
            }
            if !self.missing.is_empty() {
                self.missing.sort_by(|a, b| a.key().cmp(&b.key()));
                self.missing.dedup();
                return PlanStep::Fetch(self.missing);
            }
            if self.draft.revision == before && !self.drop_unneeded(&mut requests) {
                break;
            }
        }
        self.draft.drop_unneeded();
        let outcomes = requests.into_iter().filter_map(|pending| Some((pending.component, pending.outcome?)));
        PlanStep::Done(self.draft.into_plan(outcomes))
    }

    /// Returns the requests in the order in which to try them: exact versions, then majors, then the newest;
    /// within these, components that others require, as they are installed, come first.
    fn requests(&self) -> Vec<PendingRequest<'k>> {
        let installed =
            |component| self.draft.installed(component).map_or(&NO_DEPENDENCIES, |state| state.dependencies);
        let requested = self.draft.requests();
        let dependencies: BTreeMap<_, _> =
            requested.keys().map(|component| (component, installed(component))).collect();
        let pending = |component| requested.get(component).map(|request| PendingRequest::new(component, request));
        let mut requests: Vec<_> = order::dependencies_first(&dependencies).into_iter().filter_map(pending).collect();
        requests.sort_by_key(|pending| match pending.request {
            Request::Exact(_) => 0,
            Request::Major(_) => 1,
            Request::Newest | Request::NewestOfAll => 2,
        });
        requests
    }

    /// Drops changes that nothing needs any more. Requests that they met are tried again, as are those that
    /// they blocked. Returns whether there were any.
    fn drop_unneeded(&mut self, requests: &mut [PendingRequest<'k>]) -> bool {
        let dropped = self.draft.drop_unneeded();
        if dropped.is_empty() {
            return false;
        }
        self.draft.revision += 1;
        for pending in requests.iter_mut().filter(|pending| dropped.contains(pending.component)) {
            pending.dropped = true;
        }
        true
    }

    fn try_request(&mut self, pending: &mut PendingRequest<'k>) {
        (pending.blocked, pending.dropped) = (false, false);
        // The revision before it: what it changes itself may be what blocked it.
        pending.tried_at = self.draft.revision;
        match self.outcome(pending) {
            Ok(outcome) => pending.outcome = Some(outcome),
            Err(Interruption::Error(error)) => pending.outcome = Some(Outcome::Stopped(error)),
            Err(Interruption::MissingFacts(requests)) => self.missing.extend(requests),
        }
    }

    fn outcome(&mut self, pending: &mut PendingRequest<'k>) -> Result<Outcome, Interruption> {
        let Some(list) = self.draft.tags(pending.component).map_err(Interruption::Error)? else {
            return Err(Interruption::MissingFacts(vec![FactRequest::Tags(pending.component.clone())]));
        };
        match pending.request {
            Request::Exact(version) => self.exact(pending, list, version),
            Request::Newest => self.newest(pending, list, self.own_major(pending.component)),
            Request::NewestOfAll => self.newest(pending, list, None),
            Request::Major(major) => self.newest(pending, list, Some(*major)),
        }
    }

    /// The major version that a component stays in: that of the installed version, or of the one that an
    /// earlier request changed it to.
    fn own_major(&self, component: &Component) -> Option<u64> {
        self.draft.active(component)?;
        self.draft.state.get(component)?.version.map(Version::major)
    }

    fn exact(
        &mut self,
        pending: &mut PendingRequest<'k>,
        list: &'k TagList,
        version: &'k Version,
    ) -> Result<Outcome, Interruption> {
        let published = match list.find_version(version) {
            Ok(published) => published,
            Err(error) => return Ok(Outcome::NotPublished(error)),
        };
        if self.draft.state.get(pending.component).and_then(|state| state.version) == Some(version) {
            self.draft.pinned.insert(pending.component, &published.version);
            let stays = Outcome::AlreadyActive { version: published.clone(), passed_over: Vec::new() };
            return self.stay(pending, stays);
        }
        let attempt = self.try_version(pending, published)?;
        if let Ok(Accepted::InPlace) = attempt {
            self.draft.pinned.insert(pending.component, &published.version);
        }
        let version = published.clone();
        Ok(match attempt {
            Ok(accepted) => accepted.outcome(version, Vec::new()),
            Err(verdict) => Outcome::Refused { version, verdict },
        })
    }

    /// Returns the outcome of a request that leaves the component as it is, which is `stays` if the component
    /// has all that it needs or can get it.
    fn stay(&mut self, pending: &mut PendingRequest<'k>, stays: Outcome) -> Result<Outcome, Interruption> {
        let state = self.draft.state.get(pending.component).filter(|state| state.unreadable.is_none());
        let Some((version, dependencies)) = state.and_then(|state| Some((state.version?, state.dependencies))) else {
            return Ok(stays);
        };
        if dependencies.by_component().all(|(target, on_target)| self.draft.state.meets(target, on_target)) {
            return Ok(stays);
        }
        let obstacle = match self.search(pending, Goal::Stay { version, dependencies })? {
            Ok(Accepted::InPlace) => return Ok(stays),
            Ok(Accepted::NeedsOthers(needs)) => Obstacle::NoDependencies(needs),
            Ok(Accepted::Unchecked(verdict)) | Err(verdict) => Obstacle::Refused(verdict),
        };
        let forbidden = matches!(stays, Outcome::Keep { forbidden: true, .. });
        let passed_over = stays.passed_over().to_vec();
        Ok(Outcome::Incomplete { version: version.clone(), obstacle, forbidden, passed_over })
    }

    /// Chooses the newest version that can be installed. `major` restricts the search.
    fn newest(
        &mut self,
        pending: &mut PendingRequest<'k>,
        list: &'k TagList,
        major: Option<u64>,
    ) -> Result<Outcome, Interruption> {
        let component = pending.component;
        let active = match self.draft.state.get(component).map(|state| state.version) {
            None => ActiveVersion::Absent,
            Some(None) => ActiveVersion::Unknown,
            Some(Some(version)) => ActiveVersion::Known(version),
        };
        let forbidden = self.draft.is_active_forbidden(component);
        let requests_major = matches!(pending.request, Request::Major(_));
        let is_lower = || active.version().zip(major).is_some_and(|(active, major)| active.major() > major);
        let scope = SearchScope {
            active,
            channel: self.draft.channel(component),
            // A forbidden version is left for any other; its own major is only preferred.
            major: major.filter(|_| requests_major || !forbidden),
            allow_downgrade: forbidden || (requests_major && is_lower()),
            active_major_first: forbidden,
        };
        let selection = choose(list, &scope, |published| self.try_version(pending, published))?;
        Ok(match selection {
            Selection::Found { version, accepted, passed_over } => accepted.outcome(version.clone(), passed_over),
            Selection::AlreadyActive { version, passed_over } => {
                self.stay(pending, Outcome::AlreadyActive { version: version.clone(), passed_over })?
            }
            Selection::Keep { passed_over } => self.stay(pending, Outcome::Keep { forbidden, passed_over })?,
            Selection::Nothing { why, passed_over } => Outcome::Nothing { why, major: scope.major, passed_over },
        })
    }

    /// Tries one version of a request. If it can be installed, it is in the draft with everything it needs.
    fn try_version(
        &mut self,
        pending: &mut PendingRequest<'k>,
        published: &'k PublishedVersion,
    ) -> Result<Attempt, Interruption> {
        let (component, intent) = (pending.component, self.draft.intent(pending.request));
        match self.draft.evaluate(component, published, intent, None) {
            Ok(Evaluation::Eligible(facts)) => self.search(pending, Goal::Change(Target { published, facts })),
            Ok(Evaluation::Unchecked(verdict)) => Ok(Ok(Accepted::Unchecked(verdict))),
            Ok(Evaluation::Rejected(verdict)) => {
                let conflicts = self.draft.dependent_conflicts(component, &published.version, None);
                pending.blocked |= !conflicts.is_empty();
                Ok(Err(Verdict::new(verdict.reasons().iter().cloned().chain(conflicts).collect())))
            }
            Err(EvaluationFailure::MissingFact(request)) => Err(Interruption::MissingFacts(vec![*request])),
            Err(EvaluationFailure::Error(error)) => Err(Interruption::Error(error)),
        }
    }

    /// Searches for what a version needs, and adds all of it to the draft.
    fn search(&mut self, pending: &mut PendingRequest<'k>, goal: Goal<'k>) -> Result<Attempt, Interruption> {
        let component = pending.component;
        let budget = pending.steps.min(STEPS_PER_VERSION);
        let mut steps = budget;
        let search = Search::new(&mut self.draft, pending.request, component, goal.version(), &mut steps);
        let found = search.run(component, goal);
        pending.steps -= budget - steps;
        let rejected = |reasons: Vec<Reason>| Ok(Err(Verdict::new(reasons)));
        match found {
            Ok(trail) if self.draft.options().no_dependencies && trail.decisions().len() > 1 => {
                Ok(Ok(Accepted::NeedsOthers(self.draft.roll_back(trail))))
            }
            Ok(trail) => {
                self.draft.commit(&trail);
                Ok(Ok(Accepted::InPlace))
            }
            Err(SearchFailure::Unchecked(reasons)) => Ok(Ok(Accepted::Unchecked(Verdict::new(reasons)))),
            Err(SearchFailure::LimitReached(reason)) => rejected(vec![*reason]),
            Err(SearchFailure::Conflict { reasons, .. }) => {
                pending.blocked = true;
                rejected(reasons)
            }
            Err(SearchFailure::MissingFacts(requests)) => Err(Interruption::MissingFacts(requests)),
            Err(SearchFailure::Error(error)) => {
                pending.blocked |= matches!(*error, PlanError::Unreadable { .. });
                Err(Interruption::Error(error))
            }
        }
    }
}
