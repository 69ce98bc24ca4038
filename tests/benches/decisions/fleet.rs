//! How long it takes to summarize a fleet, for 1,000 hosts and for 10,000.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::decisions::{
    fleet::{Fleet, FleetInputs, ObservedHost},
    verdict::PolicySet,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::diff::{NOW, POLICIES, ROLES, policy, records, shortest};

/// Components on each host.
const PLUGINS: usize = 20;

/// Prints the time for both numbers of hosts, and by which factor it grows: with and without a wave of every plugin that
/// reaches each host at another time.
pub(crate) fn print_growth() {
    let (few, many) = (hosts(1_000), hosts(10_000));
    println!("\nfleet: {POLICIES} policies, {PLUGINS} plugins on each host");
    for (what, first) in [("no wave for all hosts", policy(0)), ("a wave of each plugin", rollout())] {
        let policies: Vec<Value> = [first].into_iter().chain((1..POLICIES).map(policy)).collect();
        let [few, many] = [&few, &many].map(|hosts| time(hosts, &policies));
        let growth = many.as_secs_f64() / few.as_secs_f64();
        println!("  {what:24} 1,000 hosts {few:>8.1?}   10,000 hosts {many:>8.1?}   growth {growth:.1}");
    }
}

fn time(hosts: &[ObservedHost], policies: &[Value]) -> Duration {
    let (set, records) = (PolicySet::from_json(policies), records());
    let now: Timestamp = NOW.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let inputs = FleetInputs { hosts, policies, set: &set, records: &records, components: &BTreeSet::new(), now };
    shortest(|| {
        let fleet = Fleet::new(inputs);
        assert_eq!((fleet.hosts.len(), fleet.components.len()), (hosts.len(), PLUGINS));
        fleet.hosts.len()
    })
}

/// The first policy with a rollout. The waves of the newest versions began 12 hours ago.
fn rollout() -> Value {
    let wave = |version: usize| json!({"version": format!("v1.3.{version}"), "since": "2026-11-22T00:00:00Z"});
    let waves: Vec<Value> = (3..7).map(wave).collect();
    let component = |plugin: usize| json!({"name": format!("plugin-{plugin}"), "waves": waves});
    let components: Vec<Value> = (0..PLUGINS).map(component).collect();
    let mut policy = policy(0);
    policy["metadata"]["generation"] = json!(1);
    policy["spec"]["rollout"] = json!({"over": "48h"});
    policy["status"] = json!({"observedGeneration": 1, "components": components});
    policy
}

/// Returns hosts of all roles, each with one of the newest five versions of each plugin.
fn hosts(count: usize) -> Vec<ObservedHost> {
    let host = |i: usize| {
        let component = |plugin: usize| {
            let version = (i * 31 + plugin * 17 + i / 7) % 5 + 2;
            json!({"name": format!("plugin-{plugin}"), "active": format!("v1.3.{version}"), "state": "Held",
                "reason": "NotInWave", "message": "policy policy-0, rollout: the wave has not reached this host",
                "lastChange": "2026-11-20T12:00:00Z", "until": "2026-11-24T12:00:00Z"})
        };
        let components: Vec<Value> = (0..PLUGINS).map(component).collect();
        let labels = json!({"role": format!("role-{}", i % ROLES), "hostname": format!("host-{i}")});
        let host = json!({"metadata": {"name": format!("host-{i}"), "labels": labels}, "spec": {"identity": ""},
            "status": {"platform": "linux-amd64", "lastSeen": NOW, "components": components}});
        ObservedHost::new(serde_json::from_value(host).unwrap_or_else(|error| panic!("{error}")))
    };
    (0..count).map(host).collect()
}
