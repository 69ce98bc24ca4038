//! Gates that hold changes as such, and the requirements of the version.

use super::{Causes, GateInput};
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
pub(super) fn unmet(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    causes.extend(each_once(input.candidate.unmet).map(|unmet| Cause::Unmet(Box::new(unmet))));
}

/// Requirements that could not be checked.
pub(super) fn unchecked(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    causes.extend(each_once(input.candidate.unchecked).map(|unchecked| Cause::Unchecked(Box::new(unchecked))));
}

/// Returns the findings in order, each once.
fn each_once<T: Ord + Clone>(findings: &[T]) -> impl Iterator<Item = T> {
    let mut findings = findings.to_vec();
    findings.sort();
    findings.dedup();
    findings.into_iter()
}

/// `paused` in any policy: every change waits.
pub(super) fn paused(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    causes.extend(PAUSED.merge(input.rules).sources().map(|by| Cause::Paused { by }));
}

/// `updates: Frozen`: nobody replaces the installed version.
pub(super) fn frozen(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let updates = UPDATES.merge(input.rules);
    if updates.value == Updates::Frozen && input.has_record_name && input.replaced().is_some() {
        causes.extend(updates.sources().map(|by| Cause::Frozen { by }));
    }
}

/// `updates: Manual`, also where no policy sets it. Does not bind the first install of a required plugin, nor a version
/// that an emergency policy expedites.
pub(super) fn manual(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let first_of_required = input.candidate.active.is_none() && input.is_required();
    if !input.policies.is_governed() || !input.has_record_name || first_of_required || input.in_emergency {
        return;
    }
    let updates = UPDATES.merge(input.rules);
    if updates.value == Updates::Manual {
        causes.extend(updates.sources_or_unset().map(|by| Cause::Manual { by }));
    }
}

/// `majorUpdates: Stay`, also where no policy sets it.
pub(super) fn major(input: &GateInput<'_>, causes: &mut Causes<'_>) {
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
pub(super) fn pre_release(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    if input.is_pre_release() && !CHANNEL.merge(input.rules).is_set {
        causes.push(Cause::PreRelease);
    }
}

/// No policy applies to the host.
pub(super) fn not_governed(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    if !input.policies.is_governed() {
        causes.push(Cause::NotGoverned);
    }
}

/// Invalid policies act as paused.
pub(super) fn invalid_policy(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    causes.extend(broken(input, |problem| matches!(problem, PolicyProblem::Invalid { .. })));
}

/// Policies that cannot be decoded. They may set anything, so they hold repairs, too; but a person may update d8,
/// which may then be able to decode them.
pub(super) fn unreadable_policy(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let is_d8 = *input.candidate.component == Component::D8;
    if !is_d8 || matches!(input.candidate.intent, Intent::Agent | Intent::Repair) {
        causes.extend(broken(input, |problem| matches!(problem, PolicyProblem::Unreadable { .. })));
    }
}

fn broken<'a>(input: &GateInput<'a>, is_kind: fn(&PolicyProblem) -> bool) -> impl Iterator<Item = Cause> + use<'a> {
    let policies = input.policies.broken().filter(move |policy| is_kind(&policy.problem));
    policies.map(|policy| Cause::InvalidPolicy { policy: policy.name.clone(), problem: policy.problem.clone() })
}

/// A version of d8 that does not support policies, also where no policy applies yet: no policy would bind the host any
/// more.
pub(super) fn policy_unaware(input: &GateInput<'_>, causes: &mut Causes<'_>) {
    let candidate = input.candidate;
    let accepted = candidate.intent == Intent::Explicit && candidate.allow_ungoverned;
    let is_d8 = *candidate.component == Component::D8;
    if is_d8 && candidate.unaware && !accepted {
        causes.push(Cause::PolicyUnaware);
    }
}
