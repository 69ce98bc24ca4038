//! What one policy says about one component: the first rule that names it, or d8's own rule, with the
//! policy's defaults behind it, and where each word stands.

use crate::{
    name::Component,
    policy::{
        Access,
        checked::{Checked, CheckedRule, Settings},
    },
    verdict::reason::{Class, Origin, Reason, ReasonCode},
};

/// One policy's word on one component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speech<'a> {
    pub(super) policy: &'a Checked,
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
    pub(super) fn of(policy: &'a Checked, component: &Component) -> Self {
        let rule = match component {
            Component::D8 => policy.cli.as_ref().map(|rule| (Origin::Cli, rule)),
            Component::Plugin(name) => policy.rule_for(name).map(|(i, rule)| (Origin::Rule(i), rule)),
        };
        Self { policy, rule, for_d8: *component == Component::D8 }
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
        let place = match field {
            "" => origin.to_string(),
            field => format!("{origin}.{field}"),
        };
        let mut message = format!("policy {}, {place}: {what}", self.policy.name);
        let note = self.rule.and_then(|(_, rule)| rule.message.as_deref());
        if let Some(note) = note.filter(|_| code.class() == Class::Forbidden) {
            message.push_str(" (");
            message.push_str(note);
            message.push(')');
        }
        Reason { code, policy: Some(self.policy.name.clone()), rule: Some(origin), message, until: None }
    }
}
