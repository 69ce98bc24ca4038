//! Conditions of a status. A condition keeps its transition time while its status stays the same.

use d8_crds::values::{
    limits,
    text::{join_whole, shortened},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The status of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionStatus {
    True,
    False,
    /// It is not known yet whether the condition holds.
    Unknown,
}

impl ConditionStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition without its type, times and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionDraft {
    /// Whether the condition holds.
    pub(crate) status: ConditionStatus,
    /// One word in CamelCase, as the API requires it.
    pub(crate) reason: String,
    /// Text for people; shortened to [`limits::STATUS_MESSAGE`] characters when it is set.
    pub(crate) message: String,
}

impl ConditionDraft {
    pub(crate) fn new(status: ConditionStatus, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into() }
    }

    /// Makes a condition whose message is a list of sentences. Those for which there is no room are counted.
    pub(crate) fn listing<T: AsRef<str>>(status: ConditionStatus, reason: &str, sentences: &[T]) -> Self {
        Self::new(status, reason, join_whole(sentences, "; ", limits::STATUS_MESSAGE))
    }

    /// Makes a condition whose message is a list between two fixed texts, which are kept whole.
    pub(crate) fn listing_between<T: AsRef<str>>(
        status: ConditionStatus,
        reason: &str,
        before: &str,
        items: &[T],
        after: &str,
    ) -> Self {
        let room = limits::STATUS_MESSAGE.saturating_sub(before.chars().count() + after.chars().count());
        Self::new(status, reason, format!("{before}{}{after}", join_whole(items, "; ", room)))
    }
}

/// Builds the list of conditions of one object.
pub(crate) struct Conditions<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from the conditions that the object shows now.
    pub(crate) fn new(previous: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self { previous, generation, now, list: Vec::new() }
    }

    /// Adds a condition. Its transition time moves only if its status changed.
    pub(crate) fn set(&mut self, kind: &str, draft: &ConditionDraft) {
        let status = draft.status.as_str();
        let last_transition_time = self
            .previous
            .iter()
            .find(|c| c.type_ == kind && c.status == status)
            .map_or(Time(self.now), |c| c.last_transition_time.clone());
        self.list.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: draft.reason.clone(),
            message: shortened(&draft.message, limits::STATUS_MESSAGE).into_owned(),
            last_transition_time,
            observed_generation: Some(self.generation),
        });
    }

    /// Returns the list, in the order in which the conditions were set.
    pub(crate) fn finish(self) -> Vec<Condition> {
        self.list
    }
}

/// Returns status and reason of a condition; `None` if the list does not have it.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<(&'a str, &'a str)> {
    conditions.iter().find(|c| c.type_ == kind).map(|c| (c.status.as_str(), c.reason.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_not_cut_within_an_item() {
        let items: Vec<_> = (0..200).map(|n| format!("item {n} `d8 command {n}`")).collect();
        for draft in [
            ConditionDraft::listing(ConditionStatus::True, "A", &items),
            ConditionDraft::listing_between(ConditionStatus::True, "A", "before: ", &items, "; after"),
        ] {
            let mut conditions = Conditions::new(&[], 1, Timestamp::UNIX_EPOCH);
            conditions.set("Ready", &draft);
            let message = conditions.finish().remove(0).message;
            assert_eq!(message, draft.message);
            assert!(message.contains(" more") && message.matches('`').count().is_multiple_of(2), "{message}");
        }
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let set = |previous: &[Condition], generation, second, status, reason| {
            let mut conditions = Conditions::new(previous, generation, at(second));
            conditions.set("Ready", &ConditionDraft::new(status, reason, "message"));
            conditions.finish()
        };
        let first = set(&[], 1, 100, ConditionStatus::True, "A");
        let second = set(&first, 2, 200, ConditionStatus::True, "B");
        assert_eq!(second[0].last_transition_time.0, at(100));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let third = set(&second, 2, 300, ConditionStatus::Unknown, "C");
        assert_eq!(third[0].last_transition_time.0, at(300));
    }
}
