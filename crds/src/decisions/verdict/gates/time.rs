//! Gates that time opens: `minAge`, waves, and the age of the view of the policies.

use jiff::{SignedDuration, Timestamp};

use super::{Causes, GateInput, bytes};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, Field, Origin},
        validation::{CheckedRollout, RequiredEvidence},
        verdict::{
            applicable::{ApplicableRule, Setting},
            merge::MIN_AGE,
        },
        wave::Wave,
    },
    values::instant,
};

/// How long the agent may act on policies that were not confirmed since.
const CONFIRMED: SignedDuration = SignedDuration::from_mins(10);

/// Returns the `minAge` of a policy if it binds: not for a version that is expedited, unless its tag moved and no pin
/// acknowledges the move; not on its canaries, and not for a person who names a version that was active here.
pub(super) fn soak(input: &GateInput<'_>, rule: &ApplicableRule<'_>) -> Option<Setting<std::time::Duration>> {
    let setting = MIN_AGE.of(rule).filter(|setting| !setting.value.is_zero())?;
    let is_lifted = || input.is_expedited(rule) && bytes::unacknowledged_move(input).is_none();
    (input.has_record_name && !is_return(input) && !is_lifted()).then_some(setting)
}

/// Returns the rollout of a policy if its wave binds: as for `minAge`, and not on the way down, nor for a
/// dependency that another change brings in. Canaries do not wait for the wave.
pub(super) fn rollout<'a>(input: &GateInput<'_>, rule: &ApplicableRule<'a>) -> Option<&'a CheckedRollout> {
    let rollout = rule.policy.rollout.as_ref().filter(|_| !rule.canary)?;
    let waits = input.has_record_name
        && !input.candidate.brought_in
        && !is_return(input)
        && !input.is_expedited(rule)
        && !input.candidate.goes_down()
        && !rollout.canary_share.zip(input.bucket).is_some_and(|(share, bucket)| share.contains(bucket));
    waits.then_some(rollout)
}

/// Returns whether a person goes back to a version that was active here.
pub(super) fn is_return(input: &GateInput<'_>) -> bool {
    input.candidate.intent == Intent::Explicit && input.candidate.was_active()
}

/// `minAge` of each policy, so that the largest decides.
pub(super) fn min_age(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let Some(first_seen) = first_seen(input) else { return };
    // `None`: the version was first seen after now.
    let age = std::time::Duration::try_from(input.candidate.now.duration_since(first_seen)).ok();
    for rule in input.rules {
        let Some(min_age) = soak(input, rule).filter(|min_age| age.is_none_or(|age| age < min_age.value)) else {
            continue;
        };
        let by = rule.source(min_age.origin, MIN_AGE.field);
        let expedited = input.is_expedited(rule);
        causes.push(Cause::Soaking { by, min_age: min_age.value, first_seen, expedited });
    }
}

/// `rollout`: when the version's wave reaches the host, by each policy's clock; or the evidence without which it does
/// not begin.
pub(super) fn wave(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    // The same for all policies; computed only if one has a rollout, because it costs a hash.
    let mut position = None;
    for rule in input.rules.iter().filter(|_| input.policies.features().rollouts) {
        let Some(rollout) = rollout(input, rule) else { continue };
        let wave = rule.policy.wave(input.candidate.component, input.candidate.version);
        let since = wave.and_then(|wave| wave.since);
        if let Some(evidence) = rollout.evidence.filter(|_| since.is_none()) {
            let succeeded = wave.and_then(|wave| wave.succeeded).unwrap_or_default();
            let by = rule.source(Origin::Spec(Field::Rollout), Some(Field::RequireSucceeded));
            let RequiredEvidence { hosts, stable_for } = evidence;
            causes.push(Cause::AwaitingEvidence { by, hosts, stable_for, succeeded });
            continue;
        }
        let Some(first_seen) = first_seen(input) else { continue };
        let bucket = *position.get_or_insert_with(|| input.bucket.unwrap_or_else(|| input.candidate.bucket()));
        let min_age = rule.setting(|settings| settings.min_age).map(|setting| setting.value).unwrap_or_default();
        let until = match Wave::new(first_seen, min_age, since, rollout.over).permitted_from(bucket) {
            Some(instant) if instant <= input.candidate.now => continue,
            until => until.map(instant::whole),
        };
        causes.push(Cause::NotInWave {
            by: rule.source(Origin::Spec(Field::Rollout), None),
            over: rollout.over,
            until,
        });
    }
}

/// A halted wave, which also binds canaries, expedited versions and moves down, and stays if the policy loses its
/// rollout.
pub(super) fn halted(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    for rule in input.rules.iter().filter(|_| input.has_record_name) {
        let wave = rule.policy.wave(input.candidate.component, input.candidate.version);
        if let Some(wave) = wave.filter(|wave| wave.halted) {
            let by = rule.source(Origin::Spec(Field::Rollout), Some(Field::MaxFailed));
            causes.push(Cause::WaveHalted { by, halted_at: wave.halted_at, failed: wave.failed });
        }
    }
}

/// Policies that the API server did not confirm in the last ten minutes.
pub(super) fn policy_stale(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let (read, confirmed) = (input.candidate.read_time(), input.candidate.confirmed);
    if confirmed.is_none_or(|confirmed| read.duration_since(confirmed) > CONFIRMED) {
        causes.push(Cause::PolicyStale { confirmed });
    }
}

/// A policy with a rollout whose last edit the operator has not processed: the waves in its status belong to
/// another spec.
pub(super) fn not_observed(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let applies = input.has_record_name && input.policies.features().rollouts;
    let rules = input.rules.iter().filter(|rule| applies && rule.policy.rollout.is_some());
    for rule in rules {
        if let Some(lag) = rule.policy.generation_lag {
            causes.push(Cause::PolicyNotObserved {
                by: rule.source(Origin::Spec(Field::Rollout), None),
                generation: lag.generation,
                observed_generation: lag.observed,
            });
        }
    }
}

/// Clocks that differ too much.
pub(super) fn clock_skew(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    causes.extend(input.skew.map(Cause::ClockSkew));
}

fn first_seen(input: &GateInput<'_>) -> Option<Timestamp> {
    input.entry?.first_seen.as_ref().map(|time| time.0)
}
