//! What differs between two forms of a policy: everywhere, or for some components only.

use super::{CheckedPolicy, CheckedRule};
use crate::values::name::Component;

impl CheckedPolicy {
    /// Returns whether both forms differ at most in whom they select, in rules and in waves. On a host that both select,
    /// they then differ only for the components for which [`Self::is_same_for`] is false.
    pub(crate) fn is_same_beside_rules(&self, other: &Self) -> bool {
        let Self {
            name: _,
            selector: _,
            emergency,
            subjects,
            paused,
            defaults,
            rules: _,
            names: _,
            prefixes: _,
            cli: _,
            missing_dependencies,
            schedule,
            windows_for,
            rollout,
            moved_tags,
            generation_lag,
            waves: _,
            resumed: _,
        } = self;
        *emergency == other.emergency
            && *subjects == other.subjects
            && *paused == other.paused
            && *defaults == other.defaults
            && *missing_dependencies == other.missing_dependencies
            && *schedule == other.schedule
            && *windows_for == other.windows_for
            && *rollout == other.rollout
            && *moved_tags == other.moved_tags
            && *generation_lag == other.generation_lag
    }

    /// Returns whether rule and waves of both forms are the same for a component, wherever the rule is.
    pub(crate) fn is_same_for(&self, other: &Self, component: &Component) -> bool {
        let rules_are_same = match (self.rule_for(component), other.rule_for(component)) {
            (None, None) => true,
            (Some(rule), Some(other)) => rule.sets_the_same(other),
            _ => false,
        };
        rules_are_same && self.waves.get(component.name()) == other.waves.get(component.name())
    }
}

impl CheckedRule {
    /// Returns whether both rules set the same, whatever else they are for.
    fn sets_the_same(&self, other: &Self) -> bool {
        let Self { plugins: _, settings, versions, block, expedite, pins, message } = self;
        *settings == other.settings
            && *versions == other.versions
            && *block == other.block
            && *expedite == other.expedite
            && *pins == other.pins
            && *message == other.message
    }
}
