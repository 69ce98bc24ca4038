//! The gate on the record that digests and ages come from.

use super::{
    Causes, GateInput,
    bytes::{Match, compare, pins_of},
    time,
};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, Field, MissingRecord, Origin},
        verdict::{
            applicable::ApplicableRule,
            merge::{MIN_AGE, MOVED_TAGS},
        },
    },
    records::{policy::MovedTags, release::MAX_SYNC_AGE},
};

/// A record that a time or integrity gate needs and that is missing, or too old for a time gate.
pub(super) fn missing_or_stale(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    if !input.has_record_name {
        return;
    }
    let has_age = input.entry.is_some_and(|entry| entry.first_seen.is_some());
    let last_sync_time = last_sync_time(input);
    let is_stale = input.candidate.release.is_some()
        && last_sync_time.is_none_or(|synced| input.candidate.read_time().duration_since(synced) > MAX_SYNC_AGE);
    for rule in input.rules {
        let by_time = if has_age && !is_stale { None } else { needed_by_time(input, rule) };
        if let Some((origin, field)) = by_time.filter(|_| !has_age).or_else(|| needed_for_digest(input, rule)) {
            causes.push(Cause::NoRecord { by: rule.source(origin, field), missing: missing(input) });
        } else if let Some((origin, field)) = by_time {
            causes.push(Cause::RecordStale { by: rule.source(origin, field), last_sync_time });
        }
    }
}

/// Returns the field by which the version's age matters for this intent.
fn needed_by_time(input: &GateInput<'_>, rule: &ApplicableRule<'_>) -> Option<(Origin, Option<Field>)> {
    if let Some(min_age) = time::soak(input, rule) {
        return Some((min_age.origin, MIN_AGE.field));
    }
    // Waves are only noted to a person who names the version.
    let waits = input.candidate.intent != Intent::Explicit && time::rollout(input, rule).is_some();
    waits.then_some((Origin::Spec(Field::Rollout), None))
}

/// Returns the field by which the version's digest matters, if the digest is unknown.
fn needed_for_digest(input: &GateInput<'_>, rule: &ApplicableRule<'_>) -> Option<(Origin, Option<Field>)> {
    // An active version without a receipt was permitted when it was installed.
    let returns = time::is_return(input);
    if input.policies.features().pins
        && let Some((origin, _)) = pins_of(*input, rule).find(|(_, pin)| compare(input, pin) == Match::Unknown)
        && (!returns || input.candidate.stored.is_some())
    {
        return Some((origin, Some(Field::Pins)));
    }
    let refuses = MOVED_TAGS.of(rule).filter(|setting| setting.value == MovedTags::Refuse)?;
    (input.entry.is_none() && !returns).then_some((refuses.origin, MOVED_TAGS.field))
}

fn missing(input: &GateInput<'_>) -> MissingRecord {
    match (input.candidate.release, input.entry) {
        (None, _) => MissingRecord::Record,
        (Some(_), None) => MissingRecord::Version,
        (Some(_), Some(_)) => MissingRecord::Data,
    }
}

fn last_sync_time(input: &GateInput<'_>) -> Option<jiff::Timestamp> {
    let status = input.candidate.release?.status.as_ref()?;
    status.last_sync_time.as_ref().map(|time| time.0)
}
