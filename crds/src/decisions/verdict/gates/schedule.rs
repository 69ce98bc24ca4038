//! The gate of `windows` and `blackouts`: when switches may begin.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Causes, GateInput};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, Field, Origin},
        verdict::{
            applicable::{ApplicableRule, schedule_for},
            host_policies::ScheduleState,
        },
        window::{CheckedBlackout, MergedSchedule, Schedule},
    },
    records::policy::WindowsFor,
    values::instant,
};

/// `windows` and `blackouts`, of all policies for the agent, of those with `windowsFor: Everyone` for people. All
/// windows must be open, except those of policies that expedite the version, and no blackout may last.
pub(super) fn closed(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let (intent, now) = (input.candidate.intent, input.candidate.now);
    if !input.has_record_name || !input.policies.limits_switches(intent) {
        return;
    }
    let state = input.policies.schedules_at(now);
    let limits = || input.rules.iter().filter_map(|rule| Limit::of(input, rule, &state));
    let mut all = Together { everyone: intent != Intent::Agent, ..Together::default() };
    limits().for_each(|limit| all.add(&limit));
    if !all.closed {
        return;
    }
    let Together { everyone, with_windows, .. } = all;
    let opening = if all.expedited { opening(limits(), now) } else { state.opening(intent) }.map(instant::whole);
    for limit in limits().filter(|limit| limit.in_blackout) {
        causes.extend(limit.schedule.blackouts_at(now).map(|blackout| limit.blackout(blackout, everyone, opening)));
    }
    let Some(until) = opening else {
        causes.push(Cause::WindowsNeverMeet { policies: names(limits()), everyone });
        return;
    };
    for limit in limits().filter(|limit| limit.outside_window) {
        let by = limit.rule.source(Origin::Spec(Field::Windows), None);
        causes.push(Cause::OutsideWindow { by, together: with_windows > 1, everyone, until });
    }
}

/// What the policies that limit a change have in common.
#[derive(Default)]
struct Together {
    /// One of them does not let the change begin now.
    closed: bool,
    /// One of those that do not holds people, too.
    everyone: bool,
    /// One of them expedites the version.
    expedited: bool,
    /// How many of them have windows that the change waits for.
    with_windows: usize,
}

impl Together {
    fn add(&mut self, limit: &Limit<'_>) {
        self.closed |= !limit.is_open();
        self.everyone |= !limit.is_open() && limit.is_for_everyone();
        self.expedited |= limit.expedited;
        self.with_windows += usize::from(limit.waits_for_windows());
    }
}

/// A policy that limits when the change may begin.
struct Limit<'a> {
    rule: &'a ApplicableRule<'a>,
    schedule: &'a Schedule,
    /// The policy expedites the version, which lifts its windows and not its blackouts.
    expedited: bool,
    outside_window: bool,
    in_blackout: bool,
}

impl<'a> Limit<'a> {
    /// Returns `None` if the policy does not limit this change.
    fn of(input: &GateInput<'_>, rule: &'a ApplicableRule<'a>, state: &ScheduleState) -> Option<Self> {
        let schedule = schedule_for(rule.policy, input.candidate.intent)?;
        let expedited = input.is_expedited(rule);
        let outside_window = !expedited && !state.windows_open(rule.index);
        Some(Self { rule, schedule, expedited, outside_window, in_blackout: state.in_blackout(rule.index) })
    }

    fn is_open(&self) -> bool {
        !self.outside_window && !self.in_blackout
    }

    fn is_for_everyone(&self) -> bool {
        self.rule.policy.windows_for == Some(WindowsFor::Everyone)
    }

    fn waits_for_windows(&self) -> bool {
        !self.expedited && self.schedule.windows().is_some()
    }

    fn blackout(&self, blackout: &CheckedBlackout, everyone: bool, until: Option<Timestamp>) -> Cause {
        let by = self.rule.source(Origin::Spec(Field::Blackouts), None);
        Cause::Blackout { by, blackout: Box::new(blackout.clone()), everyone, until }
    }
}

/// Returns when all policies let the change begin; `None`: not within 400 days.
fn opening<'a>(limits: impl Iterator<Item = Limit<'a>>, now: Timestamp) -> Option<Timestamp> {
    let mut merged = MergedSchedule::default();
    for limit in limits {
        if limit.expedited { merged.add_blackouts(limit.schedule) } else { merged.add(limit.schedule) }
    }
    merged.next_opening(now)
}

/// Returns the names of the policies that the change waits for.
fn names<'a>(limits: impl Iterator<Item = Limit<'a>>) -> Arc<[Arc<str>]> {
    let waits = limits.filter(|limit| limit.waits_for_windows() || !limit.schedule.blackouts().is_empty());
    waits.map(|limit| limit.rule.policy.name.clone()).collect()
}
