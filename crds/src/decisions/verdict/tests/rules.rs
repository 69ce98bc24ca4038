//! Numbered rules that are neither about time nor about bytes, and what the merge leaves open.

use super::{fixture::*, *};

#[test]
fn rule_3_paused_holds_all_but_a_person_who_leaves_a_blocked_version() {
    let rule = json!({"block": ["1.0.0"], "access": "Require"});
    let fixture = VerdictFixture::auto(&rule, &json!({"paused": true}));
    for (intent, active, expected) in [
        (A, Some("v1.0.0"), vec!["Paused"]),
        (U, Some("v1.0.0"), vec![]),
        (X, Some("v1.0.0"), vec![]),
        (A, None, vec!["Paused"]),
        (U, None, vec!["Paused"]),
        (U, Some("v1.0.1"), vec!["Paused"]),
        (R, Some("v1.1.0"), vec![]),
    ] {
        assert_eq!(fixture.codes(change(intent, "v1.1.0", active)), expected, "{intent:?} {active:?}");
    }
    // Deny and block still refuse runs.
    let labels = labels();
    let host = bastion(&labels);
    let set = PolicySet::from_json(&fixture.policies);
    assert!(set.for_host(host).run_allowed(&"stronghold".parse().unwrap(), &version("v1.0.0")).is_err());
    assert!(set.for_host(host).run_allowed(&"stronghold".parse().unwrap(), &version("v1.1.0")).is_ok());
}

#[test]
fn rule_4_frozen_forbids_replacing_by_anyone() {
    let fixture = VerdictFixture::auto(&json!({"updates": "Frozen"}), &json!({}));
    for (intent, active, expected) in [
        (A, Some("v1.0.0"), vec!["Frozen"]),
        (U, Some("v1.0.0"), vec!["Frozen"]),
        (X, Some("v2.0.0"), vec!["Frozen"]),
        (R, Some("v1.1.0"), vec![]),
        (X, Some("v1.1.0"), vec![]),
        (U, None, vec![]),
    ] {
        assert_eq!(fixture.codes(change(intent, "v1.1.0", active)), expected, "{intent:?} {active:?}");
    }
}

#[test]
fn rule_5_unfit_never_moves() {
    let fixture = VerdictFixture::auto(&json!({"majorUpdates": "Stay"}), &json!({}));
    let labels = labels();
    let host = bastion(&labels);
    let set = PolicySet::from_json(&fixture.policies);
    let guidance = set.for_host(host).guidance(&"stronghold".parse().unwrap(), Some(&version("v1.0.0")));
    assert_eq!(guidance.active_forbidden, None, "whatever its requirements say");
}

#[test]
fn rule_11_ranges_under_a_channel() {
    let of = |channel: &Value, versions: &str| {
        let mut rule = json!({"versions": versions});
        if !channel.is_null() {
            rule["channel"] = channel.clone();
        }
        auto(&rule, &json!({}))
    };
    let (both, unset) = (json!("Prerelease"), Value::Null);
    let out = vec!["VersionNotPermitted"];
    for (specs, version, expected) in [
        (vec![of(&both, "<2")], "v1.9.0-rc.1", vec![]),
        (vec![of(&both, "<2")], "v2.0.0-rc.1", out.clone()),
        (vec![of(&both, ">=1.2")], "v1.2.0-rc.1", vec![]),
        (vec![of(&both, "=1.2.3")], "v1.2.3-rc.1", out.clone()),
        (vec![of(&both, "=1.2.3-rc.1")], "v1.2.3-rc.1", vec![]),
        (vec![of(&both, "!=1.2.3-rc.1")], "v1.2.3-rc.1", out.clone()),
        (vec![of(&unset, "<2")], "v1.9.0-rc.1", out.clone()),
        (vec![of(&unset, "")], "v1.9.0-rc.1", vec![]),
        // A channel reads the range of its own policy: one policy more never permits what was forbidden.
        (vec![of(&both, "<2"), of(&unset, "<2")], "v1.9.0-rc.1", out),
        (vec![of(&both, "<2"), of(&unset, "")], "v1.9.0-rc.1", vec![]),
    ] {
        let fixture = VerdictFixture { release: None, ..VerdictFixture::of(&specs) };
        assert_eq!(fixture.codes(change(X, version, "v1.0.0")), expected, "{version} {specs:?}");
    }
    // The channel of the defaults counts, and the first number is the major, 0 included.
    let defaults = json!({"defaults": {"channel": "Prerelease", "updates": "Auto"},
        "rules": [{"plugins": ["stronghold"], "versions": "<2"}]});
    let fixture = VerdictFixture { release: None, ..VerdictFixture::of(&[defaults]) };
    assert_eq!(fixture.codes(change(A, "v0.9.0-rc.1", "v0.8.0")), [""; 0]);
    assert_eq!(fixture.codes(change(A, "v1.0.0-rc.1", "v0.8.0")), ["MajorStays"]);
}

#[test]
fn rule_16_a_d8_that_does_not_know_policies() {
    let (unaware, allowed) = (Some(false), Some(true));
    let spec = json!({"cli": {"updates": "Auto"}});
    for (specs, component, intent, unaware, expected) in [
        (vec![spec.clone()], "d8", A, unaware, vec!["PolicyUnaware"]),
        (vec![spec.clone()], "d8", U, unaware, vec!["PolicyUnaware"]),
        (vec![spec.clone()], "d8", U, allowed, vec!["PolicyUnaware"]),
        (vec![spec.clone()], "d8", X, unaware, vec!["PolicyUnaware"]),
        (vec![spec.clone()], "d8", X, allowed, vec![]),
        (vec![spec.clone()], "d8", R, unaware, vec![]),
        (vec![spec.clone()], "d8", U, None, vec![]),
        (vec![spec], "stronghold", U, unaware, vec![]),
        (vec![], "d8", U, unaware, vec!["PolicyUnaware"]),
        (vec![], "d8", X, unaware, vec!["PolicyUnaware"]),
        (vec![], "d8", X, allowed, vec![]),
        (vec![], "d8", U, None, vec![]),
    ] {
        let fixture = VerdictFixture { unaware, release: None, ..VerdictFixture::of(&specs) };
        let change = VersionChange { component, ..change(intent, "v0.14.0", "v0.13.0") };
        assert_eq!(fixture.codes(change), expected, "{component} {intent:?} {unaware:?}");
    }
}

#[test]
fn rule_20_the_floor_is_one_more_policy() {
    let local_rules =
        LocalRules::read([("stronghold", "v1.1.0"), ("d8", "v0.14.0")], ["evil*", "stronghold@v1.5.0"]).unwrap();
    let auto = auto(&json!({}), &json!({}));
    for (specs, component, intent, version, active, expected) in [
        (vec![auto.clone()], "stronghold", A, "v1.0.0", None, vec!["BelowMinimum"]),
        (vec![auto.clone()], "stronghold", X, "v1.1.0-rc.1", None, vec!["BelowMinimum"]),
        (vec![auto.clone()], "stronghold", R, "v1.0.0", Some("v1.0.0"), vec![]),
        (vec![auto.clone()], "stronghold", U, "v1.1.0", Some("v1.0.0"), vec![]),
        (vec![auto.clone()], "stronghold", R, "v1.5.0", Some("v1.5.0"), vec!["Blocked"]),
        (vec![], "evil-twin", R, "v1.0.0", Some("v1.0.0"), vec!["Denied"]),
        (vec![], "d8", U, "v0.13.0", None, vec!["BelowMinimum"]),
        // A host that has only local rules is governed: fields that no policy sets have their default.
        (vec![], "stronghold", A, "v1.2.0", Some("v1.1.0"), vec!["Manual"]),
        (vec![], "stronghold", U, "v2.0.0", Some("v1.1.0"), vec!["MajorStays"]),
        // Below it, what is installed is to be left.
        (vec![], "stronghold", U, "v2.0.0", Some("v1.0.0"), vec![]),
    ] {
        let fixture =
            VerdictFixture { local_rules: Some(local_rules.clone()), release: None, ..VerdictFixture::of(&specs) };
        let change = VersionChange { component, ..change(intent, version, active) };
        assert_eq!(fixture.codes(change), expected, "{component} {intent:?} {version} {active:?}");
    }
    let labels = labels();
    let host = Host { local_rules: Some(&local_rules), ..Host::unattended("bastion-1", &labels, None) };
    let require = json!({"rules": [{"plugins": ["evil-twin"], "access": "Require"}]});
    let set = set(&[require]);
    assert!(set.for_host(host).required().is_empty());
    assert!(set.for_host(host).run_allowed(&"evil-twin".parse().unwrap(), &version("v1.0.0")).is_err());
    assert!(set.for_host(host).denied(&"evil-twin".parse().unwrap()).is_some());
    assert!(set.for_host(host).denied(&"stronghold".parse().unwrap()).is_none());
    let guidance = set.for_host(host).guidance(&"stronghold".parse().unwrap(), Some(&version("v1.0.0")));
    assert_eq!(guidance.active_forbidden.map(|reason| reason.code()), Some(ReasonCode::BelowMinimum));
}

#[test]
fn all_reasons_are_reported_and_the_hold_that_ends_last_counts() {
    let spec = auto(
        &json!({"minAge": "72h"}),
        &json!({"windows": [{"start": "02:00", "duration": "3h"}], "rollout": {"over": "720h"}}),
    );
    let fixture = VerdictFixture::of(std::slice::from_ref(&spec));
    let verdict = fixture.evaluate(change(A, "v1.1.0", "v1.0.0"));
    assert_eq!(codes(&verdict), ["NotInWave", "OutsideWindow", "Soaking"]);
    let ends: Vec<_> = verdict.reasons().iter().map(|reason| reason.until().unwrap()).collect();
    assert_eq!(verdict.until(), ends.into_iter().max());
    assert_eq!(verdict.leading().unwrap().code(), ReasonCode::NotInWave);
    // One without an end takes it away; a stronger verdict too.
    let paused = VerdictFixture::of(&[spec.clone(), json!({"paused": true})]).evaluate(change(A, "v1.1.0", "v1.0.0"));
    assert_eq!((paused.class(), paused.until()), (Class::Held, None));
    let blocked = VerdictFixture::of(&[spec, auto(&json!({"block": ["1.1.0"]}), &json!({}))]);
    let blocked = blocked.evaluate(change(A, "v1.1.0", "v1.0.0"));
    assert_eq!((blocked.class(), blocked.until()), (Class::Forbidden, None));
}
