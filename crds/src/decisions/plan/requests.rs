//! Wishes, one after the other, on what the ones before have made of the host.

use std::collections::BTreeMap;

use super::{
    Knowledge, Need, Outcome, PassedOver, PlanError, Request, Snapshot, Step,
    changes::Move,
    evaluator::Evaluator,
    facts::readable,
    knowledge::NO_DEMANDS,
    order,
    search::{Fail, Search},
    state::{Present, State},
};
use crate::{
    decisions::{
        selection::{NoCandidate, PublishedVersion, TagList, in_channel},
        verdict::{Reason, Verdict},
    },
    values::{name::PluginName, version::Version},
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
    pub(super) name: &'k PluginName,
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

impl Halt {
    fn stopped(stop: Box<PlanError>) -> Self {
        Self::Ended(Box::new(Outcome::Stopped(stop)))
    }
}

/// Plans. Its state is that of the host after the moves so far.
pub(super) struct Planner<'k> {
    pub(super) snapshot: &'k Snapshot,
    pub(super) knowledge: &'k Knowledge,
    pub(super) judge: &'k dyn Evaluator,
    pub(super) state: State<'k>,
    pub(super) moves: BTreeMap<&'k PluginName, Move<'k>>,
    /// Moves made, those that replaced earlier ones counted too.
    pub(super) made: usize,
    /// Plugins whose version was named.
    pub(super) pinned: BTreeMap<&'k PluginName, &'k Version>,
    /// Installed plugins whose contract cannot be read.
    pub(super) unreadable: Vec<&'k PluginName>,
    needs: Vec<Need>,
}

/// What trying a request came to where that is no outcome.
enum Halt {
    Missing(Vec<Need>),
    Ended(Box<Outcome>),
}

impl<'k> Planner<'k> {
    pub(super) fn new(snapshot: &'k Snapshot, knowledge: &'k Knowledge, judge: &'k dyn Evaluator) -> Self {
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
            knowledge,
            judge,
            state,
            moves: BTreeMap::new(),
            made: 0,
            pinned: BTreeMap::new(),
            unreadable,
            needs: Vec::new(),
        }
    }

    pub(super) fn plan(mut self) -> Step {
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
                return Step::Need(self.needs);
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
        Step::Done(self.told(requests))
    }

    /// The requests as they are taken: what leaves no choice first; then what others of them, as they are
    /// installed, dependency, so that a search for those finds it in place; then by name.
    fn in_order(&self) -> Vec<Progress<'k>> {
        let dependencies = |name| self.state.get(name).map_or(&NO_DEMANDS, |present| present.dependencies);
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
            Err(Halt::Ended(outcome)) => progress.outcome = Some(*outcome),
            Err(Halt::Missing(needs)) => self.needs.extend(needs),
        }
    }

    fn request(&mut self, progress: &mut Progress<'k>) -> Result<Outcome, Halt> {
        let Some(listing) = self.listing(progress.name).map_err(Halt::stopped)? else {
            return Err(Halt::Missing(vec![Need::Tags(progress.name.clone())]));
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
    pub(super) fn may_be_of(&self, name: &PluginName, now: Option<&Version>, major: u64, crossing: bool) -> bool {
        match self.snapshot.requests.get(name) {
            Some(Request::Major(requested)) => *requested == major,
            _ => crossing || now.is_none_or(|now| now.major() == major),
        }
    }

    /// The major it stays in: of what was installed, or of where that moved.
    fn own_major(&self, name: &PluginName) -> Option<u64> {
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
        if !active {
            match self.candidate(progress, published)? {
                Ok(()) => {}
                Err(reasons) => {
                    let judgement = Verdict::new(reasons);
                    return Ok(Outcome::Refused { version: published.clone(), judgement });
                }
            }
        }
        self.pinned.insert(progress.name, version);
        let (version, passed_over) = (published.clone(), Vec::new());
        Ok(if active {
            Outcome::AlreadyActive { version, passed_over }
        } else {
            Outcome::Take { version, passed_over }
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
        let now = self.state.get(name);
        let active = now.and_then(|now| now.version);
        let forbidden = self.is_forbidden(name);
        let asked_for_major = matches!(progress.request, Request::Major(_));
        // The major that is asked for may lie below; off a forbidden version any way is good, its own
        // major first.
        let down = forbidden || (asked_for_major && active.zip(major).is_some_and(|(at, major)| at.major() > major));
        let limit = major.filter(|_| asked_for_major || !forbidden);
        let channel = self.judge.channel(name);
        let mut candidates: Vec<&PublishedVersion> = listing
            .published
            .iter()
            .filter(|p| limit.is_none_or(|major| p.version.major() == major))
            .filter(|p| in_channel(channel, &listing.component, &p.version))
            .filter(|p| active.is_none_or(|active| p.version > *active || (down && p.version != *active)))
            .collect();
        if forbidden {
            candidates.sort_by_key(|p| active.is_some_and(|active| active.major() != p.version.major()));
        }
        let mut passed_over: Vec<PassedOver> = Vec::new();
        let mut ended = None;
        for published in candidates {
            match self.candidate(progress, published) {
                Ok(Ok(())) => ended = Some(Ok(published)),
                Ok(Err(reasons)) => {
                    passed_over.push((published.clone(), Verdict::new(reasons)));
                    continue;
                }
                Err(Halt::Ended(outcome)) => match *outcome {
                    Outcome::NeedsOthers { version, needs, .. } => ended = Some(Err((version, needs))),
                    outcome => return Ok(outcome),
                },
                Err(halt) => return Err(halt),
            }
            break;
        }
        passed_over.sort_by(|(a, _), (b, _)| b.version.cmp(&a.version));
        let published = active.and_then(|active| listing.of_version(active));
        let within = |p: &&PublishedVersion| limit.is_none_or(|major| p.version.major() == major);
        Ok(match (ended, published.filter(within)) {
            (Some(Ok(version)), _) => Outcome::Take { version: version.clone(), passed_over },
            (Some(Err((version, needs))), _) => Outcome::NeedsOthers { version, needs, passed_over },
            (None, Some(version)) if !forbidden => Outcome::AlreadyActive { version: version.clone(), passed_over },
            (None, _) if now.is_some() => Outcome::Keep { forbidden, passed_over },
            (None, _) => Outcome::Nothing { why: nothing(listing, limit, &passed_over), major: limit, passed_over },
        })
    }

    /// Puts one candidate of a request in place with all it needs, or says why not.
    fn candidate(
        &mut self,
        progress: &mut Progress<'k>,
        published: &'k PublishedVersion,
    ) -> Result<Result<(), Vec<Reason>>, Halt> {
        let (name, request) = (progress.name, progress.request);
        let (judgement, offer) = self.judge(name, published, self.intent(request), None);
        if !judgement.is_eligible() {
            let mut reasons = judgement.reasons().to_vec();
            let objections = self.objections(name, &published.version, &BTreeMap::new());
            progress.blocked |= !objections.is_empty();
            reasons.extend(objections);
            return Ok(Err(reasons));
        }
        let Some(offer) = offer else {
            let need = Need::Contract { name: name.clone(), published: published.clone() };
            return Err(Halt::Missing(vec![need]));
        };
        let offer = readable(name, published, offer).map_err(Halt::stopped)?;
        let mut steps = progress.steps.min(STEPS_PER_CANDIDATE);
        let budget = steps;
        let found = Search::new(self, request, &mut steps).run(name, published, offer);
        progress.steps -= budget - steps;
        match found {
            Ok(chosen) if self.options().no_dependencies && chosen.len() > 1 => {
                let needs = self.undone(chosen);
                let version = published.clone();
                Err(Halt::Ended(Box::new(Outcome::NeedsOthers { version, needs, passed_over: Vec::new() })))
            }
            Ok(chosen) => {
                self.commit(&chosen);
                Ok(Ok(()))
            }
            Err(Fail::Missing(needs)) => Err(Halt::Missing(needs)),
            Err(Fail::PlanError(stop)) => {
                progress.blocked |= matches!(*stop, PlanError::Unreadable { .. });
                Err(Halt::stopped(stop))
            }
            Err(Fail::Blocked { reasons, .. }) => {
                progress.blocked = true;
                Ok(Err(reasons))
            }
            Err(Fail::TooMuch(reason)) => Ok(Err(vec![*reason])),
        }
    }
}

impl<'k> Progress<'k> {
    fn new((name, request): (&'k PluginName, &'k Request)) -> Self {
        Self { name, request, steps: STEPS_PER_WISH, blocked: false, again: false, tried_at: 0, outcome: None }
    }

    /// Whether it is to be tried: for the first time, or because something moved since.
    fn due(&self, made: usize) -> bool {
        self.outcome.is_none() || self.again || (self.blocked && self.tried_at < made)
    }
}

fn nothing(listing: &TagList, major: Option<u64>, passed_over: &[PassedOver]) -> NoCandidate {
    match major {
        _ if !passed_over.is_empty() => NoCandidate::AllPassedOver,
        _ if listing.published.is_empty() => NoCandidate::NotPublished,
        Some(major) if !listing.published.iter().any(|p| p.version.major() == major) => NoCandidate::NotInMajor(major),
        _ => NoCandidate::OnlyPrereleases,
    }
}
