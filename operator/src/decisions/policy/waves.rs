//! When waves begin, halt, resume and are removed (`docs/policies.md`, rollout). Pure: returns changes to the ledger.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{validation::ResumedHalts, wave},
    records::policy::{PluginPolicyStatus, WaveState},
    values::{name::Component, version::Version},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    evidence::Evidence,
    ledger::{Halt, WaveLedger, WaveLedgerChanges, WaveRecord},
};
use crate::decisions::{hosts::HostFailure, managed_releases::GRACE_PERIOD};

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
                let Some(stuck) = wave::stuck_from(since) else { continue };
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
    /// When it reaches the policy's minAge; absent: unknown, or never.
    pub(crate) soaked: Option<Timestamp>,
}

/// Everything that changes the waves of a policy.
pub(crate) struct WaveInputs<'a> {
    /// UID of the policy.
    pub(crate) uid: Option<&'a str>,
    /// When the policy was created.
    pub(crate) created: Option<Timestamp>,
    /// When an operator last saw the former policy of this name, if the ledger has another UID.
    pub(crate) last_seen: Option<Timestamp>,
    /// Generation of the policy.
    pub(crate) generation: i64,
    pub(crate) previous: &'a PluginPolicyStatus,
    /// Whether the policy has a rollout. Without one, no wave begins; halts stay.
    pub(crate) has_rollout: bool,
    /// Number of failed hosts that halts a wave; absent: no wave is halted.
    pub(crate) max_failed: Option<u32>,
    /// What waves wait for; absent: they begin at once.
    pub(crate) evidence: Option<&'a Evidence<'a>>,
    /// The halts that the policy's annotation resumes.
    pub(crate) resumed: &'a ResumedHalts,
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
    /// The policy's annotation resumed the wave.
    Resumed,
    /// The version succeeded on enough hosts. The wave has begun.
    Began,
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
    let mut events = each_wave(inputs, &mut draft, resume);
    for (component, candidates) in inputs.candidates {
        let waves = draft.waves.entry(component.clone()).or_default();
        let begun = begin(inputs, component, complete.contains(component), candidates, waves);
        events.extend(begun.into_iter().map(|version| WaveEvent {
            component: component.clone(),
            failed: inputs.failures.of(component, &version),
            version,
            kind: WaveEventKind::Began,
        }));
    }
    forget(inputs, &mut draft);
    events.extend(each_wave(inputs, &mut draft, halt));
    drop_waiting(&mut draft);
    let trimmed = draft.trim();
    WaveUpdate { changes: WaveLedgerChanges::between(ledger, &draft), events, trimmed }
}

/// Returns the ledger of this very policy, and the components whose waves are complete unless the ledger has them.
///
/// A ledger has the policy's UID after its first update. Without a UID it is new, or its ConfigMap was lost.
fn current(inputs: &WaveInputs<'_>, ledger: &WaveLedger) -> (WaveLedger, BTreeSet<Component>) {
    let uid = inputs.uid.map(str::to_owned);
    if ledger.uid.is_some() && ledger.uid == uid {
        // The mark of a deletion can only be a mistake.
        return (WaveLedger { deleted_at: None, ..ledger.clone() }, BTreeSet::new());
    }
    if ledger.uid.is_some() {
        let created = inputs.created.unwrap_or(inputs.now);
        return (ledger.adopted(uid, created, inputs.last_seen), BTreeSet::new());
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
            let halted_at = wave.halted_at.as_ref().filter(|_| wave.state == Some(WaveState::Halted));
            let restored = WaveRecord {
                since: wave.since.as_ref().map(|time| time.0.min(now)),
                halt: halted_at.map(|at| Halt { at: at.0.min(now) }),
                ..WaveRecord::WAITING
            };
            ledger.waves.entry(name.clone()).or_default().insert(version, restored);
        }
    }
    if status.observed_generation != Some(generation) {
        return BTreeSet::new();
    }
    status.components.iter().filter_map(|component| component.name.parse().ok()).collect()
}

/// Begins the wave of each permitted version, and drops the waves of versions that are not permitted: they begin
/// again once they are permitted again. Returns the versions whose evidence was met. Halts stay in any case.
fn begin(
    inputs: &WaveInputs<'_>,
    component: &Component,
    complete: bool,
    candidates: &[WaveCandidate],
    waves: &mut BTreeMap<Version, WaveRecord>,
) -> Vec<Version> {
    let mut proven = Vec::new();
    for candidate in candidates {
        let version = &candidate.version;
        if !candidate.permitted {
            let wave = waves.get_mut(version).into_iter();
            wave.for_each(|wave| (wave.since, wave.missing_since) = (None, None));
            continue;
        }
        let wave = waves.entry(version.clone()).or_insert(WaveRecord::WAITING);
        wave.missing_since = None;
        if wave.since.is_some() || !inputs.has_rollout {
            continue;
        }
        let is_met = inputs.evidence.map(|evidence| evidence.is_met(component, version));
        let complete_since = candidate.first_seen.filter(|_| complete);
        wave.since = wave::begins(is_met, wave.halt.is_some(), complete_since, inputs.now);
        proven.extend(wave.since.and(is_met).map(|_| version.clone()));
    }
    proven
}

/// Drops the waves that have neither begun nor been halted.
fn drop_waiting(ledger: &mut WaveLedger) {
    for waves in ledger.waves.values_mut() {
        waves.retain(|_, wave| wave.since.is_some() || wave.halt.is_some() || wave.ignored_failures > 0);
    }
    ledger.waves.retain(|_, waves| !waves.is_empty());
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

/// Applies `change` to every wave. Returns what happened.
fn each_wave(
    inputs: &WaveInputs<'_>,
    ledger: &mut WaveLedger,
    change: impl Fn(&WaveInputs<'_>, &Component, &Version, &mut WaveRecord) -> Option<WaveEventKind>,
) -> Vec<WaveEvent> {
    let mut events = Vec::new();
    for (component, waves) in &mut ledger.waves {
        for (version, wave) in waves {
            if let Some(kind) = change(inputs, component, version, wave) {
                let failed = inputs.failures.of(component, version);
                events.push(WaveEvent { component: component.clone(), version: version.clone(), failed, kind });
            }
        }
    }
    events
}

/// Resumes a halted wave if the annotation names its halt. The wave goes on where it was: its start moves by the time
/// that passed since the halt.
fn resume(
    inputs: &WaveInputs<'_>,
    component: &Component,
    version: &Version,
    wave: &mut WaveRecord,
) -> Option<WaveEventKind> {
    let halt = wave.halt.filter(|halt| inputs.resumed.names(component, version, halt.at))?;
    let candidates = inputs.candidates.get(component).map(Vec::as_slice).unwrap_or_default();
    let soaked = candidates.iter().find(|c| c.version == *version).and_then(|candidate| candidate.soaked);
    wave.since = wave.since.map(|since| wave::resumed_since(since, soaked, halt.at, inputs.now));
    wave.halt = None;
    wave.ignored_failures = inputs.failures.of(component, version);
    Some(WaveEventKind::Resumed)
}

/// Halts a wave if too many hosts failed, and more than at the last resumption.
fn halt(
    inputs: &WaveInputs<'_>,
    component: &Component,
    version: &Version,
    wave: &mut WaveRecord,
) -> Option<WaveEventKind> {
    let may_spread = wave.since.is_some() || inputs.evidence.is_some();
    if wave.halt.is_some() || !may_spread {
        return None;
    }
    let failed = inputs.failures.of(component, version);
    wave.ignored_failures = wave.ignored_failures.min(failed);
    if !wave::halts(failed, wave.ignored_failures, inputs.max_failed) {
        return None;
    }
    // The annotation may still name an earlier halt in this very second. It must not resume this one.
    let is_named = inputs.resumed.names(component, version, inputs.now);
    let at = if is_named { inputs.now + SignedDuration::from_secs(1) } else { inputs.now };
    wave.halt = Some(Halt { at });
    Some(WaveEventKind::Halted(at))
}

#[cfg(test)]
mod tests;
