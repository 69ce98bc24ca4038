//! Which versions of a dependency may be tried, and why none may.

use std::collections::BTreeSet;

use super::{
    search::{Fail, Goal, Search},
    state::accepts,
};
use crate::{
    decisions::{
        reason::{DependencyProblem, Reason},
        selection::{PublishedVersion, TagList, in_channel},
    },
    values::{channel::Channel, version::Version},
};

/// The versions of a dependency that may be tried, those that nobody objects to first.
pub(super) struct Range<'k> {
    pub(super) candidates: Vec<(&'k PublishedVersion, bool)>,
    /// Levels whose dependencies have a part in what it is.
    pub(super) blame: BTreeSet<usize>,
}

impl<'k> Search<'_, 'k> {
    pub(super) fn range(&self, goal: Goal<'k>, listing: &'k TagList) -> Result<Range<'k>, Fail> {
        let target = goal.target;
        let present = self.planner.state.get(target);
        let place = || self.place(goal.by);
        let alone = |reason| Fail::Blocked { blame: BTreeSet::from([goal.by]), reasons: vec![reason] };
        let now = match present.map(|present| present.version) {
            None => None,
            Some(Some(now)) => Some(now),
            Some(None) => {
                return Err(alone(place().problem(target, goal.dependencies, DependencyProblem::UnknownVersion)));
            }
        };
        if listing.published.is_empty() {
            return Err(alone(place().problem(target, goal.dependencies, DependencyProblem::NotPublished)));
        }
        let in_range: Vec<&PublishedVersion> =
            listing.published.iter().filter(|p| accepts(goal.dependencies, Some(&p.version))).collect();
        let open: Vec<&PublishedVersion> = in_range
            .iter()
            .copied()
            .filter(|p| now.is_none_or(|now| p.version > *now))
            .filter(|p| self.planner.may_be_of(target, now, p.version.major(), self.crossing.is_some()))
            .filter(|p| in_channel(Channel::Stable, &listing.component, &p.version))
            .collect();
        if open.is_empty() {
            return Err(alone(self.nothing_open(goal, now, listing, &in_range)));
        }
        let mut blame = BTreeSet::from([goal.by]);
        let (mut bind, mut object) = (Vec::new(), Vec::new());
        for (by, dependencies) in self.planner.state.demands_on(target) {
            match self.levels.get(by) {
                Some(level) => bind.push((*level, dependencies)),
                None => object.push(dependencies),
            }
        }
        let mut candidates = Vec::new();
        let mut at_odds = None;
        for published in open {
            let version = Some(&published.version);
            if let Some((level, dependencies)) = bind.iter().find(|(_, dependencies)| !accepts(dependencies, version)) {
                blame.insert(*level);
                at_odds.get_or_insert((*level, *dependencies));
                continue;
            }
            candidates.push((published, object.iter().any(|dependencies| !accepts(dependencies, version))));
        }
        if let (true, Some((level, dependencies))) = (candidates.is_empty(), at_odds) {
            let with = self.trail[level].name;
            let reasons = vec![place().at_odds(target, goal.dependencies, with, dependencies)];
            return Err(Fail::Blocked { blame, reasons });
        }
        // Stable: the own major before others, what nobody objects to before the rest; newest first.
        let other_major = |p: &PublishedVersion| now.is_some_and(|now| now.major() != p.version.major());
        candidates.sort_by_key(|(published, indebted)| (*indebted, other_major(published)));
        Ok(Range { candidates, blame })
    }

    /// Why no version in range may be tried.
    fn nothing_open(
        &self,
        goal: Goal<'k>,
        now: Option<&'k Version>,
        listing: &TagList,
        in_range: &[&'k PublishedVersion],
    ) -> Reason {
        let problem = |problem| self.place(goal.by).problem(goal.target, goal.dependencies, problem);
        let only_pre_releases = |newest: &Version| DependencyProblem::OnlyPreReleases { newest: newest.clone() };
        let stable = |p: &&&PublishedVersion| in_channel(Channel::Stable, &listing.component, &p.version);
        let newest = in_range.iter().find(stable).or(in_range.first()).map(|p| &p.version);
        let Some(now) = now else {
            return problem(match newest {
                Some(version) => only_pre_releases(version),
                None => DependencyProblem::NoneInRange { installed: None },
            });
        };
        let above: Vec<_> = in_range.iter().filter(|p| p.version > *now).collect();
        let crossing = above.iter().filter(|p| p.version.major() != now.major()).find(|p| stable(p));
        let installed = now.clone();
        problem(match (crossing, above.first(), newest) {
            (Some(to), ..) => DependencyProblem::OtherMajor { installed, major: to.version.major() },
            (None, Some(to), _) => only_pre_releases(&to.version),
            (None, None, Some(newest)) => DependencyProblem::TooNew { installed, newest: newest.clone() },
            (None, None, None) => DependencyProblem::NoneInRange { installed: Some(installed) },
        })
    }
}
