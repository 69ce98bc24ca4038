//! A policy read once: every text parsed, every rule of the record checked again, every error with the
//! field it stands in. What this module accepts, the verdict judges by; nothing else reads the raw record.
//!
//! The API server checks most of it first (see `schema`). It is checked again because a policy may come
//! from a cache or from an older schema, and because constraints can be read here only.

use std::{fmt, time::Duration};

use kube::ResourceExt as _;

use crate::{
    constraint::Constraint,
    digest::Digest,
    duration::Bounds,
    name::PluginName,
    policy::{
        Access, CliRule, Defaults, MajorUpdates, MissingDependencies, MovedTags, Pin, PluginPolicy, Rollout, Rule,
        Updates, Window, selector::Selector,
    },
    release::Channel,
    text::printable_to,
    version::Version,
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
pub struct Rejected {
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

impl Findings {
    /// Notes an error. Texts from the record are made printable.
    pub(super) fn add(&mut self, field: impl Into<String>, why: impl fmt::Display) {
        self.0.push(FieldError {
            field: printable_to(&field.into(), 200).into_owned(),
            why: printable_to(&why.to_string(), 300).into_owned(),
        });
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
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
pub struct Checked {
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
    /// The rule for d8 itself.
    pub cli: Option<CheckedRule>,
    /// What happens to a missing dependency.
    pub missing_dependencies: Option<MissingDependencies>,
    /// When switches may begin; absent: always.
    pub windows: Option<Vec<CheckedWindow>>,
    /// How fast a version spreads.
    pub rollout: Option<CheckedRollout>,
    /// What is done about moved tags.
    pub moved_tags: Option<MovedTags>,
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
}

/// A version bound to a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPin {
    /// The version.
    pub version: Version,
    /// Digest of its index, manifest or layer.
    pub digest: Digest,
}

/// When switches may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedWindow {
    /// The window as written; its zone is looked up where windows are judged.
    pub window: Window,
    /// How long it stays open.
    pub duration: Duration,
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

impl Checked {
    /// Reads a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its field.
    pub fn new(policy: &PluginPolicy) -> Result<Self, Rejected> {
        let spec = &policy.spec;
        let mut findings = Findings::default();
        let selector = Selector::read(&spec.host_selector, "spec.hostSelector", &mut findings);
        let defaults = spec.defaults.as_ref().map(|d| defaults(d, &mut findings)).unwrap_or_default();
        let rules = spec
            .rules
            .iter()
            .enumerate()
            .map(|(i, raw)| rule(raw, &format!("spec.rules[{i}]"), &mut findings))
            .collect();
        let cli = spec.cli.as_ref().map(|raw| cli_rule(raw, &mut findings));
        let windows = spec.windows.as_ref().map(|raw| windows(raw, &mut findings));
        let rollout = spec.rollout.as_ref().and_then(|raw| rollout(raw, &mut findings));

        match selector {
            Some(selector) if findings.count() == 0 => Ok(Self {
                name: policy.name_any(),
                selector,
                paused: spec.paused,
                defaults,
                rules,
                cli,
                missing_dependencies: spec.missing_dependencies,
                windows,
                rollout,
                moved_tags: spec.integrity.as_ref().and_then(|i| i.moved_tags),
            }),
            selector => Err(Rejected { errors: findings.into_errors(), selector }),
        }
    }

    /// The plugins it names outright, not by a glob, each once and in order.
    pub fn named_plugins(&self) -> Vec<&PluginName> {
        let names = self.rules.iter().flat_map(|rule| &rule.plugins).filter_map(|pattern| match pattern {
            Pattern::Name(name) => Some(name),
            Pattern::Prefix(_) => None,
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.dedup();
        names
    }
}

fn defaults(raw: &Defaults, findings: &mut Findings) -> Settings {
    if raw.access == Some(Access::Require) {
        findings.add("spec.defaults.access", "Require needs the plugins' names: set it in a rule");
    }
    Settings {
        access: raw.access,
        channel: raw.channel,
        updates: raw.updates,
        major_updates: raw.major_updates,
        min_age: min_age(raw.min_age.as_deref(), "spec.defaults", findings),
    }
}

fn rule(raw: &Rule, field: &str, findings: &mut Findings) -> CheckedRule {
    if raw.plugins.is_empty() {
        findings.add(format!("{field}.plugins"), "name at least one plugin, or `*`");
    }
    let plugins: Vec<_> = raw
        .plugins
        .iter()
        .enumerate()
        .filter_map(|(i, text)| findings.keep(&format!("{field}.plugins[{i}]"), pattern(text)))
        .collect();
    if raw.access == Some(Access::Require) && plugins.iter().any(|p| matches!(p, Pattern::Prefix(_))) {
        findings.add(format!("{field}.plugins"), "Require takes whole names, no `*`");
    }
    if raw.access == Some(Access::Deny) {
        for (name, present) in [
            ("versions", raw.versions.is_some()),
            ("block", !raw.block.is_empty()),
            ("expedite", !raw.expedite.is_empty()),
            ("pins", !raw.pins.is_empty()),
            ("channel", raw.channel.is_some()),
            ("updates", raw.updates.is_some()),
            ("majorUpdates", raw.major_updates.is_some()),
            ("minAge", raw.min_age.is_some()),
        ] {
            if present {
                findings.add(format!("{field}.{name}"), "has no meaning beside `access: Deny`");
            }
        }
    }
    CheckedRule {
        plugins,
        settings: Settings {
            access: raw.access,
            channel: raw.channel,
            updates: raw.updates,
            major_updates: raw.major_updates,
            min_age: min_age(raw.min_age.as_deref(), field, findings),
        },
        versions: range(raw.versions.as_deref(), field, findings),
        block: versions(&raw.block, &format!("{field}.block"), findings),
        expedite: versions(&raw.expedite, &format!("{field}.expedite"), findings),
        pins: pins(&raw.pins, field, findings),
        message: raw.message.as_deref().map(|text| printable_to(text, MESSAGE).into_owned()),
    }
}

fn cli_rule(raw: &CliRule, findings: &mut Findings) -> CheckedRule {
    let field = "spec.cli";
    CheckedRule {
        plugins: Vec::new(),
        settings: Settings {
            access: None,
            channel: raw.channel,
            updates: raw.updates,
            major_updates: raw.major_updates,
            min_age: min_age(raw.min_age.as_deref(), field, findings),
        },
        versions: range(raw.versions.as_deref(), field, findings),
        block: versions(&raw.block, "spec.cli.block", findings),
        expedite: versions(&raw.expedite, "spec.cli.expedite", findings),
        pins: pins(&raw.pins, field, findings),
        message: raw.message.as_deref().map(|text| printable_to(text, MESSAGE).into_owned()),
    }
}

/// Longest `message` shown, in characters; the schema's bound too.
pub(crate) const MESSAGE: usize = 512;

fn pattern(text: &str) -> Result<Pattern, String> {
    if let Some(prefix) = text.strip_suffix('*') {
        let good = prefix.len() <= 62
            && !prefix.starts_with('-')
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        return if good {
            Ok(Pattern::Prefix(prefix.to_owned()))
        } else {
            Err(format!("{text:?} is no plugin name with a trailing `*`"))
        };
    }
    if text == "d8" {
        return Err("d8 is no plugin: its rule is `spec.cli`".to_owned());
    }
    let name: PluginName = text.parse().map_err(|error: crate::name::NameError| error.to_string())?;
    if name.is_dns_label() {
        Ok(Pattern::Name(name))
    } else {
        Err(format!("{text:?} is no DNS label: lower-case letters, digits and single `-`, at most 63"))
    }
}

fn min_age(raw: Option<&str>, parent: &str, findings: &mut Findings) -> Option<Duration> {
    findings.keep(&format!("{parent}.minAge"), raw.map(|text| Bounds::MIN_AGE.parse(text)).transpose())?
}

fn range(raw: Option<&str>, parent: &str, findings: &mut Findings) -> Option<Constraint> {
    findings.keep(&format!("{parent}.versions"), Constraint::parse(raw?))
}

fn versions(raw: &[String], field: &str, findings: &mut Findings) -> Vec<Version> {
    raw.iter().enumerate().filter_map(|(i, text)| findings.keep(&format!("{field}[{i}]"), full_version(text))).collect()
}

fn pins(raw: &[Pin], parent: &str, findings: &mut Findings) -> Vec<CheckedPin> {
    let read = |(i, pin): (usize, &Pin)| {
        let version = findings.keep(&format!("{parent}.pins[{i}].version"), full_version(&pin.version));
        let digest = findings.keep(&format!("{parent}.pins[{i}].digest"), pin.digest.parse());
        Some(CheckedPin { version: version?, digest: digest? })
    };
    raw.iter().enumerate().filter_map(read).collect()
}

/// A version written out: major, minor and patch. `1.2` is a range to a reader, so it is refused where
/// one version is meant.
fn full_version(text: &str) -> Result<Version, String> {
    let version = Version::parse(text).map_err(|error| error.to_string())?;
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    if numbers.split('.').count() == 3 {
        Ok(version)
    } else {
        Err(format!("{text:?} is not a full version: write major, minor and patch, as in `v1.2.3`"))
    }
}

fn windows(raw: &[Window], findings: &mut Findings) -> Vec<CheckedWindow> {
    if raw.is_empty() {
        findings.add("spec.windows", "an empty list never opens: leave it out for always");
    }
    let read = |(i, window): (usize, &Window)| {
        let field = format!("spec.windows[{i}]");
        if window.days.as_ref().is_some_and(Vec::is_empty) {
            findings.add(format!("{field}.days"), "an empty list never opens: leave it out for every day");
        }
        if !is_time_of_day(&window.start) {
            findings.add(format!("{field}.start"), format!("{:?} is not a time of day, as in `02:00`", window.start));
        }
        if window.time_zone.as_deref().is_some_and(|zone| !zone.starts_with(|c: char| c.is_ascii_uppercase())) {
            findings.add(format!("{field}.timeZone"), "is not an IANA zone, as in `Europe/Berlin`");
        }
        let duration = findings.keep(&format!("{field}.duration"), Bounds::WINDOW.parse(&window.duration))?;
        Some(CheckedWindow { window: window.clone(), duration })
    };
    raw.iter().enumerate().filter_map(read).collect()
}

/// `00:00` to `23:59`.
fn is_time_of_day(text: &str) -> bool {
    match text.as_bytes() {
        [h1, h2, b':', m1, m2] => {
            matches!((h1, h2), (b'0' | b'1', b'0'..=b'9') | (b'2', b'0'..=b'3'))
                && matches!((m1, m2), (b'0'..=b'5', b'0'..=b'9'))
        }
        _ => false,
    }
}

fn rollout(raw: &Rollout, findings: &mut Findings) -> Option<CheckedRollout> {
    let canaries =
        raw.canary_selector.as_ref().map(|selector| Selector::read(selector, "spec.rollout.canarySelector", findings));
    if raw.max_failed == Some(0) {
        findings.add("spec.rollout.maxFailed", "is at least 1");
    }
    let over = findings.keep("spec.rollout.over", Bounds::ROLLOUT.parse(&raw.over))?;
    Some(CheckedRollout { over, canaries: canaries.flatten(), max_failed: raw.max_failed })
}

#[cfg(test)]
mod tests;
