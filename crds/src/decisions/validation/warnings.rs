//! Warnings about a valid policy, for the message of condition `Accepted` and for `d8 policy check`. They
//! do not change a verdict.
//!
//! Each file below has the warnings of one topic. A warning that needs a fact about the cluster is given only where the
//! caller knows the fact.

mod blocks;
mod canaries;
mod effects;
mod emergency;
mod exits;
mod halts;
mod patterns;
mod selection;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{CheckedPolicy, CheckedRule, CheckedSubjects};
use crate::{
    decisions::wave::CanaryCounter,
    records::{policy::Access, release::CliRelease},
    values::{channel::Channel, name::Component, version::Version},
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
    /// Counts the canaries of a version among the selected hosts.
    pub canary_counter: Option<&'a dyn CanaryCounter>,
    /// The versions that are active on the selected hosts.
    pub active: Option<&'a BTreeMap<Component, BTreeSet<Version>>>,
    /// The labels of all hosts and of workstations: the values of each key.
    pub labels: Option<&'a BTreeMap<String, BTreeSet<String>>>,
    /// The records of the cluster.
    pub records: Option<&'a BTreeMap<Component, &'a CliRelease>>,
    /// Whether the API server lacks `SelfSubjectReview`, so that nobody learns who a person is.
    pub people_unknown: bool,
    /// The current time.
    pub now: Option<Timestamp>,
}

/// Warnings about a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// One sentence each: whom the policy selects, then what its rules say, then its other fields.
    pub texts: Vec<String>,
    /// When they change next, if nothing but the time changes.
    pub next: Option<Timestamp>,
}

impl Warnings {
    fn add(&mut self, text: impl Into<String>) {
        self.texts.push(text.into());
    }

    /// Notes that the warnings are others from this time on.
    fn change_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// Says how many hosts the policy selects, and whether it selects workstations. `None`: it is not known.
pub fn selected_hosts(context: PolicyContext<'_>) -> Option<String> {
    selection::selected_hosts(context)
}

/// Returns the warnings about a policy, one sentence each.
pub fn warnings(policy: &CheckedPolicy, context: PolicyContext<'_>) -> Vec<String> {
    timed_warnings(policy, context).texts
}

/// Returns the warnings about a policy, and when they change.
pub fn timed_warnings(policy: &CheckedPolicy, context: PolicyContext<'_>) -> Warnings {
    let mut warnings = Warnings::default();
    selection::hosts(policy, context, &mut warnings);
    emergency::emergency(policy, context.now, &mut warnings);
    if context.people_unknown && policy.subjects != CheckedSubjects::Everyone {
        warnings.add(
            "spec.subjects: the API server lacks SelfSubjectReview, so nobody is known here, and only Deny and `block` \
             count for people",
        );
    }
    patterns::patterns(policy, context, &mut warnings);
    for (field, rule) in rules(policy) {
        versions::versions(policy, &field, rule, context, &mut warnings);
    }
    blocks::blocks(policy, context, &mut warnings);
    effects::effects(policy, &mut warnings);
    effects::past_blackouts(policy, context.now, &mut warnings);
    canaries::canaries(policy, context, &mut warnings);
    halts::resumed(policy, context, &mut warnings);
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

/// Returns the settings' channel for a rule.
fn channel_of(policy: &CheckedPolicy, rule: Option<&CheckedRule>) -> Channel {
    rule.and_then(|rule| rule.settings.channel).or(policy.defaults.channel).unwrap_or_default()
}

/// Returns whether the policy denies the components of a rule; without a rule, of those that no rule names.
fn is_denied(policy: &CheckedPolicy, component: &Component, rule: Option<&CheckedRule>) -> bool {
    let of_defaults = policy.defaults.access.filter(|_| *component != Component::D8);
    rule.and_then(|rule| rule.settings.access).or(of_defaults) == Some(Access::Deny)
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
