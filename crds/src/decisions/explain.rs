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
mod policy_conflicts;
mod requirements;

pub use self::{
    causes::policy_problem,
    commands::{create_record, install},
    json::Listed,
    policy_conflicts::policy_conflict,
    requirements::{unchecked, unmet, warning},
};
use crate::{
    decisions::reason::{Reason, Source},
    values::{limits, text::shortened},
};

/// Reader of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Audience<'a> {
    /// The person reads it now: the text also says how long it is from now to a time. Otherwise someone reads it later,
    /// in a condition, an event, a `CliHost` or JSON: times are absolute, so that the text changes only when the reason
    /// does.
    reads_now: bool,
    /// The verdict on each version of the component is beside the text, so that the text does not name the command that
    /// shows them.
    sees_versions: bool,
    /// The managed host that the reason is about, if it is not the machine of the reader: commands for that machine would
    /// act on this one.
    host: Option<&'a str>,
}

/// Explains a reason to a person at a terminal.
pub fn to_person(reason: &Reason) -> String {
    causes::explain(reason, Audience { reads_now: true, sees_versions: false, host: None })
}

/// Explains a reason to a person at a terminal of another machine than the managed host that it is about.
pub fn about_host(reason: &Reason, host: &str) -> String {
    causes::explain(reason, Audience { reads_now: true, sees_versions: false, host: Some(host) })
}

/// Explains a reason to a person at a terminal, in a list of all versions of the component.
pub fn in_list(reason: &Reason) -> String {
    causes::explain(reason, Audience { reads_now: true, sees_versions: true, host: None })
}

/// Explains a reason as [`in_list`] does, to a person at a terminal of another machine than the managed host that it is
/// about.
pub fn in_list_of_host(reason: &Reason, host: &str) -> String {
    causes::explain(reason, Audience { reads_now: true, sees_versions: true, host: Some(host) })
}

/// Explains that a policy expedites a version which other policies hold.
pub fn expedited_elsewhere(by: &Source) -> String {
    format!("{by}: only this policy's gates are skipped; others still hold it")
}

/// Explains a reason for a condition, an event, a `CliHost`'s message or JSON, within the length that
/// records take.
pub fn in_record(reason: &Reason) -> String {
    for_record(reason, false)
}

fn for_record(reason: &Reason, sees_versions: bool) -> String {
    let text = causes::explain(reason, Audience { reads_now: false, sees_versions, host: None });
    shortened(&text, limits::STATUS_MESSAGE).into_owned()
}
