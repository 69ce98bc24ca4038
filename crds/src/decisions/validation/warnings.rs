//! Warnings about a valid policy, for the message of condition `Accepted` and for `d8 policy check`. They
//! do not change a verdict.
//!
//! Each file below has the warnings of one topic. A warning that needs a fact about the cluster is given only where the
//! caller knows the fact.

mod blocks;
mod effects;
mod emergency;
mod patterns;
mod selection;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use self::emergency::EMERGENCY;
use super::{CheckedPolicy, CheckedRule, CheckedSubjects, RESUME};
use crate::{
    records::release::CliRelease,
    values::{name::Component, version::Version},
};

/// Facts about the surroundings of a policy. A caller sets those that it knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyContext<'a> {
    /// Number of managed hosts that the policy selects.
    pub hosts: Option<u32>,
    /// Whether the policy selects workstations.
    pub workstations: bool,
    /// Number of the selected hosts that `canarySelector` matches.
    pub canaries: Option<u32>,
    /// The versions that are active on the selected hosts.
    pub active: Option<&'a BTreeMap<Component, BTreeSet<Version>>>,
    /// The labels of all hosts and of workstations: the values of each key.
    pub labels: Option<&'a BTreeMap<String, BTreeSet<String>>>,
    /// The records of the cluster.
    pub records: Option<&'a BTreeMap<Component, &'a CliRelease>>,
    /// Whether the API server lacks `SelfSubjectReview`, so that nobody learns who a person is.
    pub people_unknown: bool,
    /// The current time, to compare with the end of an emergency.
    pub now: Option<Timestamp>,
}

/// Says how many hosts the policy selects, and whether it selects workstations. `None`: it is not known.
pub fn selected_hosts(context: PolicyContext<'_>) -> Option<String> {
    selection::selected_hosts(context)
}

/// Returns the warnings about a policy, one sentence each: whom it selects, then what its rules say, then its other
/// fields.
pub fn warnings(policy: &CheckedPolicy, context: PolicyContext<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    selection::hosts(policy, context, &mut warnings);
    emergency::emergency(policy, context.now, &mut warnings);
    if context.people_unknown && policy.subjects != CheckedSubjects::Everyone {
        warnings.push(
            "spec.subjects: the API server lacks SelfSubjectReview, so nobody is known here, and only Deny and `block` \
             count for people"
                .to_owned(),
        );
    }
    patterns::patterns(policy, context, &mut warnings);
    for (field, rule) in rules(policy) {
        versions::versions(policy, &field, rule, context, &mut warnings);
    }
    blocks::blocks(policy, context, &mut warnings);
    effects::effects(policy, context, &mut warnings);
    for why in policy.resumed.errors() {
        warnings.push(format!("annotation {RESUME}: {why}; it resumes nothing"));
    }
    versions::unpublished_channels(policy, context, &mut warnings);
    warnings
}

/// Returns the rules of a policy, each with its path.
fn rules(policy: &CheckedPolicy) -> impl Iterator<Item = (String, &CheckedRule)> {
    let rules = policy.rules.iter().enumerate().map(|(i, rule)| (format!("spec.rules[{i}]"), rule));
    rules.chain(policy.cli.iter().map(|rule| ("spec.cli".to_owned(), rule)))
}

/// Returns the rule that applies to a component, with its path.
fn rule_for<'a>(policy: &'a CheckedPolicy, component: &Component) -> Option<(String, &'a CheckedRule)> {
    match component {
        Component::D8 => policy.cli.as_ref().map(|rule| ("spec.cli".to_owned(), rule)),
        Component::Plugin(name) => policy.rule_for_plugin(name).map(|(i, rule)| (format!("spec.rules[{i}]"), rule)),
    }
}

/// Returns the items of a list as a sentence has them, at most a few: `v1.2.0, v1.2.1 and 3 more`.
fn listed(items: &[String]) -> String {
    const SHOWN: usize = 3;
    match items.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", items[..SHOWN].join(", ")),
        _ => items.join(", "),
    }
}

#[cfg(test)]
mod tests;
