//! "Which policies apply" of `docs/policies.md`: one row a field, and the choice of a rule within a policy.

use super::*;
use crate::decisions::intent::Intent;
use crate::decisions::reason::{Cause, Field, Source, Subject};

/// The reasons of two policies, in either order, against a change from v1.0.0 by this intent.
fn merged(first: &Value, second: &Value, intent: Intent, version: &str) -> Vec<&'static str> {
    let one = codes(&evaluate(&set(&[first.clone(), second.clone()]), change(intent, version, "v1.0.0")));
    let other = codes(&evaluate(&set(&[second.clone(), first.clone()]), change(intent, version, "v1.0.0")));
    assert_eq!(one, other, "order must not matter: {first} {second}");
    one
}

fn rule(fields: &Value) -> Value {
    let mut rule = json!({"plugins": ["stronghold"]});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"rules": [rule]})
}

#[test]
fn each_field_merges_by_its_row() {
    let unset = json!({});
    let auto = rule(&json!({"updates": "Auto"}));
    let cross = rule(&json!({"updates": "Auto", "majorUpdates": "Cross"}));
    for (first, second, intent, version, expected) in [
        // access: Deny > Require > Allow
        (rule(&json!({"access": "Allow"})), rule(&json!({"access": "Deny"})), U, "v1.1.0", vec!["Denied"]),
        (rule(&json!({"access": "Require"})), rule(&json!({"access": "Deny"})), U, "v1.1.0", vec!["Denied"]),
        (rule(&json!({"access": "Require"})), json!({"defaults": {"access": "Deny"}}), U, "v1.1.0", vec!["Denied"]),
        (rule(&json!({"access": "Deny"})), rule(&json!({"access": "Deny"})), U, "v1.1.0", vec!["Denied", "Denied"]),
        // versions: all must hold
        (rule(&json!({"versions": ">=1.1"})), rule(&json!({"versions": "<2"})), U, "v1.1.0", vec![]),
        (
            rule(&json!({"versions": ">=1.1"})),
            rule(&json!({"versions": "<1.1"})),
            U,
            "v1.1.0",
            vec!["VersionNotPermitted"],
        ),
        // block: union
        (rule(&json!({"block": ["1.1.0"]})), rule(&json!({"block": ["1.2.0"]})), U, "v1.1.0", vec!["Blocked"]),
        (rule(&json!({"block": ["1.1.0"]})), rule(&json!({"block": ["1.2.0"]})), U, "v1.2.0", vec!["Blocked"]),
        // channel: Stable > Prerelease
        (
            rule(&json!({"channel": "Stable"})),
            rule(&json!({"channel": "Prerelease"})),
            X,
            "v1.1.0-rc.1",
            vec!["ChannelNotPermitted"],
        ),
        (unset.clone(), rule(&json!({"channel": "Prerelease"})), U, "v1.1.0-rc.1", vec![]),
        // updates: Frozen > Manual > Auto
        (auto.clone(), rule(&json!({"updates": "Manual"})), A, "v1.1.0", vec!["Manual"]),
        (rule(&json!({"updates": "Frozen"})), rule(&json!({"updates": "Manual"})), A, "v1.1.0", vec!["Frozen"]),
        (auto.clone(), rule(&json!({"updates": "Frozen"})), U, "v1.1.0", vec!["Frozen"]),
        (auto.clone(), unset.clone(), A, "v1.1.0", vec![]),
        // majorUpdates: Stay > Cross
        (cross.clone(), auto.clone(), A, "v2.0.0", vec![]),
        (cross, rule(&json!({"majorUpdates": "Stay"})), A, "v2.0.0", vec!["MajorStays"]),
        // paused: or
        (auto, json!({"paused": true}), A, "v1.1.0", vec!["Paused"]),
    ] {
        assert_eq!(merged(&first, &second, intent, version), expected, "{first} {second} {version}");
    }
}

#[test]
fn missing_dependencies_refuse_wins() {
    let labels = labels();
    let host = bastion(&labels);
    let refuse = json!({"missingDependencies": "Refuse"});
    let install = json!({"missingDependencies": "Install"});
    let elsewhere = json!({"missingDependencies": "Refuse", "hostSelector": {"matchLabels": {"role": "ci"}}});
    for (specs, refused) in [
        (vec![], false),
        (vec![json!({})], false),
        (vec![install.clone(), refuse.clone()], true),
        (vec![refuse, install.clone()], true),
        (vec![install, elsewhere], false),
    ] {
        let by = set(&specs).for_host(host).missing_dependencies_refused();
        assert_eq!(by.is_some(), refused, "{specs:?}");
    }
}

#[test]
fn within_a_policy_the_first_matching_rule_applies_alone() {
    let rules = json!({
        "defaults": {"updates": "Auto", "access": "Deny"},
        "rules": [
            {"plugins": ["other", "strong*"], "access": "Allow", "versions": "<2"},
            {"plugins": ["stronghold"], "access": "Deny"},
            {"plugins": ["delivery-*"], "updates": "Manual"},
            {"plugins": ["*"], "access": "Allow", "updates": "Frozen"},
        ],
    });
    for (component, intent, version, expected) in [
        ("stronghold", A, "v1.1.0", vec![]),
        ("stronghold", A, "v2.0.0", vec!["VersionNotPermitted", "MajorStays"]),
        ("other", A, "v1.1.0", vec![]),
        // What its rule leaves out comes from the defaults, never from a later rule.
        ("delivery-kit", U, "v1.1.0", vec!["Denied"]),
        ("delivery-kit", A, "v1.1.0", vec!["Denied", "Manual"]),
        ("delivery", U, "v1.1.0", vec!["Frozen"]),
        ("strong", A, "v1.1.0", vec![]),
    ] {
        let change = VersionChange { component, ..change(intent, version, "v1.0.0") };
        assert_eq!(codes(&evaluate(&set(std::slice::from_ref(&rules)), change)), expected, "{component} {version}");
    }
}

#[test]
fn a_reason_names_policy_and_rule() {
    let first = json!({
        "defaults": {"channel": "Stable"},
        "rules": [{"plugins": ["x"]}, {"plugins": ["stronghold"], "block": ["1.1.0-rc.1"]}],
        "paused": true,
    });
    let verdict = evaluate(&set(&[first]), change(U, "v1.1.0-rc.1", "v1.0.0"));
    let origins: Vec<_> = verdict
        .reasons()
        .iter()
        .map(|r| (r.code().as_str(), r.policy().unwrap().to_owned(), r.rule().unwrap().to_string()))
        .collect();
    let expected = [("Blocked", "rules[1]"), ("ChannelNotPermitted", "defaults"), ("Paused", "paused")]
        .map(|(code, rule)| (code, "p0".to_owned(), rule.to_owned()));
    assert_eq!(origins, expected);
    assert_eq!(verdict.class(), Class::Forbidden);
    assert_eq!(verdict.leading().unwrap().code(), ReasonCode::Blocked);
}

#[test]
fn the_verdict_is_the_strongest_reason() {
    use Class::{Eligible, Forbidden, Held, Unfit};
    let unmet = Unmet::recorded(&["requires module cni".to_owned()]);
    let blocked = rule(&json!({"block": ["1.1.0"]}));
    for (specs, unmet, class) in [
        (vec![], &[][..], Eligible),
        (vec![json!({"paused": true})], &[], Held),
        (vec![json!({"paused": true})], &unmet, Unfit),
        (vec![json!({"paused": true}), blocked], &unmet, Forbidden),
    ] {
        assert_eq!(evaluate_with(&set(&specs), change(U, "v1.1.0", "v1.0.0"), unmet, None).class(), class, "{specs:?}");
    }
    assert!(Eligible < Held && Held < Unfit && Unfit < Forbidden);
}

#[test]
fn a_version_is_staged_ahead_of_its_window() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let by = || Source::LocalRules { field: Field::Refuse };
    let outside = |until| Cause::OutsideWindow { by: by(), together: false, everyone: false, until: at(until) };
    let blackout = |until| {
        let blackout = crate::decisions::window::CheckedBlackout { reason: "".into(), from: at(0), to: at(until) };
        Cause::Blackout { by: by(), blackout: Box::new(blackout), everyone: false, until: Some(at(until)) }
    };
    let subject = Subject { component: Component::D8, version: None, active: None, evaluated_at: None };
    let subject = std::sync::Arc::new(subject);
    let day = 24 * 3600;
    for (causes, expected) in [
        (vec![], false),
        (vec![outside(day)], true),
        (vec![outside(day + 1)], false),
        (vec![blackout(60)], true),
        (vec![outside(60), blackout(day)], true),
        (vec![outside(60), blackout(day + 1)], false),
        (vec![outside(60), Cause::Paused { by: by() }], false),
        (vec![outside(60), Cause::Denied { by: by(), message: None }], false),
        (vec![Cause::Paused { by: by() }], false),
    ] {
        let reasons: Vec<_> = causes.into_iter().map(|cause| Reason { subject: subject.clone(), cause }).collect();
        assert_eq!(Verdict::new(reasons.clone()).is_staged_ahead(at(0)), expected, "{reasons:?}");
    }
}

#[test]
fn a_hold_ends_with_its_last_reason() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let by = || Source::LocalRules { field: Field::Refuse };
    let min_age = std::time::Duration::from_secs(1);
    let soaking = |until: i64| Cause::Soaking { by: by(), min_age, first_seen: at(until - 1), expedited: false };
    let outside = |until| Cause::OutsideWindow { by: by(), together: false, everyone: false, until: at(until) };
    let subject = Subject { component: Component::D8, version: None, active: None, evaluated_at: None };
    let subject = std::sync::Arc::new(subject);
    for (causes, until, leading) in [
        (vec![], None, None),
        (vec![soaking(5), outside(9)], Some(at(9)), Some(ReasonCode::OutsideWindow)),
        (vec![soaking(9), outside(5)], Some(at(9)), Some(ReasonCode::Soaking)),
        (vec![soaking(5), Cause::Paused { by: by() }], None, Some(ReasonCode::Paused)),
        (vec![soaking(5), Cause::Denied { by: by(), message: None }], None, Some(ReasonCode::Denied)),
    ] {
        let reasons = causes.into_iter().map(|cause| Reason { subject: subject.clone(), cause });
        let verdict = Verdict::new(reasons.collect());
        assert_eq!((verdict.until(), verdict.leading().map(Reason::code)), (until, leading));
    }
}
