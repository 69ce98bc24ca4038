//! Tables of policies and their warnings, without facts about a cluster and with them.

mod facts;

use serde_json::{Value, json};

use super::*;

fn checked(spec: &Value) -> CheckedPolicy {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().entry("hostSelector").or_insert_with(|| json!({}));
    let policy = json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": "p"}, "spec": spec,
    });
    CheckedPolicy::new(&serde_json::from_value(policy).unwrap()).unwrap()
}

fn warnings_of(spec: &Value, context: PolicyContext<'_>) -> Vec<String> {
    warnings(&checked(spec), context)
}

/// Each policy with its warnings, where nothing is known about the cluster.
fn assert_warnings(cases: Vec<(Value, Vec<&str>)>) {
    for (spec, expected) in cases {
        assert_eq!(warnings_of(&spec, PolicyContext::default()), expected, "{spec}");
    }
}

#[test]
fn covered_patterns_and_constraint_hints() {
    assert_warnings(vec![
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
    ]);
}

#[test]
fn empty_ranges() {
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["a"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    assert_warnings(vec![
        (rule(json!({"versions": ">=2 <1"})), vec!["spec.rules[0].versions: no version can meet `>=2 <1`"]),
        (json!({"cli": {"versions": ">1.2.3 <1.2.3"}}), vec!["spec.cli.versions: no version can meet `>1.2.3 <1.2.3`"]),
        (rule(json!({"versions": ">=2 <1 || >=3"})), vec![]),
        (rule(json!({"versions": ">=1 <=1.0.0"})), vec![]),
        (
            rule(json!({"block": ["v1.0.0", ">=2 <1", "1.2.x"]})),
            vec!["spec.rules[0].block[1]: `>=2 <1` takes no version"],
        ),
    ]);
}

#[test]
fn versions_that_one_rule_contradicts() {
    let gates = |rule: Value| json!({"rules": [rule], "defaults": {"minAge": "72h"}});
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_warnings(vec![
        (
            gates(json!({"plugins": ["a"], "block": ["v1.2.0"], "expedite": ["v1.3.0", "1.2.0"]})),
            vec!["spec.rules[0].expedite[1]: v1.2.0 has no effect, because `block` of the same rule has it, too"],
        ),
        (
            gates(json!({"plugins": ["a"], "block": ["1.2.x"], "expedite": ["v1.2.0"]})),
            vec![
                "spec.rules[0].expedite[0]: v1.2.0 has no effect, because `block` of the same rule takes it with `1.2.x`",
            ],
        ),
        (
            gates(json!({"plugins": ["a"], "versions": ">=1.3", "expedite": ["v1.2.0", "v1.3.0"]})),
            vec![
                "spec.rules[0].expedite[0]: v1.2.0 has no effect, because it is outside `versions: >=1.3` of the same rule",
            ],
        ),
        (
            json!({"cli": {"versions": "<2", "pins": [{"version": "v2.0.0", "digest": digest}]}}),
            vec![
                "spec.cli.pins[0]: the pin of v2.0.0 has no effect, because it is outside `versions: <2` of the same rule",
            ],
        ),
        (
            json!({"rules": [{"plugins": ["a"], "block": ["<1.4"], "pins": [
                {"version": "v1.4.0-rc.1", "digest": digest}, {"version": "v1.4.0", "digest": digest}]}]}),
            vec![
                "spec.rules[0].pins[0]: the pin of v1.4.0-rc.1 has no effect, because `block` of the same rule takes it with `<1.4`",
            ],
        ),
        // The channel of the policy decides what a range permits.
        (
            gates(json!({"plugins": ["a"], "versions": ">=1.3", "channel": "Prerelease", "expedite": ["v1.3.0-rc.1"]})),
            vec![],
        ),
        // Another rule.
        (
            json!({"defaults": {"minAge": "72h"}, "rules": [{"plugins": ["a"], "block": ["v1.2.0"]}, {"plugins": ["b"], "expedite": ["v1.2.0"]}]}),
            vec![],
        ),
    ]);
}

#[test]
fn fields_without_effect() {
    let nights = json!([{"start": "02:00", "duration": "1h"}]);
    let blackout = json!([{"from": "2026-11-27T00:00", "to": "2026-11-28T00:00", "reason": "Black Friday"}]);
    let frozen = "spec.rollout has no effect on updates: the policy sets `updates: Frozen`, so that only first installs \
                  wait for a wave";
    let over = json!({"over": "48h"});
    let expedite = |spec: Value| {
        let mut all = json!({"rules": [{"plugins": ["a"], "expedite": ["v1.2.7"]}]});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        all
    };
    let no_gates = "spec.rules[0].expedite has no effect: the policy has neither minAge nor windows nor a rollout; to \
                    lift those of other policies, create a policy with `emergency`";
    assert_warnings(vec![
        (
            json!({"windowsFor": "Everyone"}),
            vec!["spec.windowsFor has no effect: the policy has neither windows nor blackouts"],
        ),
        (json!({"windowsFor": "Everyone", "windows": nights}), vec![]),
        (json!({"rollout": over, "defaults": {"updates": "Frozen"}}), vec![frozen]),
        // Other plugins and d8 itself still update.
        (json!({"rollout": over, "rules": [{"plugins": ["a"], "updates": "Frozen"}]}), vec![]),
        (json!({"rollout": over, "rules": [{"plugins": ["*"], "updates": "Frozen"}]}), vec![]),
        (
            json!({"rollout": over, "cli": {"updates": "Frozen"}, "rules": [
                {"plugins": ["b"], "access": "Deny"}, {"plugins": ["*"], "updates": "Frozen"}]}),
            vec![frozen],
        ),
        (
            json!({"rollout": over, "cli": {"updates": "Frozen"}, "defaults": {"access": "Deny"},
                "rules": [{"plugins": ["a"], "updates": "Frozen"}]}),
            vec![frozen],
        ),
        (
            json!({"rollout": over, "rules": [{"plugins": ["a"], "updates": "Frozen"}, {"plugins": ["b"], "updates": "Auto"}]}),
            vec![],
        ),
        (json!({"rollout": over, "defaults": {"updates": "Frozen"}, "cli": {"updates": "Auto"}}), vec![]),
        (
            json!({"rollout": over, "defaults": {"updates": "Auto"}, "rules": [{"plugins": ["a"], "updates": "Frozen"}]}),
            vec![],
        ),
        (json!({"rollout": over}), vec![]),
        (expedite(json!({})), vec![no_gates]),
        (expedite(json!({"defaults": {"minAge": "0s"}})), vec![no_gates]),
        // A blackout is not lifted.
        (expedite(json!({"blackouts": blackout})), vec![no_gates]),
        (expedite(json!({"defaults": {"minAge": "1h"}})), vec![]),
        (expedite(json!({"windows": nights})), vec![]),
        (expedite(json!({"rollout": over})), vec![]),
    ]);
}

/// A policy with subjects never applies to the agent. People wait for its waves and for `windowsFor: Everyone`.
#[test]
fn fields_without_effect_on_people() {
    let subjects = |spec: Value| {
        let mut all = json!({"subjects": {"groups": ["contractors"]}});
        all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        all
    };
    let nights = json!([{"start": "02:00", "duration": "1h"}]);
    let blackout = json!([{"from": "2026-11-27T00:00", "to": "2026-11-28T00:00", "reason": "Black Friday"}]);
    let agent_only = "no effect beside spec.subjects: without `windowsFor: Everyone` it holds the agent only, and the \
                      policy never applies to the agent";
    let windows = format!("spec.windows has {agent_only}");
    let both = format!("spec.windows and spec.blackouts have {agent_only}");
    let of = |field: &str, value: &str| {
        format!("{field}.updates: `{value}` has no effect beside spec.subjects: the policy never applies to the agent")
    };
    let (defaults, rule) = (of("spec.defaults", "Manual"), of("spec.rules[0]", "Auto"));
    assert_warnings(vec![
        (subjects(json!({"windows": nights})), vec![&windows]),
        (subjects(json!({"windows": nights, "windowsFor": "Agent", "blackouts": blackout})), vec![&both]),
        (subjects(json!({"windows": nights, "windowsFor": "Everyone"})), vec![]),
        (subjects(json!({"defaults": {"updates": "Manual"}})), vec![&defaults]),
        (subjects(json!({"rules": [{"plugins": ["a"], "updates": "Auto"}]})), vec![&rule]),
        (subjects(json!({"defaults": {"updates": "Frozen", "access": "Deny"}, "rollout": {"over": "1h"}})), vec![]),
        (subjects(json!({"rollout": {"over": "1h"}})), vec![]),
        (json!({"defaults": {"updates": "Manual"}, "windows": nights}), vec![]),
    ]);
}

#[test]
fn a_pause_that_keeps_agents_on_blocked_versions() {
    let paused = "spec.paused: while the policy is paused, only people leave the versions in `block`, and no agent";
    let block = json!([{"plugins": ["a"], "block": ["v1.0.0"]}]);
    assert_warnings(vec![
        (json!({"paused": true, "rules": block}), vec![paused]),
        (json!({"paused": true, "rules": [{"plugins": ["a"]}]}), vec![]),
        (json!({"paused": true, "rules": block, "subjects": {"groups": ["contractors"]}}), vec![]),
        (json!({"rules": block}), vec![]),
    ]);
}

#[test]
fn an_emergency_while_it_stands() {
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
        assert_eq!(warnings_of(&spec, PolicyContext { now, ..PolicyContext::default() }), expected, "{spec} {now:?}");
    }
}

/// Warnings about times are others from these times on.
#[test]
fn warnings_change_when_a_time_is_reached() {
    let blackout = |reason: &str, day: u32| json!({"from": format!("2026-11-{day}T00:00"), "to": format!("2026-11-{day}T12:00"), "reason": reason});
    let blackouts = json!({"blackouts": [blackout("audit", 20), blackout("Black Friday", 27)]});
    let emergency = json!({"emergency": {"until": "2026-12-20T00:00:00Z"}, "cli": {"expedite": ["v1.0.0"]}});
    let over = "spec.blackouts has entries that are over, remove them:";
    let audit = format!("{over} `audit` at 2026-11-20T12:00:00Z");
    let both = format!("{audit}, `Black Friday` at 2026-11-27T12:00:00Z");
    for (spec, now, expected, next) in [
        (&blackouts, "2026-11-20T11:59:59Z", vec![], Some("2026-11-20T12:00:00Z")),
        (&blackouts, "2026-11-20T12:00:00Z", vec![audit.as_str()], Some("2026-11-27T12:00:00Z")),
        (&blackouts, "2026-11-28T00:00:00Z", vec![both.as_str()], None),
        (&emergency, "2026-12-01T00:00:00Z", vec!["until", "more than 14 days"], Some("2026-12-06T00:00:00Z")),
        (&emergency, "2026-12-06T00:00:00Z", vec!["until"], Some("2026-12-20T00:00:00Z")),
        (&emergency, "2026-12-20T00:00:00Z", vec!["the emergency ended"], None),
    ] {
        let context = PolicyContext { now: Some(now.parse().unwrap()), ..PolicyContext::default() };
        let found = timed_warnings(&checked(spec), context);
        assert_eq!(found.next.map(|next| next.to_string()).as_deref(), next, "{now}");
        assert_eq!(found.texts.len(), expected.len(), "{found:?}");
        assert!(found.texts.iter().zip(&expected).all(|(text, expected)| text.contains(expected)), "{found:?}");
    }
}

#[test]
fn ranges_written_as_one_version() {
    let block = |entry: &str| json!({"rules": [{"plugins": ["a"], "block": [entry]}]});
    let hint = |entry: &str, range: &str| {
        format!("spec.rules[0].block[0]: `{entry}` is one pre-release of v1.2.0; for a range, write `{range}`")
    };
    for (entry, expected) in [
        ("1.2.0-1.2.9", Some(hint("v1.2.0-1.2.9", ">=1.2.0 <=1.2.9"))),
        ("v1.2.0-v1.2.9", Some(hint("v1.2.0-v1.2.9", ">=1.2.0 <=1.2.9"))),
        ("1.2.0-1.3", Some(hint("v1.2.0-1.3", ">=1.2.0 <=1.3"))),
        ("1.2.0-rc.1", None),
        ("1.2.0-1", None),
        ("1.2.0-1.1", None),
        (">=1.2.0 <=1.2.9", None),
    ] {
        assert_eq!(warnings_of(&block(entry), PolicyContext::default()), Vec::from_iter(expected), "{entry}");
    }
}

#[test]
fn pins_of_one_version_to_two_digests() {
    let pin =
        |version: &str, c: char| json!({"version": version, "digest": format!("sha256:{}", c.to_string().repeat(64))});
    let pins = |pins: Vec<Value>| json!({"cli": {"pins": pins}});
    let twice = "spec.cli.pins[1]: pins[0] binds v1.0.0 to another digest, and v1.0.0 needs both to be permitted";
    assert_warnings(vec![
        (pins(vec![pin("v1.0.0", 'a'), pin("1.0.0", 'b')]), vec![twice]),
        (pins(vec![pin("v1.0.0", 'a'), pin("v1.0.0", 'a')]), vec![]),
        (pins(vec![pin("v1.0.0", 'a'), pin("v1.0.1", 'b')]), vec![]),
    ]);
}

#[test]
fn people_whom_the_api_server_does_not_know() {
    let named = json!({"subjects": {"groups": ["contractors"]}});
    for (spec, people_unknown, expected) in [(&named, false, 0), (&named, true, 1), (&json!({}), true, 0)] {
        let found = warnings_of(spec, PolicyContext { people_unknown, ..PolicyContext::default() });
        assert_eq!(found.len(), expected, "{spec} {found:?}");
        assert!(found.iter().all(|warning| warning.contains("spec.subjects") && warning.contains("SelfSubjectReview")));
    }
}
