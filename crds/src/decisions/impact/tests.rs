//! Tables of policy edits and what they change on a host.

mod edits;
mod sharing;
mod stops;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{
    decisions::verdict::{Class, PolicySet, Reason},
    records::release::CliRelease,
    values::{name::Component, version::Version},
};

const NOW: &str = "2026-11-22T12:00:00Z";

fn policy(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().entry("hostSelector").or_insert_with(|| json!({}));
    json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Returns records of `tool` and `d8`. v1.3.0 is a day old, all others a week. All fit but v1.4.0.
fn records() -> BTreeMap<String, CliRelease> {
    records_with("Unfit")
}

/// The same with another `fit` of v1.4.0.
fn records_with(fit: &str) -> BTreeMap<String, CliRelease> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let version = |version: &str, seen: &str, fit: &str| json!({"version": version, "digest": digest, "firstSeen": seen, "fit": fit});
    let old = "2026-11-15T12:00:00Z";
    let record = |name: &str| {
        let record = json!({"metadata": {"name": name}, "spec": {}, "status": {"lastSyncTime": NOW, "versions": [
            version("v2.0.0", old, "Fits"), version("v1.4.0", old, fit),
            version("v1.3.0", "2026-11-21T12:00:00Z", "Fits"), version("v1.2.0", old, "Fits"),
            version("v1.1.0", old, "Fits"), version("v1.0.0", old, "Fits")]}});
        (name.to_owned(), serde_json::from_value(record).unwrap())
    };
    BTreeMap::from([record("tool"), record("d8")])
}

fn machine(managed: bool, active: &[(&str, &str)]) -> HostFacts {
    let active = active.iter().map(|(component, version)| {
        let version = Version::parse(version).unwrap();
        (component.parse().unwrap(), ActiveComponent { version: Some(version), ..ActiveComponent::default() })
    });
    let labels = BTreeMap::from([("role".to_owned(), "bastion".to_owned())]);
    HostFacts { id: "bastion-1".to_owned(), labels, managed, active: active.collect(), ..HostFacts::default() }
}

fn diff(machine: &HostFacts, old: &[Value], new: &[Value]) -> Vec<ComponentDiff> {
    diff_with(&records(), machine, old, new)
}

fn diff_with(
    records: &BTreeMap<String, CliRelease>,
    machine: &HostFacts,
    old: &[Value],
    new: &[Value],
) -> Vec<ComponentDiff> {
    let (old, new) = (PolicySet::from_json(old), PolicySet::from_json(new));
    let changes = PolicyDiff::new(&old, &new, records, NOW.parse().unwrap()).of(machine).changes;
    changes.iter().map(|change| (**change).clone()).collect()
}

/// Returns `verdict target reason`, with `!` if the active version may not run.
fn shown(impact: Option<&HostImpact>) -> String {
    let Some(impact) = impact else { return "nothing".to_owned() };
    let target = impact.target.as_ref().map_or("none".to_owned(), ToString::to_string);
    let reason = impact.reason.as_ref().map(|reason| format!(" {}", reason.code())).unwrap_or_default();
    let run = if impact.runs { "" } else { "!" };
    format!("{:?} {target}{reason}{run}", impact.verdict)
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_an_edit_changes_on_a_managed_host() {
    let auto = json!({"defaults": {"updates": "Auto"}});
    let tool = |fields: Value| {
        let mut rule = json!({"plugins": ["tool"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"defaults": {"updates": "Auto"}, "rules": [rule]})
    };
    let installed: &[(&str, &str)] = &[("tool", "v1.1.0")];
    for (active, old, new, expected) in [
        (installed, auto.clone(), auto.clone(), None),
        (installed, auto.clone(), tool(json!({"versions": "^1"})), None),
        (
            installed,
            auto.clone(),
            tool(json!({"versions": "<1.3"})),
            Some(("Eligible v1.3.0", "Eligible v1.2.0 VersionNotPermitted", true)),
        ),
        (
            installed,
            auto.clone(),
            tool(json!({"versions": "<1.2"})),
            Some(("Eligible v1.3.0", "Eligible v1.1.0 VersionNotPermitted", true)),
        ),
        (
            installed,
            auto.clone(),
            tool(json!({"minAge": "72h"})),
            Some(("Eligible v1.3.0", "Eligible v1.2.0 Soaking", true)),
        ),
        (installed, auto.clone(), json!({}), Some(("Eligible v1.3.0", "Held v1.3.0 Manual", true))),
        (
            installed,
            json!({}),
            tool(json!({"updates": "Frozen"})),
            Some(("Held v1.3.0 Manual", "Held v1.3.0 Frozen", false)),
        ),
        (
            installed,
            json!({}),
            json!({"paused": true, "defaults": {"updates": "Auto"}}),
            Some(("Held v1.3.0 Manual", "Held v1.3.0 Paused", false)),
        ),
        (
            installed,
            auto.clone(),
            tool(json!({"majorUpdates": "Cross"})),
            Some(("Eligible v1.3.0", "Eligible v2.0.0", true)),
        ),
        (
            installed,
            auto.clone(),
            tool(json!({"block": ["v1.1.0"]})),
            Some(("Eligible v1.3.0", "Forbidden v1.3.0 Blocked!", true)),
        ),
        (
            installed,
            auto.clone(),
            tool(json!({"versions": "<1.1"})),
            Some(("Eligible v1.3.0", "Forbidden v1.0.0 VersionNotPermitted", true)),
        ),
        (
            installed,
            auto.clone(),
            tool(json!({"access": "Deny"})),
            Some(("Eligible v1.3.0", "Forbidden none Denied!", true)),
        ),
        // A component that is not installed counts only if it is required.
        (&[], auto.clone(), tool(json!({"access": "Allow"})), None),
        (&[], auto.clone(), tool(json!({"access": "Require"})), Some(("nothing", "Eligible v2.0.0", true))),
        (
            &[],
            auto.clone(),
            tool(json!({"access": "Require", "versions": "=1.4.0"})),
            Some(("nothing", "Forbidden none VersionNotPermitted", true)),
        ),
        // Of a component without a record the active version is evaluated.
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
            Some(("Eligible v1.3.0", "Eligible v1.2.0 VersionNotPermitted", true)),
        ),
        (
            &[("d8", "v1.1.0")],
            auto.clone(),
            json!({"cli": {"block": ["v1.1.0"], "updates": "Auto"}}),
            Some(("Eligible v1.3.0", "Forbidden v1.3.0 Blocked", true)),
        ),
        (
            installed,
            auto,
            json!({"hostSelector": {"matchLabels": {"role": "ci"}}}),
            Some(("Eligible v1.3.0", "Held v1.3.0 NotGoverned", true)),
        ),
    ] {
        let changes = diff(&machine(true, active), &[policy("p", &old)], &[policy("p", &new)]);
        let rows: Vec<_> = changes
            .iter()
            .map(|change| (shown(change.old.as_ref()), shown(change.new.as_ref()), change.moves))
            .collect();
        let expected: Vec<_> =
            expected.map(|(old, new, moves)| (old.to_owned(), new.to_owned(), moves)).into_iter().collect();
        assert_eq!(rows, expected, "{old} -> {new}");
    }
}

/// v1.3.0 of the tool is held before and after each edit.
#[test]
fn a_hold_that_ends_at_another_time_is_a_change() {
    let spec = |rules: Value, more: Value| {
        let mut spec = json!({"defaults": {"updates": "Auto"}, "rules": rules});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let soak = |age: &str| json!({"plugins": ["tool"], "minAge": age});
    let soaks = |age: &str| spec(json!([soak(age)]), json!({}));
    let window =
        |start: &str, duration: &str| spec(json!([]), json!({"windows": [{"start": start, "duration": duration}]}));
    for (old, new, ends) in [
        (soaks("48h"), soaks("48h"), None),
        (soaks("48h"), soaks("72h"), Some(["2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z"])),
        // The rule moves from rules[0] to rules[1].
        (soaks("48h"), spec(json!([{"plugins": ["other"], "access": "Deny"}, soak("48h")]), json!({})), None),
        (
            soaks("48h"),
            spec(json!([{"plugins": ["other"]}, soak("72h")]), json!({})),
            Some(["2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z"]),
        ),
        (window("13:00", "1h"), window("14:00", "1h"), Some(["2026-11-22T13:00:00Z", "2026-11-22T14:00:00Z"])),
        (window("13:00", "1h"), window("13:00", "2h"), None),
    ] {
        let changes = diff(&machine(true, &[("tool", "v1.2.0")]), &[policy("p", &old)], &[policy("p", &new)]);
        let end = |impact: &Option<HostImpact>| {
            let impact = impact.as_ref().unwrap();
            assert_eq!(impact.verdict, Class::Held, "{old} -> {new}");
            impact.reason.as_ref().and_then(Reason::until).unwrap().to_string()
        };
        let found: Vec<_> = changes.iter().map(|change| ([end(&change.old), end(&change.new)], change.moves)).collect();
        let expected: Vec<_> = ends.map(|ends| (ends.map(str::to_owned), false)).into_iter().collect();
        assert_eq!(found, expected, "{old} -> {new}");
    }
}

#[test]
fn a_pause_and_components_without_a_record_are_known() {
    let records = records();
    let machine = machine(true, &[("tool", "v1.3.0"), ("other", "v1.0.0"), ("my_plugin", "v1.0.0")]);
    let (going, paused) = (json!({"defaults": {"updates": "Auto"}}), json!({"paused": true}));
    let broken = json!({"rules": [{"plugins": ["tool"], "versions": ">=one"}]});
    let elsewhere = json!({"paused": true, "hostSelector": {"matchLabels": {"role": "ci"}}});
    for (old, new, expected) in [
        (&going, &going, None),
        (&going, &paused, Some(PauseChange::Begins)),
        (&going, &broken, Some(PauseChange::Begins)),
        (&going, &elsewhere, None),
        (&paused, &broken, None),
        (&paused, &going, Some(PauseChange::Ends)),
    ] {
        let [old_set, new_set] = [old, new].map(|spec| PolicySet::from_json(&[policy("p", spec)]));
        let mut diff = PolicyDiff::new(&old_set, &new_set, &records, NOW.parse().unwrap());
        assert_eq!(diff.of(&machine).pause, expected, "{old} -> {new}");
        let unrecorded: Vec<_> = diff.unrecorded().map(Component::name).collect();
        assert_eq!(unrecorded, ["my_plugin", "other"], "{old} -> {new}");
    }
}

#[test]
fn what_the_agent_takes_first() {
    let policy = |fields: Value| {
        let mut spec = json!({"defaults": {"updates": "Auto", "minAge": "72h"}});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        policy("p", &spec)
    };
    let window = |start: &str| policy(json!({"windows": [{"start": start, "duration": "1h"}]}));
    let active = [("tool", "v1.2.0")];
    let [change] = diff(&machine(true, &active), &[policy(json!({}))], &[window("02:00")]).try_into().unwrap();
    let next = |impact: &Option<HostImpact>| serde_json::to_value(impact).unwrap()["next"].clone();
    assert_eq!(next(&change.old), json!({"version": "v1.3.0", "at": "2026-11-24T12:00:00Z"}));
    assert_eq!(next(&change.new), json!({"version": "v1.3.0", "at": "2026-11-25T02:00:00Z"}));
    // On a workstation nothing acts by itself.
    for change in diff(&machine(false, &active), &[policy(json!({}))], &[policy(json!({"paused": true}))]) {
        assert_eq!((next(&change.old), next(&change.new)), (Value::Null, Value::Null));
    }
}

#[test]
fn on_a_workstation_a_person_updates() {
    let frozen = policy("p", &json!({"defaults": {"updates": "Frozen"}}));
    let manual = policy("p", &json!({"defaults": {"updates": "Manual"}}));
    let changes = diff(&machine(false, &[("tool", "v1.1.0")]), &[manual], &[frozen]);
    let [change] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(shown(change.old.as_ref()), "Eligible v1.3.0");
    assert_eq!(shown(change.new.as_ref()), "Held v1.3.0 Frozen");
    let json = serde_json::to_value(change).unwrap();
    assert_eq!((&json["active"], &json["new"]["target"]), (&json!("v1.1.0"), &json!("v1.3.0")));
    assert_eq!(json["new"]["reason"]["policy"], "p");
}

#[test]
fn the_order_of_policies_changes_nothing() {
    let old = [policy("a", &json!({"defaults": {"updates": "Auto"}})), policy("b", &json!({"paused": true}))];
    let new = [policy("b", &json!({})), policy("a", &json!({"defaults": {"updates": "Auto"}}))];
    let reversed = |all: &[Value]| all.iter().rev().cloned().collect::<Vec<_>>();
    let machine = machine(true, &[("tool", "v1.1.0"), ("d8", "v1.1.0"), ("other", "v1.0.0")]);
    let changes = diff(&machine, &old, &new);
    assert_eq!(changes.len(), 2);
    assert_eq!(diff(&machine, &reversed(&old), &reversed(&new)), changes);
}

#[test]
fn requirements_that_could_not_be_checked_are_a_hold() {
    let records = records_with("Unknown");
    let below_2 = json!({"defaults": {"updates": "Auto"}, "cli": {"versions": "<2"}});
    let (auto, paused) = ([policy("p", &below_2)], [policy("p", &json!({"paused": true}))]);
    for component in ["tool", "d8"] {
        for (managed, active, expected) in [
            (true, "v1.3.0", "Held v1.4.0 RequirementsUnknown"),
            (false, "v1.3.0", "Held v1.4.0 RequirementsUnknown"),
            // The agent passes the version over; for a person the search ends at it.
            (true, "v1.1.0", "Eligible v1.3.0"),
            (false, "v1.1.0", "Held v1.4.0 RequirementsUnknown"),
        ] {
            let changes = diff_with(&records, &machine(managed, &[(component, active)]), &auto, &paused);
            let [change] = changes.as_slice() else { panic!("{component} {active} {managed}: {changes:?}") };
            assert_eq!(shown(change.old.as_ref()), expected, "{component} {active} managed {managed}");
        }
    }
}

/// v1.4.0 does not fit. All other versions but v1.3.0 are a week old.
#[test]
fn people_who_could_neither_run_a_plugin_nor_replace_it() {
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["tool"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        rule
    };
    let spec = |rules: &[Value], more: Value| {
        let mut spec = json!({"defaults": {"updates": "Auto"}, "rules": rules});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let plain = spec(&[], json!({}));
    let block =
        |expedite: Value| rule(json!({"block": ["<1.3"], "versions": "<2", "minAge": "72h", "expedite": expedite}));
    let soaking = spec(&[block(json!([]))], json!({}));
    let expedited = spec(&[block(json!(["v1.3.0"]))], json!({}));
    let paused = spec(&[rule(json!({"block": ["<1.3"]}))], json!({"paused": true}));
    let denied = spec(&[json!({"plugins": ["tool"], "access": "Deny"})], json!({}));
    let with = |more: Value| spec(&[rule(json!({"block": ["<1.3"], "versions": "<2"}))], more);
    let rollout = json!({"over": "48h"});
    let evidence = json!({"over": "48h", "canaryPercent": 10, "requireSucceeded": {"hosts": 2, "for": "1h"}});
    let closed = json!([{"start": "02:00", "duration": "1h"}]);
    let majors = spec(&[rule(json!({"block": ["1.x"], "majorUpdates": "Stay"}))], json!({}));
    let pre_block = spec(&[rule(json!({"block": ["v1.2.0"]}))], json!({}));
    for (old, new, expected) in [
        (&plain, &plain, None),
        (&plain, &soaking, Some("v1.2.0 until v1.3.0 at 2026-11-24T12:00:00Z")),
        (&soaking, &soaking, None),
        (&plain, &expedited, None),
        (&soaking, &expedited, None),
        // The agent waits, but a person may leave the blocked version.
        (&plain, &paused, None),
        (&plain, &denied, Some("v1.2.0")),
        // Runs were refused before.
        (&soaking, &denied, None),
        (&pre_block, &soaking, None),
        // A person may name a version that a wave has not brought yet.
        (&plain, &with(json!({"rollout": rollout})), None),
        (&plain, &with(json!({"rollout": evidence})), None),
        // What leaves a blocked version waits neither for windows nor for permission.
        (&plain, &with(json!({"windows": closed, "windowsFor": "Everyone"})), None),
        (&plain, &with(json!({"defaults": {"updates": "Frozen"}})), None),
        (&plain, &with(json!({"defaults": {"updates": "Manual"}})), None),
        // It may enter another major version.
        (&plain, &majors, None),
        // A newer version does not fit, and the older ones are blocked, too.
        (&plain, &spec(&[rule(json!({"block": ["<1.4"], "versions": "<2"}))], json!({})), Some("v1.2.0")),
    ] {
        for managed in [true, false] {
            let machine = machine(managed, &[("tool", "v1.2.0")]);
            let [old_set, new_set] = [old, new].map(|spec| PolicySet::from_json(&[policy("p", spec)]));
            let records = records();
            let found = PolicyDiff::new(&old_set, &new_set, &records, NOW.parse().unwrap()).of(&machine).lockouts;
            let shown = |lockout: &Lockout| {
                let next = lockout.next.as_ref().map(|next| format!(" until {} at {}", next.version, next.at));
                format!("{}{}", lockout.active.as_ref().unwrap(), next.unwrap_or_default())
            };
            let expected = expected.map(|text| if managed { text } else { &text[..6] });
            assert_eq!(found.first().map(shown).as_deref(), expected, "{old} -> {new}, managed: {managed}");
        }
    }
}

/// Without a record, it is not known whether another version is published.
#[test]
fn a_plugin_without_a_record_is_locked_out_only_if_it_is_denied() {
    let rule = |fields: Value| {
        let mut rule = json!({"plugins": ["other"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        PolicySet::from_json(&[policy("p", &json!({"rules": [rule]}))])
    };
    let (records, machine) = (records(), machine(true, &[("other", "v1.0.0")]));
    let old = rule(json!({}));
    for (new, expected) in [(rule(json!({"block": ["v1.0.0"]})), 0), (rule(json!({"access": "Deny"})), 1)] {
        let found = PolicyDiff::new(&old, &new, &records, NOW.parse().unwrap()).of(&machine).lockouts;
        assert_eq!(found.len(), expected);
    }
}

/// Policies that no version can meet together contradict each other, also if none requires the plugin.
#[test]
fn policies_that_contradict_each_other() {
    let versions =
        |name: &str, versions: &str| policy(name, &json!({"rules": [{"plugins": ["tool"], "versions": versions}]}));
    let (records, machine) = (records(), machine(true, &[("tool", "v1.2.0")]));
    let low = versions("a", "<1");
    for (old, new, expected) in [
        (vec![&low], vec![&low, &versions("b", ">=2")], 1),
        (vec![&low], vec![&low, &versions("b", "<0.9")], 0),
        (vec![&low, &versions("b", ">=2")], vec![&low, &versions("b", ">=3")], 0),
    ] {
        let [old, new] = [old, new].map(PolicySet::from_json);
        let found = PolicyDiff::new(&old, &new, &records, NOW.parse().unwrap()).of(&machine).not_permitted;
        assert_eq!(found.len(), expected);
        assert!(found.iter().all(|found| found.required_by.is_empty() && found.policies() == ["a", "b"].into()));
    }
}

#[test]
fn what_is_required_but_not_permitted() {
    let require = |plugin: &str, fields: Value| {
        let mut rule = json!({"plugins": [plugin], "access": "Require"});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    let outside = require("tool", json!({"versions": ">=3"}));
    for (old, new, expected) in [
        (json!({}), require("tool", json!({})), None),
        (json!({}), outside.clone(), Some("tool")),
        (outside.clone(), outside.clone(), None),
        (require("tool", json!({})), outside, Some("tool")),
        (json!({}), require("tool", json!({"block": [">=1.1", "v1.0.0"]})), Some("tool")),
        (json!({}), require("tool", json!({"block": [">=1.1"]})), None),
        // A hold ends.
        (json!({}), require("tool", json!({"minAge": "8760h"})), None),
        // No record: what is published is not known.
        (json!({}), require("other", json!({"versions": ">=3"})), None),
        (json!({}), json!({"rules": [{"plugins": ["tool"], "versions": ">=3"}]}), None),
    ] {
        let denied = policy("q", &json!({"rules": [{"plugins": ["tool"], "access": "Deny"}]}));
        let [before, after] = [&old, &new].map(|spec| PolicySet::from_json(&[policy("p", spec), denied.clone()]));
        let (records, bare) = (records(), machine(true, &[]));
        let found = PolicyDiff::new(&before, &after, &records, NOW.parse().unwrap()).of(&bare);
        let requires = |spec: &Value| spec.to_string().contains("Require") && spec.to_string().contains("tool");
        assert_eq!(
            !found.not_permitted.is_empty(),
            requires(&new) && !requires(&old),
            "{new} beside a policy that denies"
        );

        for active in [&[][..], &[("tool", "v1.2.0")]] {
            let [old, new] = [&old, &new].map(|spec| PolicySet::from_json(&[policy("p", spec)]));
            let machine = machine(true, active);
            let found = PolicyDiff::new(&old, &new, &records, NOW.parse().unwrap()).of(&machine);
            assert_eq!(found.not_permitted.first().map(|found| found.component.name()), expected, "{new:?}");
        }
    }
}
