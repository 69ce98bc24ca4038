//! What one candidate needs of other plugins: a depth-first search for versions that fit together.
//!
//! Newest first; where it fails, the choice that is to blame is made anew and those that have nothing to
//! do with it are not (conflict-directed backjumping), so that a dependency that can't be had costs no
//! tour through the versions of the others. What is to blame is a set of levels: places in the trail of
//! choices, of which 0 is the candidate itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use super::{
    DependencyPolicy, FactRequest, MAX_CHANGES, MAX_DEPTH, PlanError, Request,
    conflicts::{self, Place},
    dependencies::{Dependencies, Dependency},
    facts::readable,
    known_facts::VersionFacts,
    requests::Planner,
    state::Present,
};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Reason, Subject},
        selection::PublishedVersion,
    },
    values::name::Component,
};

/// Most tags asked for at once on behalf of one candidate.
const MAX_NEEDS: usize = 32;

/// A choice.
#[derive(Debug)]
pub(super) struct Chosen<'k> {
    pub(super) name: &'k Component,
    pub(super) published: &'k PublishedVersion,
    pub(super) offer: &'k VersionFacts,
    /// What was there.
    pub(super) before: Option<Present<'k>>,
    /// The level of what needs it; its own for the candidate.
    parent: usize,
    /// Whether that cannot do without it.
    mandatory: bool,
    depth: usize,
}

impl<'k> Chosen<'k> {
    /// The names from the candidate down to the one at this level.
    pub(super) fn chain(trail: &[Self], level: usize) -> Vec<&'k Component> {
        levels_down_to(trail, level).into_iter().map(|at| trail[at].name).collect()
    }
}

/// The levels from the candidate down to this one.
fn levels_down_to(trail: &[Chosen<'_>], mut level: usize) -> Vec<usize> {
    let mut chain = vec![level];
    while level != 0 {
        level = trail[level].parent;
        chain.push(level);
    }
    chain.reverse();
    chain
}

fn is_mandatory(dependencies: &[Dependency]) -> bool {
    dependencies.iter().any(|dependency| dependency.mandatory)
}

/// Why no versions fit together.
#[derive(Debug)]
pub(super) enum Fail {
    /// These reasons, which other choices at these levels could do away with.
    Blocked { blame: BTreeSet<usize>, reasons: Vec<Reason> },
    /// The search was cut off.
    TooMuch(Box<Reason>),
    /// Facts are missing.
    Missing(Vec<FactRequest>),
    /// Nothing else may be tried.
    PlanError(Box<PlanError>),
}

/// That a plugin meets what the choice at a level dependencies of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal<'k> {
    pub(super) target: &'k Component,
    pub(super) dependencies: &'k [Dependency],
    pub(super) by: usize,
}

/// Goals still to be met, shared by the branches of the search.
#[derive(Debug)]
struct Agenda<'k> {
    goal: Goal<'k>,
    rest: Option<Rc<Agenda<'k>>>,
}

fn push<'k>(goals: Vec<Goal<'k>>, mut rest: Option<Rc<Agenda<'k>>>) -> Option<Rc<Agenda<'k>>> {
    for goal in goals.into_iter().rev() {
        rest = Some(Rc::new(Agenda { goal, rest }));
    }
    rest
}

/// The search for one candidate.
pub(super) struct Search<'p, 'k> {
    pub(super) planner: &'p mut Planner<'k>,
    pub(super) trail: Vec<Chosen<'k>>,
    pub(super) levels: BTreeMap<&'k Component, usize>,
    /// Whether dependencies may cross their majors, and with which intent.
    pub(super) crossing: Option<Intent>,
    /// Retry left.
    steps: &'p mut usize,
}

impl<'p, 'k> Search<'p, 'k> {
    pub(super) fn new(planner: &'p mut Planner<'k>, request: &Request, steps: &'p mut usize) -> Self {
        let crossing = match request {
            Request::Major(_) => Some(Intent::Explicit),
            Request::NewestOfAll => Some(planner.intent(&Request::Newest)),
            Request::Newest | Request::Exact(_) => None,
        };
        Self { planner, trail: Vec::new(), levels: BTreeMap::new(), crossing, steps }
    }

    /// Puts the candidate in place with all it needs, and returns the choices, the candidate first. If
    /// that fails nothing has changed.
    pub(super) fn run(
        &mut self,
        name: &'k Component,
        published: &'k PublishedVersion,
        offer: &'k VersionFacts,
    ) -> Result<Vec<Chosen<'k>>, Fail> {
        self.choose(name, published, offer, 0, true);
        let found = self.goals(0).and_then(|goals| self.pursue(push(goals, None)));
        match found {
            Ok(()) => Ok(std::mem::take(&mut self.trail)),
            Err(fail) => {
                let fail = self.in_full(fail);
                self.take_back(0);
                Err(fail)
            }
        }
    }

    /// Every requirement of the candidate that can't be met by itself, as far as the facts at hand tell;
    /// else the reason why they can't be met together.
    fn in_full(&mut self, fail: Fail) -> Fail {
        let Fail::Blocked { blame, reasons } = fail else { return fail };
        self.take_back(1);
        let goals = self.goals(0).unwrap_or_default();
        let mut all = Vec::new();
        for goal in goals.into_iter().take(MAX_NEEDS) {
            if let Err(Fail::Blocked { reasons, .. }) = self.pursue(push(vec![goal], None)) {
                all.extend(reasons);
            }
            self.take_back(1);
        }
        Fail::Blocked { blame, reasons: if all.is_empty() { reasons } else { all } }
    }

    fn choose(
        &mut self,
        name: &'k Component,
        published: &'k PublishedVersion,
        offer: &'k VersionFacts,
        parent: usize,
        mandatory: bool,
    ) -> usize {
        let present =
            Present { version: Some(&published.version), dependencies: &offer.dependencies, unreadable: None };
        let before = self.planner.state.put(name, Some(present));
        let level = self.trail.len();
        let depth = if level == 0 { 0 } else { self.trail[parent].depth + 1 };
        self.trail.push(Chosen { name, published, offer, before, parent, mandatory, depth });
        self.levels.insert(name, level);
        level
    }

    /// Takes the choices from this level on back.
    fn take_back(&mut self, level: usize) {
        for chosen in self.trail.drain(level..).rev() {
            self.planner.state.put(chosen.name, chosen.before);
            self.levels.remove(chosen.name);
        }
    }

    /// What the choice at a level needs and has not.
    fn goals(&self, level: usize) -> Result<Vec<Goal<'k>>, Fail> {
        let dependencies: &'k Dependencies = &self.trail[level].offer.dependencies;
        let mut goals = Vec::new();
        let mut reasons = Vec::new();
        let mut blame = BTreeSet::from([level]);
        for (target, dependencies) in dependencies.by_component() {
            let met = self.planner.state.meets(target, dependencies);
            let chosen = self.levels.get(target).copied();
            if is_mandatory(dependencies) && chosen.is_some_and(|at| self.is_circle(at, level)) {
                reasons.push(self.place(level).cycle(target));
                blame.extend(self.chain(level));
                continue;
            }
            if met {
                continue;
            }
            if let Some(at) = chosen {
                reasons.push(self.place(level).planned(target, dependencies, &self.trail[at].published.version));
                blame.insert(at);
            } else if let Some(pinned) = self.planner.pinned.get(target) {
                reasons.push(self.place(level).planned(target, dependencies, pinned));
            } else {
                goals.push(Goal { target, dependencies, by: level });
            }
        }
        if let DependencyPolicy::Refuse { policy } = &self.planner.options().missing {
            let refused = |goal: &Goal<'_>| self.place(level).refused_by_policy(goal.target, goal.dependencies, policy);
            reasons.extend(goals.iter().take(MAX_NEEDS).map(refused));
        }
        if !reasons.is_empty() {
            return Err(Fail::Blocked { blame, reasons });
        }
        if goals.len() >= MAX_CHANGES {
            return Err(self.blocked(level, conflicts::too_many(self.root())));
        }
        // What is to move for certain goes first: what it dependencies today then binds no more.
        goals.sort_by_key(|goal| self.planner.state.get(goal.target).is_none());
        let unknown = goals.iter().filter(|goal| !self.planner.known.tags.contains_key(goal.target));
        let unknown: Vec<_> = unknown.take(MAX_NEEDS).map(|goal| FactRequest::Tags(goal.target.clone())).collect();
        if unknown.is_empty() { Ok(goals) } else { Err(Fail::Missing(unknown)) }
    }

    fn blocked(&self, level: usize, reason: Reason) -> Fail {
        Fail::Blocked { blame: self.chain(level).into_iter().collect(), reasons: vec![reason] }
    }

    /// Meets the goals, one after the other, and returns with all choices in place, or with those that
    /// were there before.
    fn pursue(&mut self, mut agenda: Option<Rc<Agenda<'k>>>) -> Result<(), Fail> {
        let (goal, rest) = loop {
            let Some(next) = &agenda else { return self.settle() };
            let (goal, rest) = (next.goal, next.rest.clone());
            if !self.planner.state.meets(goal.target, goal.dependencies) {
                break (goal, rest);
            }
            agenda = rest;
        };
        self.within_bounds(goal)?;
        let listing = self.planner.listing(goal.target).map_err(Fail::PlanError)?;
        let Some(listing) = listing else { return Err(Fail::Missing(vec![FactRequest::Tags(goal.target.clone())])) };
        let range = self.range(goal, listing)?;
        let mut blame = range.blame;
        let mut reasons: Option<Vec<Reason>> = None;
        let mut in_debt = false;
        for (published, indebted) in range.candidates {
            // One that others object to is of use only if it brings them to move; if the newest does not,
            // older ones are not looked at.
            if indebted && in_debt {
                break;
            }
            self.step(goal.by)?;
            let (offer, level) = match self.judged(goal, published)? {
                Ok(offer) => {
                    (offer, self.choose(goal.target, published, offer, goal.by, is_mandatory(goal.dependencies)))
                }
                Err(why) => {
                    reasons.get_or_insert(why);
                    continue;
                }
            };
            let tried = match self.warrant(level, offer).and_then(|()| self.goals(level)) {
                Ok(goals) => self.pursue(push(goals, rest.clone())),
                Err(fail) => Err(fail),
            };
            let Err(fail) = tried else { return Ok(()) };
            self.take_back(level);
            match fail {
                Fail::Blocked { blame: mut theirs, reasons: why } => {
                    if !theirs.remove(&level) {
                        return Err(Fail::Blocked { blame: theirs, reasons: why });
                    }
                    blame.extend(theirs);
                    reasons.get_or_insert(why);
                    in_debt |= indebted;
                }
                other => return Err(other),
            }
        }
        let reasons = reasons.unwrap_or_default();
        Err(Fail::Blocked { blame, reasons })
    }

    fn within_bounds(&self, goal: Goal<'k>) -> Result<(), Fail> {
        if self.trail[goal.by].depth >= MAX_DEPTH {
            return Err(self.blocked(goal.by, self.place(goal.by).too_deep(goal.target)));
        }
        if self.trail.len() >= MAX_CHANGES {
            return Err(Fail::TooMuch(Box::new(conflicts::too_many(self.root()))));
        }
        Ok(())
    }

    /// Counts a try; a long list of dependencies counts more.
    fn step(&mut self, by: usize) -> Result<(), Fail> {
        let cost = 1 + self.trail[by].offer.dependencies.all().len() / 256;
        match self.steps.checked_sub(cost) {
            Some(left) => {
                *self.steps = left;
                Ok(())
            }
            None => Err(Fail::TooMuch(Box::new(conflicts::too_complex(self.root())))),
        }
    }

    /// What the verdict and the cluster say to a dependency.
    fn judged(
        &self,
        goal: Goal<'k>,
        published: &'k PublishedVersion,
    ) -> Result<Result<&'k VersionFacts, Vec<Reason>>, Fail> {
        let by = &self.trail[goal.by];
        let now = self.planner.state.get(goal.target).and_then(|present| present.version);
        let crosses = now.is_some_and(|now| now.major() != published.version.major());
        let intent = self.crossing.filter(|_| crosses).unwrap_or_else(|| self.planner.intent(&Request::Newest));
        let needed_by = Some((by.name, &by.published.version));
        let (verdict, offer) = self.planner.judge(goal.target, published, intent, needed_by);
        if !verdict.is_eligible() {
            let required = self.planner.required(self.trail[0].name);
            let place = self.place(goal.by);
            return Ok(Err(place.judged(goal.target, goal.dependencies, &verdict, required.as_ref())));
        }
        match offer {
            None => {
                let need = FactRequest::Contract { component: goal.target.clone(), published: published.clone() };
                Err(Fail::Missing(vec![need]))
            }
            Some(offer) => readable(goal.target, published, offer).map(Ok).map_err(Fail::PlanError),
        }
    }

    /// A cap that only the contract shows.
    fn warrant(&mut self, level: usize, offer: &VersionFacts) -> Result<(), Fail> {
        // Putting it in place took as long as its list.
        if offer.dependencies.all().len() < 256 { Ok(()) } else { self.step(level) }
    }

    /// All goals are met: nobody whom the plan leaves alone may object.
    fn settle(&self) -> Result<(), Fail> {
        for (level, chosen) in self.trail.iter().enumerate() {
            let reasons: Vec<_> = self.planner.objections(chosen.name, &chosen.published.version, &self.levels);
            if !reasons.is_empty() {
                return Err(Fail::Blocked { blame: BTreeSet::from([level]), reasons });
            }
        }
        // No plugin can require anything of d8.
        let unreadable = if *self.trail[0].name == Component::D8 { None } else { self.planner.unreadable() };
        match unreadable {
            Some(stop) => Err(Fail::PlanError(Box::new(stop))),
            None => Ok(()),
        }
    }

    /// Returns the subject of all reasons of this search: the candidate.
    fn root(&self) -> Arc<Subject> {
        let Chosen { name, published, .. } = &self.trail[0];
        conflicts::subject(name, &published.version, self.planner.active(name))
    }

    fn chain(&self, level: usize) -> Vec<usize> {
        levels_down_to(&self.trail, level)
    }

    /// Whether one level leads down to the other by what cannot be done without. Where a step is
    /// conditional, what is needed can come first.
    fn is_circle(&self, top: usize, mut level: usize) -> bool {
        while level > top && self.trail[level].mandatory {
            level = self.trail[level].parent;
        }
        level == top
    }

    pub(super) fn place(&self, level: usize) -> Place<'k> {
        let named = |at: usize| (self.trail[at].name, &self.trail[at].published.version);
        Place { subject: self.root(), chain: self.chain(level).into_iter().map(named).collect() }
    }
}
