//! The rule of a policy that applies to one component on one host: the first rule that names the
//! component, or `cli` for d8 itself, completed by the policy's defaults.

use crate::{
    decisions::{
        intent::Intent,
        reason::{Field, Origin, Source},
        validation::{CheckedPolicy, CheckedRule, Pattern, Settings},
        verdict::candidate::Host,
        window::Schedule,
    },
    records::policy::{Access, WindowsFor},
    values::name::Component,
};

/// A valid policy whose `hostSelector` matches the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct MatchedPolicy<'a> {
    pub(super) policy: &'a CheckedPolicy,
    /// Index among the valid policies of the host.
    index: usize,
    /// The host matches the policy's `canarySelector`.
    canary: bool,
}

impl<'a> MatchedPolicy<'a> {
    pub(super) fn new(policy: &'a CheckedPolicy, index: usize, host: &Host<'_>) -> Self {
        Self { policy, index, canary: is_canary(policy, host) }
    }
}

/// Returns whether the host matches the policy's `canarySelector`.
pub(super) fn is_canary(policy: &CheckedPolicy, host: &Host<'_>) -> bool {
    let canaries = policy.rollout.as_ref().and_then(|rollout| rollout.canaries.as_ref());
    canaries.is_some_and(|canaries| canaries.matches(host.labels))
}

/// Returns when a policy lets changes with this intent begin. `None`: at any time.
pub(super) fn schedule_for(policy: &CheckedPolicy, intent: Intent) -> Option<&Schedule> {
    let is_held = intent == Intent::Agent || policy.windows_for == Some(WindowsFor::Everyone);
    Some(&policy.schedule).filter(|schedule| is_held && !schedule.is_unlimited())
}

/// What one policy sets for one component.
#[derive(Debug, Clone, Copy)]
pub(super) struct ApplicableRule<'a> {
    pub(super) policy: &'a CheckedPolicy,
    /// Index of the policy among the valid ones of the host.
    pub(super) index: usize,
    /// The host matches the policy's `canarySelector`.
    pub(super) canary: bool,
    rule: Option<(Origin, &'a CheckedRule)>,
    for_d8: bool,
}

/// Value of a field, and the part of the policy that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<'a> ApplicableRule<'a> {
    /// Returns what the policy sets for a component.
    pub(super) fn new(matched: MatchedPolicy<'a>, component: &Component) -> Self {
        let policy = matched.policy;
        let rule = match component {
            Component::D8 => policy.cli.as_ref().map(|rule| (Origin::Cli, rule)),
            Component::Plugin(name) => policy.rule_for_plugin(name).map(|(i, rule)| (Origin::rule(i), rule)),
        };
        Self::with_rule(matched, rule, *component == Component::D8)
    }

    /// Returns what the policy sets for the plugins of a pattern that no narrower pattern names.
    pub(super) fn for_pattern(matched: MatchedPolicy<'a>, pattern: &Pattern) -> Self {
        let mut rules = matched.policy.rules.iter().enumerate();
        let rule = rules.find(|(_, rule)| rule.plugins.iter().any(|of_rule| of_rule.covers(pattern)));
        Self::with_rule(matched, rule.map(|(i, rule)| (Origin::rule(i), rule)), false)
    }

    fn with_rule(matched: MatchedPolicy<'a>, rule: Option<(Origin, &'a CheckedRule)>, for_d8: bool) -> Self {
        let MatchedPolicy { policy, index, canary } = matched;
        Self { policy, index, canary, rule, for_d8 }
    }

    /// Returns the rule and its place. Versions, block, pins, expedite and message come from here only.
    pub(super) fn rule(&self) -> Option<(Origin, &'a CheckedRule)> {
        self.rule
    }

    /// Returns a setting of the rule, else of the defaults.
    pub(super) fn setting<T>(&self, pick: impl Fn(&Settings) -> Option<T>) -> Option<Setting<T>> {
        let of_rule = self.rule.and_then(|(origin, rule)| pick(&rule.settings).map(|value| Setting { value, origin }));
        of_rule.or_else(|| pick(&self.policy.defaults).map(|value| Setting { value, origin: Origin::Defaults }))
    }

    /// Returns the setting of `access`; none for d8, which no policy takes away.
    pub(super) fn access(&self) -> Option<Setting<Access>> {
        if self.for_d8 { None } else { self.setting(|settings| settings.access) }
    }

    /// Returns a field of this policy as the source of a reason.
    pub(super) fn source(&self, origin: Origin, field: Option<Field>) -> Source {
        Source::Policy { policy: self.policy.name.clone(), origin, field }
    }

    /// Returns the `message` of the rule.
    pub(super) fn message(&self) -> Option<std::sync::Arc<str>> {
        self.rule.and_then(|(_, rule)| rule.message.clone())
    }
}
