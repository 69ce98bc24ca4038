//! Warnings about the versions that a rule names.

use super::{CheckedPolicy, CheckedRule, PolicyContext, Warnings, channel_of, is_denied, rule_for};
use crate::{
    decisions::validation::{CheckedPin, Pattern},
    records::release::ReleaseVersion,
    values::{channel::Channel, constraint::Constraint, name::Component, version::Version, version_set::VersionSet},
};

/// Warns about constraints that people may misread, and about fields of one rule that contradict each other.
pub(super) fn versions(
    policy: &CheckedPolicy,
    field: &str,
    rule: &CheckedRule,
    context: PolicyContext<'_>,
    warnings: &mut Warnings,
) {
    let channel = channel_of(policy, Some(rule));
    if let Some(empty) = rule.versions.as_ref().filter(|versions| versions.is_unsatisfiable(channel)) {
        warnings.add(format!("{field}.versions: no version can meet `{empty}`"));
    } else if let Some(hints) = rule.versions.as_ref().and_then(Constraint::lint) {
        warnings.add(format!("{field}.versions: {hints}"));
    }
    for (i, entry) in rule.block.iter().enumerate() {
        match entry {
            VersionSet::Range(range) if range.covers_nothing() => {
                warnings.add(format!("{field}.block[{i}]: `{range}` takes no version"));
            }
            VersionSet::One(version) if !is_recorded(rule, version, context) => {
                if let Some(range) = version.range_as_prerelease() {
                    let one = format!("`{version}` is one pre-release of {}", version.release());
                    warnings.add(format!("{field}.block[{i}]: {one}; for a range, write `{range}`"));
                }
            }
            _ => {}
        }
    }
    let contradiction = |version: &Version| {
        let blocking = rule.block.iter().find(|entry| entry.contains(version));
        let outside = || rule.versions.as_ref().filter(|versions| !versions.permits(version, channel));
        match blocking {
            Some(VersionSet::One(_)) => Some("`block` of the same rule has it, too".to_owned()),
            Some(range) => Some(format!("`block` of the same rule takes it with `{range}`")),
            None => outside().map(|versions| format!("it is outside `versions: {versions}` of the same rule")),
        }
    };
    for (i, version) in rule.expedite.iter().enumerate() {
        if let Some(why) = contradiction(version) {
            warnings.add(format!("{field}.expedite[{i}]: {version} has no effect, because {why}"));
        } else if !is_published(rule, version, context) {
            warnings.add(format!("{field}.expedite[{i}]: {version} is not published"));
        }
    }
    for (i, pin) in rule.pins.iter().enumerate() {
        if let Some(why) = contradiction(&pin.version) {
            warnings.add(format!("{field}.pins[{i}]: the pin of {} has no effect, because {why}", pin.version));
        }
        let other = |earlier: &&CheckedPin| earlier.version == pin.version && earlier.digest != pin.digest;
        if let Some(other) = rule.pins[..i].iter().position(|earlier| other(&earlier))
            && !has_digests(rule, &pin.version, context)
        {
            let version = &pin.version;
            warnings.add(format!(
                "{field}.pins[{i}]: pins[{other}] binds {version} to another digest, and {version} needs both to be \
                 permitted"
            ));
        }
    }
}

/// Returns whether some recorded version of the rule has all the digests to which the rule pins it: one pin may have the
/// digest of the index, and another one that of a layer.
fn has_digests(rule: &CheckedRule, version: &Version, context: PolicyContext<'_>) -> bool {
    let pins = || rule.pins.iter().filter(|pin| pin.version == *version).map(|pin| pin.digest.as_str());
    let has = |entry: &ReleaseVersion, digest: &str| {
        entry.digest == digest || entry.artifacts.iter().any(|a| a.manifest == digest || a.layer == digest)
    };
    recorded(rule, version, context).into_iter().any(|entry| pins().all(|digest| has(entry, digest)))
}

/// Returns the entries of a version in the records of the components that the rule names.
fn recorded<'a>(rule: &CheckedRule, version: &Version, context: PolicyContext<'a>) -> Vec<&'a ReleaseVersion> {
    let records = named(rule).into_iter().filter_map(|component| context.records?.get(&component));
    records.filter_map(|record| record.recorded(version)).collect()
}

fn is_recorded(rule: &CheckedRule, version: &Version, context: PolicyContext<'_>) -> bool {
    !recorded(rule, version, context).is_empty()
}

/// Returns the components that the rule names in full.
fn named(rule: &CheckedRule) -> Vec<Component> {
    if rule.plugins.is_empty() {
        return vec![Component::D8];
    }
    let names = rule.plugins.iter().filter_map(|pattern| match pattern {
        Pattern::Name(name) => Some(Component::Plugin(name.clone())),
        Pattern::Prefix(_) => None,
    });
    names.collect()
}

/// Returns whether some component of the rule has the version, as far as is known.
fn is_published(rule: &CheckedRule, version: &Version, context: PolicyContext<'_>) -> bool {
    let Some(records) = context.records else { return true };
    let components = named(rule);
    // What a pattern matches may be published later; so may what a record lacks that was never synced.
    if components.len() < rule.plugins.len() {
        return true;
    }
    components.iter().any(|component| {
        let status = records.get(component).and_then(|record| Some((record, record.status.as_ref()?)));
        status.is_none_or(|(record, status)| status.versions.is_empty() || record.recorded(version).is_some())
    })
}

/// Warns about each component whose pre-releases the policy permits and the record does not publish.
pub(super) fn unpublished_channels(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Warnings) {
    for (component, record) in context.records.into_iter().flatten() {
        if let Some(warning) = unpublished_channel(policy, component, record.spec.channel) {
            warnings.add(warning);
        }
    }
}

/// Warns if the policy permits pre-releases that the record of the component does not publish.
fn unpublished_channel(policy: &CheckedPolicy, component: &Component, published: Channel) -> Option<String> {
    if published == Channel::Prerelease {
        return None;
    }
    let applicable = rule_for(policy, component);
    if is_denied(policy, component, applicable.as_ref().map(|(_, rule)| *rule)) {
        return None;
    }
    let of_rule = applicable.and_then(|(field, rule)| Some((field, rule.settings.channel?)));
    let (field, channel) = of_rule.or_else(|| Some(("spec.defaults".to_owned(), policy.defaults.channel?)))?;
    (channel == Channel::Prerelease).then(|| {
        format!(
            "{field}.channel: pre-releases of {component} are not published; set `channel: Prerelease` in CliRelease \
             {component}"
        )
    })
}
