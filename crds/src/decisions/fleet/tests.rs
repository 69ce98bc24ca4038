//! Tables of fleets and their summaries.

use serde_json::json;

use super::*;
use crate::records::{host::CliHost, policy::WaveState};

const NOW: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns a host that reported a minute ago.
fn host(name: &str, components: &Value) -> ObservedHost {
    host_with(name, &json!({"platform": "linux-amd64", "lastSeen": "2026-11-22T11:59:00Z", "components": components}))
}

fn host_with(name: &str, status: &Value) -> ObservedHost {
    let host = json!({"metadata": {"name": name, "labels": {"role": "bastion"}}, "spec": {"identity": ""},
        "status": status});
    ObservedHost::new(serde_json::from_value::<CliHost>(host).unwrap())
}

fn tool(active: &str, state: &str) -> Value {
    json!({"name": "tool", "active": active, "state": state, "lastChange": "2026-11-22T11:00:00Z"})
}

/// A record of `tool` with two versions that are a week old.
fn records() -> BTreeMap<String, CliRelease> {
    let version = |version: &str| {
        json!({"version": version, "digest": format!("sha256:{}", "a".repeat(64)),
        "firstSeen": "2026-11-15T12:00:00Z", "fit": "Fits"})
    };
    let record = json!({"metadata": {"name": "tool"}, "spec": {},
        "status": {"lastSyncTime": NOW, "versions": [version("v1.1.0"), version("v1.0.0")]}});
    BTreeMap::from([("tool".to_owned(), serde_json::from_value(record).unwrap())])
}

/// A policy whose wave of v1.1.0 began a day ago and takes two.
fn policy(fields: &Value) -> Value {
    let mut spec = json!({"hostSelector": {}, "defaults": {"updates": "Auto"}, "rollout": {"over": "48h"}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let wave = json!({"version": "v1.1.0", "since": "2026-11-21T12:00:00Z", "state": "Running", "failed": 1});
    json!({"metadata": {"name": "bastions", "generation": 1}, "spec": spec, "status": {"observedGeneration": 1,
        "hosts": {"matched": 2}, "components": [{"name": "tool", "waves": [wave]}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "RollingOut", "message": "tool v1.1.0",
            "lastTransitionTime": NOW}]}})
}

fn fleet(hosts: &[ObservedHost], policies: &[Value], components: &[&str]) -> Fleet {
    let (set, records) = (PolicySet::from_json(policies), records());
    let components = components.iter().map(|name| name.parse().unwrap()).collect();
    Fleet::new(FleetInputs { hosts, policies, set: &set, records: &records, components: &components, now: at(NOW) })
}

#[test]
fn hosts_by_their_worst_component_and_by_their_last_report() {
    let d8 = json!({"name": "d8", "active": "v0.9.0", "state": "UpToDate"});
    let old = |seen: &str| json!({"platform": "linux-amd64", "lastSeen": seen, "components": [d8]});
    let hosts = [
        host("a", &json!([d8, tool("v1.0.0", "Held")])),
        host("b", &json!([tool("v1.0.0", "Failed"), d8])),
        host("c", &json!([tool("v1.0.0", "Forbidden"), tool("v1.0.0", "Unfit")])),
        host("d", &json!([tool("v1.0.0", "Pending")])),
        host("e", &json!([])),
        host_with("f", &old("2026-11-22T05:00:00Z")),
        host_with("g", &old("2026-11-22T04:59:59Z")),
        host_with("h", &json!({})),
    ];
    let fleet = fleet(&hosts, &[], &[]);
    let expected = HostTotals {
        hosts: 8,
        up_to_date: 3,
        changing: 1,
        held: 1,
        unfit: 0,
        forbidden: 1,
        failed: 1,
        never_reported: 1,
        silent: 1,
    };
    assert_eq!(fleet.totals, expected);
    let silent: Vec<_> = fleet.silent.iter().map(|silent| (&*silent.host, silent.last_seen)).collect();
    assert_eq!(silent, [("g", Some(at("2026-11-22T04:59:59Z"))), ("h", None)]);
}

#[test]
fn targets_and_next_versions_are_those_of_the_policies() {
    let hosts = [host("a", &json!([tool("v1.0.0", "UpToDate")])), host_with("b", &json!({}))];
    let required = json!({"rollout": null, "rules": [{"plugins": ["tool", "other"], "access": "Require"}]});
    for (policies, only, expected) in [
        // Without a policy, an agent does nothing.
        (vec![], &[][..], vec!["tool: v1.0.0 UpToDate target v1.1.0"]),
        (
            vec![policy(&json!({"rollout": null}))],
            &[],
            vec!["tool: v1.0.0 UpToDate target v1.1.0 next v1.1.0 at 2026-11-22T12:00:00Z"],
        ),
        (
            vec![policy(&json!({"rollout": null, "defaults": {"updates": "Auto", "minAge": "170h"}}))],
            &[],
            vec!["tool: v1.0.0 UpToDate target v1.1.0 next v1.1.0 at 2026-11-22T14:00:00Z"],
        ),
        (
            vec![policy(&required)],
            &[],
            vec![
                "other: none Unreported target none",
                "tool: v1.0.0 UpToDate target v1.1.0 next v1.1.0 at 2026-11-22T12:00:00Z",
            ],
        ),
        (vec![policy(&required)], &["other"], vec!["other: none Unreported target none"]),
    ] {
        let fleet = fleet(&hosts, &policies, only);
        let shown = |component: &FleetComponent| {
            let version = |version: Option<String>| version.unwrap_or_else(|| "none".to_owned());
            let state = component.state.map_or("Unreported".to_owned(), |state| format!("{state:?}"));
            let target = version(component.target.as_ref().map(ToString::to_string));
            let next = component.next.as_ref().map(|next| format!(" next {} at {}", next.version, next.at));
            let active = version(component.active.clone());
            format!("{}: {active} {state} target {target}{}", component.name, next.unwrap_or_default())
        };
        let found: Vec<_> = fleet.hosts[0].components.iter().map(shown).collect();
        assert_eq!(found, expected);
        assert!(fleet.hosts[1].components.is_empty(), "what is on a host that never reported is not known");
    }
}

#[test]
fn components_are_counted() {
    let mut held = tool("v1.0.0", "Held");
    held["reason"] = json!("NotInWave");
    let hosts = [
        host("a", &json!([held])),
        host("b", &json!([held])),
        host("c", &json!([tool("v1.1.0", "UpToDate")])),
        host("d", &json!([tool("what", "UpToDate")])),
        host("e", &json!([tool("v1.10.0", "UpToDate")])),
    ];
    let fleet = fleet(&hosts, &[policy(&json!({"rollout": null}))], &[]);
    let [summary] = &fleet.components[..] else { panic!("{:?}", fleet.components) };
    let versions = |counts: &[VersionCount]| -> Vec<String> {
        let shown = |count: &VersionCount| format!("{} {}", count.version.as_deref().unwrap_or("none"), count.hosts);
        counts.iter().map(shown).collect()
    };
    assert_eq!(versions(&summary.versions), ["v1.10.0 1", "v1.1.0 1", "v1.0.0 2", "what 1"]);
    assert_eq!(versions(&summary.targets), ["v1.10.0 1", "v1.1.0 3", "none 1"]);
    let next = NextCount { version: "v1.1.0".to_owned(), hosts: 2, first: at(NOW), last: at(NOW) };
    assert_eq!((summary.hosts, &summary.next), (5, &vec![next]));
    let states: Vec<_> = summary.states.iter().map(|count| (count.state, count.hosts)).collect();
    assert_eq!(states, [(Some(ComponentState::Held), 2), (Some(ComponentState::UpToDate), 3)]);
    let reason = ReasonCount { state: ComponentState::Held, reason: "NotInWave".to_owned(), hosts: 2 };
    assert_eq!(summary.reasons, [reason]);
}

#[test]
fn holds_are_grouped_and_failures_are_listed() {
    let held = |until: Option<&str>, message: &str| {
        let mut held = tool("v1.0.0", "Held");
        (held["reason"], held["message"]) = (json!("NotInWave"), json!(message));
        held["until"] = json!(until);
        held
    };
    let failed = json!({"name": "tool", "active": "v1.0.0", "target": "v1.1.0", "state": "Failed", "reason": "Smoke",
        "message": "exit status 1", "lastChange": "2026-11-22T11:00:00Z"});
    let switching = |since: &str| {
        json!({"name": "tool", "active": "v1.0.0", "target": "v1.1.0", "state": "Switching",
        "lastChange": since})
    };
    let hosts = [
        host("a", &json!([held(Some("2026-11-23T00:00:00Z"), "first")])),
        host("b", &json!([held(None, "second")])),
        host("c", &json!([held(Some("2026-11-22T18:00:00Z"), "third")])),
        host("d", &json!([tool("v1.0.0", "Forbidden")])),
        host("e", &json!([failed])),
        host("f", &json!([switching("2026-11-22T11:30:00Z")])),
        host("g", &json!([switching("2026-11-22T11:30:01Z")])),
    ];
    let fleet = fleet(&hosts, &[policy(&json!({"rollout": null}))], &[]);
    let shown: Vec<_> = fleet
        .holds
        .iter()
        .map(|hold| (hold.state, hold.reason.as_deref(), hold.message.as_deref(), hold.hosts.join(" ")))
        .collect();
    let expected = [
        (ComponentState::Held, Some("NotInWave"), Some("first"), "a b c".to_owned()),
        (ComponentState::Forbidden, None, None, "d".to_owned()),
    ];
    assert_eq!(shown, expected);
    let ends = [fleet.holds[0].first_until, fleet.holds[0].last_until];
    assert_eq!(ends, ["2026-11-22T18:00:00Z", "2026-11-23T00:00:00Z"].map(|end| Some(at(end))));
    let failed: Vec<_> = fleet.failed.iter().map(|failed| (&*failed.host, &*failed.version, failed.stuck)).collect();
    assert_eq!(failed, [("e", "v1.1.0", false), ("f", "v1.1.0", true)]);
    assert_eq!(fleet.failed[0].message.as_deref(), Some("exit status 1"));
}

#[test]
fn how_far_waves_have_come() {
    let hosts = [
        host("a", &json!([tool("v1.1.0", "UpToDate")])),
        host("b", &json!([tool("v1.0.0", "Held")])),
        host("c", &json!([tool("v1.1.0", "Held")])),
        host("d", &json!([tool("v1.2.0", "UpToDate")])),
        host("e", &json!([])),
    ];
    let halt = |policy: Value| {
        let mut policy = policy;
        let wave = &mut policy["status"]["components"][0]["waves"][0];
        (wave["state"], wave["haltedAt"]) = (json!("Halted"), json!("2026-11-22T00:00:00Z"));
        policy
    };
    let soaks = json!({"defaults": {"updates": "Auto", "minAge": "162h"}});
    for (policy, state, reached, start) in [
        (policy(&json!({})), WaveState::Running, 0.5, Some("2026-11-21T12:00:00Z")),
        // The version reached minAge after the wave began.
        (policy(&soaks), WaveState::Running, 0.125, Some("2026-11-22T06:00:00Z")),
        (policy(&json!({"rollout": {"over": "12h"}})), WaveState::Running, 1.0, Some("2026-11-21T12:00:00Z")),
        (halt(policy(&json!({}))), WaveState::Halted, 0.25, Some("2026-11-21T12:00:00Z")),
        (halt(policy(&json!({"rollout": null}))), WaveState::Halted, 0.0, None),
    ] {
        let fleet = fleet(&hosts, &[policy], &[]);
        let [wave] = &fleet.waves[..] else { panic!("{:?}", fleet.waves) };
        assert!((wave.reached - reached).abs() < 1e-9, "{wave:?}");
        assert_eq!((wave.state, wave.start), (state, start.map(at)), "{wave:?}");
        assert_eq!((wave.hosts, wave.active, wave.newer, wave.failed), (4, 2, 1, 1));
        assert_eq!(wave.taken, [at("2026-11-22T11:00:00Z")]);
    }
}

#[test]
fn waves_that_matter_to_no_host_are_not_open() {
    let [old, new, newer] = ["v1.0.0", "v1.1.0", "v1.2.0"].map(|active| host("a", &json!([tool(active, "UpToDate")])));
    let none = host("a", &json!([]));
    for (host, state, failed, expected) in [
        (&old, "Running", 0, true),
        (&old, "AwaitingEvidence", 0, true),
        (&old, "Complete", 0, false),
        (&new, "Running", 0, false),
        (&new, "Running", 1, true),
        (&new, "Halted", 0, true),
        (&newer, "Running", 0, false),
        (&newer, "Complete", 1, false),
        (&none, "Running", 1, false),
    ] {
        let mut policy = policy(&json!({}));
        let wave = &mut policy["status"]["components"][0]["waves"][0];
        (wave["state"], wave["failed"]) = (json!(state), json!(failed));
        let fleet = fleet(std::slice::from_ref(host), &[policy], &[]);
        assert_eq!(fleet.open_waves().count() == 1, expected, "{:?}", fleet.waves);
    }
}

#[test]
fn policies_as_they_are_and_those_that_cannot_be_read() {
    let unknown = json!({"metadata": {"name": "other"}, "spec": {"hostSelector": 1}});
    let invalid = policy(&json!({"defaults": {"minAge": "soon"}}));
    let fleet = fleet(&[], &[unknown, invalid], &[]);
    let [summary] = &fleet.policies[..] else { panic!("{:?}", fleet.policies) };
    assert_eq!((&*summary.name, &*summary.ready, &*summary.reason), ("bastions", "True", "RollingOut"));
    assert_eq!((summary.hosts, summary.paused), (Some(2), false));
    assert_eq!(fleet.waves, [], "the hosts of an invalid policy are not known");
}
