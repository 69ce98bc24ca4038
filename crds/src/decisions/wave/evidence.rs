//! When a host counts as evidence that a version works (`docs/policies.md`, requireSucceeded).

use std::time::Duration;

use jiff::Timestamp;

use crate::{records::host::REPORT_INTERVAL, values::instant};

/// The time for which a host has reported a version as up to date, by the host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpToDate {
    since: Timestamp,
    /// Until when the report counts: a host that is silent for longer than it may be is not known to work.
    until: Timestamp,
}

impl UpToDate {
    /// `since`: when the host began to report the version as up to date. `last_seen`: when the host last reported.
    pub fn new(since: Timestamp, last_seen: Option<Timestamp>) -> Self {
        let last_seen = last_seen.unwrap_or(since).max(since);
        Self { since, until: last_seen.checked_add(REPORT_INTERVAL).unwrap_or(Timestamp::MAX) }
    }

    /// Returns since when the host reports the version as up to date.
    pub fn since(self) -> Timestamp {
        self.since
    }

    /// Returns when the host counts, if it must have reported the version for this long. `None`: it never does, unless
    /// it reports again.
    pub fn counts_from(self, stable_for: Duration) -> Option<Timestamp> {
        instant::after(self.since, stable_for).filter(|counts| *counts <= self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_counts_unless_it_was_silent_for_too_long() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let hours = Duration::from_hours;
        let midnight = at("2026-11-22T00:00:00Z");
        for (last_seen, stable_for, expected) in [
            (None, hours(6), Some("2026-11-22T06:00:00Z")),
            (None, hours(7), None),
            (Some("2026-11-22T01:00:00Z"), hours(7), Some("2026-11-22T07:00:00Z")),
            (Some("2026-11-21T00:00:00Z"), hours(6), Some("2026-11-22T06:00:00Z")),
        ] {
            let counts = UpToDate::new(midnight, last_seen.map(at)).counts_from(stable_for);
            assert_eq!(counts, expected.map(at), "{last_seen:?} {stable_for:?}");
        }
        assert_eq!(UpToDate::new(Timestamp::MAX, None).counts_from(hours(1)), None);
    }
}
