//! The places of hosts in waves, and what hosts share that differ in nothing else.
//!
//! A wave reaches each host at another time. But a plan depends on the order of these times alone, among each other and
//! among the ends of other holds, as long as time does nothing but end holds. So hosts with the same order share a plan,
//! in which each finds its own times.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    numbers::ActiveNumber,
    preview::{HostPreview, Side},
};
use crate::{
    decisions::{
        plan::{EvaluationRequest, Evaluator as _},
        requirements::Findings,
        verdict::{Place, ReasonCode, SpreadingWave},
    },
    values::{name::Component, version::Version},
};

/// The waves under one set of policies, by component and its active version.
#[derive(Debug, Default)]
pub(super) struct KnownWaves(HashMap<ActiveNumber, NewerVersions>);

/// The versions of a component that are newer than an active one.
#[derive(Debug, Default)]
struct NewerVersions {
    /// Their waves that are not complete.
    waves: Vec<SpreadingWave>,
    /// The ends of what else holds them. Absent: not needed so far.
    ends: Option<Vec<Timestamp>>,
}

impl KnownWaves {
    /// Returns the places of a host in the waves of components.
    pub(super) fn places(
        &mut self,
        side: &Side<'_>,
        preview: &HostPreview<'_>,
        numbers: &[ActiveNumber],
    ) -> Vec<Place> {
        let (host, mut places) = (preview.machine.as_host(), Vec::new());
        for (component, number) in preview.components.iter().zip(numbers) {
            let newer = self.0.entry(*number).or_insert_with(|| {
                let waves = newer_waves(side, preview, component);
                NewerVersions { waves, ends: None }
            });
            places.extend(newer.waves.iter().map(|wave| wave.place(&host, preview.now)));
        }
        places
    }

    /// Returns when what else holds newer versions of components ends: the same for all hosts with these numbers.
    pub(super) fn other_ends(
        &mut self,
        side: &Side<'_>,
        preview: &HostPreview<'_>,
        numbers: &[ActiveNumber],
    ) -> Vec<Timestamp> {
        let mut all = Vec::new();
        for (component, number) in preview.components.iter().zip(numbers) {
            let newer = self.0.entry(*number).or_default();
            all.extend(newer.ends.get_or_insert_with(|| other_ends(side, preview, component)).iter());
        }
        all
    }
}

fn newer_waves(side: &Side<'_>, preview: &HostPreview<'_>, component: &Component) -> Vec<SpreadingWave> {
    let Some(release) = preview.records.get(component.name()) else { return Vec::new() };
    let active = preview.active_version(component);
    let mut waves = side.policies().spreading(component, release, preview.now);
    // A version that is not newer than the active one takes no wave.
    waves.retain(|wave| active.is_none_or(|active| wave.version > *active));
    waves
}

fn other_ends(side: &Side<'_>, preview: &HostPreview<'_>, component: &Component) -> Vec<Timestamp> {
    let record = preview.records.get(component.name());
    let active = preview.active_version(component);
    let mut ends = Vec::new();
    for entry in record.iter().filter_map(|record| record.status.as_ref()).flat_map(|status| &status.versions) {
        let Ok(version) = Version::parse(&entry.version) else { continue };
        let findings = Findings::recorded(entry, preview.machine.platform.as_ref());
        let verdict = side.evaluator.evaluate(&EvaluationRequest {
            active,
            unmet: &findings.unmet,
            unchecked: &findings.unchecked,
            ..preview.request(component, &version)
        });
        let others = verdict.reasons().iter().filter(|reason| reason.code() != ReasonCode::NotInWave);
        ends.extend(others.filter_map(crate::decisions::reason::Reason::until));
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The times at which waves reach one host, and the ends of other holds.
#[derive(Debug, Clone, Default)]
pub(super) struct HostTimes {
    order: PlaceOrder,
    /// In order, each once.
    times: Vec<Timestamp>,
}

/// The order of times, the same for hosts that share a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct PlaceOrder(Box<[Rank]>);

/// One time in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Rank {
    Reached,
    Waits,
    Never,
    /// Index in the times.
    At(usize),
}

impl HostTimes {
    /// Puts the times in order. `ends` are those of other holds.
    pub(super) fn new(places: &[Place], ends: &[Timestamp]) -> Self {
        let of_place = |place: &Place| if let Place::At(time) = place { Some(*time) } else { None };
        let mut times: Vec<_> = places.iter().filter_map(of_place).chain(ends.iter().copied()).collect();
        times.sort_unstable();
        times.dedup();
        let at = |time: &Timestamp| Rank::At(times.partition_point(|other| other < time));
        let rank = |place: &Place| match place {
            Place::Reached => Rank::Reached,
            Place::Waits => Rank::Waits,
            Place::Never => Rank::Never,
            Place::At(time) => at(time),
        };
        let order = PlaceOrder(places.iter().map(rank).chain(ends.iter().map(at)).collect());
        Self { order, times }
    }

    /// Returns the order of the times.
    pub(super) fn order(&self) -> &PlaceOrder {
        &self.order
    }

    /// Returns what is for this host the time `of` another one with the same order.
    pub(super) fn translate(&self, other: &Self, of: Timestamp) -> Timestamp {
        let index = other.times.binary_search(&of).ok();
        index.and_then(|index| self.times.get(index)).copied().unwrap_or(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn hosts_share_a_plan_if_their_times_have_one_order() {
        let times = |places: &[Place], ends: &[i64]| {
            HostTimes::new(places, &ends.iter().map(|end| at(*end)).collect::<Vec<_>>())
        };
        let first = times(&[Place::At(at(10)), Place::At(at(30)), Place::Waits], &[20]);
        for (places, ends, expected) in [
            ([Place::At(at(11)), Place::At(at(99)), Place::Waits], [20], true),
            // The first wave reaches it after the end of the other hold, or with it.
            ([Place::At(at(25)), Place::At(at(30)), Place::Waits], [20], false),
            ([Place::At(at(20)), Place::At(at(30)), Place::Waits], [20], false),
            ([Place::At(at(30)), Place::At(at(10)), Place::Waits], [20], false),
            ([Place::Reached, Place::At(at(30)), Place::Waits], [20], false),
            ([Place::At(at(10)), Place::At(at(30)), Place::Never], [20], false),
        ] {
            let second = times(&places, &ends);
            assert_eq!(first.order() == second.order(), expected, "{places:?}");
        }
        let second = times(&[Place::At(at(11)), Place::At(at(99)), Place::Waits], &[20]);
        for (of, expected) in [(10, 11), (20, 20), (30, 99), (40, 40)] {
            assert_eq!(second.translate(&first, at(of)), at(expected));
        }
    }
}
