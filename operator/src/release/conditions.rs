//! Conditions that keep their transition time while their status stays. No IO.

use d8_crds::{records::release::CliReleaseStatus, values::text::printable_to};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message of a condition, in characters; the API allows 32,768.
const MAX_MESSAGE: usize = 1024;

/// A condition's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// That is not known yet.
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The conditions of one object, in the making.
pub(crate) struct Conditions<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
    list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from what the object shows now.
    pub(crate) fn new(previous: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self { previous, generation, now, list: Vec::new() }
    }

    /// Adds a condition; its transition time is kept unless its status changed.
    pub(crate) fn set(&mut self, kind: &str, truth: Truth, reason: &str, message: &str) {
        let since = self
            .previous
            .iter()
            .find(|c| c.type_ == kind && c.status == truth.as_str())
            .map_or(Time(self.now), |c| c.last_transition_time.clone());
        self.list.push(Condition {
            type_: kind.to_owned(),
            status: truth.as_str().to_owned(),
            reason: reason.to_owned(),
            message: printable_to(message, MAX_MESSAGE).into_owned(),
            last_transition_time: since,
            observed_generation: Some(self.generation),
        });
    }

    /// The finished list, in the order they were set.
    pub(crate) fn finish(self) -> Vec<Condition> {
        self.list
    }
}

/// The reason of a condition, if the status has it.
pub(crate) fn reason<'a>(status: &'a CliReleaseStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    status.conditions.iter().find(|c| c.type_ == kind).map(|c| (c.status.as_str(), c.reason.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut first = Conditions::new(&[], 1, at(100));
        first.set("Ready", Truth::True, "A", "a");
        let first = first.finish();
        let mut second = Conditions::new(&first, 2, at(200));
        second.set("Ready", Truth::True, "B", "b");
        let second = second.finish();
        assert_eq!(second[0].last_transition_time.0, at(100));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("B", Some(2)));
        let mut third = Conditions::new(&second, 2, at(300));
        third.set("Ready", Truth::Unknown, "C", "c");
        assert_eq!(third.finish()[0].last_transition_time.0, at(300));
    }
}
