//! Wishes, one after the other, on what the ones before have made of the host.

use std::collections::BTreeMap;

use super::{
    Knowledge, Need, Outcome, PassedOver, Snapshot, Step, Stop, Wish,
    ask::readable,
    facts::NO_DEMANDS,
    judge::Judge,
    moves::Move,
    order,
    search::{Fail, Search},
    state::{Present, State},
};
use crate::{
    decisions::{
        selection::{Listing, Nothing, Published, in_channel},
        verdict::{Judgement, Reason},
    },
    values::{name::PluginName, version::Version},
};

/// Tries that the search for the dependencies of all candidates of one wish may take.
const STEPS_PER_WISH: usize = 4_000;

/// And those of one candidate.
const STEPS_PER_CANDIDATE: usize = 1_000;

/// How often wishes that others stood in the way of are tried again. Each time at least one plugin has
/// moved; chains that are longer end at a plan that is valid, if not the highest.
const MAX_ROUNDS: usize = 16;

/// What is known of one wish so far.
#[derive(Debug)]
pub(super) struct Progress<'k> {
    pub(super) name: &'k PluginName,
    wish: &'k Wish,
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
    fn stopped(stop: Box<Stop>) -> Self {
        Self::Ended(Box::new(Outcome::Stopped(stop)))
    }
}

/// Plans. Its state is that of the host after the moves so far.
pub(super) struct Planner<'k> {
    pub(super) snapshot: &'k Snapshot,
    pub(super) knowledge: &'k Knowledge,
    pub(super) judge: &'k dyn Judge,
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

/// What trying a wish came to where that is no outcome.
enum Halt {
    Missing(Vec<Need>),
    Ended(Box<Outcome>),
}

impl<'k> Planner<'k> {
    pub(super) fn new(snapshot: &'k Snapshot, knowledge: &'k Knowledge, judge: &'k dyn Judge) -> Self {
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
        let mut wishes = self.in_order();
        for _ in 0..MAX_ROUNDS {
            let before = self.made;
            for progress in &mut wishes {
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
                // What was wished must stand on its own now, and what it was in the way of may go on.
                self.made += 1;
                for progress in wishes.iter_mut().filter(|progress| dropped.contains(progress.name)) {
                    progress.again = true;
                }
            }
        }
        self.drop_needless();
        Step::Done(self.told(wishes))
    }

    /// The wishes as they are taken: what leaves no choice first; then what others of them, as they are
    /// installed, demand, so that a search for those finds it in place; then by name.
    fn in_order(&self) -> Vec<Progress<'k>> {
        let demands = |name| self.state.get(name).map_or(&NO_DEMANDS, |present| present.demands);
        let demands: BTreeMap<_, _> = self.snapshot.wishes.keys().map(|name| (name, demands(name))).collect();
        let wish = |name| self.snapshot.wishes.get(name).map(|wish| Progress::new((name, wish)));
        let mut wishes: Vec<_> = order::dependency_first(&demands).into_iter().filter_map(wish).collect();
        wishes.sort_by_key(|progress| match progress.wish {
            Wish::Exact(_) => 0,
            Wish::Major(_) => 1,
            Wish::Newest | Wish::NewestOfAll => 2,
        });
        wishes
    }

    fn fulfil(&mut self, progress: &mut Progress<'k>) {
        (progress.blocked, progress.again) = (false, false);
        // Before it: what it brings along may be what stood in its way.
        progress.tried_at = self.made;
        let result = self.wish(progress);
        match result {
            Ok(outcome) => progress.outcome = Some(outcome),
            Err(Halt::Ended(outcome)) => progress.outcome = Some(*outcome),
            Err(Halt::Missing(needs)) => self.needs.extend(needs),
        }
    }

    fn wish(&mut self, progress: &mut Progress<'k>) -> Result<Outcome, Halt> {
        let Some(listing) = self.listing(progress.name).map_err(Halt::stopped)? else {
            return Err(Halt::Missing(vec![Need::Tags(progress.name.clone())]));
        };
        match progress.wish {
            Wish::Exact(version) => self.exact(progress, listing, version),
            Wish::Newest => self.newest(progress, listing, self.own_major(progress.name)),
            Wish::NewestOfAll => self.newest(progress, listing, None),
            Wish::Major(major) => self.newest(progress, listing, Some(*major)),
        }
    }

    /// Whether a dependency may be of this major: that which was wished for it, else the installed one
    /// unless majors are crossed.
    pub(super) fn may_be_of(&self, name: &PluginName, now: Option<&Version>, major: u64, crossing: bool) -> bool {
        match self.snapshot.wishes.get(name) {
            Some(Wish::Major(wished)) => *wished == major,
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
        listing: &'k Listing,
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
                    let judgement = Judgement::new(reasons);
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
        listing: &'k Listing,
        major: Option<u64>,
    ) -> Result<Outcome, Halt> {
        let name = progress.name;
        let now = self.state.get(name);
        let active = now.and_then(|now| now.version);
        let forbidden = self.is_forbidden(name);
        let asked_for_major = matches!(progress.wish, Wish::Major(_));
        // The major that is asked for may lie below; off a forbidden version any way is good, its own
        // major first.
        let down = forbidden || (asked_for_major && active.zip(major).is_some_and(|(at, major)| at.major() > major));
        let limit = major.filter(|_| asked_for_major || !forbidden);
        let channel = self.judge.channel(name);
        let mut candidates: Vec<&Published> = listing
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
                    passed_over.push((published.clone(), Judgement::new(reasons)));
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
        let within = |p: &&Published| limit.is_none_or(|major| p.version.major() == major);
        Ok(match (ended, published.filter(within)) {
            (Some(Ok(version)), _) => Outcome::Take { version: version.clone(), passed_over },
            (Some(Err((version, needs))), _) => Outcome::NeedsOthers { version, needs, passed_over },
            (None, Some(version)) if !forbidden => Outcome::AlreadyActive { version: version.clone(), passed_over },
            (None, _) if now.is_some() => Outcome::Keep { forbidden, passed_over },
            (None, _) => Outcome::Nothing { why: nothing(listing, limit, &passed_over), major: limit, passed_over },
        })
    }

    /// Puts one candidate of a wish in place with all it needs, or says why not.
    fn candidate(
        &mut self,
        progress: &mut Progress<'k>,
        published: &'k Published,
    ) -> Result<Result<(), Vec<Reason>>, Halt> {
        let (name, wish) = (progress.name, progress.wish);
        let (judgement, offer) = self.judge(name, published, self.intent(wish), None);
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
        let found = Search::new(self, wish, &mut steps).run(name, published, offer);
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
            Err(Fail::Stop(stop)) => {
                progress.blocked |= matches!(*stop, Stop::Unreadable { .. });
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
    fn new((name, wish): (&'k PluginName, &'k Wish)) -> Self {
        Self { name, wish, steps: STEPS_PER_WISH, blocked: false, again: false, tried_at: 0, outcome: None }
    }

    /// Whether it is to be tried: for the first time, or because something moved since.
    fn due(&self, made: usize) -> bool {
        self.outcome.is_none() || self.again || (self.blocked && self.tried_at < made)
    }
}

fn nothing(listing: &Listing, major: Option<u64>, passed_over: &[PassedOver]) -> Nothing {
    match major {
        _ if !passed_over.is_empty() => Nothing::AllPassedOver,
        _ if listing.published.is_empty() => Nothing::NotPublished,
        Some(major) if !listing.published.iter().any(|p| p.version.major() == major) => Nothing::NotInMajor(major),
        _ => Nothing::OnlyPrereleases,
    }
}
