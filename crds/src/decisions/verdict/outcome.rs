//! The result of an evaluation: every reason that applies, and the class that follows from them.

use jiff::{SignedDuration, Timestamp};

use super::gates::Causes;
use crate::decisions::reason::{Class, Reason, ReasonCode};

/// An agent brings a version into its store at most so long before it may switch to it.
const STAGED_AHEAD: SignedDuration = SignedDuration::from_hours(24);

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
    pub(super) fn of(causes: Causes<'_>, notes: Causes<'_>) -> Self {
        Self { reasons: by_code(causes.into_reasons()), notes: by_code(notes.into_reasons()) }
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

    /// Returns whether an agent brings the version into its store now, to switch to it later: nothing but windows and
    /// blackouts hold it, and the last of them permits it within 24 hours (`docs/agent.md`).
    pub fn is_staged_ahead(&self, now: Timestamp) -> bool {
        let is_schedule = |reason: &Reason| matches!(reason.code(), ReasonCode::OutsideWindow | ReasonCode::Blackout);
        self.reasons.iter().all(is_schedule)
            && self.until().is_some_and(|until| until.duration_since(now) <= STAGED_AHEAD)
    }

    /// Returns the reason to show where there is room for one: the one of the strongest class that ends last;
    /// one without an end comes before any other.
    pub fn leading(&self) -> Option<&Reason> {
        let class = self.class();
        let of_class = self.reasons.iter().filter(|reason| reason.class() == class);
        // `max_by_key` keeps the last of equals; reversing keeps the first.
        of_class.rev().max_by_key(|reason| (reason.until().is_none(), reason.until()))
    }

    /// Returns the strongest of some causes as a reason.
    pub(super) fn first(causes: Causes<'_>) -> Option<Reason> {
        by_code(causes.into_reasons()).into_iter().next()
    }
}

/// Sorts what gates found. A gate finds its causes by name of the policy and by rule, and each once, so that only the
/// codes are compared: with a hundred policies, comparing their names would show in the time of a verdict.
fn by_code(mut reasons: Vec<Reason>) -> Vec<Reason> {
    let code = Reason::code;
    if !reasons.is_sorted_by(|earlier, later| code(earlier) == code(later) || code(earlier).order(code(later)).is_lt())
    {
        reasons.sort_by(|a, b| code(a).order(code(b)));
    }
    reasons
}

/// Sorts reasons and drops duplicates.
fn in_order(mut reasons: Vec<Reason>) -> Vec<Reason> {
    if !reasons.is_sorted_by(|earlier, later| earlier < later) {
        reasons.sort();
        reasons.dedup();
    }
    reasons
}
