//! Turns reasons into words. Every sentence about a reason is built here, so that the same reason reads
//! the same in a terminal, in a record and in JSON.
//!
//! A sentence says where the rule is set, what stands against the version, and what to do next:
//! `policy p, rules[0].block: stronghold v1.1.0 is blocked; replace it with ...`. Sentences are printable.

mod causes;
mod commands;
mod conflicts;
mod explainer;
mod json;
mod requirements;

pub use self::{
    causes::policy_problem,
    commands::install,
    requirements::{unchecked, unmet, warning},
};
use crate::{
    decisions::reason::Reason,
    values::{limits, text::printable_to},
};

/// Reader of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A person who reads it now: the text also says how long it is from now to a time.
    Terminal,
    /// Someone who reads it later, in a condition, an event, a `CliHost` or JSON: times are absolute, so
    /// that the text changes only when the reason does.
    Record,
}

/// Explains a reason to a person at a terminal.
pub fn to_person(reason: &Reason) -> String {
    explain(reason, Audience::Terminal)
}

/// Explains a reason for a condition, an event, a `CliHost`'s message or JSON, within the length that
/// records take.
pub fn in_record(reason: &Reason) -> String {
    printable_to(&explain(reason, Audience::Record), limits::STATUS_MESSAGE).into_owned()
}

/// Explains a reason.
pub fn explain(reason: &Reason, audience: Audience) -> String {
    causes::explain(reason, audience)
}
