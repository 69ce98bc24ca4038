//! Rules and defaults of a policy: their checked form, and how they are checked.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    records::policy::{Access, CliRule, Defaults, MajorUpdates, Pin, Rule, Updates},
    values::{
        channel::Channel,
        constraint::Constraint,
        digest::Digest,
        duration::Bounds,
        field_error::FieldErrors,
        limits,
        name::{Component, NameError, PluginName},
        text::printable_to,
        version::Version,
        version_set::VersionSet,
    },
};

/// Settings that both a rule and `spec.defaults` can have. `None` means that the policy does not set it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether the plugin may or must be installed.
    pub access: Option<Access>,
    /// The versions that are permitted.
    pub channel: Option<Channel>,
    /// Who may start an update.
    pub updates: Option<Updates>,
    /// Whether an update may change the major version.
    pub major_updates: Option<MajorUpdates>,
    /// Time for which a version must have been published.
    pub min_age: Option<Duration>,
}

/// A rule for plugins or for d8 itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedRule {
    /// The plugins to which the rule applies. Empty in the rule for d8 itself.
    pub plugins: Vec<Pattern>,
    /// Settings of the rule.
    pub settings: Settings,
    /// Constraint on the permitted versions.
    pub versions: Option<Constraint>,
    /// Versions that may neither be installed nor run.
    pub block: Vec<VersionSet>,
    /// Versions that skip the time gates of this policy.
    pub expedite: Vec<Version>,
    /// Versions that must have a given digest.
    pub pins: Vec<CheckedPin>,
    /// Message that people see when the rule refuses something, printable.
    pub message: Option<Arc<str>>,
}

/// An entry of a rule's `plugins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// The plugin with this name.
    Name(PluginName),
    /// All plugins whose names start with this prefix. The empty prefix means every plugin.
    Prefix(String),
}

impl Pattern {
    /// Returns whether the pattern matches a plugin.
    pub fn matches(&self, plugin: &PluginName) -> bool {
        match self {
            Self::Name(name) => name == plugin,
            Self::Prefix(prefix) => plugin.as_str().starts_with(prefix),
        }
    }

    /// Returns whether the pattern matches every plugin that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Name(name)) => self.matches(name),
            (Self::Prefix(wide), Self::Prefix(narrow)) => narrow.starts_with(wide.as_str()),
            (Self::Name(_), Self::Prefix(_)) => false,
        }
    }
}

/// Writes the pattern as in a policy: `name` or `prefix*`.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A version that must have a given digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPin {
    /// Version that is pinned.
    pub version: Version,
    /// Digest of the version's index, manifest or layer.
    pub digest: Digest,
}

pub(super) fn defaults(defaults: &Defaults, errors: &mut FieldErrors) -> Settings {
    if defaults.access == Some(Access::Require) {
        errors.add("spec.defaults.access", "`Require` is not allowed here; set it in a rule that names the plugins");
    }
    Settings {
        access: defaults.access,
        channel: defaults.channel,
        updates: defaults.updates,
        major_updates: defaults.major_updates,
        min_age: min_age(defaults.min_age.as_deref(), "spec.defaults", errors),
    }
}

pub(super) fn plugin_rule(rule: &Rule, field: &str, errors: &mut FieldErrors) -> CheckedRule {
    let plugins = patterns(&rule.plugins, &format!("{field}.plugins"), errors);
    if rule.access == Some(Access::Require) && plugins.iter().any(|p| matches!(p, Pattern::Prefix(_))) {
        errors.add(format!("{field}.plugins"), "`Require` needs full plugin names without `*`");
    }
    if rule.access == Some(Access::Deny) {
        deny_alone(rule, field, errors);
    }
    CheckedRule { plugins, ..settings_and_versions(rule, field, errors) }
}

pub(super) fn cli_rule(rule: &CliRule, errors: &mut FieldErrors) -> CheckedRule {
    settings_and_versions(&rule.clone().into(), "spec.cli", errors)
}

/// Checks everything but `plugins`.
fn settings_and_versions(rule: &Rule, field: &str, errors: &mut FieldErrors) -> CheckedRule {
    CheckedRule {
        plugins: Vec::new(),
        settings: Settings {
            access: rule.access,
            channel: rule.channel,
            updates: rule.updates,
            major_updates: rule.major_updates,
            min_age: min_age(rule.min_age.as_deref(), field, errors),
        },
        versions: constraint(rule.versions.as_deref(), field, errors),
        block: block(&rule.block, &format!("{field}.block"), errors),
        expedite: versions(&rule.expedite, &format!("{field}.expedite"), errors),
        pins: pins(&rule.pins, field, errors),
        message: rule.message.as_deref().map(|text| printable_to(text, limits::RULE_MESSAGE).into()),
    }
}

/// Refuses fields that have no effect in a rule with `access: Deny`.
fn deny_alone(rule: &Rule, field: &str, errors: &mut FieldErrors) {
    for (name, is_set) in [
        ("versions", rule.versions.is_some()),
        ("block", !rule.block.is_empty()),
        ("expedite", !rule.expedite.is_empty()),
        ("pins", !rule.pins.is_empty()),
        ("channel", rule.channel.is_some()),
        ("updates", rule.updates.is_some()),
        ("majorUpdates", rule.major_updates.is_some()),
        ("minAge", rule.min_age.is_some()),
    ] {
        if is_set {
            errors.add(format!("{field}.{name}"), "has no effect with `access: Deny`; remove it");
        }
    }
}

fn patterns(plugins: &[String], field: &str, errors: &mut FieldErrors) -> Vec<Pattern> {
    if plugins.is_empty() {
        errors.add(field, "must name at least one plugin, or `*` for all plugins");
    }
    errors.check_length(field, plugins.len(), limits::RULE_PLUGINS);
    let patterns =
        plugins.iter().enumerate().filter_map(|(i, text)| errors.ok(&format!("{field}[{i}]"), pattern(text)));
    patterns.collect()
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if let Some(prefix) = text.strip_suffix('*') {
        let is_valid = text.len() <= limits::NAME
            && !prefix.starts_with(['-', '.', '_'])
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
        return if is_valid {
            Ok(Pattern::Prefix(prefix.to_owned()))
        } else {
            Err(format!("{text:?} is not the beginning of a plugin name followed by `*`"))
        };
    }
    if text == Component::D8_NAME {
        return Err("d8 is not a plugin; its rule is `spec.cli`".to_owned());
    }
    let name: PluginName = text.parse().map_err(|error: NameError| error.to_string())?;
    // A name that cannot have a record (`my_plugin`) is allowed: access, versions, block and channel apply.
    if name.as_str().len() <= limits::NAME {
        Ok(Pattern::Name(name))
    } else {
        Err(format!("{text:?} is longer than {} characters", limits::NAME))
    }
}

fn min_age(text: Option<&str>, parent: &str, errors: &mut FieldErrors) -> Option<Duration> {
    errors.ok(&format!("{parent}.minAge"), Bounds::MIN_AGE.parse(text?))
}

fn constraint(text: Option<&str>, parent: &str, errors: &mut FieldErrors) -> Option<Constraint> {
    let text = text?;
    let field = format!("{parent}.versions");
    if text.chars().nth(limits::CONSTRAINT).is_some() {
        errors.add(field, format!("is longer than {} characters", limits::CONSTRAINT));
        return None;
    }
    if text.contains(char::is_control) {
        errors.add(field, "must be one line without control characters");
        return None;
    }
    errors.ok(&field, Constraint::parse(text))
}

fn block(list: &[String], field: &str, errors: &mut FieldErrors) -> Vec<VersionSet> {
    errors.check_length(field, list.len(), limits::RULE_VERSIONS);
    let sets =
        list.iter().enumerate().filter_map(|(i, text)| errors.ok(&format!("{field}[{i}]"), VersionSet::parse(text)));
    sets.collect()
}

fn versions(list: &[String], field: &str, errors: &mut FieldErrors) -> Vec<Version> {
    errors.check_length(field, list.len(), limits::RULE_VERSIONS);
    list.iter().enumerate().filter_map(|(i, text)| errors.ok(&format!("{field}[{i}]"), full_version(text))).collect()
}

fn pins(list: &[Pin], parent: &str, errors: &mut FieldErrors) -> Vec<CheckedPin> {
    errors.check_length(&format!("{parent}.pins"), list.len(), limits::RULE_VERSIONS);
    let check = |(i, pin): (usize, &Pin)| {
        let version = errors.ok(&format!("{parent}.pins[{i}].version"), full_version(&pin.version));
        let digest = errors.ok(&format!("{parent}.pins[{i}].digest"), pin.digest.parse());
        Some(CheckedPin { version: version?, digest: digest? })
    };
    list.iter().enumerate().filter_map(check).collect()
}

/// Parses a version with major, minor and patch. `1.2` is refused because readers take it for a range.
fn full_version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| error.to_string())?;
    Version::parse_full(text)
        .map_err(|_| format!("{text:?} is not a full version: write major, minor and patch, such as `v1.2.3`"))
}
