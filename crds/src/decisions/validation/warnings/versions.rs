//! Warnings about the versions that a rule names.

use super::{CheckedPolicy, CheckedRule, PolicyContext, rule_for};
use crate::{
    decisions::validation::Pattern,
    records::policy::Access,
    values::{channel::Channel, constraint::Constraint, name::Component, version::Version, version_set::VersionSet},
};

/// Warns about constraints that people may misread, and about fields of one rule that contradict each other.
pub(super) fn versions(
    policy: &CheckedPolicy,
    field: &str,
    rule: &CheckedRule,
    context: PolicyContext<'_>,
    warnings: &mut Vec<String>,
) {
    let channel = rule.settings.channel.or(policy.defaults.channel).unwrap_or_default();
    if let Some(empty) = rule.versions.as_ref().filter(|versions| versions.is_unsatisfiable(channel)) {
        warnings.push(format!("{field}.versions: no version can meet `{empty}`"));
    } else if let Some(hints) = rule.versions.as_ref().and_then(Constraint::lint) {
        warnings.push(format!("{field}.versions: {hints}"));
    }
    for (i, entry) in rule.block.iter().enumerate() {
        if let VersionSet::Range(range) = entry
            && range.covers_nothing()
        {
            warnings.push(format!("{field}.block[{i}]: `{range}` takes no version"));
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
            warnings.push(format!("{field}.expedite[{i}]: {version} has no effect, because {why}"));
        } else if !is_published(rule, version, context) {
            warnings.push(format!("{field}.expedite[{i}]: {version} is not published"));
        }
    }
    for (i, pin) in rule.pins.iter().enumerate() {
        if let Some(why) = contradiction(&pin.version) {
            warnings.push(format!("{field}.pins[{i}]: the pin of {} has no effect, because {why}", pin.version));
        }
    }
}

/// Returns whether some component of the rule has the version, as far as is known.
fn is_published(rule: &CheckedRule, version: &Version, context: PolicyContext<'_>) -> bool {
    let Some(records) = context.records else { return true };
    let names = rule.plugins.iter().map(|pattern| match pattern {
        Pattern::Name(name) => Some(Component::Plugin(name.clone())),
        Pattern::Prefix(_) => None,
    });
    let components: Option<Vec<_>> = if rule.plugins.is_empty() { Some(vec![Component::D8]) } else { names.collect() };
    // What a pattern matches may be published later; so may what a record lacks that was never synced.
    let Some(components) = components else { return true };
    components.iter().any(|component| {
        let status = records.get(component).and_then(|record| Some((record, record.status.as_ref()?)));
        status.is_none_or(|(record, status)| status.versions.is_empty() || record.recorded(version).is_some())
    })
}

/// Warns about each component whose pre-releases the policy permits and the record does not publish.
pub(super) fn unpublished_channels(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Vec<String>) {
    for (component, record) in context.records.into_iter().flatten() {
        warnings.extend(unpublished_channel(policy, component, record.spec.channel));
    }
}

/// Warns if the policy permits pre-releases that the record of the component does not publish.
fn unpublished_channel(policy: &CheckedPolicy, component: &Component, published: Channel) -> Option<String> {
    if published == Channel::Prerelease {
        return None;
    }
    let applicable = rule_for(policy, component);
    let is_denied = |rule: &CheckedRule| rule.settings.access == Some(Access::Deny);
    if applicable.as_ref().is_some_and(|(_, rule)| is_denied(rule)) {
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
