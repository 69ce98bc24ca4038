//! Gates of time: minAge, waves with their halts, the record that they need, windows and blackouts.

use d8_crds::values::version::Version;
use sha2::{Digest, Sha256};

use super::{Verdict, facts::Facts};
use crate::{
    clock::{HOUR, SECOND},
    read::{Rollout, Settings},
    windows,
};

/// 2^53: a bucket is a share of it.
const WHOLE: i128 = 1 << 53;

/// Holds by minAge and by waves. Returns whether a gate needs the times of a record.
pub(super) fn ages_and_waves(facts: &Facts<'_>, verdict: &mut Verdict) -> bool {
    let is_emergency = facts.is_emergency();
    let first_seen = facts.entry.as_ref().and_then(|entry| entry.first_seen);
    // Rule 6: expedite does not lift the minAge of a moved version that no pin acknowledges.
    let unacknowledged = facts.entry.as_ref().is_some_and(|entry| entry.moved) && !facts.is_acknowledged();
    let mut needs_times = false;
    for settings in facts.settings() {
        // Rule 6: expedite lifts minAge, wave and windows of its own policy, an emergency those of every policy.
        let expedited = is_emergency || settings.expedite.contains(&facts.version);
        // Rule 7: these canaries skip minAge and wave of the policy, not windows or a halt.
        let canary = settings.rollout.as_ref().is_some_and(|rollout| rollout.selected_canary);
        let min_age = settings.min_age.unwrap_or(0);
        let lifted = canary || (expedited && !unacknowledged);

        // Rule 19: minAge does not bind X for a version that was active before.
        let once_active = facts.x && facts.is_active();
        if !facts.r && !once_active && !lifted && min_age > 0 {
            needs_times = true;
            if let Some(first_seen) = first_seen
                && facts.now < first_seen + min_age
            {
                verdict.hold("Soaking", Some(first_seen + min_age));
            }
        }

        // Waves and halts bind A and U.
        if !(facts.a || facts.u) {
            continue;
        }
        // Rule 9: a halt binds with or without a rollout.
        if settings.wave.halted {
            verdict.hold("WaveHalted", None);
        }
        let Some(rollout) = &settings.rollout else { continue };
        // Rule 8.
        if rollout.unobserved {
            verdict.hold("PolicyNotObserved", None);
        }
        // Rule 7: a change to an older version waits for no wave.
        let down = facts.active.as_ref().is_some_and(|active| facts.version < *active);
        // Rule 7: canaries by their bucket skip the wave only.
        let bucket = bucket(facts);
        let skips = canary || bucket * 100 < rollout.canary_percent * WHOLE;
        if expedited || skips || down {
            continue;
        }
        needs_times = true;
        wave(facts, settings, rollout, bucket, verdict);
    }
    needs_times
}

/// Holds by the wave of one policy.
fn wave(facts: &Facts<'_>, settings: &Settings, rollout: &Rollout, bucket: i128, verdict: &mut Verdict) {
    let since = settings.wave.since;
    // Rule 7: the operator sets since after enough hosts have succeeded.
    if rollout.needs_evidence && since.is_none() {
        verdict.hold("AwaitingEvidence", None);
        return;
    }
    let Some(first_seen) = facts.entry.as_ref().and_then(|entry| entry.first_seen) else { return };
    // t0 = max(firstSeen + minAge, since), with this policy's own minAge.
    let mut t0 = first_seen + settings.min_age.unwrap_or(0);
    if let Some(since) = since {
        t0 = t0.max(since);
    }
    // Permitted if f >= 1 or bucket < f, where f = (now - t0) / over, without a division.
    let passed = facts.now - t0;
    let permitted = passed >= rollout.over || bucket * rollout.over < passed * WHOLE;
    if !permitted {
        // The first nanosecond at which it is permitted.
        let opens = if bucket == WHOLE { rollout.over } else { bucket * rollout.over / WHOLE + 1 };
        verdict.hold("NotInWave", Some(t0 + opens));
    }
}

/// Rule 15: holds if a time or integrity gate needs a record, or a record that is at most 24 h old.
pub(super) fn records(facts: &Facts<'_>, needs_times: bool, needs_digests: bool, verdict: &mut Verdict) {
    let has_times = facts.entry.as_ref().is_some_and(|entry| entry.first_seen.is_some());
    // Rule 19: a version once active needs no record for X.
    let once_active = facts.x && facts.is_active();
    if !once_active && ((needs_times && !has_times) || (needs_digests && facts.entry.is_none())) {
        verdict.hold("NoRecord", None);
    }
    let synced = facts.case["release"]["status"]["lastSyncTime"].as_str().and_then(crate::clock::instant);
    if needs_times && has_times && synced.is_none_or(|synced| facts.now - synced > 24 * HOUR) {
        verdict.hold("RecordStale", None);
    }
}

/// Holds by windows and blackouts: for A those of all policies, for people those with `windowsFor: Everyone`.
pub(super) fn windows(facts: &Facts<'_>, verdict: &mut Verdict) {
    let is_emergency = facts.is_emergency();
    let mut windows_of_policies = Vec::new();
    let mut blackouts = Vec::new();
    for settings in facts.settings() {
        let binds = facts.a || ((facts.u || facts.x) && settings.windows_for_everyone);
        if !binds {
            continue;
        }
        // Rule 6: expedite lifts windows, never blackouts.
        let expedited = is_emergency || settings.expedite.contains(&facts.version);
        if let Some(windows) = &settings.windows
            && !expedited
        {
            windows_of_policies.push(windows.clone());
        }
        blackouts.extend(settings.blackouts.iter().cloned());
    }
    let merged = windows::merged(&windows_of_policies, &blackouts, facts.now);
    let end = merged.opens.map(|second| i128::from(second) * SECOND);
    if merged.in_blackout {
        verdict.hold("Blackout", end);
    }
    if end.is_none() {
        verdict.hold("WindowsNeverMeet", None);
    } else if !merged.in_window {
        verdict.hold("OutsideWindow", end);
    }
}

/// The bucket of the host, as a number of 2^53ths. Rule 7: a new root comes last.
fn bucket(facts: &Facts<'_>) -> i128 {
    if facts.new_root { WHOLE } else { first_53_bits(&facts.host_id, &facts.component, &facts.version) }
}

/// Rule 7: the first 53 bits of SHA-256 over host ID, NUL, component, NUL, version.
fn first_53_bits(host: &str, component: &str, version: &Version) -> i128 {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(host.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(component.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(version.to_string().as_bytes());
    let hash = Sha256::digest(&bytes);
    let mut bits = 0_i128;
    for bit in 0..53 {
        let byte = hash[bit / 8];
        bits = bits * 2 + i128::from((byte >> (7 - bit % 8)) & 1);
    }
    bits
}
