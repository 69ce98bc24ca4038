//! Reading the parts of a policy's spec. Each reader notes what is wrong and goes on.

use std::{collections::BTreeMap, time::Duration};

use super::{
    CheckedPin, CheckedRollout, CheckedRule, CheckedWave, Findings, Pattern, RESUME, Resumed, Settings, Unobserved,
};

use crate::{
    decisions::{validation::selector::Selector, window::Windows},
    records::policy::{Access, CliRule, Defaults, Pin, PluginPolicy, Rollout, Rule, WaveState, Window},
    values::{
        constraint::Constraint,
        duration::Bounds,
        limits,
        name::{MAX_DNS_LABEL, NameError, PluginName},
        text::printable_to,
        version::Version,
    },
};

pub(super) fn defaults(raw: &Defaults, findings: &mut Findings) -> Settings {
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

pub(super) fn rule(raw: &Rule, field: &str, findings: &mut Findings) -> CheckedRule {
    if raw.plugins.is_empty() {
        findings.add(format!("{field}.plugins"), "name at least one plugin, or `*`");
    }
    findings.limit(&format!("{field}.plugins"), raw.plugins.len(), limits::RULE_PLUGINS);
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

pub(super) fn cli_rule(raw: &CliRule, findings: &mut Findings) -> CheckedRule {
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

/// Longest `message` shown, in characters; the schema bounds it alike.
const MESSAGE: usize = 512;

/// Longest constraint read, in characters, as in [`limits::CONSTRAINT`].
const CONSTRAINT: usize = 256;

fn pattern(text: &str) -> Result<Pattern, String> {
    if let Some(prefix) = text.strip_suffix('*') {
        let good = prefix.len() <= 62
            && !prefix.starts_with(['-', '.', '_'])
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
        return if good {
            Ok(Pattern::Prefix(prefix.to_owned()))
        } else {
            Err(format!("{text:?} is no plugin name with a trailing `*`"))
        };
    }
    if text == "d8" {
        return Err("d8 is no plugin: its rule is `spec.cli`".to_owned());
    }
    let name: PluginName = text.parse().map_err(|error: NameError| error.to_string())?;
    // One that can't have a record (`my_plugin`) may be named: access, versions, block and channel bind it.
    if name.as_str().len() <= MAX_DNS_LABEL {
        Ok(Pattern::Name(name))
    } else {
        Err(format!("{text:?} is longer than {MAX_DNS_LABEL} characters"))
    }
}

fn min_age(raw: Option<&str>, parent: &str, findings: &mut Findings) -> Option<Duration> {
    findings.keep(&format!("{parent}.minAge"), raw.map(|text| Bounds::MIN_AGE.parse(text)).transpose())?
}

fn range(raw: Option<&str>, parent: &str, findings: &mut Findings) -> Option<Constraint> {
    let raw = raw?;
    let field = format!("{parent}.versions");
    if raw.chars().nth(CONSTRAINT).is_some() {
        findings.add(field, format!("is longer than {CONSTRAINT} characters"));
        return None;
    }
    if raw.contains(char::is_control) {
        findings.add(field, "must be one line without control characters");
        return None;
    }
    findings.keep(&field, Constraint::parse(raw))
}

fn versions(raw: &[String], field: &str, findings: &mut Findings) -> Vec<Version> {
    findings.limit(field, raw.len(), limits::RULE_VERSIONS);
    raw.iter().enumerate().filter_map(|(i, text)| findings.keep(&format!("{field}[{i}]"), full_version(text))).collect()
}

fn pins(raw: &[Pin], parent: &str, findings: &mut Findings) -> Vec<CheckedPin> {
    findings.limit(&format!("{parent}.pins"), raw.len(), limits::RULE_VERSIONS);
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

pub(super) fn windows(raw: &[Window], findings: &mut Findings) -> Option<Windows> {
    findings.limit("spec.windows", raw.len(), limits::WINDOWS);
    Windows::read(raw, "spec.windows").map_err(|errors| findings.extend(errors)).ok()
}

pub(super) fn rollout(raw: &Rollout, findings: &mut Findings) -> Option<CheckedRollout> {
    let canaries =
        raw.canary_selector.as_ref().map(|selector| Selector::read(selector, "spec.rollout.canarySelector", findings));
    if raw.max_failed.is_some_and(|failed| !(1..=limits::MAX_FAILED).contains(&u64::from(failed))) {
        findings.add("spec.rollout.maxFailed", format!("is 1 to {}", limits::MAX_FAILED));
    }
    let over = findings.keep("spec.rollout.over", Bounds::ROLLOUT.parse(&raw.over))?;
    Some(CheckedRollout { over, canaries: canaries.flatten(), max_failed: raw.max_failed })
}

/// Whether the operator lags behind the policy. One that has no generation was never given to an API
/// server, and nobody lags behind it.
pub(super) fn unobserved(policy: &PluginPolicy) -> Option<Unobserved> {
    let generation = policy.metadata.generation?;
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_none_or(|observed| observed < generation).then_some(Unobserved { generation, observed })
}

/// What the annotation says, if that can be read.
pub(super) fn resumed(policy: &PluginPolicy) -> Option<Resumed> {
    let (version, halted_at) = policy.metadata.annotations.as_ref()?.get(RESUME)?.split_once('@')?;
    Some(Resumed { version: Version::parse(version).ok()?, halted_at: halted_at.parse().ok()? })
}

/// The waves of a policy's status. Names that are no versions are nobody's wave.
pub(super) fn waves(policy: &PluginPolicy) -> BTreeMap<String, Vec<CheckedWave>> {
    let components = policy.status.iter().flat_map(|status| &status.components);
    let resumed = resumed(policy);
    let mut waves: BTreeMap<String, Vec<CheckedWave>> = BTreeMap::new();
    for component in components {
        let read = component.waves.iter().filter_map(|raw| {
            let version = Version::parse(&raw.version).ok()?;
            let halted_at = raw.halted_at.as_ref().map(|time| time.0);
            let is_resumed = resumed.as_ref().is_some_and(|r| r.version == version && Some(r.halted_at) == halted_at);
            Some(CheckedWave {
                version,
                since: raw.since.as_ref().map(|time| time.0),
                halted: raw.state == Some(WaveState::Halted) && !is_resumed,
                halted_at,
                failed: raw.failed,
            })
        });
        waves.entry(component.name.clone()).or_default().extend(read);
    }
    waves
}
