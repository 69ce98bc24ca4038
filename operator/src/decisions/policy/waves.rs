//! When waves begin, halt, resume and are removed (`docs/policies.md`, rollout). Pure: returns changes to the ledger.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::validation::ResumedHalt,
    records::policy::{PluginPolicyStatus, WaveState},
    values::{name::Component, version::Version},
};
use jiff::{SignedDuration, Timestamp};

use super::ledger::{Halt, WaveLedger, WaveLedgerChanges, WaveRecord};
use crate::decisions::{hosts::HostFailure, managed_releases::GRACE_PERIOD};

/// A host that has been switching for this time counts as failed.
const STUCK: SignedDuration = SignedDuration::from_mins(30);

/// How many hosts failed on each version, by component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FailureCounts {
    counts: BTreeMap<Component, BTreeMap<Version, u32>>,
    /// When the next host that is switching counts as failed.
    pub(crate) next: Option<Timestamp>,
}

impl FailureCounts {
    /// Counts the hosts that failed or are stuck in a change. `failures` lists each host once for a component and
    /// version.
    pub(crate) fn new(failures: &[HostFailure], now: Timestamp) -> Self {
        let mut counted = Self::default();
        for failure in failures {
            let (Ok(component), Ok(version)) = (failure.component.parse(), Version::parse(&failure.version)) else {
                continue;
            };
            if let Some(since) = failure.switching_since {
                // A time beyond the supported range never comes.
                let Ok(stuck) = since.checked_add(STUCK) else { continue };
                if stuck > now {
                    counted.next = Some(counted.next.map_or(stuck, |next| next.min(stuck)));
                    continue;
                }
            }
            let versions = counted.counts.entry(component).or_default();
            *versions.entry(version).or_default() += 1;
        }
        counted
    }

    /// Returns the number of hosts that failed on a version.
    pub(crate) fn of(&self, component: &Component, version: &Version) -> u32 {
        self.counts.get(component).and_then(|versions| versions.get(version)).copied().unwrap_or_default()
    }
}

/// A version of a record, for which the policy may begin a wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaveCandidate {
    pub(crate) version: Version,
    /// Whether the policy permits it: nothing forbids it, but it may be held.
    pub(crate) permitted: bool,
    /// When the version was first seen.
    pub(crate) first_seen: Option<Timestamp>,
}

/// Everything that changes the waves of a policy.
pub(crate) struct WaveInputs<'a> {
    /// UID of the policy.
    pub(crate) uid: Option<&'a str>,
    /// Generation of the policy.
    pub(crate) generation: i64,
    pub(crate) previous: &'a PluginPolicyStatus,
    /// Number of failed hosts that halts a wave; absent: no wave is halted.
    pub(crate) max_failed: Option<u32>,
    /// The halt that the policy's annotation resumes.
    pub(crate) resumed: Option<&'a ResumedHalt>,
    /// The versions of each record, by component.
    pub(crate) candidates: &'a BTreeMap<Component, Vec<WaveCandidate>>,
    /// Failed hosts of the policy.
    pub(crate) failures: &'a FailureCounts,
    /// The current time in whole seconds.
    pub(crate) now: Timestamp,
}

/// Something that happened to a wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaveEvent {
    pub(crate) component: Component,
    pub(crate) version: Version,
    /// Number of hosts that failed on the version.
    pub(crate) failed: u32,
    pub(crate) kind: WaveEventKind,
}

/// What can happen to a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaveEventKind {
    /// Too many hosts failed. The wave was halted at this time.
    Halted(Timestamp),
    /// An edit of the policy resumed the wave.
    ResumedByEdit,
    /// The policy's annotation resumed the wave.
    ResumedByAnnotation,
}

/// The result of [`update`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WaveUpdate {
    /// What changes in the ledger.
    pub(crate) changes: WaveLedgerChanges,
    /// What happened to waves.
    pub(crate) events: Vec<WaveEvent>,
    /// Whether the ledger dropped waves because it is full.
    pub(crate) trimmed: bool,
}

/// Decides which waves begin, halt, resume and are removed.
pub(crate) fn update(inputs: &WaveInputs<'_>, ledger: &WaveLedger) -> WaveUpdate {
    let (mut draft, complete) = current(inputs, ledger);
    for (component, candidates) in inputs.candidates {
        let waves = draft.waves.entry(component.clone()).or_default();
        begin(inputs, complete.contains(component), candidates, waves);
    }
    forget(inputs, &mut draft);
    let events = halt_and_resume(inputs, &mut draft);
    let trimmed = draft.trim();
    WaveUpdate { changes: WaveLedgerChanges::between(ledger, &draft), events, trimmed }
}

/// Returns the ledger of this very policy, and the components whose waves are complete unless the ledger has them.
///
/// A ledger has the policy's UID after its first update. Without a UID it is new, or its ConfigMap was lost.
fn current(inputs: &WaveInputs<'_>, ledger: &WaveLedger) -> (WaveLedger, BTreeSet<Component>) {
    let uid = inputs.uid.map(str::to_owned);
    if ledger.uid.is_some() && ledger.uid == uid {
        return (ledger.clone(), BTreeSet::new());
    }
    if ledger.uid.is_some() {
        return (WaveLedger { uid, ..WaveLedger::default() }, BTreeSet::new());
    }
    let mut restored = WaveLedger { uid, ..ledger.clone() };
    let complete = restore(&mut restored, inputs.previous, inputs.generation, inputs.now);
    (restored, complete)
}

/// Takes the waves from the status; a time is never later than now. Returns the components whose waves the status
/// shows in full: a wave that is missing there is complete.
fn restore(
    ledger: &mut WaveLedger,
    status: &PluginPolicyStatus,
    generation: i64,
    now: Timestamp,
) -> BTreeSet<Component> {
    for component in &status.components {
        let Ok(name) = component.name.parse::<Component>() else { continue };
        for wave in &component.waves {
            let Ok(version) = Version::parse(&wave.version) else { continue };
            let since = wave.since.as_ref().map_or(now, |time| time.0.min(now));
            let halted_at = wave.halted_at.as_ref().filter(|_| wave.state == Some(WaveState::Halted));
            let halt = halted_at.map(|at| Halt { at: at.0.min(now), generation: status.observed_generation });
            let waves = ledger.waves.entry(name.clone()).or_default();
            waves.insert(version, WaveRecord { halt, ..WaveRecord::new(since) });
        }
    }
    if status.observed_generation != Some(generation) {
        return BTreeSet::new();
    }
    status.components.iter().filter_map(|component| component.name.parse().ok()).collect()
}

/// Begins the wave of each permitted version, and drops the waves of versions that are not permitted: they begin
/// again once they are permitted again.
fn begin(
    inputs: &WaveInputs<'_>,
    complete: bool,
    candidates: &[WaveCandidate],
    waves: &mut BTreeMap<Version, WaveRecord>,
) {
    for candidate in candidates {
        if !candidate.permitted {
            waves.remove(&candidate.version);
            continue;
        }
        let wave = waves.entry(candidate.version.clone()).or_insert_with(|| {
            // A complete wave spreads by the age of the version alone.
            let since = candidate.first_seen.filter(|_| complete).unwrap_or(inputs.now);
            WaveRecord::new(since.min(inputs.now))
        });
        wave.missing_since = None;
    }
}

/// Drops the waves of versions that no record had for [`GRACE_PERIOD`]. Until then the record may be created again.
fn forget(inputs: &WaveInputs<'_>, ledger: &mut WaveLedger) {
    for (component, waves) in &mut ledger.waves {
        let candidates = inputs.candidates.get(component).map(Vec::as_slice).unwrap_or_default();
        waves.retain(|version, wave| {
            if candidates.iter().any(|candidate| candidate.version == *version) {
                return true;
            }
            let since = *wave.missing_since.get_or_insert(inputs.now);
            inputs.now.duration_since(since) < GRACE_PERIOD
        });
    }
    ledger.waves.retain(|_, waves| !waves.is_empty());
}

fn halt_and_resume(inputs: &WaveInputs<'_>, ledger: &mut WaveLedger) -> Vec<WaveEvent> {
    let mut events = Vec::new();
    for (component, waves) in &mut ledger.waves {
        for (version, wave) in waves {
            let failed = inputs.failures.of(component, version);
            let kind = match wave.halt {
                Some(halt) => resume(inputs, version, failed, halt, wave),
                None => halt(inputs, version, failed, wave),
            };
            if let Some(kind) = kind {
                events.push(WaveEvent { component: component.clone(), version: version.clone(), failed, kind });
            }
        }
    }
    events
}

/// Resumes a halted wave if the annotation names its halt or the policy was edited.
fn resume(
    inputs: &WaveInputs<'_>,
    version: &Version,
    failed: u32,
    halt: Halt,
    wave: &mut WaveRecord,
) -> Option<WaveEventKind> {
    let by_annotation = inputs.resumed.is_some_and(|r| r.version == *version && r.halted_at == halt.at);
    let by_edit = halt.generation.is_some_and(|generation| generation != inputs.generation);
    if !by_annotation && !by_edit {
        return None;
    }
    wave.halt = None;
    wave.ignored_failures = failed;
    Some(if by_annotation { WaveEventKind::ResumedByAnnotation } else { WaveEventKind::ResumedByEdit })
}

/// Halts a wave if too many hosts failed, and more than at the last resumption.
fn halt(inputs: &WaveInputs<'_>, version: &Version, failed: u32, wave: &mut WaveRecord) -> Option<WaveEventKind> {
    wave.ignored_failures = wave.ignored_failures.min(failed);
    if inputs.max_failed.is_none_or(|max| failed < max) || failed <= wave.ignored_failures {
        return None;
    }
    // The annotation may still name an earlier halt in this very second. It must not resume this one.
    let is_named = inputs.resumed.is_some_and(|r| r.version == *version && r.halted_at == inputs.now);
    let at = if is_named { inputs.now + SignedDuration::from_secs(1) } else { inputs.now };
    wave.halt = Some(Halt { at, generation: Some(inputs.generation) });
    Some(WaveEventKind::Halted(at))
}

#[cfg(test)]
mod tests;
