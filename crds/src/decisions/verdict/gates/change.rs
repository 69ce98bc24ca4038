//! Gates that hold changes as such, and the requirements of the version.

use super::GateInput;
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, PolicyProblem},
        verdict::merge::{CHANNEL, MAJOR_UPDATES, PAUSED, UPDATES},
    },
    records::policy::{MajorUpdates, Updates},
    values::name::Component,
};

/// Requirements that are not met.
pub(super) fn unmet(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    causes.extend(input.candidate.unmet.iter().cloned().map(Cause::Unmet));
}

/// Requirements that could not be checked.
pub(super) fn unchecked(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    causes.extend(input.candidate.unchecked.iter().cloned().map(Cause::Unchecked));
}

/// `paused` in any policy: every change waits.
pub(super) fn paused(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    causes.extend(PAUSED.merge(input.rules).sources().map(|by| Cause::Paused { by }));
}

/// `updates: Frozen`: nobody replaces the installed version.
pub(super) fn frozen(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let updates = UPDATES.merge(input.rules);
    if updates.value == Updates::Frozen && input.has_record_name && input.replaced().is_some() {
        causes.extend(updates.sources().map(|by| Cause::Frozen { by }));
    }
}

/// `updates: Manual`, also where no policy sets it. Does not bind the first install of a required plugin.
pub(super) fn manual(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let first_of_required = input.candidate.active.is_none() && input.is_required();
    if !input.policies.is_governed() || !input.has_record_name || first_of_required {
        return;
    }
    let updates = UPDATES.merge(input.rules);
    if updates.value == Updates::Manual {
        causes.extend(updates.sources_or_unset().map(|by| Cause::Manual { by }));
    }
}

/// `majorUpdates: Stay`, also where no policy sets it.
pub(super) fn major(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let crosses = input.candidate.active.is_some_and(|active| active.major() != input.candidate.version.major());
    if !crosses || !input.policies.is_governed() || !input.has_record_name {
        return;
    }
    let major_updates = MAJOR_UPDATES.merge(input.rules);
    if major_updates.value == MajorUpdates::Stay {
        causes.extend(major_updates.sources_or_unset().map(|by| Cause::MajorStays { by }));
    }
}

/// A pre-release where no policy sets a channel: only a person who names it gets it.
pub(super) fn pre_release(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    if input.is_pre_release() && !CHANNEL.merge(input.rules).is_set {
        causes.push(Cause::PreRelease);
    }
}

/// No policy applies to the host.
pub(super) fn not_governed(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    if !input.policies.is_governed() {
        causes.push(Cause::NotGoverned);
    }
}

/// Invalid policies. One that cannot be decoded may set anything, so it holds repairs, too; but a person may
/// update d8, which may then be able to decode it.
pub(super) fn invalid_policy(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let intent = input.candidate.intent;
    let person_updates_d8 =
        *input.candidate.component == Component::D8 && matches!(intent, Intent::Update | Intent::Explicit);
    for policy in input.policies.broken() {
        let binds = match *policy.problem {
            PolicyProblem::Invalid { .. } => intent != Intent::Repair,
            PolicyProblem::Unreadable { .. } => !person_updates_d8,
        };
        if binds {
            causes.push(Cause::InvalidPolicy { policy: policy.name.clone(), problem: policy.problem.clone() });
        }
    }
}

/// A version of d8 that does not support policies: no policy would bind the host any more.
pub(super) fn policy_unaware(input: &GateInput<'_>, causes: &mut Vec<Cause>) {
    let candidate = input.candidate;
    let accepted = candidate.intent == Intent::Explicit && candidate.allow_ungoverned;
    let is_d8 = *candidate.component == Component::D8;
    if is_d8 && candidate.unaware && !accepted && input.policies.is_governed() {
        causes.push(Cause::PolicyUnaware);
    }
}
