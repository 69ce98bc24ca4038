use serde_json::json;

use super::*;

/// Returns the violations of a spec with its values and hints.
fn check(spec: &Value) -> Vec<String> {
    let policy = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": "p"}, "spec": spec});
    let checked = PolicySchema::load().unwrap().check(&policy);
    checked.violations.into_iter().map(|violation| violation.explained(&policy).to_string()).collect()
}

fn assert_refused(more: &Value, expected: &[&str]) {
    let mut spec = json!({"hostSelector": {}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(check(&spec), expected, "{spec}");
}

#[test]
fn unknown_fields_have_their_right_name_or_place() {
    for (more, expected) in [
        (json!({"defaults": {"minage": "1h"}}), "spec.defaults.minage: unknown field; did you mean `minAge`?"),
        (json!({"pause": true}), "spec.pause: unknown field; did you mean `paused`?"),
        (
            json!({"minAge": "72h"}),
            "spec.minAge: unknown field; did you mean `spec.cli.minAge`, `spec.defaults.minAge` or `spec.rules[].minAge`?",
        ),
        (
            json!({"hostSelector": {"role": "bastion"}}),
            "spec.hostSelector.role: unknown field; labels belong into matchLabels: `matchLabels: {role: …}`",
        ),
        (json!({"frobnicate": 1}), "spec.frobnicate: unknown field"),
    ] {
        assert_refused(&more, &[expected]);
    }
}

#[test]
fn values_of_another_kind_or_spelling() {
    let window = |fields: Value| {
        let mut window = json!({"start": "02:00", "duration": "1h"});
        window.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"windows": [window]})
    };
    let quotes = "put it in quotes, so that YAML reads it as it is written";
    let days = "must be one of Mon, Tue, Wed, Thu, Fri, Sat, Sun";
    for (more, expected) in [
        (
            json!({"defaults": {"updates": "auto"}}),
            "spec.defaults.updates: must be one of Auto, Manual, Frozen, not \"auto\"; write `Auto`".to_owned(),
        ),
        (
            json!({"defaults": {"updates": "never"}}),
            "spec.defaults.updates: must be one of Auto, Manual, Frozen, not \"never\"".to_owned(),
        ),
        (
            window(json!({"days": ["Saturday"]})),
            format!("spec.windows[0].days[0]: {days}, not \"Saturday\"; write `Sat`"),
        ),
        (
            window(json!({"days": ["weekend"]})),
            format!("spec.windows[0].days[0]: {days}, not \"weekend\"; write `Sat, Sun`"),
        ),
        (window(json!({"days": "Mo"})), "spec.windows[0].days: must be a list, not \"Mo\"; write `[Mon]`".to_owned()),
        (json!({"paused": "yes"}), "spec.paused: must be true or false, not \"yes\"; write `true`".to_owned()),
        (
            json!({"rollout": {"over": 48}}),
            "spec.rollout.over: must be a string, not 48; write a unit, such as `48h`".to_owned(),
        ),
        (
            json!({"rollout": {"over": "1h", "canaryPercent": "10%"}}),
            "spec.rollout.canaryPercent: must be a whole number, not \"10%\"; write `10`".to_owned(),
        ),
        (
            json!({"rules": [{"plugins": "tool"}]}),
            "spec.rules[0].plugins: must be a list, not \"tool\"; write `[tool]`".to_owned(),
        ),
        (
            json!({"rules": [{"plugins": ["a"], "block": ">=1 <2"}]}),
            "spec.rules[0].block: must be a list, not \">=1 <2\"; write `[\">=1 <2\"]`".to_owned(),
        ),
        (
            json!({"rules": [{"plugins": "a, b-*"}]}),
            "spec.rules[0].plugins: must be a list, not \"a, b-*\"; write `[a, \"b-*\"]`".to_owned(),
        ),
        (
            json!({"rules": [{"plugins": ["a"], "block": "1.10"}]}),
            "spec.rules[0].block: must be a list, not \"1.10\"; write `[\"1.10\"]`".to_owned(),
        ),
        (
            json!({"rules": [{"plugins": ["a"], "block": "v1.2.0,1.2.1"}]}),
            "spec.rules[0].block: must be a list, not \"v1.2.0,1.2.1\"; write `[v1.2.0, \"1.2.1\"]`".to_owned(),
        ),
        (
            json!({"rules": [{"plugins": ["a"], "block": ">=1, <2"}]}),
            "spec.rules[0].block: must be a list, not \">=1, <2\"; write `[\">=1, <2\"]`".to_owned(),
        ),
        // `maxFailed` is a number of hosts, not a share.
        (
            json!({"rollout": {"over": "1h", "maxFailed": "10%"}}),
            "spec.rollout.maxFailed: must be a whole number, not \"10%\"".to_owned(),
        ),
        (
            json!({"rollout": {"over": 86400}}),
            "spec.rollout.over: must be a string, not 86400; write a unit, such as `86400s`".to_owned(),
        ),
        (
            json!({"rollout": {"over": "1h", "canaryPercent": 0}}),
            "spec.rollout.canaryPercent: must be at least 1, not 0".to_owned(),
        ),
        (json!({"rollout": {"over": 1.5}}), "spec.rollout.over: must be a string, not 1.5".to_owned()),
        (json!({"rollout": {"over": -1}}), "spec.rollout.over: must be a string, not -1".to_owned()),
        // In the file it may be 1.10.
        (json!({"cli": {"versions": 1.1}}), format!("spec.cli.versions: must be a string, not 1.1; {quotes}")),
        (json!({"rules": [{"plugins": [7]}]}), format!("spec.rules[0].plugins[0]: must be a string, not 7; {quotes}")),
        (
            json!({"hostSelector": {"matchLabels": {"canary": true}}}),
            format!("spec.hostSelector.matchLabels.canary: must be a string, not true; {quotes}"),
        ),
    ] {
        assert_refused(&more, &[&expected]);
    }
}

/// The rules are evaluated for what is left without the values that the schema refuses.
#[test]
fn all_errors_are_found_at_once() {
    let found = check(&json!({
        "hostSelector": {},
        "defaults": {"access": "Require", "minage": "1h"},
        "rules": [{"plugins": ["tool"], "access": "Deny", "minAge": "1h", "channel": "Beta"}],
        "windows": [{"start": "8:00", "duration": "1h", "days": ["Saturday", "So"]}],
    }));
    let fields: Vec<_> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        fields,
        [
            "spec.defaults.access",
            "spec.defaults.minage",
            "spec.rules[0].channel",
            "spec.rules[0].minAge",
            "spec.windows[0].days[0]",
            "spec.windows[0].days[1]",
            "spec.windows[0].start",
        ]
    );
    // Neither a value of another kind nor a missing field hides the others.
    let fields_of = |spec: &Value| -> Vec<String> {
        check(spec).iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
    };
    for (spec, fields) in [
        (
            json!({"rollout": {"over": ["1h"], "maxFailed": 0}, "windows": [{"start": "25:00"}]}),
            vec![
                "spec.hostSelector",
                "spec.rollout.maxFailed",
                "spec.rollout.over",
                "spec.windows[0].duration",
                "spec.windows[0].start",
            ],
        ),
        (
            json!({"hostSelector": [], "rules": ["tool", {"plugins": [{}, "B"], "minAge": "3d"}]}),
            vec![
                "spec.hostSelector",
                "spec.rules[0]",
                "spec.rules[1].minAge",
                "spec.rules[1].plugins[0]",
                "spec.rules[1].plugins[1]",
            ],
        ),
    ] {
        assert_eq!(fields_of(&spec), fields, "{spec}");
    }
    // What a rule misses because it was refused is no second error.
    let found = check(&json!({"hostSelector": {}, "rollout": {"over": "1h", "canaryPercent": "10%",
        "requireSucceeded": {"hosts": 1, "for": "1h"}}, "subjects": {"groups": "admins"}}));
    assert_eq!(found.len(), 2, "{found:?}");
}
