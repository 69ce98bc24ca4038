//! The answer: every reason that applies, and what they come to.

use jiff::Timestamp;

use super::reason::{Class, Reason};

/// The answer: every reason that applies. Without any the version is eligible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    reasons: Vec<Reason>,
    notes: Vec<Reason>,
}

impl Verdict {
    pub(crate) fn new(reasons: Vec<Reason>) -> Self {
        Self { reasons: in_order(reasons), notes: Vec::new() }
    }

    pub(crate) fn with_notes(mut self, notes: Vec<Reason>) -> Self {
        self.notes = in_order(notes);
        self
    }

    /// The verdict: the strongest class of its reasons.
    pub fn class(&self) -> Class {
        self.reasons.first().map_or(Class::Eligible, Reason::class)
    }

    /// Nothing stands against it.
    pub fn is_eligible(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Every reason, the strongest first; within a class by name, policy and rule.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// What the person should know and is not stopped by: where the version's waves stand, for someone
    /// who names it.
    pub fn notes(&self) -> &[Reason] {
        &self.notes
    }

    /// When a hold ends: the latest of the holds' ends, absent if one of them has none or if the
    /// verdict is no hold.
    pub fn until(&self) -> Option<Timestamp> {
        if self.class() != Class::Held {
            return None;
        }
        // `None` sorts before every instant, hence the two steps.
        let ends: Option<Vec<_>> = self.reasons.iter().map(|reason| reason.until).collect();
        ends?.into_iter().max()
    }

    /// The reason to show where there is room for one: of the strongest class the one that ends last,
    /// one without an end before any other.
    pub fn leading(&self) -> Option<&Reason> {
        let class = self.class();
        let of_class = self.reasons.iter().filter(|reason| reason.class() == class);
        // `max_by_key` keeps the last of equals; reversing keeps the first.
        of_class.rev().max_by_key(|reason| (reason.until.is_none(), reason.until))
    }
}

fn in_order(mut reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.sort_by(|a, b| b.class().cmp(&a.class()).then_with(|| a.key().cmp(&b.key())));
    reasons.dedup();
    reasons
}
