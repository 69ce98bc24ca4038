//! The merged policy of a host: one row a field of the merge table, with whose word it is.

use super::*;

fn effective_of(set: &PolicySet, listed: &[&str]) -> Value {
    effective_under(set, None, listed)
}

fn effective_under(set: &PolicySet, local_rules: Option<&LocalRules>, listed: &[&str]) -> Value {
    let labels = labels();
    let listed: Vec<_> = listed.iter().map(|name| name.parse().unwrap()).collect();
    let host = Host { local_rules, ..Host::unattended("bastion-1", &labels, None) };
    serde_json::to_value(set.for_host(host).effective(&listed)).unwrap()
}

/// What is said of `stronghold`; fields of the host itself, too.
fn field(effective: &Value, component: &str, name: &str) -> Value {
    let of = effective["components"].as_array().unwrap().iter().find(|c| c["component"] == component);
    let of = of.unwrap_or_else(|| panic!("{component} is not in {effective:#}"));
    of.get(name).or_else(|| effective.get(name)).cloned().unwrap_or(Value::Null)
}

fn own(rule: &Value) -> Value {
    let mut own = json!({"plugins": ["stronghold"]});
    own.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    json!({"rules": [own]})
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn the_merge_table_with_origins() {
    let from = |policy: &str, field: &str| json!({"policy": policy, "field": field});
    let word = |value: &Value, policy: &str, field: &str| json!({"value": value, "policy": policy, "field": field});
    let is = |value: &Value, from: &[Value]| json!({"value": value, "from": from});
    let defaults = |fields: &Value| json!({"defaults": fields});
    let digest = format!("sha256:{}", "a".repeat(64));
    let window = json!({"days": ["Sat", "Sun"], "start": "02:00", "duration": "3h", "timeZone": "Europe/Berlin"});
    let blackout =
        json!({"from": "2026-11-27T00:00", "to": "2026-11-30T00:00", "timeZone": "Europe/Berlin", "reason": "sale"});
    let span = json!({"from": "2026-11-26T23:00:00Z", "to": "2026-11-29T23:00:00Z", "reason": "sale"});
    for (name, specs, expected) in [
        ("access", vec![json!({})], is(&json!("Allow"), &[])),
        (
            "access",
            vec![own(&json!({"access": "Require"})), defaults(&json!({"access": "Allow"}))],
            is(&json!("Require"), &[from("p0", "rules[0].access")]),
        ),
        (
            "access",
            vec![
                own(&json!({"access": "Require"})),
                defaults(&json!({"access": "Deny"})),
                own(&json!({"access": "Deny"})),
            ],
            is(&json!("Deny"), &[from("p1", "defaults.access"), from("p2", "rules[0].access")]),
        ),
        // A field that the rule leaves out comes from the defaults of its policy.
        (
            "access",
            vec![json!({"defaults": {"access": "Deny"}, "rules": [{"plugins": ["strong*"], "updates": "Auto"}]})],
            is(&json!("Deny"), &[from("p0", "defaults.access")]),
        ),
        (
            "versions",
            vec![own(&json!({"versions": ">=1.2 <2"})), json!({}), own(&json!({"versions": "^1"}))],
            json!([word(&json!(">=1.2 <2"), "p0", "rules[0].versions"), word(&json!("^1"), "p2", "rules[0].versions")]),
        ),
        (
            "block",
            vec![own(&json!({"block": ["1.3.1", "v1.3.2"]})), own(&json!({"block": ["v1.3.1"]}))],
            json!([
                word(&json!("v1.3.1"), "p0", "rules[0].block"),
                word(&json!("v1.3.2"), "p0", "rules[0].block"),
                word(&json!("v1.3.1"), "p1", "rules[0].block"),
            ]),
        ),
        (
            "pins",
            vec![own(&json!({"pins": [{"version": "v1.3.2", "digest": digest}]}))],
            json!([word(&json!({"version": "v1.3.2", "digest": digest}), "p0", "rules[0].pins")]),
        ),
        ("channel", vec![json!({})], is(&Value::Null, &[])),
        (
            "channel",
            vec![own(&json!({"channel": "Prerelease"})), defaults(&json!({"channel": "Stable"}))],
            is(&json!("Stable"), &[from("p1", "defaults.channel")]),
        ),
        ("updates", vec![json!({})], is(&json!("Manual"), &[])),
        (
            "updates",
            vec![own(&json!({"updates": "Auto"})), defaults(&json!({"updates": "Frozen"}))],
            is(&json!("Frozen"), &[from("p1", "defaults.updates")]),
        ),
        ("minAge", vec![json!({})], is(&json!("0s"), &[])),
        (
            "minAge",
            vec![own(&json!({"minAge": "72h"})), defaults(&json!({"minAge": "90m"})), own(&json!({"minAge": "4320m"}))],
            is(&json!("72h"), &[from("p0", "rules[0].minAge"), from("p2", "rules[0].minAge")]),
        ),
        // The host is a canary of the policy with the longer one.
        (
            "minAge",
            vec![
                json!({"defaults": {"minAge": "72h"}, "rollout": {"over": "1h", "canarySelector": {}}}),
                defaults(&json!({"minAge": "1h"})),
            ],
            is(&json!("1h"), &[from("p1", "defaults.minAge")]),
        ),
        ("majorUpdates", vec![json!({})], is(&json!("Stay"), &[])),
        (
            "majorUpdates",
            vec![own(&json!({"majorUpdates": "Cross"})), json!({})],
            is(&json!("Cross"), &[from("p0", "rules[0].majorUpdates")]),
        ),
        (
            "windows",
            vec![json!({"windows": [window]}), json!({}), json!({"windows": [{"start": "00:00", "duration": "90m"}]})],
            json!([
                word(&json!([window]), "p0", "windows"),
                word(&json!([{"start": "00:00", "duration": "1h30m"}]), "p2", "windows"),
            ]),
        ),
        (
            "blackouts",
            vec![json!({"blackouts": [blackout]}), json!({})],
            json!([word(&json!([span]), "p0", "blackouts")]),
        ),
        (
            "windowsFor",
            vec![json!({"windowsFor": "Everyone"}), json!({})],
            json!([word(&json!("Everyone"), "p0", "windowsFor")]),
        ),
        (
            "rollouts",
            vec![
                json!({"rollout": {"over": "48h", "maxFailed": 3}}),
                json!({"rollout": {"over": "60m", "canarySelector": {"matchLabels": {"role": "bastion"}}}}),
            ],
            json!([
                word(&json!({"over": "48h", "canary": false, "maxFailed": 3}), "p0", "rollout"),
                word(&json!({"over": "1h", "canary": true}), "p1", "rollout"),
            ]),
        ),
        (
            "expedite",
            vec![own(&json!({"expedite": ["1.3.4"]}))],
            json!([word(&json!("v1.3.4"), "p0", "rules[0].expedite")]),
        ),
        ("missingDependencies", vec![json!({})], is(&json!("Install"), &[])),
        (
            "missingDependencies",
            vec![json!({"missingDependencies": "Install"}), json!({"missingDependencies": "Refuse"})],
            is(&json!("Refuse"), &[from("p1", "missingDependencies")]),
        ),
        ("movedTags", vec![json!({})], is(&json!("Refuse"), &[])),
        (
            "movedTags",
            vec![json!({"integrity": {"movedTags": "Soak"}})],
            is(&json!("Soak"), &[from("p0", "integrity.movedTags")]),
        ),
        (
            "movedTags",
            vec![json!({"integrity": {"movedTags": "Soak"}}), json!({"integrity": {"movedTags": "Refuse"}})],
            is(&json!("Refuse"), &[from("p1", "integrity.movedTags")]),
        ),
        ("paused", vec![json!({})], is(&json!(false), &[])),
        ("paused", vec![json!({"paused": true}), json!({})], is(&json!(true), &[from("p0", "paused")])),
        // What is invalid acts as paused, as a whole.
        (
            "paused",
            vec![json!({"paused": true}), own(&json!({"versions": "what"})), own(&json!({"access": "Odd"}))],
            is(&json!(true), &[from("p0", "paused"), json!({"policy": "p1"}), json!({"policy": "p2"})]),
        ),
        (
            "messages",
            vec![own(&json!({"message": "see the runbook"}))],
            json!([word(&json!("see the runbook"), "p0", "rules[0].message")]),
        ),
    ] {
        let policies: Vec<_> = specs.iter().enumerate().map(|(i, spec)| policy(&format!("p{i}"), spec)).collect();
        let effective = effective_of(&PolicySet::from_json(&policies), &["stronghold"]);
        assert_eq!(field(&effective, "stronghold", name), expected, "{name} of {specs:?}");
        let reversed = PolicySet::from_json(policies.iter().rev());
        assert_eq!(effective_of(&reversed, &["stronghold"]), effective, "order never matters: {specs:?}");
    }
}

#[test]
fn what_an_emergency_policy_expedites() {
    let emergency = json!({"emergency": {"until": "2026-12-01T12:00:00Z"},
        "rules": [{"plugins": ["named"], "expedite": ["1.2.7"]}, {"plugins": ["pre-*"], "expedite": ["v2.0.0"]}]});
    let effective = effective_of(&set(&[own(&json!({"minAge": "72h", "expedite": ["v1.0.0"]})), emergency]), &[]);
    let policies = json!([{"name": "p0", "valid": true},
        {"name": "p1", "valid": true, "emergencyUntil": "2026-12-01T12:00:00Z"}]);
    assert_eq!(effective["policies"], policies);
    let expedited = |version: &str, policy: &str, rule: usize| json!([{"value": version, "policy": policy, "field": format!("rules[{rule}].expedite")}]);
    for (component, expected) in [
        ("stronghold", expedited("v1.0.0", "p0", 0)),
        ("named", expedited("v1.2.7", "p1", 0)),
        ("pre-*", expedited("v2.0.0", "p1", 1)),
        ("*", json!([])),
    ] {
        assert_eq!(field(&effective, component, "expedite"), expected, "{component}");
    }
}

#[test]
fn who_is_spoken_of() {
    let set = set(&[
        json!({"rules": [{"plugins": ["b", "delivery-*"]}, {"plugins": ["delivery-kit", "*"], "access": "Deny"}]}),
        json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "rules": [{"plugins": ["elsewhere"]}]}),
    ]);
    let local_rules = LocalRules::read([("a", "v1.2.0"), ("d8", "v0.13.0")], ["evil", "evil-*", "b@v1.3.1"]).unwrap();
    let effective = effective_under(&set, Some(&local_rules), &["listed", "my_plugin"]);
    let names: Vec<_> = effective["components"].as_array().unwrap().iter().map(|c| c["component"].clone()).collect();
    let expected = ["d8", "a", "b", "delivery-kit", "evil", "listed", "my_plugin", "delivery-*", "evil-*", "*"];
    assert_eq!(names, expected.map(Value::from));
    let denied = json!({"value": "Deny", "from": [{"policy": "p0", "field": "rules[1].access"}]});
    let by_floor = json!({"policy": "agent.toml", "field": "refuse"});
    for (component, name, expected) in [
        ("*", "access", denied.clone()),
        ("listed", "access", denied.clone()),
        ("b", "access", json!({"value": "Allow", "from": []})),
        // An earlier rule that matches by prefix applies before a later one that has the full name.
        ("delivery-kit", "access", json!({"value": "Allow", "from": []})),
        ("delivery-*", "access", json!({"value": "Allow", "from": []})),
        ("evil", "access", json!({"value": "Deny", "from": [denied["from"][0], by_floor]})),
        ("evil-*", "access", json!({"value": "Deny", "from": [denied["from"][0], by_floor]})),
        ("d8", "access", Value::Null),
        ("a", "versions", json!([{"value": ">=v1.2.0", "policy": "agent.toml", "field": "minimumVersions"}])),
        ("d8", "versions", json!([{"value": ">=v0.13.0", "policy": "agent.toml", "field": "minimumVersions"}])),
        ("b", "block", json!([{"value": "v1.3.1", "policy": "agent.toml", "field": "refuse"}])),
        // Nothing is recorded of a name that is no DNS label.
        ("my_plugin", "updates", Value::Null),
        ("my_plugin", "pins", Value::Null),
    ] {
        assert_eq!(field(&effective, component, name), expected, "{component} {name}");
    }
}

#[test]
fn which_policies_apply_and_which_are_invalid() {
    let set = set(&[
        json!({"hostSelector": {"matchLabels": {"role": "bastion"}}}),
        json!({"rules": [{"plugins": ["a"], "versions": "what"}]}),
        json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "paused": true}),
        json!({"rules": [{"plugins": ["a"], "access": "Sometimes"}]}),
    ]);
    let effective = effective_of(&set, &[]);
    let found: Vec<_> = effective["policies"].as_array().unwrap().iter().map(|p| (&p["name"], &p["valid"])).collect();
    let [p0, p1, p3] = ["p0", "p1", "p3"].map(Value::from);
    let [yes, no] = [Value::from(true), Value::from(false)];
    assert_eq!(found, [(&p0, &yes), (&p1, &no), (&p3, &no)]);
    let why = |i: usize| effective["policies"][i]["why"].as_str().unwrap().to_owned();
    assert!(why(1).starts_with("spec.rules[0].versions: `what` is not a version constraint"), "{}", why(1));
    assert!(why(2).starts_with("this d8 cannot read it: "), "{}", why(2));
    assert_eq!(effective["paused"]["value"], true);
}
