//! How long it takes to compute what the edit of one policy changes, for 1,000 hosts and for 10,000.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use d8_crds::{
    decisions::{
        impact::{ActiveComponent, ClusterState, HostFacts, PolicyDiff, PolicyEdit},
        verdict::PolicySet,
    },
    records::release::CliRelease,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const NOW: &str = "2026-11-22T12:00:00Z";
pub(crate) const POLICIES: usize = 100;
const PLUGINS: usize = 60;
pub(crate) const ROLES: usize = 20;
/// How often each edit is measured; the shortest time counts.
const RUNS: usize = 3;

/// Prints for each kind of edit the time for both numbers of hosts, and by which factor it grows.
pub(crate) fn print_growth() {
    let (records, few, many) = (records(), hosts(1_000), hosts(10_000));
    println!("\ndiff: one edited policy of {POLICIES}, {PLUGINS} plugins on each host");
    for (edit, fields) in [
        ("a rule for one plugin", json!({"rules": [{"plugins": ["plugin-7"], "versions": "<1.3.3"}]})),
        ("minAge of all plugins", json!({"defaults": {"updates": "Auto", "minAge": "240h"}})),
        (
            "a blackout",
            json!({"blackouts": [{"from": "2026-11-22T00:00:00", "to": "2026-11-30T00:00:00", "reason": "sale"}]}),
        ),
        ("a pause", json!({"paused": true})),
        ("a rollout", json!({"rollout": {"over": "48h"}})),
    ] {
        let [few, many] = [&few, &many].map(|hosts| shortest(|| changes(&records, hosts, &fields)));
        let growth = many.as_secs_f64() / few.as_secs_f64();
        println!("  {edit:24} 1,000 hosts {few:>8.1?}   10,000 hosts {many:>8.1?}   growth {growth:.1}");
    }
}

/// Runs it several times. Returns the shortest time.
pub(crate) fn shortest(run: impl Fn() -> usize) -> Duration {
    let timed = || {
        let start = Instant::now();
        assert!(run() > 0, "the edit changes nothing");
        start.elapsed()
    };
    (0..RUNS).map(|_| timed()).min().unwrap_or_default()
}

/// Does what the command does with policies, records and hosts. Returns the number of changes.
fn changes(records: &BTreeMap<String, CliRelease>, hosts: &[HostFacts], fields: &Value) -> usize {
    let now: Timestamp = NOW.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let live: Vec<Value> = (0..POLICIES).map(policy).collect();
    let mut edited = policy(0);
    for (field, value) in fields.as_object().into_iter().flatten() {
        edited["spec"][field] = value.clone();
    }
    let file = serde_json::from_value(edited).unwrap_or_else(|error| panic!("{error}"));
    let edit = PolicyEdit::new(&live, &[file], ClusterState { records, hosts, now }, false);
    let [old, new] = [&live, &edit.policies].map(PolicySet::from_json);
    let mut diff = PolicyDiff::new(&old, &new, records, now).with_waves(&edit.waves);
    hosts.iter().map(|host| diff.of(host).changes.len()).sum()
}

/// Returns a policy for all hosts (every fifth one), or for those of one role.
pub(crate) fn policy(i: usize) -> Value {
    let selector =
        if i.is_multiple_of(5) { json!({}) } else { json!({"matchLabels": {"role": format!("role-{}", i % ROLES)}}) };
    let rule = match i % 3 {
        0 => json!({"plugins": ["*"], "versions": ">=1.0 <2"}),
        1 => json!({"plugins": [format!("plugin-{}", i % PLUGINS)], "block": ["v1.3.2"], "versions": "^1"}),
        _ => json!({"plugins": [format!("plugin-{}*", i % 10)], "versions": ">=1.1"}),
    };
    let mut spec = json!({"hostSelector": selector, "rules": [rule],
        "defaults": {"minAge": format!("{}h", 24 + i), "updates": "Auto"}});
    if i % 10 == 5 {
        spec["rollout"] = json!({"over": "24h"});
    }
    json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": format!("policy-{i}")}, "spec": spec})
}

/// Returns records of all plugins, with twenty versions each that were first seen a month ago, but two newer ones.
pub(crate) fn records() -> BTreeMap<String, CliRelease> {
    let digest = format!("sha256:{}", "a".repeat(64));
    let version = |i: usize| {
        let seen = ["2026-11-14T12:00:00Z", "2026-11-16T12:00:00Z", "2026-10-22T12:00:00Z"][i.min(2)];
        json!({"version": format!("v1.{}.{}", 3 - i / 7, 6 - i % 7), "digest": digest, "firstSeen": seen, "fit": "Fits"})
    };
    let versions: Vec<Value> = (0..20).map(version).collect();
    let record = |i: usize| {
        let record = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease",
            "metadata": {"name": format!("plugin-{i}")}, "spec": {},
            "status": {"lastSyncTime": "2026-11-22T11:30:00Z", "versions": versions}});
        (format!("plugin-{i}"), serde_json::from_value(record).unwrap_or_else(|error| panic!("{error}")))
    };
    (0..PLUGINS).map(record).collect()
}

/// Returns hosts of all roles. Each has labels of its own, and one of the newest five versions of each plugin, so that
/// hardly two hosts are alike.
fn hosts(count: usize) -> Vec<HostFacts> {
    let versions: Vec<Version> = (2..7).filter_map(|patch| Version::parse(&format!("v1.3.{patch}")).ok()).collect();
    let plugins: Vec<Component> = (0..PLUGINS).filter_map(|i| format!("plugin-{i}").parse().ok()).collect();
    let host = |i: usize| {
        let label = |key: &str, value: String| (key.to_owned(), value);
        let active = plugins.iter().enumerate().map(|(plugin, component)| {
            let version = Some(versions[(i * 31 + plugin * 17 + i / 7) % versions.len()].clone());
            (component.clone(), ActiveComponent { version, ..ActiveComponent::default() })
        });
        HostFacts {
            id: format!("host-{i}"),
            labels: [label("role", format!("role-{}", i % ROLES)), label("hostname", format!("host-{i}"))].into(),
            managed: true,
            platform: "linux-amd64".parse().ok(),
            active: active.collect(),
            ..HostFacts::default()
        }
    };
    (0..count).map(host).collect()
}
