//! The course of a wave: when it begins, and what failures and resumptions do to it (`docs/policies.md`, rules 7 and 9).
//! The operator decides so, and a preview of an edit shows it.

use jiff::{SignedDuration, Timestamp};

use crate::{
    records::host::{ComponentState, HostComponent},
    values::version::Version,
};

/// A host that has been switching for this time counts as failed.
const STUCK: SignedDuration = SignedDuration::from_mins(30);

/// Returns when a wave begins that has not begun, for a version that the policy permits. `None`: it waits.
///
/// `evidence`: whether the version has succeeded on enough hosts, if the policy requires that. `complete_since`: when a
/// wave began of which only that is left, because it is complete.
pub fn begins(
    evidence: Option<bool>,
    is_halted: bool,
    complete_since: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    match evidence {
        // Evidence does not begin a halted wave.
        Some(is_met) => (is_met && !is_halted).then_some(now),
        // A complete wave spreads by the age of the version alone.
        None => Some(complete_since.unwrap_or(now).min(now)),
    }
}

/// Returns the beginning of a resumed wave. It goes on where it was halted: its start moves by the time that passed since
/// the halt. `soaked`: when the version reached the policy's minAge, if that is known.
pub fn resumed_since(since: Timestamp, soaked: Option<Timestamp>, halted_at: Timestamp, now: Timestamp) -> Timestamp {
    let start = soaked.map_or(since, |soaked| soaked.max(since));
    let elapsed = halted_at.duration_since(start).max(SignedDuration::ZERO);
    now.checked_sub(elapsed).unwrap_or(since)
}

/// Returns whether failures halt a wave: they are as many as `maxFailed`, and more than at the last resumption
/// (`ignored`).
pub fn halts(failed: u32, ignored: u32, max_failed: Option<u32>) -> bool {
    max_failed.is_some_and(|max| failed >= max) && failed > ignored
}

/// A change on a host that failed or has not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedChange {
    /// The version that the host was changing to, without build metadata: `1.0.0` and `v1.0.0` must not count as two.
    pub version: Version,
    /// When the change began, by the host's clock. Absent: it failed.
    pub switching_since: Option<Timestamp>,
}

impl FailedChange {
    /// Returns the failed or unfinished change that a host reports. Without a target the active version failed. Without a
    /// time the change counts from `last_seen`, the host's last report.
    pub fn reported(component: &HostComponent, last_seen: Option<Timestamp>) -> Option<Self> {
        let switching_since = match component.state {
            ComponentState::Failed => None,
            ComponentState::Switching => Some(component.last_change.as_ref().map(|time| time.0).or(last_seen)?),
            _ => return None,
        };
        let version = component.target.as_deref().or(component.active.as_deref())?;
        Some(Self { version: Version::parse(version).ok()?.without_build(), switching_since })
    }

    /// Returns whether it counts as failed now.
    pub fn counts(&self, now: Timestamp) -> bool {
        self.switching_since.is_none_or(|since| stuck_from(since).is_some_and(|stuck| stuck <= now))
    }
}

/// Returns when a host counts as failed that has been switching since. `None`: never.
pub fn stuck_from(switching_since: Timestamp) -> Option<Timestamp> {
    switching_since.checked_add(STUCK).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn when_waves_begin() {
        let (now, seen) = (at("2026-11-22T12:00:00Z"), at("2026-11-21T12:00:00Z"));
        for (evidence, is_halted, complete_since, expected) in [
            (None, false, None, Some(now)),
            (None, false, Some(seen), Some(seen)),
            (None, true, None, Some(now)),
            (Some(true), false, None, Some(now)),
            (Some(true), true, None, None),
            (Some(false), false, Some(seen), None),
        ] {
            assert_eq!(begins(evidence, is_halted, complete_since, now), expected, "{evidence:?} {is_halted}");
        }
    }

    #[test]
    fn a_resumed_wave_goes_on_where_it_was() {
        let now = at("2026-11-22T12:00:00Z");
        let (since, halted) = (at("2026-11-20T00:00:00Z"), at("2026-11-20T06:00:00Z"));
        for (soaked, expected) in [
            (None, "2026-11-22T06:00:00Z"),
            (Some("2026-11-20T04:00:00Z"), "2026-11-22T10:00:00Z"),
            // It was halted before it began.
            (Some("2026-11-21T00:00:00Z"), "2026-11-22T12:00:00Z"),
        ] {
            assert_eq!(resumed_since(since, soaked.map(at), halted, now), at(expected), "{soaked:?}");
        }
    }

    #[test]
    fn failures_that_halt() {
        for (failed, ignored, max, expected) in [
            (2, 0, Some(2), true),
            (1, 0, Some(2), false),
            (2, 2, Some(1), false),
            (3, 2, Some(1), true),
            (9, 0, None, false),
        ] {
            assert_eq!(halts(failed, ignored, max), expected, "{failed} {ignored} {max:?}");
        }
    }
}
