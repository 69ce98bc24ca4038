//! Which versions were permitted when: the rules of the policy, and the clock, with the times at which they changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What the policy says, besides that all plugins are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Everything is permitted.
    Open,
    /// Nothing changes.
    Paused,
    /// Nothing changes.
    Blackout,
    /// Versions from v1.N.0 on are blocked.
    BlockedFrom(u32),
    /// Versions up to v1.N.0 are permitted.
    UpTo(u32),
}

impl Rule {
    fn permits(self, minor: u32) -> bool {
        match self {
            Self::Open => true,
            Self::Paused | Self::Blackout => false,
            Self::BlockedFrom(first) => minor < first,
            Self::UpTo(last) => minor <= last,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A time in which something held. It overlaps its neighbours by the time that a change took to be written.
#[derive(Debug, Clone, Copy)]
struct Interval {
    from: SystemTime,
    until: Option<SystemTime>,
}

impl Interval {
    fn overlaps(&self, from: SystemTime, until: SystemTime) -> bool {
        self.from <= until && self.until.is_none_or(|end| end >= from)
    }
}

/// What was published as a version.
#[derive(Debug, Clone)]
pub(crate) struct PublishedVersion {
    pub(crate) plugin: String,
    pub(crate) minor: u32,
}

#[derive(Default)]
struct State {
    rules: Vec<(Rule, Interval)>,
    /// When the clock of the API server was right.
    clock: Vec<Interval>,
    published: BTreeMap<Vec<u8>, PublishedVersion>,
}

/// The history of what was permitted.
#[derive(Default)]
pub(crate) struct Permits {
    state: Mutex<State>,
}

/// A switch that a policy permitted begins at most this long after another one was written.
const REACTION: Duration = Duration::from_secs(2);
/// What the machine may add to that: two cores run everything.
const SCHEDULING: Duration = Duration::from_secs(3);

impl Permits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `write`, which changes the policy to this rule. Both rules count while it runs.
    pub(crate) fn change<E>(&self, rule: Rule, write: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let interval = Interval { from: SystemTime::now(), until: None };
        self.state().rules.push((rule, interval));
        let written = write();
        let mut state = self.state();
        let count = state.rules.len();
        if let Some((_, before)) = count.checked_sub(2).and_then(|index| state.rules.get_mut(index)) {
            before.until = Some(SystemTime::now());
        }
        written
    }

    /// Returns the rule of the policy.
    pub(crate) fn current(&self) -> Rule {
        self.state().rules.last().map_or(Rule::Open, |(rule, _)| *rule)
    }

    /// Notes that the clock of the API server is right or wrong from now on.
    pub(crate) fn set_clock(&self, is_right: bool) {
        let now = SystemTime::now();
        let clock = &mut self.state().clock;
        match clock.last_mut() {
            Some(last) if !is_right && last.until.is_none() => last.until = Some(now),
            None | Some(Interval { until: Some(_), .. }) if is_right => clock.push(Interval { from: now, until: None }),
            _ => {}
        }
    }

    /// Notes the bytes of a version. Bytes that a moved tag names are not noted: no host may ever have them.
    pub(crate) fn publish(&self, plugin: &str, minor: u32, executable: &str) {
        let version = PublishedVersion { plugin: plugin.to_owned(), minor };
        self.state().published.insert(executable.as_bytes().to_vec(), version);
    }

    /// Returns which version these bytes are.
    pub(crate) fn identify(&self, executable: &[u8]) -> Option<PublishedVersion> {
        self.state().published.get(executable).cloned()
    }

    /// Returns whether a version was permitted when a host switched to it.
    pub(crate) fn permitted(&self, minor: u32, switched: SystemTime) -> bool {
        let from = switched - REACTION - SCHEDULING;
        let state = self.state();
        let overlaps = |interval: &Interval| interval.overlaps(from, switched);
        let by_rule = state.rules.iter().any(|(rule, interval)| rule.permits(minor) && overlaps(interval));
        by_rule && state.clock.iter().any(overlaps)
    }

    /// Returns the rules of the last minutes, for messages.
    pub(crate) fn recent(&self) -> Vec<String> {
        let now = SystemTime::now();
        let ago = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs_f32();
        let state = self.state();
        let last = state.rules.iter().rev().take(6);
        last.map(|(rule, interval)| format!("{rule} since {:.1} s ago", ago(interval.from))).collect()
    }
}
