//! What an admin should know of a policy that is valid: the warnings in `Accepted`'s message and of
//! `d8 policy check`. Nothing here changes a verdict.

use std::collections::BTreeMap;

use crate::{
    decisions::validation::{CheckedPolicy, CheckedRule},
    records::policy::Access,
    values::{channel::Channel, name::Component},
};

/// What is around a policy, as far as whoever asks knows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyContext<'a> {
    /// How many managed hosts the selector matches; absent: not known here.
    pub hosts: Option<u32>,
    /// The selector matches workstations.
    pub workstations: bool,
    /// What each component's record publishes.
    pub channels: Option<&'a BTreeMap<Component, Channel>>,
}

/// The warnings, a sentence each, in the order of the policy's fields.
pub fn warnings(policy: &CheckedPolicy, around: PolicyContext<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(matches(around));
    for place in 0..policy.rules.len() {
        shadows(policy, place, &mut warnings);
        repeats(&policy.rules[place], place, &mut warnings);
    }
    let rules = policy.rules.iter().enumerate().map(|(i, rule)| (format!("spec.rules[{i}]"), rule));
    for (field, rule) in rules.chain(policy.cli.iter().map(|rule| ("spec.cli".to_owned(), rule))) {
        if let Some(reading) = rule.versions.as_ref().and_then(crate::values::constraint::Constraint::reading) {
            warnings.push(format!("{field}.versions: {reading}"));
        }
    }
    for (component, published) in around.channels.into_iter().flatten() {
        warnings.extend(unpublished(policy, component, *published));
    }
    warnings
}

fn matches(around: PolicyContext<'_>) -> Option<String> {
    Some(match (around.hosts, around.workstations) {
        (None, false) => return None,
        (None, true) => "it speaks for workstations too".to_owned(),
        (Some(0), false) => "it matches no host".to_owned(),
        (Some(0), true) => "it matches workstations and no managed host".to_owned(),
        (Some(1), false) => "it matches 1 host".to_owned(),
        (Some(1), true) => "it matches 1 host, and workstations".to_owned(),
        (Some(hosts), false) => format!("it matches {hosts} hosts"),
        (Some(hosts), true) => format!("it matches {hosts} hosts, and workstations"),
    })
}

/// What one rule names twice.
fn repeats(rule: &CheckedRule, place: usize, warnings: &mut Vec<String>) {
    for (j, pattern) in rule.plugins.iter().enumerate() {
        if rule.plugins[..j].contains(pattern) {
            warnings.push(format!("spec.rules[{place}].plugins[{j}]: `{pattern}` is named twice"));
        }
    }
}

/// What of one rule never speaks, for an earlier one answers.
fn shadows(policy: &CheckedPolicy, place: usize, warnings: &mut Vec<String>) {
    let (earlier, rest) = policy.rules.split_at(place);
    let Some(rule) = rest.first() else { return };
    let answers = |pattern| earlier.iter().position(|rule| rule.plugins.iter().any(|other| other.covers(pattern)));
    let shadowed: Vec<_> =
        rule.plugins.iter().enumerate().filter_map(|(j, pattern)| Some((j, pattern, answers(pattern)?))).collect();
    if !rule.plugins.is_empty() && shadowed.len() == rule.plugins.len() {
        warnings.push(format!("spec.rules[{place}] never speaks: earlier rules name all its plugins"));
        return;
    }
    for (j, pattern, by) in shadowed {
        warnings.push(format!("spec.rules[{place}].plugins[{j}]: `{pattern}` is answered by spec.rules[{by}]"));
    }
}

/// Pre-releases that are asked for and not published.
fn unpublished(policy: &CheckedPolicy, component: &Component, published: Channel) -> Option<String> {
    if published == Channel::Prerelease {
        return None;
    }
    let answering = match component {
        Component::D8 => policy.cli.as_ref().map(|rule| ("spec.cli".to_owned(), rule)),
        Component::Plugin(name) => policy.rule_for(name).map(|(i, rule)| (format!("spec.rules[{i}]"), rule)),
    };
    let is_denied = |rule: &CheckedRule| rule.settings.access == Some(Access::Deny);
    if answering.as_ref().is_some_and(|(_, rule)| is_denied(rule)) {
        return None;
    }
    let own = answering.and_then(|(field, rule)| Some((field, rule.settings.channel?)));
    let (field, channel) = own.or_else(|| Some(("spec.defaults".to_owned(), policy.defaults.channel?)))?;
    (channel == Channel::Prerelease).then(|| {
        format!(
            "{field}.channel: pre-releases of {component} are not published; set `channel: Prerelease` in CliRelease \
             {component}"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warned(spec: &Value, around: PolicyContext<'_>) -> Vec<String> {
        let mut spec = spec.clone();
        spec.as_object_mut().unwrap().entry("hostSelector").or_insert_with(|| json!({}));
        let policy = json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": "p"}, "spec": spec,
        });
        warnings(&CheckedPolicy::new(&serde_json::from_value(policy).unwrap()).unwrap(), around)
    }

    #[test]
    fn shadowed_rules_and_readings() {
        for (spec, expected) in [
            (json!({"rules": [{"plugins": ["a", "b-*"]}, {"plugins": ["c"]}, {"plugins": ["*"]}]}), vec![]),
            (
                json!({"rules": [{"plugins": ["a", "b-*"]}, {"plugins": ["a", "b-c", "b-d*"]}]}),
                vec!["spec.rules[1] never speaks: earlier rules name all its plugins"],
            ),
            (
                json!({"rules": [{"plugins": ["*"]}, {"plugins": ["a*"]}]}),
                vec!["spec.rules[1] never speaks: earlier rules name all its plugins"],
            ),
            (
                json!({"rules": [{"plugins": ["x"]}, {"plugins": ["b-*"]}, {"plugins": ["b*", "b-c"]}]}),
                vec!["spec.rules[2].plugins[1]: `b-c` is answered by spec.rules[1]"],
            ),
            (
                json!({"rules": [{"plugins": ["a", "b-c", "b-*", "a"]}]}),
                vec!["spec.rules[0].plugins[3]: `a` is named twice"],
            ),
            (
                json!({"rules": [{"plugins": ["a"], "versions": "=1.2"}], "cli": {"versions": "1"}}),
                vec!["spec.rules[0].versions: `=1.2` means 1.2.x", "spec.cli.versions: `1` means 1.x"],
            ),
            (json!({"rules": [{"plugins": ["a"], "versions": ">=1.2 <2"}]}), vec![]),
        ] {
            assert_eq!(warned(&spec, PolicyContext::default()), expected, "{spec}");
        }
    }

    #[test]
    fn matches_are_told() {
        for (hosts, workstations, expected) in [
            (None, false, None),
            (None, true, Some("it speaks for workstations too")),
            (Some(0), false, Some("it matches no host")),
            (Some(0), true, Some("it matches workstations and no managed host")),
            (Some(1), false, Some("it matches 1 host")),
            (Some(120), true, Some("it matches 120 hosts, and workstations")),
        ] {
            let found = warned(&json!({}), PolicyContext { hosts, workstations, channels: None });
            assert_eq!(found.first().map(String::as_str), expected);
        }
    }

    #[test]
    fn a_channel_that_is_not_published() {
        let of = |name: &str| name.parse::<Component>().unwrap();
        let channels = BTreeMap::from([
            (of("d8"), Channel::Stable),
            (of("stable"), Channel::Stable),
            (of("both"), Channel::Prerelease),
        ]);
        let around = PolicyContext { channels: Some(&channels), ..PolicyContext::default() };
        let warning = |field: &str, name: &str| {
            format!(
                "{field}.channel: pre-releases of {name} are not published; set `channel: Prerelease` in CliRelease \
                 {name}"
            )
        };
        let rule = |plugin: &str| json!({"rules": [{"plugins": [plugin], "channel": "Prerelease"}]});
        for (spec, expected) in [
            (rule("both"), vec![]),
            (rule("stable"), vec![warning("spec.rules[0]", "stable")]),
            (rule("s*"), vec![warning("spec.rules[0]", "stable")]),
            (json!({"cli": {"channel": "Prerelease"}}), vec![warning("spec.cli", "d8")]),
            (
                json!({"defaults": {"channel": "Prerelease"}, "cli": {"channel": "Stable"},
                    "rules": [{"plugins": ["x"], "access": "Deny"}]}),
                vec![warning("spec.defaults", "stable")],
            ),
            (
                json!({"defaults": {"channel": "Prerelease"}, "cli": {"channel": "Stable"},
                    "rules": [{"plugins": ["stable"], "access": "Deny"}]}),
                vec![],
            ),
        ] {
            assert_eq!(warned(&spec, around), expected, "{spec}");
        }
    }
}
