//! Warnings about the plugins that rules name.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckedPolicy, CheckedRule, PolicyContext, Warnings};
use crate::{
    decisions::validation::Pattern,
    records::release::CliRelease,
    values::{
        name::{Component, PluginName},
        spelling::nearest,
    },
};

/// Warns about patterns that have no effect, or that match nothing that is known.
pub(super) fn patterns(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Warnings) {
    let known = known_plugins(context);
    for (index, rule) in policy.rules.iter().enumerate() {
        covered_patterns(policy, index, warnings);
        repeated_patterns(rule, index, warnings);
        for (i, pattern) in rule.plugins.iter().enumerate() {
            let hint = known.as_ref().and_then(|known| known.unknown(pattern));
            if let Some(hint) = hint {
                warnings.add(format!("spec.rules[{index}].plugins[{i}]: {hint}"));
            }
        }
    }
}

/// The plugins that have published versions or are active on a selected host, and what is known of the others.
struct KnownPlugins<'a> {
    names: BTreeSet<&'a str>,
    records: &'a BTreeMap<Component, &'a CliRelease>,
}

/// Returns `None` if the records are not known.
fn known_plugins(context: PolicyContext<'_>) -> Option<KnownPlugins<'_>> {
    let records = context.records?;
    let has_versions = |record: &CliRelease| record.status.as_ref().is_some_and(|status| !status.versions.is_empty());
    let published = records.iter().filter(|(_, record)| has_versions(record)).map(|(component, _)| component);
    let active = context.active.into_iter().flat_map(BTreeMap::keys);
    let names = published.chain(active).filter(|component| **component != Component::D8).map(Component::name);
    Some(KnownPlugins { names: names.collect(), records })
}

impl KnownPlugins<'_> {
    /// Says that a pattern matches nothing that is known, and which name is near.
    fn unknown(&self, pattern: &Pattern) -> Option<String> {
        match pattern {
            Pattern::Name(name) if !self.names.contains(name.as_str()) => self.unknown_name(name),
            Pattern::Prefix(prefix) if !self.names.iter().any(|name| name.starts_with(prefix.as_str())) => {
                let beginnings = self.names.iter().filter_map(|name| name.get(..prefix.len()));
                let near = nearest(prefix, beginnings).map(|near| format!("; did you mean `{near}*`?"));
                let is_any = prefix.is_empty();
                (!is_any).then(|| format!("`{prefix}*` matches no plugin that is known{}", near.unwrap_or_default()))
            }
            _ => None,
        }
    }

    fn unknown_name(&self, name: &PluginName) -> Option<String> {
        // The operator creates a record for each name in a policy, so that a record alone proves nothing.
        let record = self.records.get(&Component::Plugin(name.clone()));
        let what = match record {
            None => format!("no CliRelease is named `{name}`"),
            Some(_) => format!("nothing is published as `{name}`"),
        };
        if let Some(near) = nearest(name.as_str(), self.names.iter().copied()) {
            return Some(format!("{what}; did you mean `{near}`?"));
        }
        // What a record will have is not known before its first poll.
        let is_polled = record.is_none_or(|r| r.status.as_ref().is_some_and(|s| s.last_sync_time.is_some()));
        // A plugin with another name cannot have a record.
        let expected = is_polled && name.is_dns_label();
        expected.then(|| format!("{what}, and none of the selected hosts has this plugin"))
    }
}

/// Warns about patterns that a rule lists twice.
fn repeated_patterns(rule: &CheckedRule, index: usize, warnings: &mut Warnings) {
    for (i, pattern) in rule.plugins.iter().enumerate() {
        if rule.plugins[..i].contains(pattern) {
            warnings.add(format!("spec.rules[{index}].plugins[{i}]: `{pattern}` is listed twice"));
        }
    }
}

/// Warns about patterns of a rule that earlier rules cover, so that the rule never applies to them.
fn covered_patterns(policy: &CheckedPolicy, index: usize, warnings: &mut Warnings) {
    let (earlier, rest) = policy.rules.split_at(index);
    let Some(rule) = rest.first() else { return };
    let covering = |pattern| earlier.iter().position(|rule| rule.plugins.iter().any(|other| other.covers(pattern)));
    let covered: Vec<_> =
        rule.plugins.iter().enumerate().filter_map(|(i, pattern)| Some((i, pattern, covering(pattern)?))).collect();
    if !rule.plugins.is_empty() && covered.len() == rule.plugins.len() {
        warnings.add(format!("spec.rules[{index}] never applies: earlier rules match all its plugins"));
        return;
    }
    for (i, pattern, by) in covered {
        warnings.add(format!("spec.rules[{index}].plugins[{i}]: `{pattern}` has no effect, spec.rules[{by}] applies"));
    }
}
