//! The changes of a host that failed, so that the agent does not repeat them in vain (`docs/policies.md`, rule 18).
//!
//! A version is remembered with the digest of its bytes: other bytes of the same version are tried. What fails for
//! reasons outside the version, such as a proxy that does not answer, is not remembered.

use std::collections::BTreeSet;

use d8_crds::{
    decisions::agent_report::{ComponentReport, FailedAttempt},
    values::{digest::Digest, name::Component, version::Version},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::StoreErrorKind;

/// How often, and within which time, a change is tried again that a full disk or a slow start made fail.
const RETRIES: u32 = 3;
const RETRY_INTERVAL: SignedDuration = SignedDuration::from_hours(8);

/// Why a switch of d8 itself was undone: the new d8 started several times and completed no tick.
pub const TRIAL_FAILED: &str = "TrialFailed";
/// Why a switch of d8 itself was undone: the new d8 completed no tick in time. The API server may be at fault.
pub const TRIAL_TIMEOUT: &str = "TrialTimeout";

/// Entries that are kept. A host has far fewer components.
const MAX_ENTRIES: usize = 256;

/// A change that failed, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    component: String,
    version: String,
    /// Digest of the layer, if it was known.
    digest: Option<Digest>,
    /// Kind of the error.
    reason: String,
    message: String,
    /// Number of failures.
    failures: u32,
    /// When it failed last.
    at: Timestamp,
}

/// The changes that failed on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedChanges {
    entries: Vec<Entry>,
}

/// What one tick adds to the changes that failed, to be applied to what a person changed meanwhile.
#[derive(Debug, Clone, Default)]
pub struct FailureChanges {
    added: Vec<(Component, FailedAttempt, Option<Digest>, Timestamp)>,
    forgotten: BTreeSet<Component>,
}

impl FailureChanges {
    /// Adds a failure, as [`FailedChanges::add`] does.
    pub fn add(&mut self, component: &Component, failure: &FailedAttempt, digest: Option<&Digest>, now: Timestamp) {
        self.added.push((component.clone(), failure.clone(), digest.cloned(), now));
    }

    /// Forgets the failures of a component, as [`FailedChanges::forget`] does.
    pub fn forget(&mut self, component: &Component) {
        self.added.retain(|(of, ..)| of != component);
        self.forgotten.insert(component.clone());
    }

    /// Returns these failures with the changes.
    #[must_use]
    pub fn applied_to(&self, mut failures: FailedChanges) -> FailedChanges {
        for component in &self.forgotten {
            failures.forget(component);
        }
        for (component, failure, digest, now) in &self.added {
            failures.add_once(component, failure, digest.as_ref(), *now);
        }
        failures
    }
}

/// What happens to a change whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repetition {
    /// It is tried again with the next tick.
    Next,
    /// It is tried again a few times.
    Few,
    /// It is not tried again: the bytes are at fault.
    Never,
}

impl Repetition {
    /// Returns how a change is repeated after an error of this kind ([`StoreErrorKind::as_str`]).
    fn after(kind: &str) -> Self {
        let is = |other: StoreErrorKind| kind == other.as_str();
        let one_of = |others: &[StoreErrorKind]| others.iter().any(|other| is(*other));
        if kind == TRIAL_FAILED || one_of(&[StoreErrorKind::Smoke, StoreErrorKind::Moved]) {
            return Self::Never;
        }
        // One wrong answer of the proxy says nothing about the bytes that the record names.
        let passing = [
            StoreErrorKind::SmokeTimeout,
            StoreErrorKind::SmokeChanged,
            StoreErrorKind::DiskFull,
            StoreErrorKind::WrongDigest,
        ];
        if kind == TRIAL_TIMEOUT || one_of(&passing) { Self::Few } else { Self::Next }
    }
}

/// Kinds of failures outside the version and the machine: the proxy or the API server did not answer, or another process
/// changes the same plugin.
const INTERRUPTIONS: [&str; 7] =
    ["Unreachable", "Unavailable", "Timeout", "Truncated", "Discovery", "Locked", "LockLost"];

/// Returns the report of a component after a change of it failed. An outage of the proxy must not halt a wave, so a host
/// that waits for its end does not count as failed.
pub fn report(report: ComponentReport, failure: &FailedAttempt) -> ComponentReport {
    let is_interrupted = INTERRUPTIONS.contains(&failure.reason.as_str());
    if is_interrupted { report.interrupted(failure) } else { report.failed(failure) }
}

impl FailedChanges {
    /// Returns the failure for which a change is not tried now, and until when; `None`: it is tried.
    pub fn blocking(
        &self,
        component: &Component,
        version: &Version,
        digest: Option<&Digest>,
        now: Timestamp,
    ) -> Option<(FailedAttempt, Option<Timestamp>)> {
        let entry = self.entries.iter().find(|entry| entry.is_of(component, version, digest))?;
        let until = match Repetition::after(&entry.reason) {
            Repetition::Next => return None,
            // A time at the end of the calendar, from a damaged file, has no later one.
            Repetition::Few if entry.failures <= RETRIES => entry.at.checked_add(RETRY_INTERVAL).ok(),
            Repetition::Few | Repetition::Never => None,
        };
        // A clock that was set back does not hold the change for longer.
        let is_over = until.is_some_and(|until| now >= until || now < entry.at);
        if is_over {
            return None;
        }
        let failure =
            FailedAttempt { version: version.clone(), reason: entry.reason.clone(), message: entry.message.clone() };
        Some((failure, until))
    }

    /// Remembers a failure, unless this one is remembered already.
    fn add_once(&mut self, component: &Component, failure: &FailedAttempt, digest: Option<&Digest>, now: Timestamp) {
        let is_known = |entry: &Entry| entry.is_of(component, &failure.version, digest) && entry.at == now;
        if !self.entries.iter().any(is_known) {
            self.add(component, failure, digest, now);
        }
    }

    /// Remembers a failure.
    pub fn add(&mut self, component: &Component, failure: &FailedAttempt, digest: Option<&Digest>, now: Timestamp) {
        if Repetition::after(&failure.reason) == Repetition::Next {
            return;
        }
        let before = self.entries.iter().find(|entry| entry.is_of(component, &failure.version, digest));
        let failures = before.map_or(0, |entry| entry.failures).saturating_add(1);
        let same = |entry: &Entry| entry.component == component.name() && entry.version == failure.version.to_string();
        self.entries.retain(|entry| !same(entry));
        self.entries.push(Entry {
            component: component.name().to_owned(),
            version: failure.version.to_string(),
            digest: digest.cloned(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            failures,
            at: now,
        });
        let excess = self.entries.len().saturating_sub(MAX_ENTRIES);
        self.entries.drain(..excess);
    }

    /// Returns the components with changes that failed.
    pub fn components(&self) -> BTreeSet<Component> {
        self.entries.iter().filter_map(|entry| entry.component.parse().ok()).collect()
    }

    /// Forgets the failures of a component, after a change of it that succeeded or because a person asks for another
    /// attempt. Returns whether there were any.
    pub fn forget(&mut self, component: &Component) -> bool {
        let count = self.entries.len();
        self.entries.retain(|entry| entry.component != component.name());
        count != self.entries.len()
    }
}

impl Entry {
    fn is_of(&self, component: &Component, version: &Version, digest: Option<&Digest>) -> bool {
        let same = self.component == component.name() && Version::parse(&self.version).is_ok_and(|own| own == *version);
        // Bytes without a known digest may be any.
        same && (self.digest.is_none() || self.digest.as_ref() == digest)
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::{decisions::agent_report::ActiveArtifact, records::host::ComponentState};

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn failure(kind: StoreErrorKind) -> FailedAttempt {
        let version = Version::parse("v1.1.0").unwrap();
        FailedAttempt { version, reason: kind.as_str().to_owned(), message: "why".to_owned() }
    }

    #[test]
    fn what_is_tried_again_and_when() {
        let (tool, digest, other) = ("tool".parse().unwrap(), Digest::of(b"a"), Digest::of(b"b"));
        let version = Version::parse("1.1.0").unwrap();
        for (kind, expected) in [
            // Whether it is held after 1 hour, after 9 hours, after three more failures.
            (StoreErrorKind::Smoke, [true, true, true]),
            (StoreErrorKind::WrongDigest, [true, false, true]),
            (StoreErrorKind::DiskFull, [true, false, true]),
            (StoreErrorKind::SmokeTimeout, [true, false, true]),
            // Something else wrote into the file, or the program did.
            (StoreErrorKind::SmokeChanged, [true, false, true]),
            (StoreErrorKind::SmokeSetup, [false, false, false]),
            (StoreErrorKind::Proxy, [false, false, false]),
            (StoreErrorKind::Locked, [false, false, false]),
        ] {
            let mut failed = FailedChanges::default();
            failed.add(&tool, &failure(kind), Some(&digest), at(0));
            let held =
                |failed: &FailedChanges, digest, now| failed.blocking(&tool, &version, Some(digest), now).is_some();
            let found = [held(&failed, &digest, at(1)), held(&failed, &digest, at(9))];
            assert_eq!(found, expected[..2], "{kind:?}");
            assert!(!held(&failed, &other, at(1)), "{kind:?}: other bytes are tried");
            for hours in [8, 16, 24] {
                failed.add(&tool, &failure(kind), Some(&digest), at(hours));
            }
            assert_eq!(held(&failed, &digest, at(1000)), expected[2], "{kind:?}");
            assert_eq!(failed.forget(&tool), expected[0], "{kind:?}");
            assert!(!held(&failed, &digest, at(1)), "{kind:?}");
        }
    }

    #[test]
    fn a_tick_does_not_undo_what_a_person_forgot() {
        let (tool, other): (Component, Component) = ("tool".parse().unwrap(), "other".parse().unwrap());
        let (mut before, mut changes) = (FailedChanges::default(), FailureChanges::default());
        before.add(&tool, &failure(StoreErrorKind::Smoke), None, at(0));
        changes.add(&other, &failure(StoreErrorKind::DiskFull), None, at(1));
        // Somebody ran `d8 agent retry` during the tick.
        let forgotten = FailedChanges::default();
        let once = changes.applied_to(forgotten);
        assert_eq!(once.components(), BTreeSet::from([other.clone()]));
        // Applied again, a failure does not count twice.
        assert_eq!(changes.applied_to(once.clone()), once);
        changes.forget(&tool);
        assert_eq!(changes.applied_to(before).components(), BTreeSet::from([other]));
    }

    #[test]
    fn an_outage_is_no_failure_of_a_version() {
        for (reason, expected) in [
            (d8_rpp::ErrorKind::Unreachable.as_str(), ComponentState::Pending),
            (d8_rpp::ErrorKind::Unavailable.as_str(), ComponentState::Pending),
            (d8_rpp::ErrorKind::Timeout.as_str(), ComponentState::Pending),
            (d8_rpp::ErrorKind::Truncated.as_str(), ComponentState::Pending),
            (d8_rpp::ErrorKind::Discovery.as_str(), ComponentState::Pending),
            (StoreErrorKind::Locked.as_str(), ComponentState::Pending),
            (StoreErrorKind::LockLost.as_str(), ComponentState::Pending),
            (d8_rpp::ErrorKind::EndpointChanged.as_str(), ComponentState::Failed),
            (d8_rpp::ErrorKind::NotFound.as_str(), ComponentState::Failed),
            (d8_rpp::ErrorKind::Archive.as_str(), ComponentState::Failed),
            (StoreErrorKind::Smoke.as_str(), ComponentState::Failed),
            (StoreErrorKind::DiskFull.as_str(), ComponentState::Failed),
            (TRIAL_FAILED, ComponentState::Failed),
        ] {
            let failure = FailedAttempt { reason: reason.to_owned(), ..failure(StoreErrorKind::Proxy) };
            let reported = report(ComponentReport::new(ActiveArtifact::default()), &failure);
            let target = Some(failure.version.clone());
            assert_eq!((reported.state, reported.reason.as_deref(), reported.target), (expected, Some(reason), target));
        }
    }

    #[test]
    fn a_failure_of_unknown_bytes_holds_for_all_bytes() {
        let (tool, version) = ("tool".parse().unwrap(), Version::parse("1.1.0").unwrap());
        let mut failed = FailedChanges::default();
        failed.add(&tool, &failure(StoreErrorKind::Smoke), None, at(0));
        for digest in [None, Some(&Digest::of(b"a"))] {
            assert!(failed.blocking(&tool, &version, digest, at(1)).is_some());
        }
    }

    #[test]
    fn a_time_at_the_end_of_the_calendar_is_no_panic() {
        let (tool, version) = ("tool".parse().unwrap(), Version::parse("1.1.0").unwrap());
        let mut failed = FailedChanges::default();
        failed.add(&tool, &failure(StoreErrorKind::DiskFull), None, Timestamp::MAX);
        assert!(failed.blocking(&tool, &version, None, Timestamp::MAX).is_some());
    }

    #[test]
    fn each_version_is_remembered_and_the_oldest_are_dropped() {
        let (tool, other): (Component, Component) = ("tool".parse().unwrap(), "other".parse().unwrap());
        let mut failed = FailedChanges::default();
        let version = |patch: i64| Version::parse(&format!("v1.0.{patch}")).unwrap();
        for patch in 0..1000 {
            let failure = FailedAttempt { version: version(patch), ..failure(StoreErrorKind::Smoke) };
            failed.add(&tool, &failure, None, at(patch));
            failed.add(&tool, &failure, None, at(patch));
        }
        assert_eq!(failed.entries.len(), MAX_ENTRIES);
        let held = |failed: &FailedChanges, patch| failed.blocking(&tool, &version(patch), None, at(1000)).is_some();
        assert!(held(&failed, 999) && held(&failed, 998) && !held(&failed, 0));
        assert!(!failed.forget(&other) && failed.forget(&tool) && !held(&failed, 999));
    }
}
