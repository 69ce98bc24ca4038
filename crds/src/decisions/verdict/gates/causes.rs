//! Collects what gates find.

use std::sync::Arc;

use crate::decisions::reason::{Cause, Reason, Subject};

/// The causes that gates find against one subject. They become reasons at once: a host may have many, and each copy of
/// them shows in the time of a verdict.
pub(in crate::decisions::verdict) struct Causes<'a> {
    subject_of: &'a dyn Fn() -> Subject,
    /// Made with the first cause; most candidates have none.
    subject: Option<Arc<Subject>>,
    reasons: Vec<Reason>,
    /// How many causes to make room for with the first one.
    expected: usize,
}

impl<'a> Causes<'a> {
    /// Starts without causes. `subject_of` is called if there is one.
    pub(in crate::decisions::verdict) fn new(subject_of: &'a dyn Fn() -> Subject) -> Self {
        Self { subject_of, subject: None, reasons: Vec::new(), expected: 0 }
    }

    /// Says that there may be a cause for each of so many policies.
    #[must_use]
    pub(in crate::decisions::verdict) fn expect(self, policies: usize) -> Self {
        Self { expected: policies, ..self }
    }

    #[inline]
    pub(in crate::decisions::verdict) fn push(&mut self, cause: Cause) {
        let subject = self.subject.get_or_insert_with(|| {
            self.reasons.reserve(self.expected);
            Arc::new((self.subject_of)())
        });
        self.reasons.push(Reason { subject: Arc::clone(subject), cause });
    }

    pub(super) fn len(&self) -> usize {
        self.reasons.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.reasons.truncate(len);
    }

    pub(in crate::decisions::verdict) fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    pub(in crate::decisions::verdict) fn into_reasons(mut self) -> Vec<Reason> {
        // Verdicts are kept, so most of the room must be in use.
        if self.reasons.capacity() > 2 * self.reasons.len() {
            self.reasons.shrink_to_fit();
        }
        self.reasons
    }
}

impl Extend<Cause> for Causes<'_> {
    fn extend<I: IntoIterator<Item = Cause>>(&mut self, causes: I) {
        causes.into_iter().for_each(|cause| self.push(cause));
    }
}
