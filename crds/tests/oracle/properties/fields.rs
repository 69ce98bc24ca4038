//! Properties of emergencies, blackouts, subjects, halts and moved tags.

use serde_json::{Value, json};

use super::{CASES, VERSIONS, agent_moves_to, answer, has};
use crate::{
    evaluate::evaluate,
    generate::{self, Random},
};

fn policies(case: &mut Value) -> impl Iterator<Item = &mut Value> {
    case["policies"].as_array_mut().into_iter().flatten()
}

/// An emergency for the candidate of a case.
fn emergency(case: &Value) -> Value {
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1",
        "kind": "PluginPolicy",
        "metadata": {"name": "added"},
        "spec": {
            "hostSelector": {},
            "emergency": {"until": "2027-01-01T00:00:00Z"},
            "rules": [{"plugins": ["*"], "expedite": [case["version"]]}],
            "cli": {"expedite": [case["version"]]},
        },
    })
}

#[test]
fn an_emergency_lifts_time_and_manual_and_nothing_else() {
    const LIFTED: [&str; 8] = [
        "Manual",
        "Soaking",
        "NotInWave",
        "AwaitingEvidence",
        "OutsideWindow",
        "WindowsNeverMeet",
        "NoRecord",
        "RecordStale",
    ];
    let mut lifting = 0;
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        let before = answer(&case);
        let more = emergency(&case);
        case["policies"].as_array_mut().unwrap().push(more);
        let after = answer(&case);
        for reason in before["reasons"].as_array().unwrap() {
            assert!(has(&after, reason.as_str().unwrap()) || LIFTED.contains(&reason.as_str().unwrap()), "{case}");
        }
        for reason in after["reasons"].as_array().unwrap() {
            assert!(has(&before, reason.as_str().unwrap()), "{case}");
        }
        assert_eq!(before["runAllowed"], after["runAllowed"], "{case}");
        lifting += u32::from(before != after);
    }
    assert!(lifting > 50, "{lifting} cases have something to lift");
}

#[test]
fn an_emergency_alone_governs_nothing() {
    for seed in 0..CASES / 2 {
        let mut case = generate::case(seed);
        case["policies"] = json!([]);
        let before = answer(&case);
        case["policies"] = json!([emergency(&case)]);
        assert_eq!(before, answer(&case), "{case}");
    }
}

#[test]
fn a_blackout_never_moves_an_installed_version() {
    for seed in 0..CASES / 2 {
        let case = generate::case(seed);
        if case["active"].is_null() || case["policies"].as_array().unwrap().is_empty() {
            continue;
        }
        let mut closed = case.clone();
        for policy in policies(&mut closed).filter(|policy| policy["spec"]["emergency"].is_null()) {
            let blackout = json!({"from": "2026-01-01T00:00", "to": "2027-01-01T00:00", "reason": "All year"});
            // An invalid policy stays as it is.
            let mut blackouts = match &policy["spec"]["blackouts"] {
                Value::Null => Vec::new(),
                Value::Array(blackouts) if blackouts.len() < 32 => blackouts.clone(),
                _ => continue,
            };
            blackouts.push(blackout);
            policy["spec"]["blackouts"] = json!(blackouts);
            policy["spec"]["windowsFor"] = json!("Everyone");
        }
        let of_active = |case: &Value| {
            let mut case = case.clone();
            case["version"] = case["active"].clone();
            answer(&case)
        };
        let (before, after) = (of_active(&case), of_active(&closed));
        assert_eq!(before["verdict"] == "Forbidden", after["verdict"] == "Forbidden", "{closed}");
        assert_eq!(before["runAllowed"], after["runAllowed"], "{closed}");
        if agent_moves_to(&case, &VERSIONS).is_none() {
            assert_eq!(agent_moves_to(&closed, &VERSIONS), None, "{closed}");
        }
    }
}

#[test]
fn an_entry_in_subjects_changes_nothing_for_those_whom_it_does_not_name() {
    let mut with_subjects = 0;
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        let before = evaluate(&case);
        for policy in policies(&mut case) {
            let subjects = policy["spec"]["subjects"].clone();
            let has_lists =
                ["users", "groups"].iter().all(|list| subjects[list].is_null() || subjects[list].is_array());
            if subjects.is_object() && has_lists {
                for list in ["users", "groups"] {
                    let mut names = policy["spec"]["subjects"][list].as_array().cloned().unwrap_or_default();
                    names.push(json!("zoe"));
                    policy["spec"]["subjects"][list] = json!(names);
                }
                with_subjects += 1;
            }
        }
        assert_eq!(before, evaluate(&case), "{case}");
    }
    assert!(with_subjects > 100, "{with_subjects} policies have subjects");
}

/// Edits of a policy that an admin might expect to resume a halt.
fn edit(policy: &mut Value, candidate: &Value, d: &mut Random) {
    if !policy["spec"]["emergency"].is_null() {
        return;
    }
    let generation = policy["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
    policy["metadata"]["generation"] = json!(generation);
    policy["status"]["observedGeneration"] = json!(generation);
    let spec = &mut policy["spec"];
    match d.below(4) {
        0 => spec["rollout"] = json!({"over": "1m"}),
        1 => spec["rollout"] = json!({"over": "1m", "canaryPercent": 50, "maxFailed": 1000}),
        2 => spec["rollout"] = Value::Null,
        _ => {}
    }
    for rule in spec["rules"].as_array_mut().into_iter().flatten().filter(|rule| rule["access"] != "Deny") {
        rule["expedite"] = json!([candidate]);
    }
    policy["metadata"]["annotations"] = json!({"cli.deckhouse.io/resume": "*", "cli.deckhouse.io/other": "x"});
}

#[test]
fn a_halted_wave_is_resumed_by_nothing_but_its_annotation() {
    let mut halted = 0;
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        let was_valid = !has(&answer(&case), "InvalidPolicy");
        // What the annotation of the case resumes is another matter.
        policies(&mut case).for_each(|policy| policy["metadata"]["annotations"] = Value::Null);
        if !was_valid || !has(&answer(&case), "WaveHalted") {
            continue;
        }
        halted += 1;
        let mut edited = case.clone();
        let mut d = Random::new(seed + 3_000_000);
        policies(&mut edited).for_each(|policy| edit(policy, &case["version"], &mut d));
        let more = emergency(&case);
        edited["policies"].as_array_mut().unwrap().push(more);
        assert!(has(&answer(&edited), "WaveHalted"), "{edited}");

        for policy in policies(&mut case) {
            let mut halts = Vec::new();
            for component in policy["status"]["components"].as_array().into_iter().flatten() {
                for wave in component["waves"].as_array().into_iter().flatten() {
                    let name = component["name"].as_str().unwrap();
                    let text = |field: &str| wave[field].as_str().unwrap_or_default();
                    halts.push(format!("{name}/{}@{}", text("version"), text("haltedAt")));
                }
            }
            policy["metadata"]["annotations"] = json!({"cli.deckhouse.io/resume": halts.join(",")});
        }
        assert!(!has(&answer(&case), "WaveHalted"), "{case}");
    }
    assert!(halted > 30, "{halted} cases are halted");
}

#[test]
fn moving_a_tag_spreads_no_block() {
    let mut by_layer = 0;
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        let versions = |case: &mut Value, change: &dyn Fn(&mut Value)| {
            let versions = case.pointer_mut("/release/status/versions").and_then(Value::as_array_mut);
            versions.into_iter().flatten().for_each(change);
        };
        versions(&mut case, &|version| {
            version["artifacts"] = json!([{"manifest": "sha256:01", "layer": "sha256:02", "sizeBytes": 1}]);
        });
        let before = answer(&case);
        let candidate = case["version"].clone();
        versions(&mut case, &|version| {
            if seed % 2 == 0 || version["version"] != candidate {
                version["moved"] = json!({"from": "sha256:00", "at": "2026-01-01T00:00:00Z"});
            }
        });
        let after = answer(&case);
        assert!(has(&before, "Blocked") || !has(&after, "Blocked"), "{case}");
        assert!(before["runAllowed"] == false || after["runAllowed"] == true, "{case}");
        by_layer += u32::from(has(&before, "Blocked") && !has(&after, "Blocked"));
    }
    assert!(by_layer > 20, "{by_layer} cases are blocked by a layer");
}
