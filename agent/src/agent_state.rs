//! The states of the agent and its transitions: pure, so that each transition is a case of a table. `docs/agent.md` has
//! the same table for people.
//!
//! Time comes in with each event. `cli::commands::agent::run` does what a state says.

use jiff::{SignedDuration, Timestamp};

use crate::tick_schedule::{TickResult, TickSchedule};

/// Time within which a d8 that the agent switched to must complete a tick.
pub const TRIAL_LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// What the agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reads the policies, plans, changes and reports.
    Ticking,
    /// Waits for the next tick. The last one succeeded.
    Waiting {
        /// Time of the next tick.
        until: Timestamp,
    },
    /// Waits for the next tick. The last one failed.
    BackingOff {
        /// Time of the next tick.
        until: Timestamp,
    },
    /// The agent switched d8: this process is replaced by the new one.
    Replacing,
    /// The d8 of this process did not complete a tick in time: the d8 before it becomes active again.
    Reverting,
    /// A signal ended the agent.
    Stopped,
}

/// What happens to the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The time of [`AgentState::deadline`] came.
    Due,
    /// A policy changed.
    PolicyChanged,
    /// A tick read the policies and reported. `until`: the first end of a hold.
    TickSucceeded {
        /// When the first of the held components may change; `None`: no hold has an end.
        until: Option<Timestamp>,
    },
    /// Policies or records could not be read, or the report could not be written.
    TickFailed,
    /// The tick switched d8 itself.
    D8Switched,
    /// SIGTERM or Ctrl-C.
    Signal,
}

/// The state of one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentState {
    phase: Phase,
    schedule: TickSchedule,
    /// A policy changed during the tick.
    policy_changed: bool,
    /// This d8 is on trial: by when it must complete a tick.
    trial_until: Option<Timestamp>,
}

impl AgentState {
    /// Returns the state of an agent that starts. `on_trial`: the agent has just switched to this d8.
    pub fn start(on_trial: bool, now: Timestamp) -> Self {
        let trial_until = on_trial.then(|| later(now, TRIAL_LIMIT));
        Self { phase: Phase::Ticking, schedule: TickSchedule::default(), policy_changed: false, trial_until }
    }

    /// Sets how many hosts the policies of this host select, by their status.
    pub fn set_peers(&mut self, hosts: u32) {
        self.schedule.set_peers(hosts);
    }

    /// Returns what the agent does.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns how many ticks have failed since the last one that did not.
    pub fn failures(&self) -> u32 {
        self.schedule.failures()
    }

    /// Returns when [`Event::Due`] happens; `None`: the phase ends by itself.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Ticking => self.trial_until,
            Phase::Waiting { until } | Phase::BackingOff { until } => {
                Some(self.trial_until.map_or(until, |trial| trial.min(until)))
            }
            Phase::Replacing | Phase::Reverting | Phase::Stopped => None,
        }
    }

    /// Returns the state after an event. An event that a phase does not have leaves it as it is. `random` is in [0, 1):
    /// each host has another one.
    #[must_use]
    pub fn after(mut self, event: Event, now: Timestamp, random: f64) -> Self {
        let is_waiting = matches!(self.phase, Phase::Waiting { .. } | Phase::BackingOff { .. });
        self.phase = match (self.phase, event) {
            (last @ (Phase::Replacing | Phase::Reverting | Phase::Stopped), _) => last,
            (_, Event::Signal) => Phase::Stopped,
            (_, Event::Due) if self.trial_until.is_some_and(|trial| trial <= now) => Phase::Reverting,
            (_, Event::Due) if is_waiting => Phase::Ticking,
            (phase, Event::PolicyChanged) => self.notice_change(phase, now, random),
            (Phase::Ticking, Event::TickSucceeded { until }) => self.wait(until, now, random),
            (Phase::Ticking, Event::TickFailed) => {
                let wait = self.schedule.wait_after(TickResult::Failed, now, random);
                self.policy_changed = false;
                Phase::BackingOff { until: later(now, wait) }
            }
            (Phase::Ticking, Event::D8Switched) => Phase::Replacing,
            (phase, _) => phase,
        };
        self
    }

    fn notice_change(&mut self, phase: Phase, now: Timestamp, random: f64) -> Phase {
        let soon = later(now, self.schedule.wait_after_change(random));
        match phase {
            Phase::Waiting { until } => Phase::Waiting { until: until.min(soon) },
            Phase::BackingOff { until } => Phase::BackingOff { until: until.min(soon) },
            phase => {
                self.policy_changed = true;
                phase
            }
        }
    }

    /// Ends a tick that succeeded, and with it the trial.
    fn wait(&mut self, hold: Option<Timestamp>, now: Timestamp, random: f64) -> Phase {
        self.trial_until = None;
        let until = later(now, self.schedule.wait_after(TickResult::Done { until: hold }, now, random));
        let soon = later(now, self.schedule.wait_after_change(random));
        let changed = std::mem::take(&mut self.policy_changed);
        Phase::Waiting { until: if changed { until.min(soon) } else { until } }
    }
}

/// Returns a later time; a clock at the end of the calendar stays there.
fn later(now: Timestamp, wait: impl Into<jiff::TimestampArithmetic>) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    /// Applies events, each at its time in seconds, with the random number 0.5.
    fn after(on_trial: bool, events: &[(i64, Event)]) -> AgentState {
        let mut start = AgentState::start(on_trial, at(0));
        // They spread over 10 seconds.
        start.set_peers(1000);
        events.iter().fold(start, |state, (seconds, event)| state.after(*event, at(*seconds), 0.5))
    }

    const DONE: Event = Event::TickSucceeded { until: None };

    /// What happens, the phase then, and the failures.
    type Row<'a> = (&'a [(i64, Event)], Phase, u32);

    #[test]
    fn every_transition() {
        use Event::{D8Switched, Due, PolicyChanged, Signal, TickFailed};
        let waiting = |seconds| Phase::Waiting { until: at(seconds) };
        let backing_off = |seconds| Phase::BackingOff { until: at(seconds) };
        let hold = Event::TickSucceeded { until: Some(at(60)) };
        let table: &[Row<'_>] = &[
            (&[], Phase::Ticking, 0),
            (&[(0, DONE)], waiting(900), 0),
            (&[(0, hold)], waiting(65), 0),
            (&[(0, TickFailed)], backing_off(1), 1),
            (&[(0, TickFailed), (1, Due), (1, TickFailed)], backing_off(3), 2),
            (&[(0, TickFailed), (1, Due), (1, DONE)], waiting(901), 0),
            (&[(0, D8Switched)], Phase::Replacing, 0),
            (&[(0, Signal)], Phase::Stopped, 0),
            // Without a trial a tick has no deadline.
            (&[(0, Due)], Phase::Ticking, 0),
            (&[(0, PolicyChanged)], Phase::Ticking, 0),
            (&[(0, PolicyChanged), (2, DONE)], waiting(7), 0),
            (&[(0, PolicyChanged), (2, TickFailed)], backing_off(3), 1),
            (&[(0, DONE), (900, Due)], Phase::Ticking, 0),
            (&[(0, DONE), (100, PolicyChanged)], waiting(105), 0),
            (&[(0, DONE), (898, PolicyChanged)], waiting(900), 0),
            (&[(0, DONE), (1, Signal)], Phase::Stopped, 0),
            // A phase without a tick has no end of a tick.
            (&[(0, DONE), (1, TickFailed)], waiting(900), 0),
            (&[(0, DONE), (1, D8Switched)], waiting(900), 0),
            (&[(0, TickFailed), (0, PolicyChanged)], backing_off(1), 1),
            (&[(0, TickFailed), (1, Due)], Phase::Ticking, 1),
            (&[(0, TickFailed), (1, Signal)], Phase::Stopped, 1),
            (&[(0, D8Switched), (1, Signal)], Phase::Replacing, 0),
            (&[(0, Signal), (1, Due)], Phase::Stopped, 0),
        ];
        for (events, phase, failures) in table {
            let state = after(false, events);
            assert_eq!((state.phase(), state.failures()), (*phase, *failures), "{events:?}");
        }
    }

    #[test]
    fn a_d8_on_trial_has_ten_minutes_for_a_tick() {
        use Event::{Due, TickFailed};
        let limit = 600;
        for (events, phase, deadline) in [
            (&[][..], Phase::Ticking, Some(limit)),
            (&[(limit, Due)], Phase::Reverting, None),
            (&[(0, TickFailed)], Phase::BackingOff { until: at(1) }, Some(1)),
            // The last attempt before the limit ends with it.
            (&[(limit - 1, TickFailed)], Phase::BackingOff { until: at(limit) }, Some(limit)),
            (&[(limit - 1, TickFailed), (limit, Due)], Phase::Reverting, None),
            (&[(0, DONE)], Phase::Waiting { until: at(900) }, Some(900)),
            (&[(0, DONE), (900, Due)], Phase::Ticking, None),
            (&[(limit, Due), (limit, DONE)], Phase::Reverting, None),
        ] {
            let state = after(true, events);
            assert_eq!((state.phase(), state.deadline()), (phase, deadline.map(at)), "{events:?}");
        }
    }

    #[test]
    fn a_clock_at_the_end_of_the_calendar_is_no_panic() {
        let state = AgentState::start(true, Timestamp::MAX);
        for event in [Event::TickFailed, Event::PolicyChanged, DONE, Event::Due] {
            let state = state.after(event, Timestamp::MAX, 0.5);
            assert!(state.deadline().is_none_or(|deadline| deadline == Timestamp::MAX), "{event:?}");
        }
    }
}
