//! Runs, removals, and what must be there.

use super::*;

fn set_of(spec: &Value) -> PolicySet {
    set(std::slice::from_ref(spec))
}

#[test]
fn of_all_gates_only_deny_and_block_refuse_a_run() {
    let labels = labels();
    let host = bastion(&labels);
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["stronghold"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    for (spec, component, refused) in [
        (rule(json!({"access": "Deny"})), "stronghold", Some(ReasonCode::Denied)),
        (json!({"defaults": {"access": "Deny"}}), "stronghold", Some(ReasonCode::Denied)),
        (rule(json!({"block": ["1.0"]})), "stronghold", Some(ReasonCode::Blocked)),
        (rule(json!({"block": ["<1.1 >=1.0"]})), "stronghold", Some(ReasonCode::Blocked)),
        (rule(json!({"block": ["<1.0"]})), "stronghold", None),
        (rule(json!({"block": ["v1.0.0.0"]})), "stronghold", None), // invalid, so nothing of it refuses a run
        (rule(json!({"block": ["1.0.0"]})), "stronghold", Some(ReasonCode::Blocked)),
        (rule(json!({"block": ["1.0.1"]})), "stronghold", None),
        (rule(json!({"versions": ">1.0.0"})), "stronghold", None),
        (rule(json!({"updates": "Frozen"})), "stronghold", None),
        (json!({"paused": true}), "stronghold", None),
        (json!({"paused": true, "defaults": {"access": "Deny"}}), "stronghold", Some(ReasonCode::Denied)),
        (rule(json!({"access": "Odd"})), "stronghold", None),
        (json!({"defaults": {"access": "Deny"}, "cli": {"block": ["1.0.0"]}}), "d8", None),
    ] {
        let component: Component = component.parse().unwrap();
        let allowed = set_of(&spec).for_host(host).run_allowed(&component, &version("v1.0.0"));
        assert_eq!(allowed.err().map(|reason| reason.code()), refused, "{spec}");
    }
}

#[test]
fn what_is_required_and_what_may_be_removed() {
    let labels = labels();
    let host = bastion(&labels);
    let require = json!({"rules": [{"plugins": ["stronghold", "delivery-kit"], "access": "Require"}]});
    let deny = json!({"rules": [{"plugins": ["strong*"], "access": "Deny"}]});
    let elsewhere = json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "paused": true, "rules": [
        {"plugins": ["other"], "access": "Require"}]});
    for (specs, required, removal) in [
        (vec![], vec![], None),
        (vec![elsewhere], vec![], None),
        (vec![require.clone()], vec!["delivery-kit", "stronghold"], Some(ReasonCode::Required)),
        (vec![require.clone(), deny.clone()], vec!["delivery-kit"], None),
        (vec![deny], vec![], None),
        (vec![json!({"paused": true})], vec![], Some(ReasonCode::Paused)),
        (vec![json!({"rules": [{"plugins": []}]})], vec![], Some(ReasonCode::InvalidPolicy)),
        (vec![json!({"missingDependencies": "Perhaps"})], vec![], Some(ReasonCode::InvalidPolicy)),
        (vec![json!({"rules": [{"plugins": ["other"]}]})], vec![], None),
    ] {
        let set = set(&specs);
        let names: Vec<_> = set.for_host(host).required().into_iter().map(|r| r.plugin.to_string()).collect();
        assert_eq!(names, required, "{specs:?}");
        let refused = set.for_host(host).remove_allowed(&"stronghold".parse().unwrap()).err();
        assert_eq!(refused.map(|reason| reason.code()), removal, "{specs:?}");
    }
}

#[test]
fn a_refused_removal_has_the_next_step_of_a_removal() {
    let labels = labels();
    let host = bastion(&labels);
    let require = json!({"rules": [{"plugins": ["stronghold"], "access": "Require"}]});
    for (spec, text) in [
        (
            json!({"paused": true}),
            "policy p0, paused: all changes on this host are paused, removals too; ask an admin to set `paused: false`, \
             then run `d8 plugins remove stronghold`",
        ),
        (
            require,
            "policy p0, rules[0].access: stronghold is required on this host; ask an admin to change the rule before \
             you remove it",
        ),
    ] {
        let reason = set_of(&spec).for_host(host).remove_allowed(&"stronghold".parse().unwrap()).unwrap_err();
        assert_eq!(explain::to_person(&reason), text);
    }
}

#[test]
fn the_labels_of_a_workstation() {
    let labels = workstation_labels(&"linux-amd64".parse().unwrap());
    let host = Host::unattended("anna", &labels, None);
    for (selector, matched) in [
        (json!({}), true),
        (json!({"matchLabels": {"cli.deckhouse.io/managed": "false"}}), true),
        (json!({"matchLabels": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}}), true),
        (
            json!({"matchExpressions": [{"key": "cli.deckhouse.io/managed", "operator": "NotIn", "values": ["false"]}]}),
            false,
        ),
        (json!({"matchLabels": {"role": "bastion"}}), false),
    ] {
        let set = set_of(&json!({"hostSelector": selector}));
        assert_eq!(!set.for_host(host).policy_names().is_empty(), matched, "{selector}");
    }
}

#[test]
fn guidance_for_the_choice_of_a_version() {
    use crate::{records::policy::MajorUpdates, values::channel::Channel};
    let labels = labels();
    let host = bastion(&labels);
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["stronghold"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    let prerelease = json!({"defaults": {"channel": "Prerelease", "majorUpdates": "Cross"}});
    let stable = rule(json!({"channel": "Stable", "majorUpdates": "Stay"}));
    let (stay, cross) = (MajorUpdates::Stay, MajorUpdates::Cross);
    for (specs, channel, majors, leave) in [
        (vec![], Channel::Stable, stay, None),
        (vec![json!({})], Channel::Stable, stay, None),
        (vec![prerelease.clone(), json!({})], Channel::Prerelease, cross, None),
        (vec![prerelease, stable], Channel::Stable, stay, None),
        (vec![rule(json!({"versions": ">1.0.0"}))], Channel::Stable, stay, Some(ReasonCode::VersionNotPermitted)),
        (
            vec![rule(json!({"versions": ">1.0.0", "block": ["1.0.0"]}))],
            Channel::Stable,
            stay,
            Some(ReasonCode::Blocked),
        ),
        (vec![rule(json!({"minAge": "72h"}))], Channel::Stable, stay, None),
    ] {
        let active = version("v1.0.0");
        let guidance = set(&specs).for_host(host).guidance(&"stronghold".parse().unwrap(), Some(&active));
        let leave_code = guidance.active_forbidden.map(|reason| reason.code());
        assert_eq!((guidance.channel, guidance.major_updates, leave_code), (channel, majors, leave), "{specs:?}");
        assert_eq!(set(&specs).for_host(host).guidance(&"stronghold".parse().unwrap(), None).active_forbidden, None);
    }
}
