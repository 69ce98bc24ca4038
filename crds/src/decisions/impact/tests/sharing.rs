//! What hosts share is what each of them would have alone: the results are compared with those of plans of all
//! components for each host.

use std::sync::Arc;

use super::{
    super::{
        group::GroupDiff,
        preview::{HostPreview, Side},
        published,
    },
    *,
};
use crate::decisions::plan::Actor;

/// Returns records of `a` to `d` with three versions each; v1.2.0 is a day old. `b` needs the same version of `a`.
fn related_records() -> BTreeMap<String, CliRelease> {
    let record = |name: &str| {
        let version = |version: &str, seen: &str| {
            let needs = (name == "b").then(|| json!({"name": "a", "constraint": format!(">={version}")}));
            let mandatory: Vec<_> = needs.into_iter().collect();
            json!({"version": version, "digest": format!("sha256:{}", "a".repeat(64)), "firstSeen": seen, "fit": "Fits",
                "requirements": {"plugins": {"mandatory": mandatory}}})
        };
        let old = "2026-11-15T12:00:00Z";
        let versions = [version("v1.2.0", "2026-11-21T12:00:00Z"), version("v1.1.0", old), version("v1.0.0", old)];
        let record = json!({"metadata": {"name": name}, "spec": {},
            "status": {"lastSyncTime": NOW, "versions": versions}});
        (name.to_owned(), serde_json::from_value(record).unwrap())
    };
    BTreeMap::from(["a", "b", "c", "d"].map(record))
}

/// Returns hosts with different labels and versions.
fn hosts() -> Vec<HostFacts> {
    let versions = ["v1.0.0", "v1.1.0", "v1.2.0"];
    let host = |i: usize| {
        let installed = ["a", "b", "c", "e"].into_iter().enumerate().filter(|(at, _)| !(i + at).is_multiple_of(4));
        let active: Vec<_> = installed.map(|(at, name)| (name, versions[(i / (at + 1)) % 3])).collect();
        let mut host = machine(true, &active);
        host.id = format!("host-{i}");
        host.labels.insert("role".to_owned(), ["bastion", "ci"][i % 2].to_owned());
        host.labels.insert("number".to_owned(), i.to_string());
        host
    };
    (0..24).map(host).collect()
}

/// Returns what would change for all components of a host, planned without other hosts.
fn alone(machine: &HostFacts, records: &BTreeMap<String, CliRelease>, sets: [&PolicySet; 2]) -> GroupDiff {
    let now = NOW.parse().unwrap();
    let [old, new] = sets.map(|set| Side::new(set.for_host(machine.as_host()), now, records));
    let required: Vec<_> = [&old, &new].iter().flat_map(|side| side.evaluator.required_components()).cloned().collect();
    let components = machine.active.keys().chain(&required).collect();
    let preview = HostPreview { machine, actor: Actor::Agent, components: &components, records, now };
    let mut known = published::known_facts(records, machine.platform.as_ref());
    GroupDiff::of(&preview, [&old, &new], &mut known)
}

#[test]
fn hosts_share_only_what_each_would_have_alone() {
    let (records, hosts) = (related_records(), hosts());
    let auto = |more: Value| {
        let mut spec = json!({"defaults": {"updates": "Auto"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let for_role = |role: &str, spec: Value| {
        let mut spec = spec;
        spec["hostSelector"] = json!({"matchLabels": {"role": role}});
        spec
    };
    let rule = |fields: Value| auto(json!({"rules": [fields]}));
    let plain = auto(json!({}));
    let window = json!({"days": ["Sat"], "start": "02:00", "duration": "3h"});
    let evidence = json!({"hosts": 3, "for": "1h"});
    let wave = auto(json!({"rollout": {"over": "48h"}}));
    let canaries = auto(json!({"rollout": {"over": "48h", "canarySelector": {"matchLabels": {"number": "3"}}}}));
    for (old, new) in [
        (plain.clone(), plain.clone()),
        (plain.clone(), rule(json!({"plugins": ["a"], "versions": "<1.2"}))),
        (plain.clone(), rule(json!({"plugins": ["b"], "block": ["v1.1.0"]}))),
        (plain.clone(), rule(json!({"plugins": ["d", "e"], "access": "Require"}))),
        (plain.clone(), rule(json!({"plugins": ["*"], "access": "Deny"}))),
        (plain.clone(), for_role("ci", plain.clone())),
        (plain.clone(), for_role("ci", auto(json!({"paused": true})))),
        (plain.clone(), auto(json!({"missingDependencies": "Refuse"}))),
        (plain.clone(), wave.clone()),
        (wave.clone(), canaries.clone()),
        (canaries, rule(json!({"plugins": ["a"], "minAge": "72h"}))),
        (wave.clone(), auto(json!({"rollout": {"over": "720h", "canaryPercent": 50}}))),
        (plain.clone(), auto(json!({"rollout": {"over": "720h"}, "defaults": {"updates": "Auto", "minAge": "60h"}}))),
        (auto(json!({"rollout": {"over": "720h"}})), auto(json!({"rollout": {"over": "400h"}, "windows": [window]}))),
        (wave.clone(), auto(json!({"rollout": {"over": "720h", "canaryPercent": 10, "requireSucceeded": evidence}}))),
        (wave.clone(), rule(json!({"plugins": ["a"], "block": ["v1.0.0"]}))),
    ] {
        let other = policy("q", &json!({"rules": [{"plugins": ["c"], "minAge": "36h"}]}));
        let [old, new] = [&old, &new].map(|spec| PolicySet::from_json(&[policy("p", spec), other.clone()]));
        let mut diff = PolicyDiff::new(&old, &new, &records, NOW.parse().unwrap());
        for host in &hosts {
            let (found, expected) = (diff.of(host), alone(host, &records, [&old, &new]));
            assert_eq!(found.changes, expected.changes, "{}", host.id);
            assert_eq!(found.lockouts, expected.lockouts, "{}", host.id);
        }
    }
}

#[test]
fn a_forecast_is_what_each_host_would_have_alone() {
    let (records, hosts) = (related_records(), hosts());
    let now = NOW.parse().unwrap();
    let emergency = json!({"emergency": {"until": "2026-11-23T12:00:00Z"}, "message": "m",
        "rules": [{"plugins": ["c"], "expedite": ["v1.2.0"]}]});
    let rollout = |more: Value| {
        let mut spec = json!({"defaults": {"updates": "Auto"}, "rollout": {"over": "720h"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    for specs in [
        vec![json!({"defaults": {"updates": "Auto"}})],
        vec![rollout(json!({}))],
        vec![rollout(json!({})), rollout(json!({"defaults": {"minAge": "30h"}, "rollout": {"over": "400h"}}))],
        vec![rollout(json!({})), json!({"windows": [{"start": "02:00", "duration": "3h"}]})],
        vec![rollout(json!({})), emergency],
        vec![rollout(json!({"rules": [{"plugins": ["b", "d"], "access": "Require"}]}))],
    ] {
        let policies: Vec<_> = specs.iter().zip(["p", "q"]).map(|(spec, name)| policy(name, spec)).collect();
        let set = PolicySet::from_json(&policies);
        let mut forecast = Forecast::new(&set, &records, now);
        for host in &hosts {
            let side = Side::new(set.for_host(host.as_host()), now, &records);
            let required: Vec<_> = side.evaluator.required_components().cloned().collect();
            let components = host.active.keys().chain(&required).collect();
            let preview =
                HostPreview { machine: host, actor: Actor::Agent, components: &components, records: &records, now };
            let mut known = published::known_facts(&records, host.platform.as_ref());
            let expected: Vec<_> =
                preview.evaluate(&side, &mut known).into_iter().map(|(name, found)| (name, found.impact)).collect();
            let found: Vec<_> = forecast.of(host).into_iter().map(|(name, found)| (name, (*found).clone())).collect();
            assert_eq!(found, expected, "{} {policies:?}", host.id);
        }
    }
}

#[test]
fn hosts_with_the_same_versions_share_a_change() {
    let records = related_records();
    let mut hosts = [machine(true, &[("a", "v1.0.0")]), machine(true, &[("a", "v1.0.0"), ("c", "v1.0.0")])];
    hosts[1].id = "bastion-2".to_owned();
    for (rollout, shared) in [(Value::Null, true), (json!({"over": "48h"}), false)] {
        let mut held = json!({"defaults": {"updates": "Auto"}, "rules": [{"plugins": ["a"], "minAge": "30h"}]});
        if !rollout.is_null() {
            held["rollout"] = rollout;
        }
        let [old, new] =
            [json!({"defaults": {"updates": "Auto"}}), held].map(|spec| PolicySet::from_json(&[policy("p", &spec)]));
        let mut diff = PolicyDiff::new(&old, &new, &records, NOW.parse().unwrap());
        let [first, second] = [&hosts[0], &hosts[1]].map(|host| diff.of(host).changes.swap_remove(0));
        assert_eq!(Arc::ptr_eq(&first, &second), shared);
    }
}
