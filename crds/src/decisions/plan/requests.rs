//! Wishes, one after the other, on what the ones before have made of the host.

use std::collections::BTreeMap;

use super::{
    FactRequest, KnownFacts, Outcome, PlanError, PlanStep, PlannedChange, Request, Snapshot,
    changes::Move,
    dependencies::NO_DEPENDENCIES,
    evaluator::Evaluator,
    facts::readable,
    order,
    search::{Fail, Search},
    state::{Present, State},
};
use crate::{
    decisions::{
        selection::{ActiveVersion, PublishedVersion, SearchScope, Selection, TagList, choose},
        verdict::{Reason, Verdict},
    },
    values::{name::Component, version::Version},
};

/// Retry that the search for the dependencies of all candidates of one request may take.
const STEPS_PER_WISH: usize = 4_000;

/// And those of one candidate.
const STEPS_PER_CANDIDATE: usize = 1_000;

/// How often requests that others stood in the way of are tried again. Each time at least one plugin has
/// moved; chains that are longer end at a plan that is valid, if not the highest.
const MAX_ROUNDS: usize = 16;

/// What is known of one request so far.
#[derive(Debug)]
pub(super) struct Progress<'k> {
    pub(super) name: &'k Component,
    request: &'k Request,
    steps: usize,
    /// Another plugin stood in its way.
    blocked: bool,
    /// What moved it before was taken back.
    again: bool,
    /// How many moves had been made when it was last tried.
    tried_at: usize,
    pub(super) outcome: Option<Outcome>,
}

/// Plans. Its state is that of the host after the moves so far.
pub(super) struct Planner<'k> {
    pub(super) snapshot: &'k Snapshot,
    pub(super) known: &'k KnownFacts,
    pub(super) evaluator: &'k dyn Evaluator,
    pub(super) state: State<'k>,
    pub(super) moves: BTreeMap<&'k Component, Move<'k>>,
    /// Moves made, those that replaced earlier ones counted too.
    pub(super) made: usize,
    /// Plugins whose version was named.
    pub(super) pinned: BTreeMap<&'k Component, &'k Version>,
    /// Installed plugins whose contract cannot be read.
    pub(super) unreadable: Vec<&'k Component>,
    needs: Vec<FactRequest>,
}

/// What trying a request came to where that is no outcome.
enum Halt {
    Missing(Vec<FactRequest>),
    Stopped(Box<PlanError>),
}

impl<'k> Planner<'k> {
    pub(super) fn new(snapshot: &'k Snapshot, known: &'k KnownFacts, evaluator: &'k dyn Evaluator) -> Self {
        let mut state = State::default();
        let mut unreadable = Vec::new();
        for (name, installed) in &snapshot.installed {
            let present = Present::of(installed);
            if present.unreadable.is_some() {
                unreadable.push(name);
            }
            state.put(name, Some(present));
        }
        Self {
            snapshot,
            known,
            evaluator,
            state,
            moves: BTreeMap::new(),
            made: 0,
            pinned: BTreeMap::new(),
            unreadable,
            needs: Vec::new(),
        }
    }

    pub(super) fn plan(mut self) -> PlanStep {
        let mut requests = self.in_order();
        for _ in 0..MAX_ROUNDS {
            let before = self.made;
            for progress in &mut requests {
                if progress.due(self.made) {
                    self.fulfil(progress);
                }
            }
            if !self.needs.is_empty() {
                self.needs.sort_by(|a, b| a.key().cmp(&b.key()));
                self.needs.dedup();
                return PlanStep::Fetch(self.needs);
            }
            if self.made == before {
                let dropped = self.drop_needless();
                if dropped.is_empty() {
                    break;
                }
                // What was requested must stand on its own now, and what it was in the way of may go on.
                self.made += 1;
                for progress in requests.iter_mut().filter(|progress| dropped.contains(progress.name)) {
                    progress.again = true;
                }
            }
        }
        self.drop_needless();
        PlanStep::Done(self.told(requests))
    }

    /// The requests as they are taken: what leaves no choice first; then what others of them, as they are
    /// installed, dependency, so that a search for those finds it in place; then by name.
    fn in_order(&self) -> Vec<Progress<'k>> {
        let dependencies = |name| self.state.get(name).map_or(&NO_DEPENDENCIES, |present| present.dependencies);
        let dependencies: BTreeMap<_, _> =
            self.snapshot.requests.keys().map(|name| (name, dependencies(name))).collect();
        let request = |name| self.snapshot.requests.get(name).map(|request| Progress::new((name, request)));
        let mut requests: Vec<_> = order::dependency_first(&dependencies).into_iter().filter_map(request).collect();
        requests.sort_by_key(|progress| match progress.request {
            Request::Exact(_) => 0,
            Request::Major(_) => 1,
            Request::Newest | Request::NewestOfAll => 2,
        });
        requests
    }

    fn fulfil(&mut self, progress: &mut Progress<'k>) {
        (progress.blocked, progress.again) = (false, false);
        // Before it: what it brings along may be what stood in its way.
        progress.tried_at = self.made;
        let result = self.request(progress);
        match result {
            Ok(outcome) => progress.outcome = Some(outcome),
            Err(Halt::Stopped(error)) => progress.outcome = Some(Outcome::Stopped(error)),
            Err(Halt::Missing(needs)) => self.needs.extend(needs),
        }
    }

    fn request(&mut self, progress: &mut Progress<'k>) -> Result<Outcome, Halt> {
        let Some(listing) = self.listing(progress.name).map_err(Halt::Stopped)? else {
            return Err(Halt::Missing(vec![FactRequest::Tags(progress.name.clone())]));
        };
        match progress.request {
            Request::Exact(version) => self.exact(progress, listing, version),
            Request::Newest => self.newest(progress, listing, self.own_major(progress.name)),
            Request::NewestOfAll => self.newest(progress, listing, None),
            Request::Major(major) => self.newest(progress, listing, Some(*major)),
        }
    }

    /// Whether a dependency may be of this major: that which was requested for it, else the installed one
    /// unless majors are crossed.
    pub(super) fn may_be_of(&self, name: &Component, now: Option<&Version>, major: u64, crossing: bool) -> bool {
        match self.snapshot.requests.get(name) {
            Some(Request::Major(requested)) => *requested == major,
            _ => crossing || now.is_none_or(|now| now.major() == major),
        }
    }

    /// The major it stays in: of what was installed, or of where that moved.
    fn own_major(&self, name: &Component) -> Option<u64> {
        self.active(name)?;
        self.state.get(name)?.version.map(Version::major)
    }

    fn exact(
        &mut self,
        progress: &mut Progress<'k>,
        listing: &'k TagList,
        version: &'k Version,
    ) -> Result<Outcome, Halt> {
        let published = match listing.find(&version.without_build().to_string()) {
            Ok(published) => published,
            Err(error) => return Ok(Outcome::NotPublished(error)),
        };
        let active = self.state.get(progress.name).and_then(|present| present.version) == Some(version);
        let attempt = if active { Attempt::Taken } else { self.candidate(progress, published)? };
        let (version, passed_over) = (published.clone(), Vec::new());
        Ok(match attempt {
            Attempt::Rejected(reasons) => Outcome::Refused { version, verdict: Verdict::new(reasons) },
            Attempt::NeedsOthers(needs) => Outcome::NeedsOthers { version, needs, passed_over },
            Attempt::Taken => {
                self.pinned.insert(progress.name, &published.version);
                if active {
                    Outcome::AlreadyActive { version, passed_over }
                } else {
                    Outcome::Take { version, passed_over }
                }
            }
        })
    }

    /// The newest version against which nothing stands.
    fn newest(
        &mut self,
        progress: &mut Progress<'k>,
        listing: &'k TagList,
        major: Option<u64>,
    ) -> Result<Outcome, Halt> {
        let name = progress.name;
        let active = match self.state.get(name).map(|present| present.version) {
            None => ActiveVersion::Absent,
            Some(None) => ActiveVersion::Unknown,
            Some(Some(version)) => ActiveVersion::Known(version),
        };
        let forbidden = self.is_forbidden(name);
        let requests_major = matches!(progress.request, Request::Major(_));
        let lower_major = || active.version().zip(major).is_some_and(|(active, major)| active.major() > major);
        let scope = SearchScope {
            active,
            channel: self.evaluator.channel(name),
            // A forbidden version is left for any other; its own major is only preferred.
            major: major.filter(|_| requests_major || !forbidden),
            allow_downgrade: forbidden || (requests_major && lower_major()),
            active_major_first: forbidden,
        };
        let selection = choose(listing, &scope, |published| {
            Ok(match self.candidate(progress, published)? {
                Attempt::Taken => Ok(None),
                Attempt::NeedsOthers(needs) => Ok(Some(needs)),
                Attempt::Rejected(reasons) => Err(Verdict::new(reasons)),
            })
        })?;
        Ok(match selection {
            Selection::Found { version, accepted: None, passed_over } => {
                Outcome::Take { version: version.clone(), passed_over }
            }
            Selection::Found { version, accepted: Some(needs), passed_over } => {
                Outcome::NeedsOthers { version: version.clone(), needs, passed_over }
            }
            Selection::AlreadyActive { version, passed_over } => {
                Outcome::AlreadyActive { version: version.clone(), passed_over }
            }
            Selection::Keep { passed_over } => Outcome::Keep { forbidden, passed_over },
            Selection::Nothing { why, passed_over } => Outcome::Nothing { why, major: scope.major, passed_over },
        })
    }

    /// Puts one candidate of a request in place with all it needs, or says why not.
    fn candidate(&mut self, progress: &mut Progress<'k>, published: &'k PublishedVersion) -> Result<Attempt, Halt> {
        let (name, request) = (progress.name, progress.request);
        let (verdict, offer) = self.judge(name, published, self.intent(request), None);
        if !verdict.is_eligible() {
            let mut reasons = verdict.reasons().to_vec();
            let objections = self.objections(name, &published.version, &BTreeMap::new());
            progress.blocked |= !objections.is_empty();
            reasons.extend(objections);
            return Ok(Attempt::Rejected(reasons));
        }
        let Some(offer) = offer else {
            let need = FactRequest::Contract { component: name.clone(), published: published.clone() };
            return Err(Halt::Missing(vec![need]));
        };
        let offer = readable(name, published, offer).map_err(Halt::Stopped)?;
        let mut steps = progress.steps.min(STEPS_PER_CANDIDATE);
        let budget = steps;
        let found = Search::new(self, request, &mut steps).run(name, published, offer);
        progress.steps -= budget - steps;
        match found {
            Ok(chosen) if self.options().no_dependencies && chosen.len() > 1 => {
                Ok(Attempt::NeedsOthers(self.undone(chosen)))
            }
            Ok(chosen) => {
                self.commit(&chosen);
                Ok(Attempt::Taken)
            }
            Err(Fail::Missing(needs)) => Err(Halt::Missing(needs)),
            Err(Fail::PlanError(stop)) => {
                progress.blocked |= matches!(*stop, PlanError::Unreadable { .. });
                Err(Halt::Stopped(stop))
            }
            Err(Fail::Blocked { reasons, .. }) => {
                progress.blocked = true;
                Ok(Attempt::Rejected(reasons))
            }
            Err(Fail::TooMuch(reason)) => Ok(Attempt::Rejected(vec![*reason])),
        }
    }
}

/// The result of trying one version.
enum Attempt {
    /// It is in place, with all it needs.
    Taken,
    /// It needs these changes of other plugins, and they were not permitted.
    NeedsOthers(Vec<PlannedChange>),
    /// It cannot be installed, for these reasons.
    Rejected(Vec<Reason>),
}

impl<'k> Progress<'k> {
    fn new((name, request): (&'k Component, &'k Request)) -> Self {
        Self { name, request, steps: STEPS_PER_WISH, blocked: false, again: false, tried_at: 0, outcome: None }
    }

    /// Whether it is to be tried: for the first time, or because something moved since.
    fn due(&self, made: usize) -> bool {
        self.outcome.is_none() || self.again || (self.blocked && self.tried_at < made)
    }
}
