use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;

fn status_of(
    spec: &serde_json::Value,
    components: Vec<ComponentProgress>,
    rolling: &[(String, Timestamp)],
) -> PluginPolicyStatus {
    let object = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": "p", "generation": 4}, "spec": spec});
    let policy: PluginPolicy = serde_json::from_value(object).unwrap();
    let checked = CheckedPolicy::new(&policy);
    let inputs = StatusInputs {
        cluster_uid: Some("uid"),
        hosts: HostCounts { matched: 3, ..HostCounts::default() },
        people_unknown: false,
        channels: &BTreeMap::from([(Component::D8, Channel::Stable)]),
        components,
        rolling,
        awaiting: &[],
        trimmed: false,
        previous: &PluginPolicyStatus::default(),
        // A Thursday.
        now: Timestamp::UNIX_EPOCH,
    };
    status(&policy, &checked, inputs)
}

fn condition(status: &PluginPolicyStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    assert_eq!(found.observed_generation, Some(4));
    (format!("{}/{}", found.status, found.reason), found.message.clone())
}

#[test]
fn accepted_and_ready() {
    let managed = json!({"matchLabels": {"role": "bastion"}});
    for (spec, accepted, accepted_message, ready, ready_message) in [
        (json!({"hostSelector": managed}), "True/Accepted", "every field is valid", "True/Enforced", ""),
        (json!({"hostSelector": {}}), "True/Accepted", "it matches 3 hosts and workstations", "True/Enforced", ""),
        (json!({"hostSelector": managed, "paused": true}), "True/Accepted", "", "True/Paused", ""),
        (
            json!({"hostSelector": managed, "rules": [{"plugins": ["a"], "versions": "one"}]}),
            "False/Invalid",
            "spec.rules[0].versions",
            "False/Invalid",
            "the hosts it selects",
        ),
        (
            json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
            "False/Invalid",
            "spec.hostSelector",
            "False/Invalid",
            "every host",
        ),
        (
            json!({"hostSelector": managed, "defaults": {"minAge": "72h"}, "rollout": {"over": "48h"}}),
            "True/Accepted",
            "",
            "True/Enforced",
            "",
        ),
        (
            json!({"hostSelector": managed, "cli": {"channel": "Prerelease"}}),
            "True/Accepted",
            "it matches 3 hosts; spec.cli.channel: pre-releases of d8 are not published",
            "True/Enforced",
            "",
        ),
        (
            json!({"hostSelector": managed, "rules": [{"plugins": ["a*"]}, {"plugins": ["ab", "ac*"]}]}),
            "True/Accepted",
            "spec.rules[1] never applies",
            "True/Enforced",
            "",
        ),
    ] {
        let status = status_of(&spec, vec![], &[]);
        let (found, message) = condition(&status, "Accepted");
        assert!(found == accepted && message.contains(accepted_message), "{spec}: {found} {message}");
        let (found, message) = condition(&status, "Ready");
        assert!(found == ready && message.contains(ready_message), "{spec}: {found} {message}");
        assert_eq!(status.observed_generation, Some(4));
        assert_eq!((status.cluster_uid.as_deref(), status.hosts.unwrap().matched), (Some("uid"), 3));
    }
}

#[test]
fn ready_names_halted_and_running_waves() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let halted = |name: &str| ComponentProgress {
        name: name.to_owned(),
        waves: vec![WaveStatus {
            version: "v1.3.3".to_owned(),
            since: None,
            state: Some(WaveState::Halted),
            failed: 3,
            succeeded: None,
            canaries: None,
            halted_at: Some(Time(at(60))),
        }],
        ..ComponentProgress::default()
    };
    let rolling = |count: i64| (0..count).map(|n| (format!("p{n} v1.0.0"), at(n))).collect::<Vec<_>>();
    let (plain, paused) = (json!({"hostSelector": {}}), json!({"hostSelector": {}, "paused": true}));
    for (spec, components, waves, ready, message) in [
        (&plain, vec![], rolling(1), "True/RollingOut", "p0 v1.0.0 until 1970-01-01T00:00:00Z"),
        (&plain, vec![], rolling(6), "True/RollingOut", "p3 v1.0.0 until 1970-01-01T00:00:03Z; and 2 more"),
        (&paused, vec![], rolling(1), "True/Paused", "every change is held; plugins can still run"),
        (
            &paused,
            vec![halted("stronghold")],
            rolling(1),
            "False/WaveHalted",
            "cli.deckhouse.io/resume=stronghold/v1.3.3@1970-01-01T00:01:00Z`",
        ),
    ] {
        let (found, text) = condition(&status_of(spec, components, &waves), "Ready");
        assert!(found == ready && text.ends_with(message), "{spec}: {found} {text}");
    }
}

#[test]
fn the_next_window_opens_after_the_current_one() {
    let window = |start: &str, duration: &str| json!({"windows": [{"start": start, "duration": duration}]});
    let blackout = |from: &str, to: &str| json!({"blackouts": [{"from": from, "to": to, "reason": "freeze"}]});
    let daily_until_noon = json!({
        "windows": [{"start": "02:00", "duration": "1h"}],
        "blackouts": [{"from": "1970-01-01T00:00", "to": "1970-01-03T12:00", "reason": "freeze"}],
    });
    for (fields, next) in [
        (json!({}), None),
        (window("02:00", "1h"), Some("1970-01-01T02:00:00Z")),
        // Open now.
        (window("23:00", "2h"), Some("1970-01-01T23:00:00Z")),
        // Never closed.
        (window("00:00", "25h"), None),
        // A blackout that lasts, one that is ahead, one that is over, and one across the next windows.
        (blackout("1970-01-01T00:00", "1970-01-03T00:00"), Some("1970-01-03T00:00:00Z")),
        (blackout("1970-01-02T00:00", "1970-01-03T00:00"), Some("1970-01-03T00:00:00Z")),
        (blackout("1969-12-30T00:00", "1969-12-31T00:00"), None),
        (daily_until_noon, Some("1970-01-04T02:00:00Z")),
    ] {
        let spec = spec_with(&fields);
        assert_eq!(status_of(&spec, vec![], &[]).next_window.as_deref(), next, "{fields}");
    }
}

fn spec_with(fields: &serde_json::Value) -> serde_json::Value {
    let mut spec = json!({"hostSelector": {}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

#[test]
fn an_emergency_is_shown_while_it_stands() {
    for (until, ready, message) in [
        ("1970-01-02T00:00:00Z", "True/Emergency", "until 1970-01-02T00:00:00Z, the policy lifts"),
        ("1970-01-01T00:00:00Z", "True/EmergencyEnded", "the emergency is over"),
    ] {
        let rules = json!([{"plugins": ["stronghold"], "expedite": ["v1.3.3"]}]);
        let status = status_of(&spec_with(&json!({"emergency": {"until": until}, "rules": rules})), vec![], &[]);
        let (found, text) = condition(&status, "Ready");
        assert!(found == ready && text.starts_with(message), "{found} {text}");
        let warning = if ready == "True/Emergency" {
            format!("until {until}, ")
        } else {
            format!("the emergency ended at {until}")
        };
        assert!(condition(&status, "Accepted").1.contains(&warning), "{status:?}");
    }
}

#[test]
fn counts_of_hosts_may_wait() {
    let counts = |matched, held, failed| PluginPolicyStatus {
        hosts: Some(HostCounts { matched, up_to_date: 0, held, failed }),
        ..PluginPolicyStatus::default()
    };
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let shown = counts(3, 1, 0);
    let other = PluginPolicyStatus { observed_generation: Some(5), ..shown.clone() };
    for (new, age, expected) in [
        (shown.clone(), Some(minutes(999)), WriteTime::Never),
        (other, Some(minutes(0)), WriteTime::Now),
        (counts(3, 1, 1), Some(minutes(0)), WriteTime::Now),
        (counts(3, 2, 0), Some(minutes(20)), WriteTime::After(minutes(40))),
        (counts(3, 2, 0), Some(minutes(60)), WriteTime::Now),
        (counts(4, 1, 0), Some(minutes(0)), WriteTime::After(minutes(1))),
        (counts(4, 1, 0), Some(minutes(1)), WriteTime::Now),
        (counts(3, 2, 0), None, WriteTime::Now),
        (shown.clone(), None, WriteTime::Never),
    ] {
        assert_eq!(write_time(Some(&shown), &new, age), expected, "{new:?} {age:?}");
    }
    assert_eq!(write_time(None, &shown, None), WriteTime::Now);
}
