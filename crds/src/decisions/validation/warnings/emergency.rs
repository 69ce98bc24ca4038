//! Warnings about emergency policies.

use jiff::{SignedDuration, Timestamp};

use super::{CheckedPolicy, Warnings};

/// How far ahead the end of an emergency may be without a warning.
const LONGEST: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Warns about an emergency policy while it stands, and about one that lifts nothing, lasts long or is over.
pub(super) fn emergency(policy: &CheckedPolicy, now: Option<Timestamp>, warnings: &mut Warnings) {
    let Some(until) = policy.emergency else { return };
    if policy.rules.iter().chain(&policy.cli).all(|rule| rule.expedite.is_empty()) {
        warnings.add("spec.emergency lifts nothing: neither a rule nor spec.cli lists versions in expedite");
    } else if now.is_some_and(|now| until <= now) {
        warnings.add(format!("the emergency ended at {until:.0}; delete the policy"));
    } else {
        let lifted = "the versions in expedite skip minAge, waves, windows and updates: Manual of every policy";
        warnings.add(format!("until {until:.0}, {lifted} on these hosts"));
    }
    if now.is_some_and(|now| until.duration_since(now) > LONGEST) {
        warnings.add("spec.emergency.until is more than 14 days ahead");
    }
    let instants = [until.checked_sub(LONGEST).ok(), Some(until)];
    for at in instants.into_iter().flatten().filter(|at| now.is_some_and(|now| now < *at)) {
        warnings.change_at(at);
    }
}
