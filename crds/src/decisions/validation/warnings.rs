//! Warnings about a valid policy, for the message of condition `Accepted` and for `d8 policy check`. They
//! do not change a verdict.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{CheckedPolicy, CheckedRule, CheckedSubjects, RESUME};
use crate::{
    records::policy::Access,
    values::{channel::Channel, constraint::Constraint, name::Component},
};

/// How far ahead the end of an emergency may be without a warning.
pub const EMERGENCY: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Facts about the surroundings of a policy. A caller sets those that it knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyContext<'a> {
    /// Number of managed hosts that the policy selects.
    pub hosts: Option<u32>,
    /// Whether the policy selects workstations.
    pub workstations: bool,
    /// The current time, to compare with the end of an emergency.
    pub now: Option<Timestamp>,
    /// Whether the API server lacks `SelfSubjectReview`, so that nobody learns who a person is.
    pub people_unknown: bool,
    /// The channel that the record of each component publishes.
    pub channels: Option<&'a BTreeMap<Component, Channel>>,
}

/// Returns the warnings about a policy, one sentence each, in the order of the policy's fields.
pub fn warnings(policy: &CheckedPolicy, context: PolicyContext<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(selected_hosts(context));
    emergency(policy, context.now, &mut warnings);
    if context.people_unknown && policy.subjects != CheckedSubjects::Everyone {
        warnings.push(
            "spec.subjects: the API server lacks SelfSubjectReview, so nobody is known here, and only Deny and `block` \
             count for people"
                .to_owned(),
        );
    }
    for index in 0..policy.rules.len() {
        covered_patterns(policy, index, &mut warnings);
        repeated_patterns(&policy.rules[index], index, &mut warnings);
    }
    let rules = policy.rules.iter().enumerate().map(|(i, rule)| (format!("spec.rules[{i}]"), rule));
    for (field, rule) in rules.chain(policy.cli.iter().map(|rule| ("spec.cli".to_owned(), rule))) {
        if let Some(hints) = rule.versions.as_ref().and_then(Constraint::lint) {
            warnings.push(format!("{field}.versions: {hints}"));
        }
    }
    if policy.windows_for.is_some() && policy.schedule.is_unlimited() {
        warnings.push("spec.windowsFor has no effect: the policy has neither windows nor blackouts".to_owned());
    }
    for why in policy.resumed.errors() {
        warnings.push(format!("annotation {RESUME}: {why}; it resumes nothing"));
    }
    for (component, published) in context.channels.into_iter().flatten() {
        warnings.extend(unpublished_channel(policy, component, *published));
    }
    warnings
}

fn selected_hosts(context: PolicyContext<'_>) -> Option<String> {
    Some(match (context.hosts, context.workstations) {
        (None, false) => return None,
        (None, true) => "it also matches workstations".to_owned(),
        (Some(0), false) => "it matches no host".to_owned(),
        (Some(0), true) => "it matches workstations, but no managed host".to_owned(),
        (Some(1), false) => "it matches 1 host".to_owned(),
        (Some(1), true) => "it matches 1 host and workstations".to_owned(),
        (Some(hosts), false) => format!("it matches {hosts} hosts"),
        (Some(hosts), true) => format!("it matches {hosts} hosts and workstations"),
    })
}

/// Warns about an emergency policy while it stands, and about one that lifts nothing, lasts long or is over.
fn emergency(policy: &CheckedPolicy, now: Option<Timestamp>, warnings: &mut Vec<String>) {
    let Some(until) = policy.emergency else { return };
    if policy.rules.iter().chain(&policy.cli).all(|rule| rule.expedite.is_empty()) {
        warnings
            .push("spec.emergency lifts nothing: neither a rule nor spec.cli lists versions in expedite".to_owned());
    } else if now.is_some_and(|now| until <= now) {
        warnings.push(format!("the emergency ended at {until:.0}; delete the policy"));
    } else {
        let lifted = "the versions in expedite skip minAge, waves, windows and updates: Manual of every policy";
        warnings.push(format!("until {until:.0}, {lifted} on these hosts"));
    }
    if now.is_some_and(|now| until.duration_since(now) > EMERGENCY) {
        warnings.push("spec.emergency.until is more than 14 days ahead".to_owned());
    }
}

/// Warns about patterns that a rule lists twice.
fn repeated_patterns(rule: &CheckedRule, index: usize, warnings: &mut Vec<String>) {
    for (i, pattern) in rule.plugins.iter().enumerate() {
        if rule.plugins[..i].contains(pattern) {
            warnings.push(format!("spec.rules[{index}].plugins[{i}]: `{pattern}` is listed twice"));
        }
    }
}

/// Warns about patterns of a rule that earlier rules cover, so that the rule never applies to them.
fn covered_patterns(policy: &CheckedPolicy, index: usize, warnings: &mut Vec<String>) {
    let (earlier, rest) = policy.rules.split_at(index);
    let Some(rule) = rest.first() else { return };
    let covering = |pattern| earlier.iter().position(|rule| rule.plugins.iter().any(|other| other.covers(pattern)));
    let covered: Vec<_> =
        rule.plugins.iter().enumerate().filter_map(|(i, pattern)| Some((i, pattern, covering(pattern)?))).collect();
    if !rule.plugins.is_empty() && covered.len() == rule.plugins.len() {
        warnings.push(format!("spec.rules[{index}] never applies: earlier rules match all its plugins"));
        return;
    }
    for (i, pattern, by) in covered {
        warnings.push(format!("spec.rules[{index}].plugins[{i}]: `{pattern}` has no effect, spec.rules[{by}] applies"));
    }
}

/// Warns if the policy permits pre-releases that the record of the component does not publish.
fn unpublished_channel(policy: &CheckedPolicy, component: &Component, published: Channel) -> Option<String> {
    if published == Channel::Prerelease {
        return None;
    }
    let applicable = match component {
        Component::D8 => policy.cli.as_ref().map(|rule| ("spec.cli".to_owned(), rule)),
        Component::Plugin(name) => policy.rule_for_plugin(name).map(|(i, rule)| (format!("spec.rules[{i}]"), rule)),
    };
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn warnings_of(spec: &Value, context: PolicyContext<'_>) -> Vec<String> {
        let mut spec = spec.clone();
        spec.as_object_mut().unwrap().entry("hostSelector").or_insert_with(|| json!({}));
        let policy = json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": "p"}, "spec": spec,
        });
        warnings(&CheckedPolicy::new(&serde_json::from_value(policy).unwrap()).unwrap(), context)
    }

    #[test]
    fn covered_patterns_and_constraint_hints_are_reported() {
        for (spec, expected) in [
            (json!({"rules": [{"plugins": ["a", "b-*"]}, {"plugins": ["c"]}, {"plugins": ["*"]}]}), vec![]),
            (
                json!({"rules": [{"plugins": ["a", "b-*"]}, {"plugins": ["a", "b-c", "b-d*"]}]}),
                vec!["spec.rules[1] never applies: earlier rules match all its plugins"],
            ),
            (
                json!({"rules": [{"plugins": ["*"]}, {"plugins": ["a*"]}]}),
                vec!["spec.rules[1] never applies: earlier rules match all its plugins"],
            ),
            (
                json!({"rules": [{"plugins": ["x"]}, {"plugins": ["b-*"]}, {"plugins": ["b*", "b-c"]}]}),
                vec!["spec.rules[2].plugins[1]: `b-c` has no effect, spec.rules[1] applies"],
            ),
            (
                json!({"rules": [{"plugins": ["a", "b-c", "b-*", "a"]}]}),
                vec!["spec.rules[0].plugins[3]: `a` is listed twice"],
            ),
            (
                json!({"rules": [{"plugins": ["a"], "versions": "=1.2"}], "cli": {"versions": "1"}}),
                vec!["spec.rules[0].versions: `=1.2` means 1.2.x", "spec.cli.versions: `1` means 1.x"],
            ),
            (json!({"rules": [{"plugins": ["a"], "versions": ">=1.2 <2"}]}), vec![]),
            (
                json!({"windowsFor": "Everyone"}),
                vec!["spec.windowsFor has no effect: the policy has neither windows nor blackouts"],
            ),
            (json!({"windowsFor": "Everyone", "windows": [{"start": "02:00", "duration": "1h"}]}), vec![]),
        ] {
            assert_eq!(warnings_of(&spec, PolicyContext::default()), expected, "{spec}");
        }
    }

    #[test]
    fn selected_hosts_are_reported() {
        for (hosts, workstations, expected) in [
            (None, false, None),
            (None, true, Some("it also matches workstations")),
            (Some(0), false, Some("it matches no host")),
            (Some(0), true, Some("it matches workstations, but no managed host")),
            (Some(1), false, Some("it matches 1 host")),
            (Some(120), true, Some("it matches 120 hosts and workstations")),
        ] {
            let found = warnings_of(&json!({}), PolicyContext { hosts, workstations, ..PolicyContext::default() });
            assert_eq!(found.first().map(String::as_str), expected);
        }
    }

    #[test]
    fn an_emergency_is_reported_while_it_stands() {
        let spec = |until: &str, expedite: &[&str]| json!({"emergency": {"until": until}, "rules": [{"plugins": ["a"], "expedite": expedite}]});
        let stands = "until 2026-12-01T12:00:00Z, the versions in expedite skip minAge, waves, windows and updates: \
                      Manual of every policy on these hosts";
        let nothing = "spec.emergency lifts nothing: neither a rule nor spec.cli lists versions in expedite";
        let (end, cli) = (
            "2026-12-01T12:00:00Z",
            json!({"emergency": {"until": "2026-12-01T12:00:00Z"}, "cli": {"expedite": ["v1.0.0"]}}),
        );
        for (spec, now, expected) in [
            (spec(end, &["v1.2.7"]), None, vec![stands]),
            (spec(end, &["v1.2.7"]), Some("2026-12-01T11:59:59Z"), vec![stands]),
            (spec(end, &["v1.2.7"]), Some(end), vec!["the emergency ended at 2026-12-01T12:00:00Z; delete the policy"]),
            (spec(end, &["v1.2.7"]), Some("2026-11-17T12:00:00Z"), vec![stands]),
            (
                spec(end, &["v1.2.7"]),
                Some("2026-11-17T11:59:59Z"),
                vec![stands, "spec.emergency.until is more than 14 days ahead"],
            ),
            (spec(end, &[]), Some("2026-12-01T00:00:00Z"), vec![nothing]),
            (cli, None, vec![stands]),
        ] {
            let now = now.map(|now| now.parse().unwrap());
            assert_eq!(
                warnings_of(&spec, PolicyContext { now, ..PolicyContext::default() }),
                expected,
                "{spec} {now:?}"
            );
        }
    }

    #[test]
    fn people_whom_the_api_server_does_not_know_are_reported() {
        let named = json!({"subjects": {"groups": ["contractors"]}});
        for (spec, people_unknown, expected) in [(&named, false, 0), (&named, true, 1), (&json!({}), true, 0)] {
            let found = warnings_of(spec, PolicyContext { people_unknown, ..PolicyContext::default() });
            assert_eq!(found.len(), expected, "{spec} {found:?}");
            assert!(
                found.iter().all(|warning| warning.contains("spec.subjects") && warning.contains("SelfSubjectReview"))
            );
        }
    }

    #[test]
    fn an_unpublished_channel_is_reported() {
        let of = |name: &str| name.parse::<Component>().unwrap();
        let channels = BTreeMap::from([
            (of("d8"), Channel::Stable),
            (of("stable"), Channel::Stable),
            (of("both"), Channel::Prerelease),
        ]);
        let context = PolicyContext { channels: Some(&channels), ..PolicyContext::default() };
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
            assert_eq!(warnings_of(&spec, context), expected, "{spec}");
        }
    }
}
