//! What one policy says about one component: the first rule that names it, or d8's own rule, with the
//! policy's defaults behind it, and where each word stands.

use std::fmt::Write as _;

use crate::{
    decisions::{
        validation::{CheckedPolicy, CheckedRule, Pattern, Settings},
        verdict::{
            Host,
            reason::{Class, Origin, Reason, ReasonCode},
        },
    },
    records::policy::Access,
    values::name::Component,
};

/// How a policy stands to a host, whatever the component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'a> {
    pub(super) policy: &'a CheckedPolicy,
    /// Its place among the valid policies of the host.
    place: usize,
    /// The host goes first in its waves.
    canary: bool,
}

impl<'a> Standing<'a> {
    pub(super) fn new(policy: &'a CheckedPolicy, place: usize, host: &Host<'_>) -> Self {
        let canaries = policy.rollout.as_ref().and_then(|rollout| rollout.canaries.as_ref());
        Self { policy, place, canary: canaries.is_some_and(|canaries| canaries.matches(host.labels)) }
    }
}

/// One policy's word on one component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speech<'a> {
    pub(super) policy: &'a CheckedPolicy,
    /// The policy's place among the valid ones of the host.
    pub(super) place: usize,
    /// The host goes first in this policy's waves.
    pub(super) canary: bool,
    rule: Option<(Origin, &'a CheckedRule)>,
    for_d8: bool,
}

/// A setting, and where it was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<'a> Speech<'a> {
    pub(super) fn of(standing: Standing<'a>, component: &Component) -> Self {
        let policy = standing.policy;
        let rule = match component {
            Component::D8 => policy.cli.as_ref().map(|rule| (Origin::Cli, rule)),
            Component::Plugin(name) => policy.rule_for_plugin(name).map(|(i, rule)| (Origin::Rule(i), rule)),
        };
        Self::with(standing, rule, *component == Component::D8)
    }

    /// Its word on plugins that begin alike and that no narrower pattern names.
    pub(super) fn on_rest(standing: Standing<'a>, pattern: &Pattern) -> Self {
        let mut rules = standing.policy.rules.iter().enumerate();
        let rule = rules.find(|(_, rule)| rule.plugins.iter().any(|of_rule| of_rule.covers(pattern)));
        Self::with(standing, rule.map(|(i, rule)| (Origin::Rule(i), rule)), false)
    }

    fn with(standing: Standing<'a>, rule: Option<(Origin, &'a CheckedRule)>, for_d8: bool) -> Self {
        let Standing { policy, place, canary } = standing;
        Self { policy, place, canary, rule, for_d8 }
    }

    /// The rule that answers, and where it stands. What is no setting (versions, block, pins) comes from
    /// here only.
    pub(super) fn rule(&self) -> Option<(Origin, &'a CheckedRule)> {
        self.rule
    }

    /// A setting of the rule, else of the defaults.
    pub(super) fn setting<T>(&self, pick: impl Fn(&Settings) -> Option<T>) -> Option<Said<T>> {
        let own = self.rule.and_then(|(origin, rule)| pick(&rule.settings).map(|value| Said { value, origin }));
        own.or_else(|| pick(&self.policy.defaults).map(|value| Said { value, origin: Origin::Defaults }))
    }

    /// May the component be here. No policy takes d8 away, so nothing is said of it.
    pub(super) fn access(&self) -> Option<Said<Access>> {
        if self.for_d8 { None } else { self.setting(|settings| settings.access) }
    }

    /// A reason by this policy's word, with the sentence `policy <name>, <place>: <what>`; where it
    /// forbids, what the rule has to say to its readers follows.
    pub(super) fn reason(&self, code: ReasonCode, origin: Origin, field: &str, what: &str) -> Reason {
        let note = self.rule.and_then(|(_, rule)| rule.message.as_deref());
        let note = note.filter(|_| code.class() == Class::Forbidden);
        // There may be thousands of these: one allocation each. A place takes `defaults.majorUpdates`.
        let length = self.policy.name.len() + what.len() + note.map_or(0, str::len);
        let mut message = String::with_capacity(length + 40);
        message.push_str("policy ");
        message.push_str(&self.policy.name);
        // Writing to a String cannot fail.
        let _ = write!(message, ", {origin}");
        if !field.is_empty() {
            message.push('.');
            message.push_str(field);
        }
        message.push_str(": ");
        message.push_str(what);
        if let Some(note) = note {
            message.push_str(" (");
            message.push_str(note);
            message.push(')');
        }
        Reason { code, policy: Some(self.policy.name.clone()), rule: Some(origin), message, until: None }
    }
}
