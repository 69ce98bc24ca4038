//! Validation of policies: a [`PluginPolicy`] becomes a [`CheckedPolicy`] with parsed fields, or a
//! [`InvalidPolicy`] with all errors. Verdicts use only checked policies.
//!
//! The API server enforces most of these rules first (see [`crate::records::schema`]). They are checked
//! again because a policy may come from a cache or from an older schema, and because CEL cannot parse
//! constraints.

mod difference;
mod emergency;
mod rollout;
mod rule;
pub mod selector;
mod subjects;
pub mod warnings;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use self::{
    rollout::{CheckedRollout, CheckedWave, GenerationLag, RESUME, RequiredEvidence, ResumedHalts, resume_command},
    rule::{CheckedPin, CheckedRule, Pattern, Settings},
    subjects::{CheckedSubjects, Reach},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use self::selector::Selector;
use crate::{
    decisions::window::{Schedule, Windows, parse_blackouts},
    records::policy::{MissingDependencies, MovedTags, PluginPolicy, PluginPolicySpec, WindowsFor},
    values::{
        field_error::{FieldError, FieldErrors},
        limits,
        name::{Component, PluginName},
        text::printable,
        version::Version,
    },
};

/// A policy that is not accepted. It acts as paused on the hosts that it selects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(.errors))]
pub struct InvalidPolicy {
    /// All errors in the order of the record, at least one.
    pub errors: Vec<FieldError>,
    /// The hosts that the policy selects. `None` if the selector is invalid: the policy then selects every
    /// host.
    pub selector: Option<Selector>,
    /// The people to whom the policy applies.
    pub subjects: CheckedSubjects,
}

fn join(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A policy whose fields are all valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedPolicy {
    /// Name of the policy, printable.
    pub name: Arc<str>,
    /// The hosts to which the policy applies.
    pub selector: Selector,
    /// End of the emergency, if this is an emergency policy. It lifts gates of other policies and sets none.
    pub emergency: Option<Timestamp>,
    /// The people to whom the policy applies.
    pub subjects: CheckedSubjects,
    /// Whether the policy stops every change.
    pub paused: bool,
    /// Settings for fields that a rule leaves out.
    pub defaults: Settings,
    /// Rules for plugins. The first rule that matches a plugin applies alone.
    pub rules: Vec<CheckedRule>,
    /// For each plugin that rules name in full, the index of the first such rule.
    names: BTreeMap<PluginName, usize>,
    /// The prefixes of the rules with the index of their rule, in the order of the rules.
    prefixes: Vec<(String, usize)>,
    /// The rule for d8 itself.
    pub cli: Option<CheckedRule>,
    /// Handling of dependencies that are not installed.
    pub missing_dependencies: Option<MissingDependencies>,
    /// When switches may begin.
    pub schedule: Schedule,
    /// Whom `schedule` holds. `None` means the agent.
    pub windows_for: Option<WindowsFor>,
    /// Gradual rollout of versions over the hosts.
    pub rollout: Option<CheckedRollout>,
    /// Handling of moved tags.
    pub moved_tags: Option<MovedTags>,
    /// Set while the operator has not processed the latest generation of the policy.
    pub generation_lag: Option<GenerationLag>,
    /// The waves in the policy's status, by component name.
    pub waves: BTreeMap<String, Vec<CheckedWave>>,
    /// The halts that an admin resumed by annotation.
    pub resumed: ResumedHalts,
}

impl CheckedPolicy {
    /// Checks a policy and parses its fields.
    ///
    /// # Errors
    /// All errors of the policy, each with its field.
    pub fn new(policy: &PluginPolicy) -> Result<Self, InvalidPolicy> {
        let spec = &policy.spec;
        let mut errors = FieldErrors::default();
        let selector = Selector::parse(&spec.host_selector, "spec.hostSelector", &mut errors);
        let subjects = CheckedSubjects::parse(spec.subjects.as_ref(), &mut errors);
        let defaults = spec.defaults.as_ref().map(|d| rule::defaults(d, &mut errors)).unwrap_or_default();
        errors.check_length("spec.rules", spec.rules.len(), limits::RULES);
        let rules: Vec<CheckedRule> = spec
            .rules
            .iter()
            .enumerate()
            .map(|(i, rule)| rule::plugin_rule(rule, &format!("spec.rules[{i}]"), &mut errors))
            .collect();
        let cli = spec.cli.as_ref().map(|rule| rule::cli_rule(rule, &mut errors));
        let emergency = emergency::emergency(spec, &mut errors);
        let schedule = schedule(spec, &mut errors);
        let rollout = spec.rollout.as_ref().and_then(|rollout| rollout::rollout(rollout, &mut errors));
        let resumed = rollout::resumed(policy);

        match selector {
            Some(selector) if errors.is_empty() => Ok(Self {
                names: names(&rules),
                prefixes: prefixes(&rules),
                name: printable(&policy.name_any()).into(),
                selector,
                emergency,
                subjects,
                paused: spec.paused,
                defaults,
                rules,
                cli,
                missing_dependencies: spec.missing_dependencies,
                schedule,
                windows_for: spec.windows_for,
                rollout,
                moved_tags: spec.integrity.as_ref().and_then(|i| i.moved_tags),
                generation_lag: rollout::generation_lag(policy),
                waves: rollout::waves(policy, &resumed),
                resumed,
            }),
            selector => Err(InvalidPolicy { errors: errors.into_vec(), selector, subjects }),
        }
    }

    /// Returns the rule that applies to a plugin, and its index.
    pub fn rule_for_plugin(&self, plugin: &PluginName) -> Option<(usize, &CheckedRule)> {
        let by_name = self.names.get(plugin).copied();
        let by_prefix = self.prefixes.iter().find(|(prefix, _)| plugin.as_str().starts_with(prefix.as_str()));
        let index = by_name.into_iter().chain(by_prefix.map(|(_, index)| *index)).min()?;
        Some((index, self.rules.get(index)?))
    }

    /// Returns the rule that applies to a component.
    pub fn rule_for(&self, component: &Component) -> Option<&CheckedRule> {
        match component {
            Component::D8 => self.cli.as_ref(),
            Component::Plugin(name) => self.rule_for_plugin(name).map(|(_, rule)| rule),
        }
    }

    /// Returns the `minAge` that this policy sets for a component. The policy's waves start after it.
    pub fn min_age(&self, component: &Component) -> Duration {
        let of_rule = self.rule_for(component).and_then(|rule| rule.settings.min_age);
        of_rule.or(self.defaults.min_age).unwrap_or_default()
    }

    /// Returns the wave of a version in the policy's status.
    pub fn wave(&self, component: &Component, version: &Version) -> Option<&CheckedWave> {
        self.waves.get(component.name())?.iter().find(|wave| wave.version == *version)
    }

    /// Returns the plugins that the rules name in full, sorted and without duplicates.
    pub fn named_plugins(&self) -> Vec<&PluginName> {
        self.names.keys().collect()
    }
}

fn schedule(spec: &PluginPolicySpec, errors: &mut FieldErrors) -> Schedule {
    let windows = spec.windows.as_ref().and_then(|list| {
        errors.check_length("spec.windows", list.len(), limits::WINDOWS);
        Windows::parse(list, "spec.windows").map_err(|found| errors.extend(found)).ok()
    });
    Schedule::new(windows, parse_blackouts(&spec.blackouts, "spec.blackouts", errors))
}

fn names(rules: &[CheckedRule]) -> BTreeMap<PluginName, usize> {
    let mut names = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for pattern in &rule.plugins {
            if let Pattern::Name(name) = pattern {
                names.entry(name.clone()).or_insert(index);
            }
        }
    }
    names
}

fn prefixes(rules: &[CheckedRule]) -> Vec<(String, usize)> {
    let patterns = rules.iter().enumerate().flat_map(|(index, rule)| rule.plugins.iter().map(move |p| (index, p)));
    let prefixes = patterns.filter_map(|(index, pattern)| match pattern {
        Pattern::Prefix(prefix) => Some((prefix.clone(), index)),
        Pattern::Name(_) => None,
    });
    prefixes.collect()
}

#[cfg(test)]
mod tests;
