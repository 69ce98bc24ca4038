//! Which changes of a policy an agent ticks for, and for how long it watches. Pure.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// Longest time for which the API server keeps one watch open.
const LONGEST_WATCH: Duration = Duration::from_secs(290);
/// Share of [`LONGEST_WATCH`] by which watches differ.
const SPREAD: f64 = 0.2;

/// Returns for how long to keep a watch open before the next one begins where it ended. `random` is in [0, 1). Watches of
/// many hosts that were opened at the same time, after a restart of the API server, do not end at the same time.
pub fn watch_timeout(random: f64) -> Duration {
    LONGEST_WATCH.mul_f64(1.0 - SPREAD * random)
}

/// What a tick depends on in each policy, by name.
pub type Fingerprints = BTreeMap<String, Value>;

/// Returns how many hosts a policy selects, by its status.
pub fn selected_hosts(policy: &Value) -> u32 {
    let matched = policy.pointer("/status/hosts/matched").and_then(Value::as_u64).unwrap_or_default();
    u32::try_from(matched).unwrap_or(u32::MAX)
}

/// Returns the name of a policy, and what a tick depends on: its spec, whether the operator accepted it, and the waves.
/// Counts of hosts are not part of it.
pub fn fingerprint(policy: &Value) -> (String, Value) {
    let field = |pointer: &str| policy.pointer(pointer).cloned().unwrap_or_default();
    let conditions = field("/status/conditions");
    let accepted = conditions.as_array().into_iter().flatten().find(|condition| condition["type"] == "Accepted");
    let waves: Vec<Value> = field("/status/components")
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|component| component["waves"].as_array().cloned().unwrap_or_default())
        .map(|wave| json!([wave["version"], wave["since"], wave["state"], wave["haltedAt"]]))
        .collect();
    let accepted = accepted.map(|accepted| json!([accepted["status"], accepted["observedGeneration"]]));
    let name = field("/metadata/name").as_str().unwrap_or_default().to_owned();
    (name, json!([field("/metadata/uid"), field("/metadata/generation"), accepted, waves]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_differ() {
        for (random, expected) in [(0.0, 290.0), (0.5, 261.0), (1.0, 232.0)] {
            let found = watch_timeout(random).as_secs_f64();
            assert!((found - expected).abs() < 1e-6, "{random}: {found}");
        }
    }

    #[test]
    fn what_a_tick_depends_on() {
        let policy = |change: fn(&mut Value)| {
            let mut policy = json!({
                "metadata": {"name": "p", "uid": "u", "generation": 1, "resourceVersion": "1"},
                "status": {
                    "conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 1, "message": "m"}],
                    "hosts": {"matched": 1},
                    "components": [{"name": "tool", "waves": [{"version": "v1.0.0", "state": "Running", "failed": 0}]}],
                },
            });
            change(&mut policy);
            fingerprint(&policy)
        };
        let before = policy(|_| {});
        for (what, change, matters) in [
            ("the spec", (|p| p["metadata"]["generation"] = 2.into()) as fn(&mut Value), true),
            ("another policy of the name", |p| p["metadata"]["uid"] = "v".into(), true),
            ("its acceptance", |p| p["status"]["conditions"][0]["status"] = "False".into(), true),
            ("a halt", |p| p["status"]["components"][0]["waves"][0]["state"] = "Halted".into(), true),
            ("a count of hosts", |p| p["status"]["hosts"]["matched"] = 2.into(), false),
            ("a count of a wave", |p| p["status"]["components"][0]["waves"][0]["failed"] = 2.into(), false),
            ("a message", |p| p["status"]["conditions"][0]["message"] = "other".into(), false),
        ] {
            assert_eq!(policy(change) != before, matters, "{what}");
        }
    }
}
