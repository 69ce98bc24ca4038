//! Valid policies, and one invalid policy for every error.

use serde_json::{Value, json};

use super::*;
use crate::values::text::printable_to;

fn check(spec: &Value) -> Result<CheckedPolicy, InvalidPolicy> {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().entry("hostSelector").or_insert_with(|| json!({}));
    let policy: PluginPolicy = serde_json::from_value(json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": "p"}, "spec": spec,
    }))
    .unwrap();
    CheckedPolicy::new(&policy)
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn valid_policies_are_accepted() {
    for spec in [
        json!({}),
        json!({"rules": [{"plugins": ["stronghold", "delivery-*", "*"]}]}),
        json!({"rules": [{"plugins": ["stronghold"], "access": "Require", "versions": ">=1.2 <2", "minAge": "1h30m",
            "block": ["v1.3.1", "1.3.2-rc.1+b"], "expedite": ["1.3.4"], "message": "why",
            "pins": [{"version": "v1.3.2", "digest": DIGEST}]}]}),
        json!({"rules": [{"plugins": ["x"], "access": "Deny", "message": "why"}]}),
        json!({"rules": [{"plugins": ["x"], "versions": ""}]}),
        json!({"defaults": {"access": "Deny", "channel": "Stable", "updates": "Auto", "majorUpdates": "Cross",
            "minAge": "8760h"}}),
        json!({"cli": {"versions": ">=0.13", "block": ["v0.13.0"], "updates": "Auto", "minAge": "24h"}}),
        json!({"windows": [{"days": ["Sat"], "start": "23:59", "duration": "168h", "timeZone": "Europe/Berlin"},
            {"start": "00:00", "duration": "1m"}]}),
        json!({"rollout": {"over": "720h", "maxFailed": 1,
            "canarySelector": {"matchExpressions": [{"key": "canary", "operator": "Exists"}]}}}),
        json!({"integrity": {"movedTags": "Soak", "signature": "Ignore"}, "missingDependencies": "Refuse"}),
    ] {
        check(&spec).unwrap_or_else(|rejected| panic!("{spec}: {rejected}"));
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn every_error_names_its_field() {
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["x"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [{"plugins": ["y"]}, rule]})
    };
    let deny = |field: &str, value: Value| rule(json!({"access": "Deny", field: value}));
    for (spec, start) in [
        (
            json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}}),
            "spec.hostSelector.matchExpressions[0].operator: ",
        ),
        (json!({"defaults": {"access": "Require"}}), "spec.defaults.access: `Require` is not allowed here"),
        (json!({"defaults": {"minAge": "3d"}}), "spec.defaults.minAge: \"3d\" is not a duration"),
        (rule(json!({"plugins": []})), "spec.rules[1].plugins: must name at least one"),
        (rule(json!({"plugins": ["ok", "../x"]})), "spec.rules[1].plugins[1]: "),
        (rule(json!({"plugins": ["my__plugin"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["_my*"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["a".repeat(64)]})), "spec.rules[1].plugins[0]: \"aaaa"),
        (rule(json!({"plugins": ["d8"]})), "spec.rules[1].plugins[0]: d8 is not a plugin; its rule is `spec.cli`"),
        (rule(json!({"plugins": ["a*b"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["**"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["A*"]})), "spec.rules[1].plugins[0]: "),
        (
            rule(json!({"plugins": ["x", "y*"], "access": "Require"})),
            "spec.rules[1].plugins: `Require` needs full plugin names",
        ),
        (rule(json!({"versions": ">=banana"})), "spec.rules[1].versions: `>=banana` is not a version constraint"),
        (rule(json!({"block": [""]})), "spec.rules[1].block[0]: is empty"),
        (rule(json!({"block": ["v1.2.3", "x1"]})), "spec.rules[1].block[1]: `x1` is neither a full version"),
        (rule(json!({"expedite": ["1.2"]})), "spec.rules[1].expedite[0]: \"1.2\" is not a full version"),
        (rule(json!({"expedite": ["1"]})), "spec.rules[1].expedite[0]: "),
        (rule(json!({"pins": [{"version": "1", "digest": DIGEST}]})), "spec.rules[1].pins[0].version: "),
        (rule(json!({"pins": [{"version": "1.0.0", "digest": "sha256:0"}]})), "spec.rules[1].pins[0].digest: "),
        (
            rule(json!({"minAge": "8760h1s"})),
            "spec.rules[1].minAge: 8760h1s is out of range: the duration must be from 0s to 8760h",
        ),
        (deny("versions", json!("<2")), "spec.rules[1].versions: has no effect with `access: Deny`"),
        (deny("block", json!(["1.0.0"])), "spec.rules[1].block: has no effect"),
        (deny("expedite", json!(["1.0.0"])), "spec.rules[1].expedite: has no effect"),
        (deny("pins", json!([{"version": "1.0.0", "digest": DIGEST}])), "spec.rules[1].pins: has no effect"),
        (deny("channel", json!("Stable")), "spec.rules[1].channel: has no effect"),
        (deny("updates", json!("Auto")), "spec.rules[1].updates: has no effect"),
        (deny("majorUpdates", json!("Stay")), "spec.rules[1].majorUpdates: has no effect"),
        (deny("minAge", json!("1h")), "spec.rules[1].minAge: has no effect"),
        (rule(json!({"plugins": vec!["x"; 65]})), "spec.rules[1].plugins: has 65 entries, at most 64 are allowed"),
        (rule(json!({"plugins": [""]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["a--b"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["-*"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["x".repeat(64)]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"plugins": ["\u{1b}[2J"]})), "spec.rules[1].plugins[0]: "),
        (rule(json!({"versions": "v".repeat(257)})), "spec.rules[1].versions: is longer than 256 characters"),
        (rule(json!({"versions": "1\t2"})), "spec.rules[1].versions: "),
        (rule(json!({"block": ["v01.2.3"]})), "spec.rules[1].block[0]: "),
        (rule(json!({"block": ["1.2.3-01"]})), "spec.rules[1].block[0]: "),
        (rule(json!({"block": [">=1.2.3 >"]})), "spec.rules[1].block[0]: "),
        (rule(json!({"expedite": [">=1.2.3"]})), "spec.rules[1].expedite[0]: "),
        (rule(json!({"block": ["18446744073709551616.0.0"]})), "spec.rules[1].block[0]: "),
        (rule(json!({"block": vec!["1.0.0"; 65]})), "spec.rules[1].block: has 65 entries, at most 64 are allowed"),
        (rule(json!({"expedite": ["latest"]})), "spec.rules[1].expedite[0]: "),
        (rule(json!({"expedite": vec!["1.0.0"; 65]})), "spec.rules[1].expedite: has 65 entries"),
        (
            rule(json!({"pins": vec![json!({"version": "1.0.0", "digest": DIGEST}); 65]})),
            "spec.rules[1].pins: has 65 entries",
        ),
        (rule(json!({"pins": [{"version": "1.0.0", "digest": "md5:0"}]})), "spec.rules[1].pins[0].digest: "),
        (
            rule(json!({"pins": [{"version": "1.0.0", "digest": DIGEST.to_uppercase()}]})),
            "spec.rules[1].pins[0].digest: ",
        ),
        (rule(json!({"minAge": "-1h"})), "spec.rules[1].minAge: \"-1h\" is not a duration"),
        (rule(json!({"minAge": "1.5h"})), "spec.rules[1].minAge: "),
        (rule(json!({"minAge": "1m1h"})), "spec.rules[1].minAge: "),
        (rule(json!({"minAge": ""})), "spec.rules[1].minAge: "),
        (
            json!({"rules": vec![json!({"plugins": ["x"]}); 129]}),
            "spec.rules: has 129 entries, at most 128 are allowed",
        ),
        (
            json!({"hostSelector": {"matchLabels": (0..17).map(|i| (format!("k{i}"), json!("v"))).collect::<serde_json::Map<_, _>>()}}),
            "spec.hostSelector.matchLabels: has 17 entries, at most 16 are allowed",
        ),
        (
            json!({"hostSelector": {"matchExpressions": vec![json!({"key": "a", "operator": "Exists"}); 17]}}),
            "spec.hostSelector.matchExpressions: has 17 entries",
        ),
        (
            json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": vec!["v"; 33]}]}}),
            "spec.hostSelector.matchExpressions[0].values: has 33 entries, at most 32 are allowed",
        ),
        (
            json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": []}]}}),
            "spec.hostSelector.matchExpressions[0].values: NotIn needs at least one value",
        ),
        (
            json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["v"]}]}}),
            "spec.hostSelector.matchExpressions[0].values: Exists takes no values",
        ),
        (
            json!({"hostSelector": {"matchExpressions": [{"key": "-a", "operator": "Exists"}]}}),
            "spec.hostSelector.matchExpressions[0].key: ",
        ),
        (json!({"hostSelector": {"matchLabels": {"a": "b c"}}}), "spec.hostSelector.matchLabels[\"a\"]: "),
        (json!({"subjects": {}}), "spec.subjects: must name at least one group or user"),
        (json!({"subjects": {"groups": []}}), "spec.subjects: must name at least one group or user"),
        (json!({"subjects": {"groups": ["a", ""]}}), "spec.subjects.groups[1]: must not be empty"),
        (json!({"subjects": {"users": ["a\u{1b}"]}}), "spec.subjects.users[0]: must be one line"),
        (json!({"subjects": {"users": ["a".repeat(513)]}}), "spec.subjects.users[0]: is longer than 512 characters"),
        (json!({"subjects": {"users": vec!["a"; 65]}}), "spec.subjects.users: has 65 entries, at most 64 are allowed"),
        (
            json!({"rollout": {"over": "1h", "canarySelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}),
            "spec.rollout.canarySelector.matchExpressions[0].values: In needs at least one value",
        ),
        (
            json!({"rollout": {"over": "721h"}}),
            "spec.rollout.over: 721h is out of range: the duration must be from 1m to 720h",
        ),
        (json!({"rollout": {"over": "-1h"}}), "spec.rollout.over: "),
        (json!({"rollout": {"over": "1h", "maxFailed": 100_001}}), "spec.rollout.maxFailed: must be from 1 to 100000"),
        (
            json!({"windows": vec![json!({"start": "02:00", "duration": "1h"}); 33]}),
            "spec.windows: has 33 entries, at most 32 are allowed",
        ),
        (
            json!({"windows": [{"start": "02:00", "duration": "1h", "days": vec!["Mon"; 8]}]}),
            "spec.windows[0].days: has 8 entries, at most 7 are allowed",
        ),
        (json!({"windows": [{"start": "02:60", "duration": "1h"}]}), "spec.windows[0].start: "),
        (
            json!({"windows": [{"start": "02:00", "duration": "169h"}]}),
            "spec.windows[0].duration: 169h is out of range",
        ),
        (json!({"windows": [{"start": "02:00", "duration": "-3h"}]}), "spec.windows[0].duration: "),
        (
            json!({"windows": [{"start": "02:00", "duration": "1h", "timeZone": "Mars/Base"}]}),
            "spec.windows[0].timeZone: \"Mars/Base\" is not an IANA time zone",
        ),
        (
            json!({"windows": [{"start": "02:00", "duration": "1h", "timeZone": "europe/berlin"}]}),
            "spec.windows[0].timeZone: \"europe/berlin\" must be written `Europe/Berlin`",
        ),
        (json!({"windows": [{"start": "02:00", "duration": "1h", "timeZone": ""}]}), "spec.windows[0].timeZone: "),
        (json!({"defaults": {"minAge": "8760h1s"}}), "spec.defaults.minAge: 8760h1s is out of range"),
        (json!({"cli": {"versions": "!"}}), "spec.cli.versions: "),
        (json!({"cli": {"block": [">v"]}}), "spec.cli.block[0]: "),
        (json!({"cli": {"expedite": [""]}}), "spec.cli.expedite[0]: "),
        (json!({"cli": {"pins": [{"version": "v0.1.0", "digest": ""}]}}), "spec.cli.pins[0].digest: "),
        (json!({"cli": {"minAge": "1"}}), "spec.cli.minAge: "),
        (json!({"windows": []}), "spec.windows: an empty list never opens"),
        (
            json!({"emergency": {"until": "2026-12-01"}}),
            "spec.emergency.until: \"2026-12-01\" is not a time in RFC 3339",
        ),
        (
            json!({"emergency": {"until": "2026-12-01T12:00:00Z"}, "paused": true}),
            "spec.paused: has no place in an emergency policy; set it in another policy",
        ),
        (
            json!({"emergency": {"until": "2026-12-01T12:00:00Z"}, "rules": [{"plugins": ["a"], "minAge": "1h"}]}),
            "spec.rules[0].minAge: has no place in an emergency policy",
        ),
        (
            json!({"emergency": {"until": "2026-12-01T12:00:00Z"}, "cli": {"message": "x", "updates": "Auto"}}),
            "spec.cli.updates: has no place in an emergency policy",
        ),
        (
            json!({"blackouts": vec![json!({"from": "2026-11-27T00:00", "to": "2026-11-30T00:00", "reason": "x"}); 33]}),
            "spec.blackouts: has 33 entries, at most 32 are allowed",
        ),
        (
            json!({"blackouts": [{"from": "2026-11-27T00:00", "to": "2026-11-27T00:00", "reason": "x"}]}),
            "spec.blackouts[0].to: must be later than `from`",
        ),
        (
            json!({"blackouts": [{"from": "2026-11-27T00:00", "to": "2026-11-30T00:00", "reason": " "}]}),
            "spec.blackouts[0].reason: must not be empty",
        ),
        (json!({"windows": [{"start": "24:00", "duration": "1h"}]}), "spec.windows[0].start: "),
        (json!({"windows": [{"start": "2:00", "duration": "1h"}]}), "spec.windows[0].start: "),
        (json!({"windows": [{"start": "02:00", "duration": "30s"}]}), "spec.windows[0].duration: 30s is out of range"),
        (json!({"windows": [{"start": "02:00", "duration": "1h", "days": []}]}), "spec.windows[0].days: "),
        (
            json!({"windows": [{"start": "02:00", "duration": "1h", "timeZone": "+02:00"}]}),
            "spec.windows[0].timeZone: ",
        ),
        (
            json!({"rollout": {"over": "59s"}}),
            "spec.rollout.over: 59s is out of range: the duration must be from 1m to 720h",
        ),
        (json!({"rollout": {"over": "1h", "maxFailed": 0}}), "spec.rollout.maxFailed: "),
        (
            json!({"rollout": {"over": "1h", "canarySelector": {"matchLabels": {"": "x"}}}}),
            "spec.rollout.canarySelector.matchLabels[\"\"]: ",
        ),
    ] {
        let rejected = check(&spec).map(|_| ()).expect_err(&spec.to_string());
        assert_eq!(rejected.errors.len(), 1, "{spec}: {rejected}");
        let error = rejected.to_string();
        assert!(error.starts_with(start), "{error}\ndoes not start with\n{start}");
    }
}

/// Values that the types cannot hold: such a policy is not decoded.
#[test]
fn undecodable_policies_are_refused() {
    for spec in [
        json!({}),
        json!({"hostSelector": []}),
        json!({"hostSelector": {}, "subjects": {"groups": "contractors"}}),
        json!({"hostSelector": {}, "paused": "yes"}),
        json!({"hostSelector": {}, "rules": {}}),
        json!({"hostSelector": {}, "rules": [{"access": "Allow"}]}),
        json!({"hostSelector": {}, "rules": [{"plugins": ["x"], "access": "Forbid"}]}),
        json!({"hostSelector": {}, "rules": [{"plugins": ["x"], "minAge": 5}]}),
        json!({"hostSelector": {}, "rules": [{"plugins": ["x"], "pins": [{"version": "1.0.0"}]}]}),
        json!({"hostSelector": {}, "windows": [{"start": "02:00", "duration": "1h", "days": ["Monday"]}]}),
        json!({"hostSelector": {}, "rollout": {"over": "1h", "maxFailed": -1}}),
        json!({"hostSelector": {}, "rollout": {}}),
        json!({"hostSelector": {}, "integrity": {"signature": "Require"}}),
    ] {
        let policy = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p"}, "spec": spec});
        assert!(serde_json::from_value::<PluginPolicy>(policy).is_err(), "{spec}");
    }
}

#[test]
fn at_most_a_hundred_errors_are_reported() {
    let rule = json!({"plugins": ["\u{1b}\u{202e}".repeat(1000)], "versions": "?", "minAge": "x".repeat(10_000)});
    let rejected = check(&json!({"rules": vec![rule; 10_000]})).unwrap_err();
    assert_eq!(rejected.errors.len(), 100);
    let message = rejected.to_string();
    assert!(message.len() < 100_000, "{}", message.len());
    assert_eq!(printable_to(&message, 1 << 20), message);
}

#[test]
fn a_rejection_has_all_errors_and_the_valid_selector() {
    let rejected = check(&json!({
        "hostSelector": {"matchLabels": {"role": "ci"}},
        "defaults": {"minAge": "x"}, "rules": [{"plugins": ["*"], "versions": "what", "block": ["y"]}],
    }))
    .unwrap_err();
    let fields: Vec<_> = rejected.errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["spec.defaults.minAge", "spec.rules[0].versions", "spec.rules[0].block[0]"]);
    assert!(rejected.selector.is_some());
    let bad_selector = json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}});
    assert!(check(&bad_selector).unwrap_err().selector.is_none());
}

#[test]
fn plugins_named_in_full_are_listed() {
    let checked = check(&json!({"rules": [
        {"plugins": ["b", "a-*"]}, {"plugins": ["a", "b"], "access": "Deny"}, {"plugins": ["*"]}]}))
    .unwrap();
    let names: Vec<_> = checked.named_plugins().into_iter().map(PluginName::as_str).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn the_first_rule_that_matches_a_plugin_applies() {
    let rules = [vec!["a", "b-*"], vec!["b-c", "c"], vec!["a*", "d"], vec!["*"], vec!["e"]];
    let spec: Vec<_> = rules.iter().map(|plugins| json!({"plugins": plugins})).collect();
    let checked = check(&json!({"rules": spec})).unwrap();
    for (plugin, index) in [("a", 0), ("b-c", 0), ("b", 3), ("c", 1), ("ab", 2), ("d", 2), ("e", 3), ("z", 3)] {
        let plugin = plugin.parse().unwrap();
        let first = checked.rules.iter().position(|rule| rule.plugins.iter().any(|pattern| pattern.matches(&plugin)));
        assert_eq!(
            (checked.rule_for_plugin(&plugin).map(|(index, _)| index), first),
            (Some(index), Some(index)),
            "{plugin}"
        );
    }
    assert!(check(&json!({"rules": [{"plugins": ["a"]}]})).unwrap().rule_for_plugin(&"b".parse().unwrap()).is_none());
}
