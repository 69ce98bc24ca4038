//! "What binds whom", a test per row, and the rules that lift a gate.

use super::*;

/// Which intents a policy's gate stops for a version that comes after the active one.
fn bound(specs: &[Value], version: &str, active: Option<&str>, code: &str) -> String {
    let set = set(specs);
    [(A, 'A'), (U, 'U'), (X, 'X'), (R, 'R')]
        .into_iter()
        .filter(|(intent, _)| codes(&evaluate(&set, change(*intent, version, active))).contains(&code))
        .map(|(_, letter)| letter)
        .collect()
}

fn rule(fields: &Value) -> Value {
    let mut rule = json!({"plugins": ["stronghold"], "updates": "Auto"});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"rules": [rule]})
}

#[test]
fn each_gate_binds_its_intents() {
    let some = Some("v1.0.0");
    let denied = json!({"rules": [{"plugins": ["stronghold"], "access": "Deny"}]});
    for (spec, version, active, code, intents) in [
        (denied.clone(), "v1.1.0", some, "Denied", "AUXR"),
        (denied, "v1.1.0", None, "Denied", "AUXR"),
        (json!({"defaults": {"access": "Deny"}}), "v1.1.0", some, "Denied", "AUXR"),
        (rule(&json!({"block": ["1.1.0"]})), "v1.1.0", some, "Blocked", "AUXR"),
        (rule(&json!({"block": ["v1.1.0"]})), "v1.1.1", some, "Blocked", ""),
        (rule(&json!({"versions": "<1.1"})), "v1.1.0", some, "VersionNotPermitted", "AUX"),
        (rule(&json!({"versions": ">=1.1 <2"})), "v1.1.0", some, "VersionNotPermitted", ""),
        (rule(&json!({"versions": ""})), "v1.1.0", some, "VersionNotPermitted", ""),
        (rule(&json!({"channel": "Stable"})), "v1.1.0-rc.1", some, "ChannelNotPermitted", "AUX"),
        (rule(&json!({"channel": "Stable"})), "v1.1.0-main", some, "ChannelNotPermitted", ""),
        (rule(&json!({"channel": "Prerelease"})), "v1.1.0-rc.1", some, "ChannelNotPermitted", ""),
        (json!({"defaults": {"channel": "Stable"}}), "v1.1.0-rc.1", some, "ChannelNotPermitted", "AUX"),
        (rule(&json!({})), "v1.1.0-rc.1", some, "PreRelease", "AU"),
        (rule(&json!({"channel": "Prerelease"})), "v1.1.0-rc.1", some, "PreRelease", ""),
        (json!({"paused": true}), "v1.1.0", some, "Paused", "AUX"),
        (json!({"paused": true}), "v1.1.0", None, "Paused", "AUX"),
        (rule(&json!({"updates": "Frozen"})), "v1.1.0", some, "Frozen", "AUX"),
        (rule(&json!({"updates": "Frozen"})), "v1.1.0", None, "Frozen", ""),
        (rule(&json!({"updates": "Frozen"})), "v1.0.0", some, "Frozen", ""),
        (rule(&json!({"updates": "Manual"})), "v1.1.0", some, "Manual", "A"),
        (rule(&json!({"updates": "Manual"})), "v1.1.0", None, "Manual", "A"),
        (rule(&json!({"updates": "Manual", "access": "Require"})), "v1.1.0", None, "Manual", ""),
        (rule(&json!({"updates": "Manual", "access": "Require"})), "v1.1.0", some, "Manual", "A"),
        (json!({}), "v1.1.0", some, "Manual", "A"),
        (rule(&json!({})), "v1.1.0", some, "Manual", ""),
        (rule(&json!({})), "v2.0.0", some, "MajorStays", "AU"),
        (rule(&json!({"majorUpdates": "Stay"})), "v2.0.0", some, "MajorStays", "AU"),
        (rule(&json!({"majorUpdates": "Cross"})), "v2.0.0", some, "MajorStays", ""),
        (rule(&json!({"majorUpdates": "Stay"})), "v2.0.0", None, "MajorStays", ""),
        (rule(&json!({"majorUpdates": "Stay"})), "v1.9.0", some, "MajorStays", ""),
        // No record of it, where a gate needs one.
        (rule(&json!({"minAge": "1h"})), "v1.1.0", some, "NoRecord", "AUX"),
        (rule(&json!({"minAge": "1h"})), "v1.1.0", None, "NoRecord", "AUX"),
        (rule(&json!({"minAge": "0s"})), "v1.1.0", some, "NoRecord", ""),
        (rule(&json!({"minAge": "1h", "expedite": ["v1.1.0"]})), "v1.1.0", some, "NoRecord", ""),
        (json!({"defaults": {"minAge": "72h"}}), "v1.1.0", some, "NoRecord", "AUX"),
        (json!({"rollout": {"over": "48h"}}), "v1.1.0", some, "NoRecord", "AU"),
        (rule(&json!({"pins": [pin("v1.1.0")]})), "v1.1.0", some, "NoRecord", "AUX"),
        (rule(&json!({"pins": [pin("v1.2.0")]})), "v1.1.0", some, "NoRecord", ""),
        (json!({"integrity": {"movedTags": "Refuse"}}), "v1.1.0", some, "NoRecord", "AUX"),
        (json!({"integrity": {"movedTags": "Soak", "signature": "Ignore"}}), "v1.1.0", some, "NoRecord", ""),
        (json!({"windows": [{"start": "02:00", "duration": "3h"}]}), "v1.1.0", some, "NoRecord", ""),
        (json!({"windows": [{"start": "02:00", "duration": "3h"}]}), "v1.1.0", some, "OutsideWindow", "A"),
        (json!({"windows": [{"start": "00:00", "duration": "3h"}]}), "v1.1.0", some, "OutsideWindow", ""),
    ] {
        assert_eq!(bound(std::slice::from_ref(&spec), version, active, code), intents, "{code}: {spec} {version}");
    }
}

fn pin(version: &str) -> Value {
    json!({"version": version, "digest": format!("sha256:{}", "0".repeat(64))})
}

#[test]
fn requirements_bind_all_but_a_repair() {
    let unmet = Unmet::recorded(&["requires Kubernetes >=1.34, the cluster runs v1.33.4".to_owned()]);
    let unchecked = Unchecked::recorded(&[]);
    for (unmet, unchecked, expected) in [
        (&unmet[..], &[][..], vec!["Unfit"]),
        (&[], &unchecked, vec!["RequirementsUnknown"]),
        (&unmet, &unchecked, vec!["Unfit", "RequirementsUnknown"]),
    ] {
        for intent in [A, U, X, R] {
            let verdict = evaluate_findings(
                &set(&[rule(&json!({}))]),
                change(intent, "v1.1.0", "v1.0.0"),
                (unmet, unchecked),
                None,
            );
            let expected = if intent == R { vec![] } else { expected.clone() };
            assert_eq!(codes(&verdict), expected, "{intent:?}");
        }
    }
}

#[test]
fn a_moved_tag_is_held_but_for_a_repair() {
    let release: CliRelease = serde_json::from_value(json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": "stronghold"},
        "spec": {}, "status": {"versions": [
            {"version": "1.1.0", "digest": "sha256:b", "fit": "Fits",
             "moved": {"from": "sha256:a", "at": "2026-11-22T09:00:00Z"}},
            {"version": "v1.2.0", "digest": "sha256:c", "fit": "Fits"},
        ]},
    }))
    .unwrap();
    let refuse = json!({"defaults": {"updates": "Auto"}, "integrity": {"movedTags": "Refuse"}});
    let soak = json!({"defaults": {"updates": "Auto"}, "integrity": {"movedTags": "Soak"}});
    let silent = json!({"defaults": {"updates": "Auto"}});
    for (specs, intent, version, expected) in [
        (vec![refuse.clone()], A, "v1.1.0", vec!["TagMoved"]),
        (vec![refuse.clone()], X, "v1.1.0", vec!["TagMoved"]),
        (vec![refuse.clone()], R, "v1.1.0", vec![]),
        (vec![refuse.clone()], U, "v1.2.0", vec![]),
        (vec![silent], U, "v1.1.0", vec!["TagMoved"]),
        (vec![soak.clone()], U, "v1.1.0", vec![]),
        (vec![refuse, soak], U, "v1.1.0", vec!["TagMoved"]),
        (vec![], U, "v1.1.0", vec![]),
    ] {
        let verdict = evaluate_with(&set(&specs), change(intent, version, "v1.0.0"), &[], Some(&release));
        assert_eq!(codes(&verdict), expected, "{intent:?} {version} {specs:?}");
    }
}

#[test]
fn rule_2_leaving_a_forbidden_version() {
    let auto = json!({"plugins": ["stronghold"], "updates": "Auto"});
    let with = |fields: Value| {
        let mut rule = auto.clone();
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    let windows = json!({"windows": [{"start": "02:00", "duration": "3h"}]});
    for (specs, intent, version, active, expected) in [
        // Major stays is lifted for any forbidden version.
        (vec![with(json!({"versions": ">=2"}))], A, "v2.0.0", "v1.0.0", vec![]),
        (vec![with(json!({"versions": "<2"}))], A, "v1.0.0", "v2.0.0", vec![]),
        (vec![with(json!({"block": ["v1.0.0"]}))], A, "v2.0.0", "v1.0.0", vec![]),
        (vec![with(json!({"channel": "Stable"}))], A, "v0.9.0", "v1.0.0-rc.1", vec![]),
        (vec![with(json!({"versions": ">=1"}))], A, "v2.0.0", "v1.0.0", vec!["MajorStays"]),
        // Windows, Manual and Frozen are lifted for a blocked one only.
        (vec![with(json!({"updates": "Manual", "block": ["v1.0.0"]}))], A, "v1.1.0", "v1.0.0", vec![]),
        (vec![with(json!({"updates": "Frozen", "block": ["v1.0.0"]}))], U, "v1.1.0", "v1.0.0", vec![]),
        (vec![with(json!({"updates": "Frozen", "versions": ">1.0.0"}))], U, "v1.1.0", "v1.0.0", vec!["Frozen"]),
        (vec![with(json!({"updates": "Manual", "versions": ">1.0.0"}))], A, "v1.1.0", "v1.0.0", vec!["Manual"]),
        (vec![with(json!({"block": ["v1.0.0"]})), windows.clone()], A, "v1.1.0", "v1.0.0", vec![]),
        (vec![with(json!({"versions": ">1.0.0"})), windows], A, "v1.1.0", "v1.0.0", vec!["OutsideWindow"]),
        // The kill switch holds the agent. People are not left with a plugin that may neither run nor be replaced.
        (vec![with(json!({"block": ["v1.0.0"]})), json!({"paused": true})], A, "v1.1.0", "v1.0.0", vec!["Paused"]),
        (vec![with(json!({"block": ["1.0.x"]})), json!({"paused": true})], U, "v1.1.0", "v1.0.0", vec![]),
        (vec![with(json!({"block": ["1.0.x"]})), json!({"paused": true})], X, "v1.1.0", "v1.0.0", vec![]),
        (vec![with(json!({"versions": ">1.0.0"})), json!({"paused": true})], U, "v1.1.0", "v1.0.0", vec!["Paused"]),
        // An invalid policy acts as paused; one that cannot be decoded holds everyone.
        (vec![with(json!({"block": ["1.0.x"]})), json!({"cli": {"minAge": "x"}})], U, "v1.1.0", "v1.0.0", vec![]),
        (
            vec![with(json!({"block": ["1.0.x"]})), json!({"cli": {"calm": 1}})],
            U,
            "v1.1.0",
            "v1.0.0",
            vec!["InvalidPolicy"],
        ),
        // The target must be permitted itself.
        (vec![with(json!({"block": ["v1.0.0", "v1.1.0"]}))], A, "v1.1.0", "v1.0.0", vec!["Blocked"]),
    ] {
        assert_eq!(codes(&evaluate(&set(&specs), change(intent, version, active))), expected, "{version} {specs:?}");
    }
}

#[test]
fn rule_13_without_a_policy() {
    for (intent, version, expected) in [
        (A, "v1.1.0", vec!["NotGoverned"]),
        (U, "v1.1.0", vec![]),
        (U, "v2.0.0", vec![]),
        (X, "v2.0.0", vec![]),
        (R, "v1.0.0", vec![]),
        (U, "v1.1.0-rc.1", vec!["PreRelease"]),
        (X, "v1.1.0-rc.1", vec![]),
        (U, "v1.1.0-main", vec![]),
    ] {
        assert_eq!(codes(&evaluate(&PolicySet::default(), change(intent, version, "v1.0.0"))), expected, "{version}");
    }
    let elsewhere = set(&[json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "paused": true})]);
    assert_eq!(codes(&evaluate(&elsewhere, change(A, "v1.1.0", "v1.0.0"))), ["NotGoverned"]);
    assert!(evaluate(&elsewhere, change(U, "v1.1.0", "v1.0.0")).is_eligible());
}

#[test]
fn rule_14_an_invalid_policy_acts_as_paused() {
    let invalid = json!({"rules": [{"plugins": ["stronghold"], "access": "Deny"},
                                   {"plugins": ["other"], "versions": "what"}]});
    let for_others = json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "rules": [{"plugins": []}]});
    let for_all = json!({"hostSelector": {"matchExpressions": [{"key": "role", "operator": "Near"}]}});
    for (spec, intent, expected) in [
        // As `paused: true` alone does, it leaves updates to people.
        (&invalid, A, vec!["InvalidPolicy", "Manual"]),
        (&invalid, U, vec!["InvalidPolicy"]),
        (&invalid, X, vec!["InvalidPolicy"]),
        (&invalid, R, vec![]),
        (&for_others, U, vec![]),
        (&for_all, U, vec!["InvalidPolicy"]),
    ] {
        assert_eq!(
            codes(&evaluate(&set(std::slice::from_ref(spec)), change(intent, "v1.1.0", "v1.0.0"))),
            expected,
            "{spec}"
        );
    }
}

#[test]
fn rule_14_one_that_cannot_be_decoded_holds_everything_but_d8() {
    let odd = json!({"rules": [{"plugins": ["x"], "access": "Sometimes"}]});
    let elsewhere = json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "cli": {"updates": "Never"}});
    assert!(evaluate(&set(&[elsewhere]), change(U, "v1.1.0", "v1.0.0")).is_eligible());
    let set = set(&[odd]);
    for (component, intent, expected) in [
        ("stronghold", A, vec!["InvalidPolicy", "Manual"]),
        ("stronghold", U, vec!["InvalidPolicy"]),
        ("stronghold", X, vec!["InvalidPolicy"]),
        ("stronghold", R, vec!["InvalidPolicy"]),
        ("d8", A, vec!["InvalidPolicy", "Manual"]),
        ("d8", U, vec![]),
        ("d8", X, vec![]),
        ("d8", R, vec!["InvalidPolicy"]),
    ] {
        let change = VersionChange { component, ..change(intent, "v1.1.0", "v1.0.0") };
        assert_eq!(codes(&evaluate(&set, change)), expected, "{component} {intent:?}");
    }
}

/// A field of a newer schema may restrict anything, wherever in the spec it is. Metadata and status restrict nothing.
#[test]
fn rule_14_an_unknown_field_of_the_spec_cannot_be_decoded() {
    for spec in [
        json!({"calm": [{"from": "2026-11-23T00:00"}]}),
        json!({"defaults": {"updates": "Auto", "calm": true}}),
        json!({"rules": [{"plugins": ["*"], "block": ["v9.9.9"], "calm": {}}]}),
        json!({"cli": {"calm": "x"}}),
        json!({"rollout": {"over": "48h", "calm": 5}}),
        json!({"integrity": {"calm": "x"}}),
        json!({"windows": [{"start": "02:00", "duration": "3h", "calm": "x"}]}),
        json!({"hostSelector": {"calm": ["bastion"]}}),
        json!({"hostSelector": {"matchExpressions": [{"key": "role", "operator": "Exists", "calm": 1}]}}),
    ] {
        let set = set(std::slice::from_ref(&spec));
        assert_eq!(codes(&evaluate(&set, change(U, "v1.1.0", "v1.0.0"))), ["InvalidPolicy"], "{spec}");
        let cli = VersionChange { component: "d8", ..change(U, "v1.1.0", "v1.0.0") };
        assert!(evaluate(&set, cli).is_eligible(), "{spec}");
    }
    let nested = json!({"windows": [{"start": "02:00", "duration": "3h", "calm": "x"}]});
    let verdict = evaluate(&set(&[nested]), change(U, "v1.1.0", "v1.0.0"));
    let text = crate::decisions::explain::in_record(&verdict.reasons()[0]);
    assert!(text.contains("(unknown field `spec.windows[0].calm`)"), "{text}");
    for (spec, right) in [
        (json!({"windows": [{"start": "02:00", "duration": "3h", "days": ["Saturday"]}]}), "; write `Sat`"),
        (json!({"defaults": {"updates": "auto"}}), "; write `Auto`"),
        (json!({"defaults": {"updates": "Sometimes"}}), "`Frozen`"),
    ] {
        let verdict = evaluate(&set(std::slice::from_ref(&spec)), change(U, "v1.1.0", "v1.0.0"));
        let text = crate::decisions::explain::in_record(&verdict.reasons()[0]);
        assert!(text.contains("unknown variant") && text.contains(right), "{text}");
    }
    let mut policy = policy("p0", &json!({}));
    policy["metadata"]["calm"] = json!(1);
    policy["status"]["calm"] = json!(1);
    assert!(evaluate(&PolicySet::from_json([&policy]), change(U, "v1.1.0", "v1.0.0")).is_eligible());
}

#[test]
fn rule_15_a_name_that_cannot_carry_a_record() {
    let all = |fields: Value| json!({"rules": [{"plugins": ["*"]}], "defaults": fields});
    for (spec, intent, version, expected) in [
        (all(json!({"access": "Deny"})), U, "v1.1.0", vec!["Denied"]),
        (all(json!({"channel": "Stable"})), U, "v1.1.0-rc.1", vec!["ChannelNotPermitted"]),
        (json!({"rules": [{"plugins": ["my*"], "block": ["1.1.0"]}]}), U, "v1.1.0", vec!["Blocked"]),
        (json!({"rules": [{"plugins": ["my*"], "versions": "<1.1"}]}), U, "v1.1.0", vec!["VersionNotPermitted"]),
        (json!({"paused": true}), U, "v1.1.0", vec!["Paused"]),
        (all(json!({"minAge": "72h", "updates": "Frozen", "majorUpdates": "Stay"})), U, "v2.0.0", vec![]),
        (json!({"rollout": {"over": "48h"}, "integrity": {"movedTags": "Refuse"}}), U, "v1.1.0", vec![]),
        (json!({"windows": [{"start": "02:00", "duration": "3h"}]}), A, "v2.0.0", vec![]),
    ] {
        let change = VersionChange { component: "my_plugin", ..change(intent, version, "v1.0.0") };
        assert_eq!(codes(&evaluate(&set(std::slice::from_ref(&spec)), change)), expected, "{spec}");
    }
}

#[test]
fn rule_16_the_rule_of_d8_itself() {
    let cli = |fields: Value| json!({"defaults": {"access": "Deny", "updates": "Auto"}, "cli": fields});
    for (spec, intent, version, expected) in [
        (json!({"defaults": {"access": "Deny", "updates": "Auto"}}), A, "v0.14.0", vec![]),
        (json!({"rules": [{"plugins": ["*"], "access": "Deny"}]}), U, "v0.14.0", vec![]),
        (cli(json!({"versions": ">=0.15"})), U, "v0.14.0", vec!["VersionNotPermitted"]),
        (cli(json!({"block": ["0.14.0"]})), R, "v0.14.0", vec!["Blocked"]),
        (cli(json!({})), A, "v0.14.0", vec![]),
        (cli(json!({"updates": "Manual"})), A, "v0.14.0", vec!["Manual"]),
        // For d8 every pre-release is one.
        (cli(json!({})), U, "v0.14.0-main", vec!["PreRelease"]),
        (cli(json!({"channel": "Stable"})), X, "v0.14.0-main", vec!["ChannelNotPermitted"]),
    ] {
        let change = VersionChange { component: "d8", ..change(intent, version, "v0.13.0") };
        assert_eq!(codes(&evaluate(&set(std::slice::from_ref(&spec)), change)), expected, "{spec}");
    }
}
