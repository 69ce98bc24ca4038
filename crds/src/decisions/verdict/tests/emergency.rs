//! Rule 6: emergency policies, and what expedite never lifts.

use proptest::prelude::*;

use super::{fixture::*, properties, *};

const END: &str = "2026-11-22T12:00:01Z";

/// An emergency policy for v1.1.0 of the plugin and of d8.
fn emergency(until: &str) -> Value {
    let rules = json!([{"plugins": ["other"], "expedite": ["v1.1.0"]}, {"plugins": ["strong*"], "expedite": ["1.1.0"], "message": "CVE"}]);
    json!({"emergency": {"until": until}, "rules": rules, "cli": {"expedite": ["v1.1.0"]}})
}

fn slow(rule: &Value, rest: &Value) -> Value {
    let mut gates = json!({"rollout": {"over": "720h"}, "windows": [{"start": "02:00", "duration": "3h"}], "windowsFor": "Everyone"});
    gates.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let mut slow = json!({"minAge": "999h", "updates": "Manual"});
    slow.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    auto(&slow, &gates)
}

fn up(intent: Intent) -> VersionChange<'static> {
    change(intent, "v1.1.0", "v1.0.0")
}

#[test]
fn an_emergency_lifts_the_time_gates_of_every_policy() {
    let plain = slow(&json!({}), &json!({}));
    let held = vec!["Manual", "NotInWave", "OutsideWindow", "Soaking"];
    let other_rule = json!({"emergency": {"until": END}, "rules": [
        {"plugins": ["stronghold"]}, {"plugins": ["*"], "expedite": ["v1.1.0"]}]});
    let elsewhere = json!({"hostSelector": {"matchLabels": {"role": "ci"}}});
    let mut for_ci = emergency(END);
    for_ci.as_object_mut().unwrap().extend(elsewhere.as_object().unwrap().clone());
    for (specs, expected) in [
        (vec![plain.clone()], held.clone()),
        (vec![plain.clone(), emergency(END)], vec![]),
        (vec![emergency(END), plain.clone(), slow(&json!({}), &json!({}))], ["Manual"; 0].to_vec()),
        (vec![plain.clone(), emergency("2026-11-22T15:00:01+03:00")], vec![]),
        // Over, for another host, for another version, and by a later rule.
        (vec![plain.clone(), emergency(NOW)], held.clone()),
        (vec![plain.clone(), for_ci], held.clone()),
        (
            vec![
                plain.clone(),
                json!({"emergency": {"until": END}, "rules": [{"plugins": ["*"], "expedite": ["v1.1.1"]}]}),
            ],
            held.clone(),
        ),
        (vec![plain.clone(), other_rule], held),
        // Manual where no policy sets updates, and none of the time gates.
        (vec![json!({}), emergency(END)], vec![]),
        // What an emergency never lifts.
        (vec![slow(&json!({"updates": "Frozen"}), &json!({})), emergency(END)], vec!["Frozen"]),
        (vec![slow(&json!({}), &json!({"paused": true})), emergency(END)], vec!["Paused"]),
        (vec![slow(&json!({"block": ["v1.1.0"]}), &json!({})), emergency(END)], vec!["Blocked"]),
        (vec![slow(&json!({"versions": "<1"}), &json!({})), emergency(END)], vec!["VersionNotPermitted"]),
        (vec![json!({"defaults": {"access": "Deny"}}), emergency(END)], vec!["Denied"]),
        (
            vec![slow(&json!({"pins": [{"version": "v1.1.0", "digest": digest('d')}]}), &json!({})), emergency(END)],
            vec!["NotPinned"],
        ),
        (
            vec![
                slow(
                    &json!({}),
                    &json!({"blackouts": [{"from": "2026-11-20T00:00", "to": "2026-11-23T00:00", "reason": "x"}]}),
                ),
                emergency(END),
            ],
            vec!["Blackout"],
        ),
        (vec![json!({"rules": [{"plugins": ["a"], "versions": "what"}]}), emergency(END)], vec!["InvalidPolicy"]),
    ] {
        assert_eq!(VerdictFixture::of(&specs).codes(up(A)), expected, "{specs:?}");
    }
    let fixture = VerdictFixture::of(&[json!({"cli": {"updates": "Manual"}}), emergency(END)]);
    assert_eq!(fixture.codes(VersionChange { component: "d8", ..up(A) }), [""; 0]);
}

#[test]
fn an_emergency_lifts_neither_a_halt_nor_a_policy_that_was_not_observed() {
    let halted = VerdictFixture::of(&[slow(&json!({}), &json!({})), emergency(END)]);
    let halted = halted.status(&wave("v1.1.0", &json!({"state": "Halted"})));
    assert_eq!(halted.codes(up(A)), ["WaveHalted"]);
    let mut behind = VerdictFixture::of(&[slow(&json!({}), &json!({})), emergency(END)]);
    behind.policies[0]["metadata"]["generation"] = json!(4);
    behind.policies[0]["status"] = json!({"observedGeneration": 3});
    assert_eq!(behind.codes(up(A)), ["PolicyNotObserved"]);
}

#[test]
fn an_emergency_policy_alone_governs_nothing() {
    let alone = VerdictFixture::of(&[emergency(END)]);
    for (intent, version, expected) in
        [(A, "v1.1.0", vec!["NotGoverned"]), (U, "v1.1.0", vec![]), (U, "v2.0.0", vec![]), (R, "v1.0.0", vec![])]
    {
        assert_eq!(alone.codes(change(intent, version, "v1.0.0")), expected, "{intent:?} {version}");
    }
    // The default of moved tags is one of policies.
    let mut moved = version_seen("v1.1.0", "2026-11-20T12:00:00Z");
    moved["moved"] = json!({"from": digest('0'), "at": "2026-11-20T12:00:00Z"});
    let alone = VerdictFixture { release: Some(release(NOW, &[&moved])), ..alone };
    assert_eq!(alone.codes(up(U)), [""; 0]);
    // It applies all the same, and an invalid one acts as paused.
    let set = set(&[emergency(END)]);
    let labels = labels();
    let host = bastion(&labels);
    assert_eq!(set.for_host(host).policy_names(), ["p0"]);
    let invalid = VerdictFixture::of(&[json!({"emergency": {"until": "soon"}})]);
    assert_eq!(invalid.codes(up(U)), ["InvalidPolicy"]);
}

#[test]
fn rule_6_expedite_lifts_no_min_age_of_a_moved_tag_without_a_pin() {
    let soak = json!({"integrity": {"movedTags": "Soak"}, "rollout": {"over": "720h"}});
    let own = |rule: Value| slow(&rule, &soak);
    let pin = json!([{"version": "v1.1.0", "digest": digest('a')}]);
    let mut moved = version_seen("v1.1.0", "2026-11-20T12:00:00Z");
    moved["moved"] = json!({"from": digest('0'), "at": "2026-11-20T12:00:00Z"});
    for (specs, expected) in [
        (vec![own(json!({"expedite": ["v1.1.0"]}))], vec!["Manual", "Soaking"]),
        (vec![own(json!({"expedite": ["v1.1.0"], "pins": pin}))], vec!["Manual"]),
        (vec![own(json!({})), emergency(END)], vec!["Soaking"]),
        (vec![own(json!({})), emergency(END), json!({"rules": [{"plugins": ["*"], "pins": pin}]})], vec![]),
        (vec![own(json!({"minAge": "1h"})), emergency(END)], vec![]),
    ] {
        let fixture = VerdictFixture { release: Some(release(NOW, &[&moved])), ..VerdictFixture::of(&specs) };
        assert_eq!(fixture.codes(up(A)), expected, "{specs:?}");
    }
}

proptest! {
    /// Adding an emergency policy permits no version that is forbidden, paused or frozen, and changes nothing for
    /// other versions.
    #[test]
    fn an_emergency_lifts_only_time_gates(
        specs in properties::gated_policies(), intent in properties::intent(), candidate in properties::recorded_version(),
    ) {
        let without = VerdictFixture::of(&specs).evaluate(change(intent, candidate, "v1.0.0"));
        let with = VerdictFixture::of(&[specs, vec![emergency(END)]].concat()).evaluate(change(intent, candidate, "v1.0.0"));
        let lifted = ["Soaking", "NoRecord", "RecordStale", "NotInWave", "OutsideWindow", "WindowsNeverMeet", "Manual"];
        let left: Vec<_> = codes(&without).into_iter().filter(|code| candidate != "v1.1.0" || !lifted.contains(code)).collect();
        let still: Vec<_> = codes(&with).into_iter().filter(|code| candidate != "v1.1.0" || !lifted.contains(code)).collect();
        prop_assert_eq!(&left, &still);
        prop_assert!(codes(&with).iter().all(|code| codes(&without).contains(code)), "{:?} {:?}", without, with);
        let alone = VerdictFixture::of(&[emergency(END)]).codes(change(A, candidate, "v1.0.0"));
        prop_assert!(alone.contains(&"NotGoverned"));
    }
}
