//! The result of an evaluation: every reason that applies, and the class that follows from them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::decisions::reason::{Cause, Class, Reason, Subject};

/// Every reason against a version. Without any it is eligible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    reasons: Vec<Reason>,
    notes: Vec<Reason>,
}

impl Verdict {
    /// Makes a verdict of reasons, in any order.
    pub(crate) fn new(reasons: Vec<Reason>) -> Self {
        Self { reasons: in_order(reasons), notes: Vec::new() }
    }

    /// Makes a verdict of causes, and of causes that are only noted.
    pub(super) fn of(subject: impl FnOnce() -> Subject, causes: Vec<Cause>, notes: Vec<Cause>) -> Self {
        if causes.is_empty() && notes.is_empty() {
            return Self::default();
        }
        let subject = Arc::new(subject());
        let reasons = |causes: Vec<Cause>| {
            in_order(causes.into_iter().map(|cause| Reason { subject: Arc::clone(&subject), cause }).collect())
        };
        Self { reasons: reasons(causes), notes: reasons(notes) }
    }

    /// Returns the class: the strongest of all reasons.
    pub fn class(&self) -> Class {
        self.reasons.first().map_or(Class::Eligible, Reason::class)
    }

    /// Returns whether no reason applies.
    pub fn is_eligible(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Returns every reason, the strongest first; within a class by name, policy and rule.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// Returns what the person should know although it stops nothing: the state of the version's waves, for
    /// someone who names the version.
    pub fn notes(&self) -> &[Reason] {
        &self.notes
    }

    /// Returns when a hold ends: at the latest end of all reasons. `None` if one of them has no known end, or
    /// if the class is not Held.
    pub fn until(&self) -> Option<Timestamp> {
        if self.class() != Class::Held {
            return None;
        }
        // `None` sorts before every instant, so `max` alone would ignore it.
        let ends: Option<Vec<_>> = self.reasons.iter().map(Reason::until).collect();
        ends?.into_iter().max()
    }

    /// Returns the reason to show where there is room for one: the one of the strongest class that ends last;
    /// one without an end comes before any other.
    pub fn leading(&self) -> Option<&Reason> {
        let class = self.class();
        let of_class = self.reasons.iter().filter(|reason| reason.class() == class);
        // `max_by_key` keeps the last of equals; reversing keeps the first.
        of_class.rev().max_by_key(|reason| (reason.until().is_none(), reason.until()))
    }

    pub(super) fn into_first(self) -> Option<Reason> {
        self.reasons.into_iter().next()
    }
}

/// Sorts reasons and drops duplicates. Gates run by name of the policy, so that reasons of one gate are in order.
fn in_order(mut reasons: Vec<Reason>) -> Vec<Reason> {
    if !reasons.is_sorted_by(|earlier, later| earlier < later) {
        reasons.sort();
        reasons.dedup();
    }
    reasons
}
