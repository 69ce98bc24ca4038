//! A policy read once: every text parsed, every rule of the record checked again, every error with the
//! field it stands in. What this module accepts, the verdict judges by; nothing else reads the raw record.
//!
//! The API server checks most of it first (see `schema`). It is checked again because a policy may come
//! from a cache or from an older schema, and because constraints can be read here only.

mod read;
pub mod selector;
pub mod warnings;

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{
    decisions::{validation::selector::Selector, window::Windows},
    records::policy::{Access, MajorUpdates, MissingDependencies, MovedTags, PluginPolicy, Updates},
    values::{
        channel::Channel,
        constraint::Constraint,
        digest::Digest,
        limits,
        name::{Component, PluginName},
        text::{printable, printable_to},
        version::Version,
    },
};

/// One thing that is wrong with a record, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path from the object's root: `spec.rules[1].versions`.
    pub field: String,
    /// What is wrong, for people.
    pub why: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

/// Why a policy is not accepted. It then acts as paused on the hosts it selects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(.errors))]
pub struct Rejection {
    /// Everything that is wrong, in the record's order; at least one.
    pub errors: Vec<FieldError>,
    /// The hosts it selects; absent where the selector itself is bad: every host.
    pub selector: Option<Selector>,
}

fn join(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Errors as they are found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<FieldError>);

/// Most errors noted: whoever corrects as many looks again.
const MOST: usize = 100;

impl Findings {
    /// Notes an error. Texts from the record are made printable.
    pub(super) fn add(&mut self, field: impl Into<String>, why: impl fmt::Display) {
        if self.0.len() == MOST {
            return;
        }
        self.0.push(FieldError {
            field: printable_to(&field.into(), 200).into_owned(),
            why: printable_to(&why.to_string(), 300).into_owned(),
        });
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Notes a list that is longer than the record takes.
    pub(super) fn limit(&mut self, field: &str, length: usize, limit: u64) {
        if u64::try_from(length).is_ok_and(|length| length > limit) {
            self.add(field, format!("has {length} entries, at most {limit} fit"));
        }
    }

    /// Takes in what was found elsewhere.
    fn extend(&mut self, errors: Vec<FieldError>) {
        for error in errors {
            self.add(error.field, error.why);
        }
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.0
    }

    /// The value, or nothing and an error noted at `field`.
    fn keep<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }
}

/// A policy whose every field was found valid.
#[derive(Debug, Clone)]
pub struct CheckedPolicy {
    /// The policy's name.
    pub name: String,
    /// The hosts it speaks for.
    pub selector: Selector,
    /// It stops every change.
    pub paused: bool,
    /// What a rule leaves out.
    pub defaults: Settings,
    /// Rules for plugins, the first that names one answers.
    pub rules: Vec<CheckedRule>,
    /// Where in `rules` a plugin is first named outright, and where a beginning of names first stands.
    names: BTreeMap<PluginName, usize>,
    beginnings: Vec<(String, usize)>,
    /// The rule for d8 itself.
    pub cli: Option<CheckedRule>,
    /// What happens to a missing dependency.
    pub missing_dependencies: Option<MissingDependencies>,
    /// When switches may begin; absent: always.
    pub windows: Option<Windows>,
    /// How fast a version spreads.
    pub rollout: Option<CheckedRollout>,
    /// What is done about moved tags.
    pub moved_tags: Option<MovedTags>,
    /// The operator has not seen the last edit of it.
    pub unobserved: Option<Unobserved>,
    /// The clock of each version, by the component's name.
    pub waves: BTreeMap<String, Vec<CheckedWave>>,
    /// The halt that an admin declared over.
    pub resumed: Option<Resumed>,
}

/// The halt that annotation [`RESUME`] names, as `<version>@<haltedAt>`: that one is over, no other,
/// whether or not the operator has seen the annotation yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The version whose wave goes on.
    pub version: Version,
    /// When it was halted.
    pub halted_at: Timestamp,
}

/// The annotation by which an admin resumes a halted wave.
pub const RESUME: &str = "cli.deckhouse.io/resume";

/// The command that sets it. `at`: RFC 3339, in whole seconds.
pub fn resume_command(policy: &str, version: &impl fmt::Display, at: &impl fmt::Display) -> String {
    format!("kubectl annotate pluginpolicy {policy} --overwrite {RESUME}={version}@{at}")
}

/// How far the operator is behind a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unobserved {
    /// The policy's generation.
    pub generation: i64,
    /// The generation its status was made from; absent: it has none yet.
    pub observed: Option<i64>,
}

/// What the operator says of one version's way over the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedWave {
    /// The version.
    pub version: Version,
    /// When the policy began to permit it.
    pub since: Option<Timestamp>,
    /// No further host takes it.
    pub halted: bool,
    /// When it was halted; names the halt that an annotation resumes.
    pub halted_at: Option<Timestamp>,
    /// Hosts that failed on it.
    pub failed: u32,
}

/// What both rules and `spec.defaults` can say. What is absent is no opinion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// May the plugin be here.
    pub access: Option<Access>,
    /// Which versions are spoken of.
    pub channel: Option<Channel>,
    /// Who starts an update.
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    pub major_updates: Option<MajorUpdates>,
    /// How long a version must have been published.
    pub min_age: Option<Duration>,
}

/// A rule for plugins, or for d8 itself.
#[derive(Debug, Clone, Default)]
pub struct CheckedRule {
    /// Whom it names; empty for d8's own rule.
    pub plugins: Vec<Pattern>,
    /// What it sets.
    pub settings: Settings,
    /// Only versions within.
    pub versions: Option<Constraint>,
    /// Versions that may neither be installed nor run.
    pub block: Vec<Version>,
    /// Versions that skip this policy's time gates.
    pub expedite: Vec<Version>,
    /// Versions bound to a digest.
    pub pins: Vec<CheckedPin>,
    /// Shown with every refusal, printable.
    pub message: Option<String>,
}

/// Whom a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// One plugin.
    Name(PluginName),
    /// Every plugin whose name begins so; empty: every plugin.
    Prefix(String),
}

impl Pattern {
    /// Whether the plugin is meant.
    pub fn names(&self, plugin: &PluginName) -> bool {
        match self {
            Self::Name(name) => name == plugin,
            Self::Prefix(prefix) => plugin.as_str().starts_with(prefix),
        }
    }

    /// Whether every plugin that `other` means is meant.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Name(name)) => self.names(name),
            (Self::Prefix(wide), Self::Prefix(narrow)) => narrow.starts_with(wide.as_str()),
            (Self::Name(_), Self::Prefix(_)) => false,
        }
    }
}

/// As it is written in a rule.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A version bound to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPin {
    /// The version.
    pub version: Version,
    /// Digest of its index, manifest or layer.
    pub digest: Digest,
}

/// How fast a version spreads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedRollout {
    /// The time in which it reaches every host.
    pub over: Duration,
    /// Hosts that go first.
    pub canaries: Option<Selector>,
    /// At how many failed hosts it halts.
    pub max_failed: Option<u32>,
}

impl CheckedPolicy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its field.
    pub fn new(policy: &PluginPolicy) -> Result<Self, Rejection> {
        let spec = &policy.spec;
        let mut findings = Findings::default();
        let selector = Selector::read(&spec.host_selector, "spec.hostSelector", &mut findings);
        let defaults = spec.defaults.as_ref().map(|d| read::defaults(d, &mut findings)).unwrap_or_default();
        findings.limit("spec.rules", spec.rules.len(), limits::RULES);
        let rules: Vec<CheckedRule> = spec
            .rules
            .iter()
            .enumerate()
            .map(|(i, raw)| read::rule(raw, &format!("spec.rules[{i}]"), &mut findings))
            .collect();
        let cli = spec.cli.as_ref().map(|raw| read::cli_rule(raw, &mut findings));
        let windows = spec.windows.as_ref().and_then(|raw| read::windows(raw, &mut findings));
        let rollout = spec.rollout.as_ref().and_then(|raw| read::rollout(raw, &mut findings));

        match selector {
            Some(selector) if findings.count() == 0 => Ok(Self {
                names: named(&rules),
                beginnings: beginnings(&rules),
                name: printable(&policy.name_any()).into_owned(),
                selector,
                paused: spec.paused,
                defaults,
                rules,
                cli,
                missing_dependencies: spec.missing_dependencies,
                windows,
                rollout,
                moved_tags: spec.integrity.as_ref().and_then(|i| i.moved_tags),
                unobserved: read::unobserved(policy),
                waves: read::waves(policy),
                resumed: read::resumed(policy),
            }),
            selector => Err(Rejection { errors: findings.into_errors(), selector }),
        }
    }

    /// The rule that answers for a plugin, the first that names it, and its place among the rules.
    pub fn rule_for(&self, plugin: &PluginName) -> Option<(usize, &CheckedRule)> {
        let named = self.names.get(plugin).copied();
        let begun = self.beginnings.iter().find(|(beginning, _)| plugin.as_str().starts_with(beginning.as_str()));
        let place = named.into_iter().chain(begun.map(|(_, place)| *place)).min()?;
        Some((place, self.rules.get(place)?))
    }

    /// The rule that answers for a component: for d8 its own.
    pub fn rule_of(&self, component: &Component) -> Option<&CheckedRule> {
        match component {
            Component::D8 => self.cli.as_ref(),
            Component::Plugin(name) => self.rule_for(name).map(|(_, rule)| rule),
        }
    }

    /// How long a version of the component must have been published by this policy's own word, from
    /// which its waves count.
    pub fn min_age(&self, component: &Component) -> Duration {
        let own = self.rule_of(component).and_then(|rule| rule.settings.min_age);
        own.or(self.defaults.min_age).unwrap_or_default()
    }

    /// What the operator says of this version's way over the hosts.
    pub fn wave(&self, component: &Component, version: &Version) -> Option<&CheckedWave> {
        self.waves.get(component.name())?.iter().find(|wave| wave.version == *version)
    }

    /// The plugins it names outright, not by a glob, each once and in order.
    pub fn named_plugins(&self) -> Vec<&PluginName> {
        self.names.keys().collect()
    }
}

fn named(rules: &[CheckedRule]) -> BTreeMap<PluginName, usize> {
    let mut places = BTreeMap::new();
    for (place, rule) in rules.iter().enumerate() {
        for pattern in &rule.plugins {
            if let Pattern::Name(name) = pattern {
                places.entry(name.clone()).or_insert(place);
            }
        }
    }
    places
}

/// In the order of the rules, so that the first that fits is the first that speaks.
fn beginnings(rules: &[CheckedRule]) -> Vec<(String, usize)> {
    let all = rules.iter().enumerate().flat_map(|(place, rule)| rule.plugins.iter().map(move |p| (place, p)));
    let beginnings = all.filter_map(|(place, pattern)| match pattern {
        Pattern::Prefix(beginning) => Some((beginning.clone(), place)),
        Pattern::Name(_) => None,
    });
    beginnings.collect()
}

#[cfg(test)]
mod tests;
