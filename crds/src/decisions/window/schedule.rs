//! When switches may begin: while windows are open and no blackout lasts.

use jiff::Timestamp;

use super::{CheckedBlackout, HORIZON, UnionCursor, Windows};
use crate::values::instant;

/// The windows and blackouts of one policy. Without any, a switch may begin at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    windows: Option<Windows>,
    blackouts: Vec<CheckedBlackout>,
}

impl Schedule {
    /// Makes a schedule. Without windows, only the blackouts count.
    pub fn new(windows: Option<Windows>, blackouts: Vec<CheckedBlackout>) -> Self {
        Self { windows, blackouts }
    }

    /// Returns the windows. `None` means that they are always open.
    pub fn windows(&self) -> Option<&Windows> {
        self.windows.as_ref()
    }

    /// Returns the blackouts in the order of the record.
    pub fn blackouts(&self) -> &[CheckedBlackout] {
        &self.blackouts
    }

    /// Returns whether the policy has neither windows nor blackouts.
    pub fn is_unlimited(&self) -> bool {
        self.windows.is_none() && self.blackouts.is_empty()
    }

    /// Returns whether the policy has windows.
    pub fn has_windows(&self) -> bool {
        self.windows.is_some()
    }

    /// Returns whether the policy has blackouts.
    pub fn has_blackouts(&self) -> bool {
        !self.blackouts.is_empty()
    }

    /// Returns whether a window is open, or the policy has none. Blackouts do not count.
    pub fn windows_open_at(&self, now: Timestamp) -> bool {
        self.windows.as_ref().is_none_or(|windows| windows.open_at(now))
    }

    /// Returns the blackouts that last at an instant, in the order of the record.
    pub fn blackouts_at(&self, now: Timestamp) -> impl Iterator<Item = &CheckedBlackout> {
        self.blackouts.iter().filter(move |blackout| blackout.covers(now))
    }

    /// Returns whether a switch may begin.
    pub fn open_at(&self, now: Timestamp) -> bool {
        self.blackouts_at(now).next().is_none() && self.windows_open_at(now)
    }

    /// Returns the first instant from `now` on at which a switch may begin: `now` itself if one may. Returns `None`
    /// if there is none within [`HORIZON`].
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        MergedSchedule::from_iter([self]).next_opening(now)
    }

    /// Returns the first instant from `now` on at which no switch may begin: `now` itself if none may. Returns `None`
    /// if that instant is more than [`HORIZON`] ahead.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        MergedSchedule::from_iter([self]).open_until(now)
    }
}

/// The schedules of several policies. A switch may begin when all of them permit it.
#[derive(Debug, Clone, Default)]
pub struct MergedSchedule<'a> {
    windows: Vec<&'a Windows>,
    blackouts: Vec<&'a CheckedBlackout>,
}

impl<'a> MergedSchedule<'a> {
    /// Adds the blackouts of a policy without its windows.
    pub fn add_blackouts(&mut self, schedule: &'a Schedule) {
        self.blackouts.extend(&schedule.blackouts);
    }

    /// Adds the windows and blackouts of a policy.
    pub fn add(&mut self, schedule: &'a Schedule) {
        self.windows.extend(&schedule.windows);
        self.add_blackouts(schedule);
    }

    /// Returns whether a switch may begin.
    pub fn open_at(&self, now: Timestamp) -> bool {
        !self.blackouts.iter().any(|blackout| blackout.covers(now))
            && self.windows.iter().all(|windows| windows.open_at(now))
    }

    /// Returns the first instant from `now` on at which the windows of all policies are open and no blackout lasts:
    /// `now` itself if it is one. Returns `None` if there is none within [`HORIZON`]: reason `WindowsNeverMeet`.
    pub fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let limit = instant::after_or_last(now, HORIZON);
        let mut policies: Vec<_> = self.windows.iter().map(|windows| UnionCursor::new(windows)).collect();
        let mut blackouts = BlackoutCursor::new(&self.blackouts);
        let mut candidate = now;
        loop {
            // What is closed at the candidate moves it forward. The search ends after a round in which nothing
            // moved it.
            let before = candidate;
            for policy in &mut policies {
                candidate = policy.next_opening(candidate)?;
            }
            candidate = blackouts.end(candidate);
            if candidate > limit {
                return None;
            }
            if candidate == before {
                return Some(candidate);
            }
        }
    }

    /// Returns the first instant from `now` on at which a window of some policy is closed or a blackout lasts: `now`
    /// itself if it is one. Returns `None` if that instant is more than [`HORIZON`] ahead.
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        let closing = self.windows.iter().filter_map(|windows| windows.open_until(now));
        let ahead = self.blackouts.iter().filter(|blackout| now < blackout.to).map(|blackout| blackout.from.max(now));
        let limit = instant::after_or_last(now, HORIZON);
        closing.chain(ahead.filter(|from| *from <= limit)).min()
    }
}

impl<'a> FromIterator<&'a Schedule> for MergedSchedule<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Schedule>>(policies: I) -> Self {
        let mut merged = Self::default();
        policies.into_iter().for_each(|schedule| merged.add(schedule));
        merged
    }
}

/// Searches the union of blackouts. The instants of successive calls must not decrease.
struct BlackoutCursor {
    /// Spans that can end after the next instant, the last one to begin first.
    ahead: Vec<(Timestamp, Timestamp)>,
}

impl BlackoutCursor {
    fn new(blackouts: &[&CheckedBlackout]) -> Self {
        let mut ahead: Vec<_> = blackouts.iter().map(|blackout| (blackout.from, blackout.to)).collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        Self { ahead }
    }

    /// Returns the first instant from `at` on at which no blackout lasts.
    fn end(&mut self, mut at: Timestamp) -> Timestamp {
        while let Some((_, to)) = self.ahead.pop_if(|(from, _)| *from <= at) {
            at = at.max(to);
        }
        at
    }
}
