//! Edits of policies, and what they would do to a host.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{
    decisions::verdict::PolicySet,
    records::{policy::PluginPolicy, release::CliRelease},
    values::version::Version,
};

const NOW: &str = "2026-11-22T12:00:00Z";

fn policy(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().entry("hostSelector").or_insert_with(|| json!({}));
    json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Records of `tool` and `d8`: versions a week old, v1.3.0 a day old, v1.4.0 for another cluster.
fn records() -> BTreeMap<String, CliRelease> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let version = |version: &str, seen: &str, fit: &str| json!({"version": version, "digest": digest, "firstSeen": seen, "fit": fit});
    let old = "2026-11-15T12:00:00Z";
    let record = |name: &str| {
        let record = json!({"metadata": {"name": name}, "spec": {}, "status": {"lastSyncTime": NOW, "versions": [
            version("v2.0.0", old, "Fits"), version("v1.4.0", old, "Unfit"),
            version("v1.3.0", "2026-11-21T12:00:00Z", "Fits"), version("v1.2.0", old, "Fits"),
            version("v1.1.0", old, "Fits"), version("v1.0.0", old, "Fits")]}});
        (name.to_owned(), serde_json::from_value(record).unwrap())
    };
    BTreeMap::from([record("tool"), record("d8")])
}

fn machine(managed: bool, active: &[(&str, &str)]) -> HostFacts {
    let active = active.iter().map(|(component, version)| {
        let version = Version::parse(version).unwrap();
        (component.parse().unwrap(), ActiveComponent { version: Some(version), digests: Vec::new() })
    });
    let labels = BTreeMap::from([("role".to_owned(), "bastion".to_owned())]);
    HostFacts { id: "bastion-1".to_owned(), labels, managed, active: active.collect(), ..HostFacts::default() }
}

fn compared(machine: &HostFacts, old: &[Value], new: &[Value]) -> Vec<ComponentDiff> {
    let (old, new) = (PolicySet::from_json(old), PolicySet::from_json(new));
    PolicyDiff::new(&old, &new, &records(), NOW.parse().unwrap()).of(machine)
}

/// `verdict target reason`, with `!` where it may not run.
fn shown(outlook: Option<&HostImpact>) -> String {
    let Some(outlook) = outlook else { return "nothing".to_owned() };
    let target = outlook.target.as_ref().map_or("none".to_owned(), ToString::to_string);
    let reason = outlook.reason.as_ref().map(|reason| format!(" {}", reason.code())).unwrap_or_default();
    let run = if outlook.runs { "" } else { "!" };
    format!("{:?} {target}{reason}{run}", outlook.verdict)
}

#[test]
fn what_an_edit_would_do() {
    let auto = json!({"defaults": {"updates": "Auto"}});
    let tool = |fields: Value| {
        let mut rule = json!({"plugins": ["tool"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"defaults": {"updates": "Auto"}, "rules": [rule]})
    };
    let here: &[(&str, &str)] = &[("tool", "v1.1.0")];
    for (active, old, new, expected) in [
        (here, auto.clone(), auto.clone(), None),
        (here, auto.clone(), tool(json!({"versions": "^1"})), None),
        (here, auto.clone(), tool(json!({"versions": "<1.3"})), Some(("Eligible v1.3.0", "Eligible v1.2.0", true))),
        (
            here,
            auto.clone(),
            tool(json!({"versions": "<1.2"})),
            Some(("Eligible v1.3.0", "Eligible v1.1.0 VersionNotPermitted", true)),
        ),
        (here, auto.clone(), tool(json!({"minAge": "72h"})), Some(("Eligible v1.3.0", "Eligible v1.2.0", true))),
        (here, auto.clone(), json!({}), Some(("Eligible v1.3.0", "Held v1.3.0 Manual", true))),
        (
            here,
            json!({}),
            tool(json!({"updates": "Frozen"})),
            Some(("Held v1.3.0 Manual", "Held v1.3.0 Frozen", false)),
        ),
        (
            here,
            json!({}),
            json!({"paused": true, "defaults": {"updates": "Auto"}}),
            Some(("Held v1.3.0 Manual", "Held v1.3.0 Paused", false)),
        ),
        (
            here,
            auto.clone(),
            tool(json!({"majorUpdates": "Cross"})),
            Some(("Eligible v1.3.0", "Eligible v2.0.0", true)),
        ),
        (
            here,
            auto.clone(),
            tool(json!({"block": ["v1.1.0"]})),
            Some(("Eligible v1.3.0", "Forbidden v1.3.0 Blocked!", true)),
        ),
        (
            here,
            auto.clone(),
            tool(json!({"versions": "<1.1"})),
            Some(("Eligible v1.3.0", "Forbidden v1.0.0 VersionNotPermitted", true)),
        ),
        (
            here,
            auto.clone(),
            tool(json!({"access": "Deny"})),
            Some(("Eligible v1.3.0", "Forbidden none Denied!", true)),
        ),
        // What is not there is spoken of only where it must be.
        (&[], auto.clone(), tool(json!({"access": "Allow"})), None),
        (&[], auto.clone(), tool(json!({"access": "Require"})), Some(("nothing", "Eligible v2.0.0", true))),
        (
            &[],
            auto.clone(),
            tool(json!({"access": "Require", "versions": "=1.4.0"})),
            Some(("nothing", "Forbidden none VersionNotPermitted", true)),
        ),
        // What nothing is published of is judged by what is active.
        (&[("other", "v1.0.0")], auto.clone(), tool(json!({"updates": "Frozen"})), None),
        (
            &[("other", "v1.0.0")],
            auto.clone(),
            json!({"defaults": {"access": "Deny"}}),
            Some(("Eligible v1.0.0", "Forbidden none Denied!", true)),
        ),
        (
            &[("d8", "v1.1.0")],
            auto.clone(),
            json!({"cli": {"versions": "<1.3", "updates": "Auto"}}),
            Some(("Eligible v1.3.0", "Eligible v1.2.0", true)),
        ),
        (
            &[("d8", "v1.1.0")],
            auto.clone(),
            json!({"cli": {"block": ["v1.1.0"], "updates": "Auto"}}),
            Some(("Eligible v1.3.0", "Forbidden v1.3.0 Blocked", true)),
        ),
        (
            here,
            auto,
            json!({"hostSelector": {"matchLabels": {"role": "ci"}}}),
            Some(("Eligible v1.3.0", "Held v1.3.0 NotGoverned", true)),
        ),
    ] {
        let changes = compared(&machine(true, active), &[policy("p", &old)], &[policy("p", &new)]);
        let told: Vec<_> = changes
            .iter()
            .map(|change| (shown(change.old.as_ref()), shown(change.new.as_ref()), change.moves))
            .collect();
        let expected: Vec<_> =
            expected.map(|(old, new, moves)| (old.to_owned(), new.to_owned(), moves)).into_iter().collect();
        assert_eq!(told, expected, "{old} -> {new}");
    }
}

#[test]
fn a_person_acts_on_a_workstation() {
    let frozen = policy("p", &json!({"defaults": {"updates": "Frozen"}}));
    let manual = policy("p", &json!({"defaults": {"updates": "Manual"}}));
    let changes = compared(&machine(false, &[("tool", "v1.1.0")]), &[manual], &[frozen]);
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(shown(change.old.as_ref()), "Eligible v1.3.0");
    assert_eq!(shown(change.new.as_ref()), "Held v1.3.0 Frozen");
    let json = serde_json::to_value(change).unwrap();
    assert_eq!((&json["active"], &json["new"]["target"]), (&json!("v1.1.0"), &json!("v1.3.0")));
    assert_eq!(json["new"]["reason"]["policy"], "p");
}

#[test]
fn what_the_policies_are_after_an_edit() {
    let spec = json!({"hostSelector": {}, "rollout": {"over": "1h"}});
    let halted = json!({"version": "v1.3.0", "since": NOW, "state": "Halted", "haltedAt": NOW, "failed": 3});
    let mut live = policy("a", &spec);
    live["metadata"]["generation"] = json!(4);
    live["status"] = json!({"observedGeneration": 3, "components": [{"name": "tool", "waves": [halted]}],
        "conditions": [{"type": "Accepted", "status": "False"}]});
    let live = [live, policy("b", &json!({}))];
    let file = |name: &str, spec: &Value| -> PluginPolicy { serde_json::from_value(policy(name, spec)).unwrap() };

    let (records, now) = (records(), NOW.parse().unwrap());
    let edited = |files: &[PluginPolicy]| edited(&live, files, &records, now);
    assert_eq!(edited(&[]), live);
    assert_eq!(edited(&[file("a", &spec)]), live, "an edit that changes nothing");
    let after = edited(&[file("c", &json!({"paused": true})), file("a", &json!({"rollout": {"over": "2h"}}))]);
    let names: Vec<_> = after.iter().map(|policy| policy["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(after[0]["spec"]["rollout"]["over"], "2h");
    assert_eq!(after[0]["metadata"], json!({"name": "a"}), "no generation that anybody could lag behind");
    let wave = json!({"version": "v1.3.0", "since": NOW, "failed": 3});
    assert_eq!(after[0]["status"], json!({"components": [{"name": "tool", "waves": [wave]}]}));
    assert_eq!(after[1], live[1]);
    let twice = edited(&[file("c", &json!({"paused": true})), file("c", &json!({}))]);
    assert_eq!(twice.len(), 3);
    assert_eq!(twice[2]["spec"].get("paused"), None, "the last counts");

    // A rollout that is new begins its waves now, as the operator will: nobody has long passed through it.
    let gains = edited(&[file("b", &json!({"defaults": {"updates": "Auto"}, "rollout": {"over": "48h"}}))]);
    let waves = gains[1]["status"]["components"][1]["waves"].as_array().unwrap();
    assert_eq!((waves.len(), &waves[0]), (6, &json!({"version": "v2.0.0", "since": now})));
    let machine = machine(true, &[("tool", "v1.0.0")]);
    let auto = [live[0].clone(), policy("b", &json!({"defaults": {"updates": "Auto"}}))];
    let changes = compared(&machine, &auto[1..], &gains[1..]);
    assert_eq!(shown(changes[0].new.as_ref()), "Held v1.3.0 NotInWave");
}

/// Whatever order policies, files and versions come in.
#[test]
fn order_never_matters() {
    let old = [policy("a", &json!({"defaults": {"updates": "Auto"}})), policy("b", &json!({"paused": true}))];
    let new = [policy("b", &json!({})), policy("a", &json!({"defaults": {"updates": "Auto"}}))];
    let reversed = |all: &[Value]| all.iter().rev().cloned().collect::<Vec<_>>();
    let machine = machine(true, &[("tool", "v1.1.0"), ("d8", "v1.1.0"), ("other", "v1.0.0")]);
    let changes = compared(&machine, &old, &new);
    assert_eq!(changes.len(), 2);
    assert_eq!(compared(&machine, &reversed(&old), &reversed(&new)), changes);
}
